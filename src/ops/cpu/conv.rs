//! Convolutions of tensors in host memory, with channels first or, without a copy, with channels last.
//!
//! An image with channels last is an ordinary tensor `[batch, channels, ..]`, a view of memory in which the channels of a pixel lie
//! side by side. Convolutions give such views, and read them, so that no image is turned between two layers.

use std::borrow::Cow;

use burn::prelude::*;
use burn::tensor::{DType, TensorData, TensorMetadata, TensorPrimitive};

use super::slices::{contiguous, floats};
use super::{kernel, steps, tensor};
use crate::config::{LayerScheme, QuantMode};
use crate::ops::op::{ConvImage, ConvOp, OutputStep, operands};
use burn_int8_kernels::conv::channels_last::{self, Arithmetic, Convolution, Pixels, Pool};
use burn_int8_kernels::conv::{self, ConvInput};
use burn_int8_kernels::{ConvSpec, PackedWeights};

/// The most channels of an image that is turned for a single convolution; others are convolved as they come.
const FEW_CHANNELS: usize = 4;

/// Says whether [`conv_of_image`] computes such a convolution.
pub(in crate::ops) fn has_steps(spec: &ConvSpec, scheme: LayerScheme) -> bool {
    match scheme.mode {
        QuantMode::Auto | QuantMode::Dynamic => channels_last::computes(spec),
        QuantMode::WeightOnly => channels_last::computes_floats(spec),
    }
}

/// The convolution of `x` `[batch, channels, ..]`.
pub(in crate::ops) fn conv<B: Backend, const D: usize>(
    weights: &PackedWeights,
    x: Tensor<B, D>,
    op: ConvOp<B>,
) -> Tensor<B, D> {
    let spec = op.geometry.spec();
    if has_steps(spec, op.scheme) {
        let behind = channels_behind::<B>(x.clone().into_primitive().tensor());
        // A float sum has one order, however its input lies.
        let is_float = op.scheme.mode == QuantMode::WeightOnly;
        if contiguous::<B>(&behind).is_some() || spec.channels[0] <= FEW_CHANNELS || is_float {
            return with_channels_behind(weights, x, op);
        }
    }
    let (shape, dtype, device) = (op.output(&x.shape()), x.dtype(), x.device());
    let ConvOp { geometry, scheme, bias } = op;
    let bias = bias.map(|bias| bias.into_primitive().tensor());
    let bias = bias.as_ref().map(floats::<B>);
    let x = Image::<B>::new(x.into_primitive().tensor());
    let values = &x.with_channels_first();
    let input = ConvInput { values, batch: shape[0], geometry: &geometry, weights };
    let out = match scheme.mode {
        QuantMode::Auto | QuantMode::Dynamic => {
            conv::dynamic(kernel(), &input, scheme.inputs(), bias.as_deref())
        }
        QuantMode::WeightOnly => conv::weight_only(kernel(), &input, bias.as_deref()),
    };
    tensor(out, shape, dtype, &device)
}

/// The convolution of `x` `[batch, channels, ..]`, with outputs that have their channels last in memory.
fn with_channels_behind<B: Backend, const D: usize>(
    weights: &PackedWeights,
    x: Tensor<B, D>,
    op: ConvOp<B>,
) -> Tensor<B, D> {
    let (shape, dtype, device) = (x.shape(), x.dtype(), x.device());
    let out = op.output(&shape);
    let x = Image::<B>::new(x.into_primitive().tensor());
    let pixels = Pixels::Floats(&x.with_channels_last());
    let values = convolve(weights, (pixels, shape[0]), op, &[], |convolution| convolution.floats(kernel()));
    with_channels_last(values, out, dtype, &device)
}

/// The convolution of an image of floats or integers and some steps with its outputs, which have their channels last in memory: in
/// integers if they lie between zero and a bound.
pub(in crate::ops) fn conv_of_image<B: Backend>(
    weights: &PackedWeights,
    x: &ConvImage<B>,
    op: ConvOp<B>,
    steps: &[OutputStep<B>],
    bound: Option<f32>,
) -> ConvImage<B> {
    let (shape, device) = (x.shape(), x.device());
    let out = op.output(&shape);
    let image;
    let floats;
    let pixels = match x {
        ConvImage::Codes { codes, .. } => Pixels::Codes(codes),
        ConvImage::Floats(x) => {
            image = Image::<B>::new(x.clone());
            floats = image.with_channels_last();
            Pixels::Floats(&floats)
        }
    };
    let images = (pixels, shape[0]);
    match bound {
        Some(bound) => {
            let codes =
                convolve(weights, images, op, steps, |convolution| convolution.codes(kernel(), bound));
            ConvImage::Codes { codes, shape: out, device }
        }
        None => {
            let values = convolve(weights, images, op, steps, |convolution| convolution.floats(kernel()));
            ConvImage::Floats(channels_last_primitive::<B>(values, out, DType::F32, &device))
        }
    }
}

/// Describes a convolution for the kernels.
fn convolve<B: Backend, R>(
    weights: &PackedWeights,
    (pixels, batch): (Pixels<'_>, usize),
    op: ConvOp<B>,
    steps: &[OutputStep<B>],
    run: impl FnOnce(&Convolution<'_>) -> R,
) -> R {
    let ConvOp { geometry, scheme, bias } = op;
    let bias = bias.map(|bias| bias.into_primitive().tensor());
    let bias = bias.as_ref().map(floats::<B>);
    let others: Vec<_> = operands(steps).map(|other| Image::<B>::new(other.clone())).collect();
    let others: Vec<_> = others.iter().map(Image::with_channels_last).collect();
    let arithmetic = match scheme.mode {
        QuantMode::Auto | QuantMode::Dynamic => Arithmetic::Dynamic(scheme.inputs()),
        QuantMode::WeightOnly => Arithmetic::WeightOnly,
    };
    run(&Convolution {
        pixels,
        batch,
        geometry: &geometry,
        weights,
        arithmetic,
        bias: bias.as_deref(),
        steps: &steps::steps(steps, &others),
    })
}

/// The pooled images `[batch, channels, height, width]`, which have their channels last in memory.
pub(crate) fn pool<B: Backend>(x: Tensor<B, 4>, task: &Pool) -> Tensor<B, 4> {
    let (dtype, device) = (x.dtype(), x.device());
    let [lines, columns] = task.output;
    let image = Image::<B>::new(x.into_primitive().tensor());
    let out = channels_last::pool(kernel(), &image.with_channels_last(), task);
    with_channels_last(out, Shape::new([task.batch, task.channels, lines, columns]), dtype, &device)
}

/// An image, however it lies in memory.
struct Image<B: Backend> {
    x: B::FloatTensorPrimitive,
    /// A view of it with the axis of the channels behind the others.
    behind: B::FloatTensorPrimitive,
}

impl<B: Backend> Image<B> {
    fn new(x: B::FloatTensorPrimitive) -> Self {
        let behind = channels_behind::<B>(x.clone());
        Self { x, behind }
    }

    /// The values `[batch, .., channels]`: without a copy if they lie so in memory.
    fn with_channels_last(&self) -> Cow<'_, [f32]> {
        let turned = || {
            let [batch, channels, pixels] = self.sizes();
            channels_last::from_channels_first(kernel(), &floats::<B>(&self.x), [batch, channels, pixels])
        };
        contiguous::<B>(&self.behind).map_or_else(|| Cow::Owned(turned()), Cow::Borrowed)
    }

    /// The values `[batch, channels, ..]`: without a copy if they lie so in memory.
    fn with_channels_first(&self) -> Cow<'_, [f32]> {
        match contiguous::<B>(&self.behind) {
            Some(values) if contiguous::<B>(&self.x).is_none() => {
                let [batch, channels, pixels] = self.sizes();
                // What moves the channels behind the pixels moves the pixels behind the channels.
                let turned = channels_last::from_channels_first(kernel(), values, [batch, pixels, channels]);
                Cow::Owned(turned)
            }
            _ => floats::<B>(&self.x),
        }
    }

    fn sizes(&self) -> [usize; 3] {
        let shape = self.x.shape();
        [shape[0], shape[1], shape[2..].iter().product()]
    }
}

/// `[batch, channels, ..]` as `[batch, .., channels]`, a view of the same memory.
fn channels_behind<B: Backend>(x: B::FloatTensorPrimitive) -> B::FloatTensorPrimitive {
    let rank = x.rank();
    let axes: Vec<_> = (0..1).chain(2..rank).chain(1..2).collect();
    B::float_permute(x, &axes)
}

/// Values `[batch, .., channels]` as a tensor of shape `[batch, channels, ..]`.
fn with_channels_last<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: Shape,
    dtype: DType,
    device: &B::Device,
) -> Tensor<B, D> {
    let out = channels_last_primitive::<B>(values, shape, dtype, device);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

/// The same as a primitive of any number of axes.
fn channels_last_primitive<B: Backend>(
    values: Vec<f32>,
    shape: Shape,
    dtype: DType,
    device: &B::Device,
) -> B::FloatTensorPrimitive {
    let sizes = shape.as_slice();
    let behind: Vec<_> = sizes[..1].iter().chain(&sizes[2..]).chain(&sizes[1..2]).copied().collect();
    let data = TensorData::new(values, behind).convert_dtype(dtype);
    let last = sizes.len() - 1;
    let axes: Vec<_> = [0, last].into_iter().chain(1..last).collect();
    B::float_permute(B::float_from_data(data, device), &axes)
}
