//! What is computed in one pass where tensors are in host memory: several products of one input, and what layers do between
//! their products. Elsewhere callers use Burn's operations.

use burn::prelude::*;

use super::{Place, Weights, cpu};
use crate::config::LayerScheme;
use burn_int8_kernels::Activation;

/// Whether there are such passes: for inference in host memory.
pub(crate) fn fuses<B: Backend>(device: &B::Device) -> bool {
    cpu::is_host::<B>() && !B::ad_enabled(device)
}

/// A layer, and what becomes of its products.
pub(crate) struct Product<'a, B: Backend> {
    pub(crate) weights: &'a Weights<B>,
    pub(crate) scheme: LayerScheme,
    pub(crate) bias: Option<Tensor<B, 1>>,
    pub(crate) activation: Activation,
}

/// The products of one input with several layers; `None` if they are not in host memory or quantize it each in its own way.
pub(crate) fn products<B: Backend, const D: usize, const N: usize>(
    x: &Tensor<B, D>,
    layers: [Product<'_, B>; N],
) -> Option<[Tensor<B, D>; N]> {
    let scheme = layers.first()?.scheme;
    let host =
        |layer: &Product<'_, B>| matches!(layer.weights.place, Place::Host(_)) && layer.scheme == scheme;
    if !layers.iter().all(host) {
        return None;
    }
    let layers = layers.map(|Product { weights, bias, activation, .. }| match &weights.place {
        Place::Host(weights) => cpu::Layer { weights, bias, activation },
        Place::Device(_) => unreachable!("looked at above"),
    });
    Some(cpu::linear(x.clone(), scheme, layers))
}

pub(crate) use cpu::{Scores, attention, layer_norm};
