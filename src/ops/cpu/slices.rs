//! The values of a Burn tensor in host memory as a slice.

use std::borrow::Cow;

use burn::prelude::*;
use burn::tensor::TensorPrimitive;

#[cfg(feature = "flex")]
use super::flex;
#[cfg(feature = "ndarray")]
use super::ndarray;

/// Runs `work` on the values of `x`, row-major, as `f32`: without a copy if they are that already.
pub(crate) fn with_floats<B: Backend, const D: usize, R>(
    x: Tensor<B, D>,
    work: impl FnOnce(&[f32]) -> R,
) -> R {
    work(&floats::<B>(&x.into_primitive().tensor()))
}

/// The address of the values of `x` if they are in host memory, row-major, as `f32`: tensors that share them have the same.
pub(crate) fn address<B: Backend, const D: usize>(x: Tensor<B, D>) -> Option<usize> {
    let primitive = x.into_primitive().tensor();
    let values = contiguous::<B>(&primitive).filter(|values| !values.is_empty())?;
    Some(values.as_ptr().addr())
}

/// The values, row-major, as `f32`: without a copy if they are that already.
pub(super) fn floats<B: Backend>(primitive: &B::FloatTensorPrimitive) -> Cow<'_, [f32]> {
    borrow::<B>(primitive).unwrap_or_else(|| {
        let tensor = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(primitive.clone()));
        let data = tensor.into_data().convert::<f32>();
        let aligned = data.as_slice::<f32>().is_ok();
        Cow::Owned(if aligned { data.into_vec().expect("floats") } else { data.iter().collect() })
    })
}

/// The values, row-major, as `f32`, if that takes no copy.
pub(super) fn contiguous<B: Backend>(primitive: &B::FloatTensorPrimitive) -> Option<&[f32]> {
    #[cfg(feature = "ndarray")]
    if let Some(values) = ndarray::contiguous(primitive) {
        return Some(values);
    }
    #[cfg(feature = "flex")]
    if let Some(values) = flex::contiguous(primitive) {
        return Some(values);
    }
    let _ = primitive;
    None
}

fn borrow<B: Backend>(primitive: &B::FloatTensorPrimitive) -> Option<Cow<'_, [f32]>> {
    #[cfg(feature = "ndarray")]
    if let Some(values) = ndarray::borrow(primitive) {
        return Some(values);
    }
    #[cfg(feature = "flex")]
    if let Some(values) = flex::borrow(primitive) {
        return Some(values);
    }
    let _ = primitive;
    None
}

/// The values of a tensor of bools, row-major: without a copy where the backend keeps them as bools.
pub(super) fn bools<B: Backend>(primitive: &B::BoolTensorPrimitive) -> Cow<'_, [bool]> {
    #[cfg(feature = "ndarray")]
    if let Some(values) = ndarray::borrow_bools(primitive) {
        return values;
    }
    let tensor = Tensor::<B, 1, Bool>::from_primitive(primitive.clone());
    Cow::Owned(tensor.into_data().iter().collect())
}
