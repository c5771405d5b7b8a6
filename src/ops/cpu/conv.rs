//! Convolutions of tensors in host memory, with channels first or, without a copy, with channels last.
//!
//! An image with channels last is an ordinary tensor `[batch, channels, ..]`, a view of memory in which the channels of a pixel lie
//! side by side. Convolutions give such views, and read them, so that no image is turned between two layers.

use burn::prelude::*;
use burn::tensor::{DType, TensorData, TensorMetadata, TensorPrimitive};

use super::slices::{contiguous, floats};
use super::{kernel, tensor};
use crate::config::QuantMode;
use crate::ops::op::ConvOp;
use burn_int8_kernels::conv::{self, ConvInput, channels_last};
use burn_int8_kernels::PackedWeights;

/// The most channels of an image that is turned for a single convolution; others are convolved as they come.
const FEW_CHANNELS: usize = 4;

/// The convolution of `x` `[batch, channels, ..]`.
pub(in crate::ops) fn conv<B: Backend, const D: usize>(
    weights: &PackedWeights,
    x: Tensor<B, D>,
    op: ConvOp<B>,
) -> Tensor<B, D> {
    let (shape, dtype, device) = (op.output(&x.shape()), x.dtype(), x.device());
    let ConvOp { geometry, scheme, bias } = op;
    let bias = bias.map(|bias| bias.into_primitive().tensor());
    let bias = bias.as_ref().map(floats::<B>);
    let input = ConvInput { values: &[], batch: shape[0], geometry: &geometry, weights };
    let x = x.into_primitive().tensor();
    if scheme.mode != QuantMode::WeightOnly && channels_last::computes(geometry.spec()) {
        let behind = channels_behind::<B>(x.clone());
        let turned = match contiguous::<B>(&behind) {
            None if geometry.spec().channels[0] <= FEW_CHANNELS => Some(turn::<B>(&x)),
            _ => None,
        };
        if let Some(values) = turned.as_deref().or_else(|| contiguous::<B>(&behind)) {
            let (input, scheme) = (ConvInput { values, ..input }, scheme.inputs());
            let out = channels_last::dynamic(kernel(), &input, scheme, bias.as_deref(), &[]);
            return with_channels_last(out, shape, dtype, &device);
        }
    }
    let x = floats::<B>(&x);
    let input = ConvInput { values: &x, ..input };
    let out = match scheme.mode {
        QuantMode::Auto | QuantMode::Dynamic => {
            conv::dynamic(kernel(), &input, scheme.inputs(), bias.as_deref())
        }
        QuantMode::WeightOnly => conv::weight_only(kernel(), &input, bias.as_deref()),
    };
    tensor(out, shape, dtype, &device)
}

/// `[batch, channels, ..]` as `[batch, .., channels]`, a view of the same memory.
fn channels_behind<B: Backend>(x: B::FloatTensorPrimitive) -> B::FloatTensorPrimitive {
    let rank = x.rank();
    let axes: Vec<_> = (0..1).chain(2..rank).chain(1..2).collect();
    B::float_permute(x, &axes)
}

/// The values of `[batch, channels, ..]` as `[batch, .., channels]`.
fn turn<B: Backend>(x: &B::FloatTensorPrimitive) -> Vec<f32> {
    let shape = x.shape();
    let pixels = shape[2..].iter().product();
    channels_last::from_channels_first(kernel(), &floats::<B>(x), [shape[0], shape[1], pixels])
}

/// Values `[batch, .., channels]` as a tensor of shape `[batch, channels, ..]`.
fn with_channels_last<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: Shape,
    dtype: DType,
    device: &B::Device,
) -> Tensor<B, D> {
    let sizes = shape.as_slice();
    let behind: Vec<_> = sizes[..1].iter().chain(&sizes[2..]).chain(&sizes[1..2]).copied().collect();
    let data = TensorData::new(values, behind).convert_dtype(dtype);
    let axes: Vec<_> = [0, D - 1].into_iter().chain(1..D - 1).collect();
    let out = B::float_permute(B::float_from_data(data, device), &axes);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}
