//! Asking a generic value for its concrete type.

use std::any::TypeId;

/// `value` as a `T`, if that is what it is.
///
/// `Any` needs `S: 'static`, which Burn's `Module::map` and `Module::visit` do not promise for their mappers and visitors.
#[allow(unsafe_code, reason = "the one cast that makes the swap through `Module::map` possible")]
pub(crate) fn as_type<S, T: 'static>(value: &mut S) -> Option<&mut T> {
    if typeid::of::<S>() != TypeId::of::<T>() {
        return None;
    }
    // SAFETY: equal type ids mean that `S` is `T` up to lifetimes, and `T: 'static` has none: the same type.
    Some(unsafe { &mut *std::ptr::from_mut(value).cast::<T>() })
}

/// `value` as a `T`, if that is what it is; for types that promise `'static`.
#[cfg(any(test, feature = "ndarray", feature = "flex", feature = "wgpu"))]
pub(crate) fn as_any<S: 'static, T: 'static>(value: &S) -> Option<&T> {
    (value as &dyn std::any::Any).downcast_ref()
}

/// `value`, moved, as a `T`, if that is what it is.
#[cfg(any(test, feature = "wgpu"))]
pub(crate) fn into_type<S: 'static, T: 'static>(value: S) -> Option<T> {
    (&mut Some(value) as &mut dyn std::any::Any).downcast_mut::<Option<T>>()?.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_type_is_cast() {
        let mut x = 5u32;
        *as_type::<_, u32>(&mut x).unwrap() += 1;
        assert_eq!(as_any::<_, u32>(&x), Some(&6));
        assert!(as_type::<_, i32>(&mut x).is_none());
        assert!(as_any::<_, i32>(&x).is_none());
        assert_eq!((into_type::<_, u32>(x), into_type::<_, i32>(x)), (Some(6), None));
    }

    #[test]
    fn a_type_with_a_lifetime_is_not_mistaken() {
        let text = String::from("local");
        let mut borrowed = Some(text.as_str());
        assert!(as_type::<_, Option<String>>(&mut borrowed).is_none());
    }
}
