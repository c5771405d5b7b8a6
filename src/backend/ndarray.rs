//! Burn's `NdArray` tensors as slices.

use std::borrow::Cow;

use burn_ndarray::NdArrayTensor;

use crate::cast::as_any;

/// The values in row-major order, if `primitive` is a float tensor of this backend.
pub(super) fn borrow<P: 'static>(primitive: &P) -> Option<Cow<'_, [f32]>> {
    match as_any(primitive)? {
        NdArrayTensor::F32(storage) => {
            let view = storage.view();
            Some(match view.to_slice() {
                Some(values) => Cow::Borrowed(values),
                None => Cow::Owned(view.iter().copied().collect()),
            })
        }
        NdArrayTensor::F64(storage) => Some(Cow::Owned(storage.view().iter().map(|&v| v as f32).collect())),
        _ => None,
    }
}
