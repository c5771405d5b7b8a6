//! The backends whose tensors are in host memory: borrow slices, call the kernels, wrap the result.

#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "ndarray")]
mod ndarray;

use std::any::TypeId;
use std::borrow::Cow;

use burn::prelude::*;
use burn::tensor::{DType, TensorPrimitive};

use crate::config::{LayerScheme, QuantMode};
use burn_int8_kernels::conv::ConvInput;
use burn_int8_kernels::{Activation, ConvGeometry, ConvSpec, Mask, Norm, PackedWeights, StridedHeads};

/// Whether tensors of `B`, or of the backend that it adds autodiff to, are in host memory: their devices are the same.
pub(super) fn is_host<B: Backend>() -> bool {
    let host_devices = [
        #[cfg(feature = "ndarray")]
        TypeId::of::<burn_ndarray::NdArrayDevice>(),
        #[cfg(feature = "flex")]
        TypeId::of::<burn_flex::FlexDevice>(),
    ];
    host_devices.contains(&TypeId::of::<B::Device>())
}

/// Runs `work` on the values of `x`, row-major, as `f32`: without a copy if they are that already.
pub(crate) fn with_floats<B: Backend, const D: usize, R>(
    x: Tensor<B, D>,
    work: impl FnOnce(&[f32]) -> R,
) -> R {
    work(&floats::<B>(&x.into_primitive().tensor()))
}

/// The values, row-major, as `f32`: without a copy if they are that already.
fn floats<B: Backend>(primitive: &B::FloatTensorPrimitive) -> Cow<'_, [f32]> {
    borrow::<B>(primitive).unwrap_or_else(|| {
        let tensor = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(primitive.clone()));
        let data = tensor.into_data().convert::<f32>();
        let aligned = data.as_slice::<f32>().is_ok();
        Cow::Owned(if aligned { data.into_vec().expect("floats") } else { data.iter().collect() })
    })
}

fn borrow<B: Backend>(primitive: &B::FloatTensorPrimitive) -> Option<Cow<'_, [f32]>> {
    #[cfg(feature = "ndarray")]
    if let Some(values) = ndarray::borrow(primitive) {
        return Some(values);
    }
    #[cfg(feature = "flex")]
    if let Some(values) = flex::borrow(primitive) {
        return Some(values);
    }
    let _ = primitive;
    None
}

/// A layer's weights, and what becomes of its products.
pub(in crate::ops) struct Layer<'a, B: Backend> {
    pub(super) weights: &'a PackedWeights,
    pub(super) bias: Option<Tensor<B, 1>>,
    pub(super) activation: Activation,
}

/// The products of one input with several layers, which must agree on how they quantize it.
pub(super) fn linear<B: Backend, const D: usize, const N: usize>(
    x: Tensor<B, D>,
    scheme: LayerScheme,
    layers: [Layer<'_, B>; N],
) -> [Tensor<B, D>; N] {
    let (shape, dtype, device) = (x.shape(), x.dtype(), x.device());
    let rows = shape[..D - 1].iter().product();
    let biases = layers.each_ref().map(|layer| layer.bias.clone().map(|bias| bias.into_primitive().tensor()));
    let biases = biases.each_ref().map(|bias| bias.as_ref().map(floats::<B>));
    let layers: [burn_int8_kernels::Layer<'_>; N] = std::array::from_fn(|i| {
        let Layer { weights, activation, .. } = layers[i];
        burn_int8_kernels::Layer { weights, bias: biases[i].as_deref(), activation }
    });
    let kernel = burn_int8_kernels::active();
    let mut outs = with_floats(x, |x| match scheme.mode {
        QuantMode::Dynamic => burn_int8_kernels::dynamic(kernel, (x, rows), scheme.range, layers),
        QuantMode::WeightOnly => layers.map(|layer| burn_int8_kernels::weight_only(kernel, (x, rows), layer)),
    });
    std::array::from_fn(|i| {
        let mut shape = shape.clone();
        shape[D - 1] = layers[i].weights.scales().len();
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

/// What of attention is not a tensor.
pub(crate) struct Scores<B: Backend> {
    /// What each is multiplied with.
    pub(crate) scale: f32,
    /// Which there are not, `[batch or 1, queries or 1, keys]`, and what they are instead.
    pub(crate) hidden: Option<(Tensor<B, 3, Bool>, f32)>,
    /// Whether weights may add up to less than 1.
    pub(crate) quiet: bool,
}

/// Attention of queries `[batch, queries, heads, width]` to keys and values `[batch, keys, kv_heads, width]`.
pub(crate) fn attention<B: Backend>(tensors: [Tensor<B, 4>; 3], scores: Scores<B>) -> Tensor<B, 4> {
    let ([batch, queries, heads, width], [_, keys, kv_heads, _]) = (tensors[0].dims(), tensors[1].dims());
    let (dtype, device) = (tensors[0].dtype(), tensors[0].device());
    let hidden = scores.hidden.map(|(hidden, score)| {
        let [samples, queries, keys] = hidden.dims();
        // One for all samples or queries is gone over again and again.
        let steps = [if samples == 1 { 0 } else { queries * keys }, if queries == 1 { 0 } else { keys }];
        (hidden.into_primitive(), steps, score)
    });
    let hidden = hidden.as_ref().map(|(hidden, steps, score)| (bools::<B>(hidden), *steps, *score));
    let primitives = tensors.map(|x| x.into_primitive().tensor());
    let [q, k, v] = primitives.each_ref().map(floats::<B>);
    let task = burn_int8_kernels::Attention {
        batch,
        heads,
        group: heads / kv_heads,
        rows: [queries, keys],
        width,
        queries: StridedHeads::by_row(&q, [queries, heads, width]),
        keys: StridedHeads::by_row(&k, [keys, kv_heads, width]),
        values: StridedHeads::by_row(&v, [keys, kv_heads, width]),
        scale: scores.scale,
        hidden: hidden.as_ref().map(|(keys, steps, score)| Mask { keys, steps: *steps, score: *score }),
        quiet: scores.quiet,
    };
    let out = burn_int8_kernels::attention(burn_int8_kernels::active(), &task);
    tensor(out, [batch, queries, heads, width].into(), dtype, &device)
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
    let out = burn_int8_kernels::layer_norm(
        burn_int8_kernels::active(),
        &floats::<B>(&x),
        residual.as_deref(),
        &norm,
    );
    tensor(out, shape, dtype, &device)
}

/// The values, row-major: without a copy where they are bools in memory.
fn bools<B: Backend>(primitive: &B::BoolTensorPrimitive) -> Cow<'_, [bool]> {
    #[cfg(feature = "ndarray")]
    if let Some(values) = ndarray::borrow_bools(primitive) {
        return values;
    }
    let tensor = Tensor::<B, 1, Bool>::from_primitive(primitive.clone());
    Cow::Owned(tensor.into_data().iter().collect())
}

pub(super) fn conv<B: Backend, const D: usize>(
    weights: &PackedWeights,
    filter: &ConvSpec,
    x: Tensor<B, D>,
    window: &ConvGeometry,
    scheme: LayerScheme,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    let (mut shape, dtype, device) = (x.shape(), x.dtype(), x.device());
    let batch = shape[0];
    shape[1] = filter.channels[1];
    shape[2..].copy_from_slice(&window.output[5 - D..]);
    let run = |values: &[f32], bias: Option<&[f32]>| {
        let images = ConvInput { values, batch, filter, window, weights };
        match scheme.mode {
            QuantMode::Dynamic => {
                burn_int8_kernels::conv::dynamic(burn_int8_kernels::active(), &images, scheme.range, bias)
            }
            QuantMode::WeightOnly => {
                burn_int8_kernels::conv::weight_only(burn_int8_kernels::active(), &images, bias)
            }
        }
    };
    let out = with_floats(x, |x| match bias {
        Some(bias) => with_floats(bias, |bias| run(x, Some(bias))),
        None => run(x, None),
    });
    tensor(out, shape, dtype, &device)
}

/// The rows of a table at `indices` `[batch, length]`.
pub(super) fn embed<B: Backend>(
    weights: &PackedWeights,
    entries: &[usize],
    shape: [usize; 3],
    device: &B::Device,
) -> Tensor<B, 3> {
    let data = TensorData::new(weights.rows_of_table(entries), shape);
    Tensor::from_data(data.convert::<B::FloatElem>(), device)
}
