//! The operations as plain data: what is computed, without where.

use burn::prelude::*;

use crate::config::LayerScheme;
use burn_int8_kernels::Activation;
use burn_int8_kernels::conv::ConvGeometry;

/// The product of the last axis of an input with the output channels of weights: `activation(x · weights + bias)`.
#[derive(Clone, Debug)]
pub(crate) struct LinearOp<B: Backend> {
    /// How the input is quantized.
    pub(crate) scheme: LayerScheme,
    /// One value for each output channel.
    pub(crate) bias: Option<Tensor<B, 1>>,
    /// The function that outputs go through; only the CPU's kernels have one but the identity.
    pub(crate) activation: Activation,
}

impl<B: Backend> LinearOp<B> {
    /// The plain product, without an activation.
    pub(crate) fn new(scheme: LayerScheme, bias: Option<Tensor<B, 1>>) -> Self {
        Self { scheme, bias, activation: Activation::Identity }
    }
}

/// The convolution of an input `[batch, channels, ..]` with filters.
#[derive(Clone, Debug)]
pub(crate) struct ConvOp<B: Backend> {
    /// The filters and the places where they stand on the input.
    pub(crate) geometry: ConvGeometry,
    /// How the input is quantized, sample by sample.
    pub(crate) scheme: LayerScheme,
    /// One value for each output channel.
    pub(crate) bias: Option<Tensor<B, 1>>,
}

impl<B: Backend> ConvOp<B> {
    /// The shape of the output, for an input of this shape.
    pub(crate) fn output(&self, input: &Shape) -> Shape {
        let mut shape = input.clone();
        let axes = shape.num_dims() - 2;
        shape[1] = self.geometry.spec().channels[1];
        shape[2..].copy_from_slice(&self.geometry.output()[3 - axes..]);
        shape
    }
}

/// Scale and mask of one attention call.
pub(crate) struct AttentionOp<B: Backend> {
    /// The factor of all scores.
    pub(crate) scale: f32,
    /// Masked keys (`true` = masked), `[batch or 1, queries or 1, keys]`, and the score that replaces theirs.
    pub(crate) mask: Option<(Tensor<B, 3, Bool>, f32)>,
    /// Says whether weights may add up to less than 1.
    pub(crate) quiet_softmax: bool,
}
