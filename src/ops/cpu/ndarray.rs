//! Burn's `NdArray` tensors as slices.

use std::borrow::Cow;

use burn_ndarray::NdArrayTensor;

use crate::cast::as_any;

/// The values in row-major order, if `primitive` is a float tensor of this backend.
pub(in crate::ops::cpu) fn borrow<P: 'static>(primitive: &P) -> Option<Cow<'_, [f32]>> {
    match as_any(primitive)? {
        NdArrayTensor::F32(storage) => {
            let view = storage.view();
            Some(values(view.to_slice(), view.iter()))
        }
        NdArrayTensor::F64(storage) => Some(Cow::Owned(storage.view().iter().map(|&v| v as f32).collect())),
        _ => None,
    }
}

/// The values in row-major order, if they lie so in memory.
pub(in crate::ops::cpu) fn contiguous<P: 'static>(primitive: &P) -> Option<&[f32]> {
    match as_any(primitive)? {
        NdArrayTensor::F32(storage) => storage.view().to_slice(),
        _ => None,
    }
}

/// The values of a tensor of bools, row-major. As Burn's `TensorData` they would be copied one by one.
pub(in crate::ops::cpu) fn borrow_bools<P: 'static>(primitive: &P) -> Option<Cow<'_, [bool]>> {
    match as_any(primitive)? {
        NdArrayTensor::Bool(storage) => {
            let view = storage.view();
            Some(values(view.to_slice(), view.iter()))
        }
        _ => None,
    }
}

fn values<'a, 'b, T: Copy + 'b>(slice: Option<&'a [T]>, each: impl Iterator<Item = &'b T>) -> Cow<'a, [T]> {
    slice.map_or_else(|| Cow::Owned(each.copied().collect()), Cow::Borrowed)
}
