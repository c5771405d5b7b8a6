//! Functions between INT8 layers that the CPU's kernels compute in one pass. They round in another order than `B`, so that only
//! tensors in which an INT8 layer has a part go through them.

use std::cell::Cell;

use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Scalar, TensorMetadata};

use super::tensor::{Int8Tensor, with_rank};
use crate::ops::{self, fuses};
use burn_int8_kernels::Activation;

thread_local! {
    /// True within [`without_fusion`].
    static OFF: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` so that, on this thread, INT8 layers of Burn's on [`Int8`](crate::Int8) compute in integers and everything between them
/// as their inner backend does: to see what the kernels between layers do to a result, or what they bring.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, nn, tensor::{Distribution, Tensor}};
/// use burn_int8::{Int8, prelude::*, without_fusion};
///
/// let device = Default::default();
/// let gru = nn::GruConfig::new(16, 16, true).init::<Int8<NdArray>>(&device);
/// let (gru, _) = gru.quantize(&Int8Config::new())?;
/// let x = Tensor::<_, 3>::random([1, 5, 16], Distribution::Default, &device);
/// let plain = without_fusion(|| gru.forward(x.clone(), None));
/// assert!((gru.forward(x, None) - plain).abs().max().into_scalar() < 1e-2);
/// # Ok::<(), Int8Error>(())
/// ```
pub fn without_fusion<R>(work: impl FnOnce() -> R) -> R {
    /// Restores what was, also if `work` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(self.0);
        }
    }
    let _restore = Restore(OFF.replace(true));
    work()
}

/// Says whether kernels of this thread compute what lies between INT8 layers on this device.
pub(super) fn is_on<B: Backend>(device: &B::Device) -> bool {
    !OFF.get() && fuses::<B>(device)
}

/// Says whether kernels may compute with this tensor in place of `B`.
pub(super) fn is_fused<B: Backend>(x: &Int8Tensor<B>) -> bool {
    let is_plain = |device: &B::Device| x.dtype() == DType::F32 && is_on::<B>(device);
    x.is_approximate() && x.as_float().is_some_and(|float| is_plain(&B::float_device(float)))
}

/// The activation of each value: in one pass with the layer that gives them, by a kernel, or as `B` computes it.
pub(super) fn activate<B: Backend>(
    x: Int8Tensor<B>,
    activation: Activation,
    float: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
) -> Int8Tensor<B> {
    let x = match x.activated(activation) {
        Ok(activated) => return activated,
        Err(x) => x,
    };
    if !is_fused(&x) {
        return x.map(float);
    }
    with_rank!(x.rank(), D => Int8Tensor::made(ops::activate::<B, D>(x.into_tensor(), activation)), else x.map(float))
}

/// Each value between limits: in one pass with the layer that gives them, or as `B` computes it.
pub(super) fn clamp<B: Backend>(
    x: Int8Tensor<B>,
    [low, high]: [Option<Scalar>; 2],
    float: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
) -> Int8Tensor<B> {
    let limits =
        [low.map_or(f32::NEG_INFINITY, |low| low.elem()), high.map_or(f32::INFINITY, |high| high.elem())];
    // Limits in another order, or none, are an error of the inner backend's.
    if limits[0] <= limits[1] {
        x.activated(Activation::Clamp(limits)).unwrap_or_else(|x| x.map(float))
    } else {
        x.map(float)
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
    let (x, gamma) = (x.clone(), gamma.clone().into_tensor());
    let (beta, epsilon) = (beta.clone().map(Int8Tensor::into_tensor), epsilon as f32);
    let out = with_rank!(shape.num_dims(), D => {
        Int8Tensor::made(ops::layer_norm::<B, D>(x.into_tensor(), None, gamma, beta, epsilon))
    }, else { return None });
    Some(out)
}
