//! Burn's `Flex` tensors as slices.

use std::borrow::Cow;

use burn::tensor::{DType, bf16, f16};
use burn_flex::FlexTensor;

use crate::cast::as_any;

/// The values in row-major order, if they lie so in memory.
pub(in crate::ops::cpu) fn contiguous<P: 'static>(primitive: &P) -> Option<&[f32]> {
    let tensor: &FlexTensor = as_any(primitive)?;
    if tensor.dtype() == DType::F32 { tensor.as_slice::<f32>() } else { None }
}

/// The values in row-major order, if `primitive` is a float tensor of this backend.
pub(in crate::ops::cpu) fn borrow<P: 'static>(primitive: &P) -> Option<Cow<'_, [f32]>> {
    let tensor: &FlexTensor = as_any(primitive)?;
    if let Some(values) = contiguous(primitive) {
        return Some(Cow::Borrowed(values));
    }
    let tensor = tensor.to_contiguous();
    Some(Cow::Owned(match tensor.dtype() {
        DType::F32 => tensor.as_slice::<f32>()?.to_vec(),
        DType::F64 => tensor.as_slice::<f64>()?.iter().map(|&v| v as f32).collect(),
        DType::F16 => tensor.as_slice::<f16>()?.iter().map(|v| v.to_f32()).collect(),
        DType::BF16 => tensor.as_slice::<bf16>()?.iter().map(|v| v.to_f32()).collect(),
        _ => return None,
    }))
}
