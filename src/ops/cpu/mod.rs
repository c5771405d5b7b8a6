//! The backends whose tensors are in host memory: borrow slices, call the kernels, wrap the result.

mod conv;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "ndarray")]
mod ndarray;
pub(super) mod slices;
mod steps;

use std::any::TypeId;

use burn::prelude::*;
use burn::tensor::{DType, TensorPrimitive};

use super::op::{AttentionOp, LinearOp, operands};
use crate::config::QuantMode;
use burn_int8_kernels::gemm::{self, Product};
use burn_int8_kernels::{Activation, Attention, Kernel, Mask, Norm, PackedWeights, Step, StridedHeads};
pub(crate) use conv::pool;
pub(super) use conv::{conv, conv_of_image, has_steps};
use slices::{bools, floats, with_floats};

/// The kernels of the instruction set in use.
fn kernel() -> Kernel {
    Kernel::detect()
}

/// The name of the instruction set in use.
pub(super) fn kernel_name() -> &'static str {
    kernel().name()
}

/// Says whether tensors of `B`, or of the backend that it adds autodiff to, are in host memory: their devices are the same.
pub(super) fn is_host<B: Backend>() -> bool {
    let host_devices = [
        #[cfg(feature = "ndarray")]
        TypeId::of::<burn_ndarray::NdArrayDevice>(),
        #[cfg(feature = "flex")]
        TypeId::of::<burn_flex::FlexDevice>(),
    ];
    host_devices.contains(&TypeId::of::<B::Device>())
}

/// The products of one input with several layers, which must agree on how they quantize it.
pub(super) fn linear<B: Backend, const D: usize, const N: usize>(
    x: Tensor<B, D>,
    layers: [(&PackedWeights, LinearOp<B>); N],
) -> [Tensor<B, D>; N] {
    let (shape, dtype, device) = (x.shape(), x.dtype(), x.device());
    let rows = shape[..D - 1].iter().product();
    let Some(scheme) = layers.first().map(|(_, op)| op.scheme) else {
        return std::array::from_fn(|_| x.clone());
    };
    let biases = layers.each_ref().map(|(_, op)| op.bias.clone().map(|bias| bias.into_primitive().tensor()));
    let biases = biases.each_ref().map(|bias| bias.as_ref().map(floats::<B>));
    let others = layers.each_ref().map(|(_, op)| operands(&op.steps).map(floats::<B>).collect::<Vec<_>>());
    let steps: [Vec<Step<'_>>; N] = std::array::from_fn(|i| steps::steps(&layers[i].1.steps, &others[i]));
    let products: [Product<'_>; N] = std::array::from_fn(|i| Product {
        weights: layers[i].0,
        bias: biases[i].as_deref(),
        steps: &steps[i],
    });
    let mut outs = with_floats(x, |x| match scheme.mode {
        QuantMode::Auto | QuantMode::Dynamic => gemm::dynamic(kernel(), (x, rows), scheme.inputs(), products),
        QuantMode::WeightOnly => products.map(|product| gemm::weight_only(kernel(), (x, rows), product)),
    });
    std::array::from_fn(|i| {
        let mut shape = shape.clone();
        shape[D - 1] = products[i].weights.scales().len();
        tensor(std::mem::take(&mut outs[i]), shape, dtype, &device)
    })
}

/// The values as a tensor of this type.
fn tensor<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: Shape,
    dtype: DType,
    device: &B::Device,
) -> Tensor<B, D> {
    let data = TensorData::new(values, shape).convert_dtype(dtype);
    Tensor::from_primitive(TensorPrimitive::Float(B::float_from_data(data, device)))
}

/// Attention of queries `[batch, queries, heads, width]` to keys and values `[batch, keys, kv_heads, width]`.
pub(crate) fn attention<B: Backend>(tensors: [Tensor<B, 4>; 3], op: AttentionOp<B>) -> Tensor<B, 4> {
    let ([batch, queries, heads, width], [_, keys, kv_heads, _]) = (tensors[0].dims(), tensors[1].dims());
    let (dtype, device) = (tensors[0].dtype(), tensors[0].device());
    let mask = op.mask.map(|(mask, score)| {
        let [samples, queries, keys] = mask.dims();
        // A mask that is one for all samples or queries is read again for each of them.
        let steps = [if samples == 1 { 0 } else { queries * keys }, if queries == 1 { 0 } else { keys }];
        (mask.into_primitive(), steps, score)
    });
    let mask = mask.as_ref().map(|(mask, steps, score)| (bools::<B>(mask), *steps, *score));
    let primitives = tensors.map(|x| x.into_primitive().tensor());
    let [q, k, v] = primitives.each_ref().map(floats::<B>);
    let task = Attention {
        batch,
        heads,
        group: heads / kv_heads,
        rows: [queries, keys],
        width,
        queries: StridedHeads::by_row(&q, [queries, heads, width]),
        keys: StridedHeads::by_row(&k, [keys, kv_heads, width]),
        values: StridedHeads::by_row(&v, [keys, kv_heads, width]),
        scale: op.scale,
        mask: mask.as_ref().map(|(keys, steps, score)| Mask { keys, steps: *steps, score: *score }),
        quiet_softmax: op.quiet_softmax,
    };
    let out = burn_int8_kernels::attention(kernel(), &task);
    tensor(out, [batch, queries, heads, width].into(), dtype, &device)
}

/// The activation of each value.
pub(crate) fn activate<B: Backend, const D: usize>(x: Tensor<B, D>, activation: Activation) -> Tensor<B, D> {
    let (shape, dtype, device) = (x.shape(), x.dtype(), x.device());
    let out = with_floats(x, |x| burn_int8_kernels::activate(kernel(), x, activation));
    tensor(out, shape, dtype, &device)
}

/// The last axis of `x + residual`, normalized.
pub(crate) fn layer_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    residual: Option<Tensor<B, D>>,
    gamma: Tensor<B, 1>,
    beta: Option<Tensor<B, 1>>,
    epsilon: f32,
) -> Tensor<B, D> {
    let (shape, dtype, device) = (x.shape(), x.dtype(), x.device());
    let [x, gamma] = [x.into_primitive(), gamma.into_primitive()].map(TensorPrimitive::tensor);
    let residual = residual.map(|residual| residual.into_primitive().tensor());
    let beta = beta.map(|beta| beta.into_primitive().tensor());
    let beta = beta.as_ref().map(floats::<B>);
    let residual = residual.as_ref().map(floats::<B>);
    let gamma = floats::<B>(&gamma);
    let norm = Norm { gamma: &gamma, beta: beta.as_deref(), epsilon };
    let out = burn_int8_kernels::layer_norm(kernel(), &floats::<B>(&x), residual.as_deref(), &norm);
    tensor(out, shape, dtype, &device)
}

/// The rows of a table at `entries`, of the backend's float type and of shape `shape`.
pub(super) fn embed<B: Backend>(
    weights: &PackedWeights,
    entries: &[usize],
    shape: [usize; 3],
    device: &B::Device,
) -> Tensor<B, 3> {
    let data = TensorData::new(weights.rows_of_table(kernel(), entries), shape);
    Tensor::from_data(data.convert::<B::FloatElem>(), device)
}
