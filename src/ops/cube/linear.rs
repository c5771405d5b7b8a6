//! Matrix products on a device.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeRuntime;
use cubecl::prelude::*;

use super::buffer::Buffer;
use super::context::{
    Context, DeviceOp, Lengths, Multiplicands, QueuedOp, addressable, addresses_words, assert_bias,
    assert_together, kernel_type, product, size, to_type, with_float, with_types,
};
use super::kernels::gemm::gemm;
use super::kernels::quantize::{quantize_rows, room_of_rows};
use super::kernels::rotate::{CHUNK, rotate_rows};
use super::kernels::tile::Inputs;
use crate::config::QuantMode;
use crate::ops::op::LinearOp;
use crate::ops::portable::weights::DeviceWeights;
use burn_int8_kernels::{BlockRotation, InputTransform};

/// A matrix product `[rows, inputs] · [inputs, outputs]`.
#[derive(Debug)]
pub(super) struct Matmul {
    pub(super) rows: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// The blocks in which inputs are rotated.
    pub(super) rotation: BlockRotation,
}

impl Matmul {
    /// `None` if the input does not fit the weights.
    fn new<B: Backend>(weights: &DeviceWeights<B>, x: &[usize]) -> Option<Self> {
        let ([inputs, outputs], (last, rows)) = (weights.shape(), x.split_last()?);
        let rotation = weights.transform.rotation();
        (*last == inputs).then(|| Self { rows: product(rows.iter().copied()), inputs, outputs, rotation })
    }
}

/// Says whether kernels have such a way of inputs to the product: none, or a rotation of what is quantized then.
pub(in crate::ops) fn transforms(transform: &InputTransform, mode: QuantMode) -> bool {
    transform.is_identity() || transform.factors().is_none() && mode != QuantMode::WeightOnly
}

/// Says whether kernels can address the input and the output of a product, and transform the input; not if there is nothing to
/// compute.
pub(in crate::ops) fn addresses_linear<B: Backend>(
    weights: &DeviceWeights<B>,
    mode: QuantMode,
    x: &[usize],
) -> bool {
    if !transforms(&weights.transform, mode) {
        return false;
    }
    let Some(Matmul { rows, inputs, outputs, .. }) = Matmul::new(weights, x) else { return false };
    let lengths = [product([rows, inputs.next_multiple_of(4)]), product([rows, outputs])];
    rows > 0 && addressable(lengths) && addresses_words(weights)
}

/// The product of the last axis of `x` with each column, plus bias.
///
/// # Panics
///
/// Unless [`addresses_linear`], and input, weights and bias belong together.
pub(in crate::ops) fn linear<B: Backend, const D: usize>(
    weights: &DeviceWeights<B>,
    x: Tensor<B, D>,
    op: LinearOp<B>,
) -> Tensor<B, D> {
    let (mut shape, dtype) = (x.shape(), x.dtype());
    let kind = Matmul::new(weights, shape.as_slice()).expect("an input that fits the weights");
    shape[D - 1] = kind.outputs;
    assert_together(&x.device(), weights);
    assert_bias(op.bias.as_ref(), kind.outputs);
    let x = to_type(x, kernel_type(dtype));
    let queued = QueuedOp::new(kind, op.scheme, weights, shape, x.dtype());
    to_type(queued.run(x.into(), weights, op.bias), dtype)
}

impl DeviceOp for Matmul {
    #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
    fn launch<R: CubeRuntime>(&self, context: &Context<'_, R>) {
        let Self { rows, inputs, outputs, rotation } = *self;
        context.assert_lengths(&Lengths {
            x: rows * inputs,
            weights: [inputs, outputs],
            out: rows * outputs,
        });
        assert!(rows > 0 && inputs > 0, "kernels take the last row for those past the end");
        let x = multiplicands(context, rows, inputs, rotation);
        let x_scales = x.scales.as_ref().unwrap_or(&context.scales);
        let wide = context.is_wide();
        let split = wide && rows == 1;
        for (shard, words) in &context.shards {
            let mut tile = context.tile(rows, shard.columns, [8, if wide { 2 } else { 4 }], x.inputs);
            if split {
                tile.units[1] = 8;
            }
            let across = shard.columns.div_ceil(4).div_ceil(tile.units[0] * tile.vectors);
            let bands = rows.div_ceil(tile.rows).div_ceil(if split { 1 } else { tile.units[1] });
            let dim = CubeDim::new_2d(size(tile.units[0]), size(tile.units[1]));
            with_types!(context, x.inputs, A N O => {
                // SAFETY: a unit reads rows up to `rows - 1` of `inputs` values or `ceil(inputs / 4)` words in `x`, which holds
                // that many (`assert_lengths`, `quantized_rows`); reads words `[ceil(inputs / 4), columns]` within the shard;
                // reads a scale and a factor for each of these rows, if `inputs` says so, and a scale and a bias for columns
                // `first..first + columns` of `outputs`; and writes rows below `rows` at such columns. `assert_lengths` has
                // compared every buffer with these sizes. Units past the end take the last row and the last vector and write
                // nothing.
                unsafe {
                    gemm::launch_unchecked::<A, N, O, R>(
                        context.client, context.cubes(across * bands), dim,
                        x.values.arg(1), words.arg(4), x_scales.arg(1), context.scales.arg(1),
                        context.bias_or_any().arg(1), context.out.arg(1),
                        size(rows), size(inputs), size(outputs), size(shard.first), size(shard.columns),
                        tile, split,
                    );
                }
            });
        }
    }
}

/// The rows of the input as they are multiplied.
fn multiplicands<R: CubeRuntime>(
    context: &Context<'_, R>,
    rows: usize,
    inputs: usize,
    rotation: BlockRotation,
) -> Multiplicands {
    if context.scheme.mode == QuantMode::WeightOnly {
        return context.floats(inputs, || row_factors(context, rows, inputs));
    }
    let (values, scales) = quantized_rows(context, rows, inputs, rotation);
    Multiplicands { values, scales: Some(scales), inputs: context.words(context.packed_dot) }
}

/// The integers of the rows, and one scale for each.
#[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
pub(super) fn quantized_rows<R: CubeRuntime>(
    context: &Context<'_, R>,
    rows: usize,
    inputs: usize,
    rotation: BlockRotation,
) -> (Buffer, Buffer) {
    assert!(rows > 0 && context.x.len() == rows * inputs, "the input does not match its shape");
    let values = Buffer::new(context.client, rows * inputs.div_ceil(4), size_of::<i32>());
    let scales = Buffer::new(context.client, rows, size_of::<f32>());
    let (units, codes) = (context.row_units(inputs), context.codes());
    let rotated = (!rotation.is_none()).then(|| rotated_rows(context, rows, inputs, rotation));
    let (x, x_type) = rotated.as_ref().map_or((&context.x, context.x_type), |(x, _)| (x, DType::F32));
    let restore = rotated.as_ref().map_or(&context.scales, |(_, restore)| restore);
    with_float!(x_type, F => {
        // SAFETY: each cube reads one of `rows` rows of `inputs` values in `x`, which holds that many, as `rotated_rows` does, and
        // one of `rows` factors of these if there are any; it writes one of `rows` rows of `ceil(inputs / 4)` words and one of
        // `rows` scales, for which the buffers were made. Cubes past the last row take the last one again.
        unsafe {
            quantize_rows::launch_unchecked::<F, R>(
                context.client, context.cubes(rows), CubeDim::new_1d(size(units)),
                x.arg(1), values.arg(1), scales.arg(1), restore.arg(1), size(rows), size(inputs), units, codes,
                rotated.is_some(),
            );
        }
    });
    (values, scales)
}

/// The rotated rows, and the power of two that takes back what each was multiplied with to leave room for sums.
#[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
fn rotated_rows<R: CubeRuntime>(
    context: &Context<'_, R>,
    rows: usize,
    inputs: usize,
    rotation: BlockRotation,
) -> (Buffer, Buffer) {
    let block = rotation.block();
    assert!(inputs.is_multiple_of(block), "rows of {inputs} inputs can't be cut into blocks of {block}");
    let values = Buffer::new(context.client, rows * inputs, size_of::<f32>());
    let restore = Buffer::new(context.client, rows, size_of::<f32>());
    let (units, cubes) = (context.row_units(inputs), rows * inputs.div_ceil(CHUNK));
    with_float!(context.x_type, F => {
        // SAFETY: each cube reads one of `rows` rows of `inputs` values in `x`, which holds that many (`quantized_rows`), and writes
        // one of its chunks in `values` and one of `rows` factors, for which the buffers were made. A chunk is a whole number of
        // blocks, so that no unit leaves it. Cubes past the last one take that again.
        unsafe {
            rotate_rows::launch_unchecked::<F, R>(
                context.client, context.cubes(cubes), CubeDim::new_1d(size(units)),
                context.x.arg(1), values.arg(1), restore.arg(1), size(rows), size(inputs), units, block,
            );
        }
    });
    (values, restore)
}

/// The factor of each row of floats that leaves room for its sums.
#[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
fn row_factors<R: CubeRuntime>(context: &Context<'_, R>, rows: usize, inputs: usize) -> Buffer {
    let factors = Buffer::new(context.client, rows, size_of::<f32>());
    let units = context.row_units(inputs);
    with_float!(context.x_type, F => {
        // SAFETY: each cube reads one of `rows` rows of `inputs` values in `x`, which holds that many (`assert_lengths`), and
        // writes one of `rows` factors, for which the buffer was made. Cubes past the last row take the last one again.
        unsafe {
            room_of_rows::launch_unchecked::<F, R>(
                context.client, context.cubes(rows), CubeDim::new_1d(size(units)),
                context.x.arg(1), factors.arg(1), size(rows), size(inputs), units,
            );
        }
    });
    factors
}
