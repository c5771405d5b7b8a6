//! The operations as plain data: what is computed, without where.

use burn::prelude::*;
use burn::tensor::TensorMetadata;
use burn::tensor::ops::FloatTensor;

use crate::config::LayerScheme;
use burn_int8_kernels::conv::ConvGeometry;
use burn_int8_kernels::conv::channels_last::Codes;
use burn_int8_kernels::{Activation, ChannelOp};

/// A step that outputs go through before they are stored; only the CPU's kernels have any.
#[derive(Clone, Debug)]
pub(crate) enum OutputStep<B: Backend> {
    /// A function of each output.
    Activate(Activation),
    /// The sum with a tensor of `f32` that has the shape of the output.
    Add(FloatTensor<B>),
    /// An operation with a tensor of `f32` that has one number for each channel, and one position along all other axes.
    Channels(ChannelOp, FloatTensor<B>),
}

/// The tensors that the steps have.
pub(crate) fn operands<B: Backend>(steps: &[OutputStep<B>]) -> impl Iterator<Item = &FloatTensor<B>> {
    steps.iter().filter_map(|step| match step {
        OutputStep::Add(other) | OutputStep::Channels(_, other) => Some(other),
        OutputStep::Activate(_) => None,
    })
}

/// The product of the last axis of an input with the output channels of weights: `steps(x · weights + bias)`.
#[derive(Clone, Debug)]
pub(crate) struct LinearOp<B: Backend> {
    /// The scheme that the input is quantized with.
    pub(crate) scheme: LayerScheme,
    /// One value for each output channel.
    pub(crate) bias: Option<Tensor<B, 1>>,
    /// The steps that outputs go through.
    pub(crate) steps: Vec<OutputStep<B>>,
}

impl<B: Backend> LinearOp<B> {
    /// The plain product, without further steps.
    pub(crate) fn new(scheme: LayerScheme, bias: Option<Tensor<B, 1>>) -> Self {
        Self { scheme, bias, steps: Vec::new() }
    }
}

/// The convolution of an input `[batch, channels, ..]` with filters.
#[derive(Clone, Debug)]
pub(crate) struct ConvOp<B: Backend> {
    /// The filters and the places where they stand on the input.
    pub(crate) geometry: ConvGeometry,
    /// The scheme that the input is quantized with, sample by sample.
    pub(crate) scheme: LayerScheme,
    /// One value for each output channel.
    pub(crate) bias: Option<Tensor<B, 1>>,
}

impl<B: Backend> ConvOp<B> {
    /// The shape of the output, for an input of this shape.
    pub(crate) fn output(&self, input: &Shape) -> Shape {
        conv_output(&self.geometry, input)
    }
}

/// An image `[batch, channels, ..]` between two convolutions.
#[derive(Debug)]
pub(crate) enum ConvImage<B: Backend> {
    /// Floats of 32 bits.
    Floats(FloatTensor<B>),
    /// Integers of the CPU's kernels, with channels last.
    Codes { codes: Codes, shape: Shape, device: B::Device },
}

impl<B: Backend> ConvImage<B> {
    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Floats(x) => x.shape(),
            Self::Codes { shape, .. } => shape.clone(),
        }
    }

    pub(crate) fn device(&self) -> B::Device {
        match self {
            Self::Floats(x) => B::float_device(x),
            Self::Codes { device, .. } => device.clone(),
        }
    }
}

/// The shape of a convolution's output, for an input of this shape.
pub(crate) fn conv_output(geometry: &ConvGeometry, input: &Shape) -> Shape {
    let mut shape = input.clone();
    let axes = shape.num_dims() - 2;
    shape[1] = geometry.spec().channels[1];
    shape[2..].copy_from_slice(&geometry.output()[3 - axes..]);
    shape
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
