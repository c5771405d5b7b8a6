//! Burn's `NdArray` tensors as slices.

use std::borrow::Cow;

use burn_ndarray::NdArrayTensor;

use crate::cast::as_any;

/// The values of a view in row-major order: without a copy if they lie so in memory, else copied along whole axes, as an iterator
/// would take each value by itself.
macro_rules! values {
    ($view:expr) => {{
        let view = $view;
        match view.to_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(view.as_standard_layout().into_owned().into_raw_vec_and_offset().0),
        }
    }};
}

/// The values in row-major order, if `primitive` is a float tensor of this backend.
pub(in crate::ops::cpu) fn borrow<P: 'static>(primitive: &P) -> Option<Cow<'_, [f32]>> {
    match as_any(primitive)? {
        NdArrayTensor::F32(storage) => Some(values!(storage.view())),
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
        NdArrayTensor::Bool(storage) => Some(values!(storage.view())),
        _ => None,
    }
}
