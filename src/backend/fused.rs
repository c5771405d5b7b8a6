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
    fn run<B: Backend, const D: usize>(x: &Int8Tensor<B>, activation: Activation) -> Int8Tensor<B> {
        Int8Tensor::made(ops::activate::<B, D>(x.clone().into_tensor(), activation))
    }
    match x.rank() {
        _ if !is_fused(x) => None,
        2 => Some(run::<B, 2>(x, activation)),
        3 => Some(run::<B, 3>(x, activation)),
        4 => Some(run::<B, 4>(x, activation)),
        _ => None,
    }
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
    let matches = |other: &Int8Tensor<B>| other.dtype() == DType::F32 && other.shape() == width;
    if !(is_fused(x) && fits && matches(gamma) && beta.as_ref().is_none_or(matches)) {
        return None;
    }
    let run = Normalize { x, gamma, beta, epsilon: epsilon as f32 };
    match shape.num_dims() {
        2 => Some(run.run::<2>()),
        3 => Some(run.run::<3>()),
        4 => Some(run.run::<4>()),
        _ => None,
    }
}

/// The arguments of a normalization.
struct Normalize<'a, B: Backend> {
    x: &'a Int8Tensor<B>,
    gamma: &'a Int8Tensor<B>,
    beta: &'a Option<Int8Tensor<B>>,
    epsilon: f32,
}

impl<B: Backend> Normalize<'_, B> {
    fn run<const D: usize>(self) -> Int8Tensor<B> {
        let (x, gamma) = (self.x.clone().into_tensor::<D>(), self.gamma.clone().into_tensor());
        let beta = self.beta.clone().map(Int8Tensor::into_tensor);
        Int8Tensor::made(ops::layer_norm(x, None, gamma, beta, self.epsilon))
    }
}
