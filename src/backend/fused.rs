//! Functions between INT8 layers that the CPU's kernels compute in one pass. They round in another order than `B`, so that only
//! tensors in which an INT8 layer has a part go through them.

use burn::prelude::*;
use burn::tensor::{DType, TensorMetadata};

use super::tensor::Int8Tensor;
use crate::ops::{self, fuses};
use burn_int8_kernels::Activation;

/// Says whether kernels may compute with this tensor in place of `B`.
fn is_fused<B: Backend>(x: &Int8Tensor<B>) -> bool {
    let is_plain = |device: &B::Device| x.dtype() == DType::F32 && fuses::<B>(device);
    x.is_approximate() && x.as_float().is_some_and(|float| is_plain(&B::float_device(float)))
}

/// The activation of each value, if kernels compute it.
pub(super) fn activate<B: Backend>(x: &Int8Tensor<B>, activation: Activation) -> Option<Int8Tensor<B>> {
    is_fused(x).then(|| Int8Tensor::computed(ops::activate(flat(x.clone()), activation), x.shape()))
}

/// The rows along the last axis, normalized, if kernels compute it.
pub(super) fn layer_norm<B: Backend>(
    x: &Int8Tensor<B>,
    gamma: &Int8Tensor<B>,
    beta: &Option<Int8Tensor<B>>,
    epsilon: f64,
) -> Option<Int8Tensor<B>> {
    let (shape, width) = (x.shape(), gamma.shape());
    let fits = width.num_dims() == 1 && shape.as_slice().last() == Some(&width[0]);
    let has_dtype = |other: &Int8Tensor<B>| other.dtype() == DType::F32 && other.shape() == width;
    if !(is_fused(x) && fits && has_dtype(gamma) && beta.as_ref().is_none_or(has_dtype)) {
        return None;
    }
    let beta = beta.clone().map(flat);
    let out = ops::layer_norm(flat(x.clone()), None, flat(gamma.clone()), beta, epsilon as f32);
    Some(Int8Tensor::computed(out, shape))
}

/// The values in one axis.
fn flat<B: Backend>(x: Int8Tensor<B>) -> Tensor<B, 1> {
    let count = x.shape().num_elements();
    x.reshaped(Shape::new([count]))
}
