//! Matrix products of float rows with packed INT8 weights.

mod block;

use std::ops::Range;

use crate::epilogue::{DequantizeRows, RawAccumulators, Step, check_steps};
use crate::isa::{Integers, Kernel, WeightOnly};
use crate::parallel::{for_each, threads_for};
use crate::quantize::{Absmax, CodeBytes, TransformRow, quantize_into};
use crate::range::{InputScheme, MAX_ABSMAX, overflow_guard};
use crate::scratch::{QUANTIZED, SCALES, with_scratch};
use crate::uninit::{BLOCK_ROWS, Block, collect_uninit};
use crate::weight::{KR, NR, PackedWeights};
use block::MultiplyBlock;

/// The weights that an input is multiplied with, and what becomes of the products.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// The weights, `[k, n]`.
    pub weights: &'a PackedWeights,
    /// One bias an output, if there are any.
    pub bias: Option<&'a [f32]>,
    /// The steps that outputs go through, in this order.
    pub steps: &'a [Step<'a>],
}

impl<'a> Product<'a> {
    /// Plain products, without further steps.
    pub fn new(weights: &'a PackedWeights, bias: Option<&'a [f32]>) -> Self {
        Self { weights, bias, steps: &[] }
    }

    fn dequantize(&self) -> DequantizeRows<'a> {
        let Self { weights, bias, steps } = *self;
        DequantizeRows { w_scales: weights.scales(), bias, steps }
    }
}

/// `x · weights` of each product with dynamically quantized inputs:
/// `out[i, j] = steps(sum as f32 * (x_scale[i] * w_scale[j]) + bias[j])`.
///
/// `x` is `[m, k]`, an output `[m, n]`, all row-major; the sums are exact. `x` is quantized once for all products.
///
/// # Panics
///
/// If a slice does not match the shapes, or products differ in their `k` or in the transform of their inputs.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::{Kernel, PackedWeights, QTensor, QuantRange, WeightLayout};
/// use burn_int8_kernels::gemm::{Product, dynamic};
///
/// let tensor = QTensor::new(vec![1, -2, 3, 4], vec![1.0, 0.5], WeightLayout::Linear([2, 2]))?;
/// let weights = PackedWeights::from_qtensor(&tensor);
/// let x = [127.0, 1.0]; // its scale is 1
/// let [out] = dynamic(Kernel::detect(), (&x, 1), QuantRange::Symmetric, [Product::new(&weights, None)]);
/// assert_eq!(out, [130.0, -125.0]);
/// # Ok::<(), burn_int8_kernels::QTensorError>(())
/// ```
pub fn dynamic<const N: usize>(
    kernel: Kernel,
    (x, m): (&[f32], usize),
    scheme: impl Into<InputScheme>,
    products: [Product<'_>; N],
) -> [Vec<f32>; N] {
    let shapes = shapes(x, m, &products);
    let Some(first) = shapes.first() else { return [(); N].map(|()| Vec::new()) };
    if shapes.iter().all(Shape::is_empty) {
        return [(); N].map(|()| Vec::new());
    }
    with_quantized(kernel, first, x, scheme.into(), |input| {
        let epilogues = products.map(|product| product.dequantize());
        if shapes.iter().any(|shape| shape.weights.k_blocks().len() > 1) {
            return std::array::from_fn(|i| split(kernel, &shapes[i], input, &epilogues[i]));
        }
        run(&shapes, |i, block| {
            let part = shapes[i].k_block(input, 0);
            kernel.run(MultiplyBlock::<Integers, _> { part, epilogue: &epilogues[i], block });
        })
    })
}

/// The exact integer sums of [`dynamic`], before any scale: `[m, n]`.
///
/// # Panics
///
/// If a slice does not match the shapes, or there are so many inputs that a sum might not fit an `i32`.
pub fn accumulators(
    kernel: Kernel,
    (x, m): (&[f32], usize),
    scheme: impl Into<InputScheme>,
    weights: &PackedWeights,
) -> Vec<i32> {
    let [shape] = shapes(x, m, &[Product::new(weights, None)]);
    assert!(weights.k_blocks().len() <= 1, "more inputs than an i32 sum surely holds");
    if shape.is_empty() {
        return Vec::new();
    }
    with_quantized(kernel, &shape, x, scheme.into(), |input| raw(kernel, &shape, input, 0))
}

/// `x · weights` with float inputs:
/// `out[i, j] = steps((sum over k of x[i, k] * q[k, j]) * w_scale[j] + bias[j])`.
///
/// The integers become floats in registers; the sum is a float sum, in an order of the kernel's own. It overflows only where
/// the output does, for weight scales below `2^64`: rows near the largest float are multiplied by a power of two before the
/// sum, and the sum after it.
///
/// # Panics
///
/// If a slice does not match the shapes.
pub fn weight_only(kernel: Kernel, (x, m): (&[f32], usize), product: Product<'_>) -> Vec<f32> {
    let [shape] = shapes(x, m, &[product]);
    if shape.is_empty() {
        return Vec::new();
    }
    let (k, padded) = (shape.k, shape.padded());
    let multiply = |x: &[u8], x_scales: &[f32]| {
        let input = Input { x, stride: padded * size_of::<f32>(), scales: x_scales, offsets: &[] };
        let epilogue = product.dequantize();
        let [out] = run(std::array::from_ref(&shape), |_, block| {
            let part = shape.all(input);
            kernel.run(MultiplyBlock::<WeightOnly, _> { part, epilogue: &epilogue, block });
        });
        out
    };
    let transform = product.weights.transform();
    let all_small = transform.is_identity() && kernel.run(Absmax(x)) < MAX_ABSMAX;
    if padded == k && all_small {
        return multiply(bytemuck::cast_slice(x), &[]);
    }
    with_scratch(&QUANTIZED, |buffer| {
        let bytes = buffer.at_least(m * padded * size_of::<f32>());
        let copy: &mut [f32] = bytemuck::cast_slice_mut(bytes);
        let mut x_scales = Vec::new();
        for (row, x) in copy.chunks_exact_mut(padded.max(1)).zip(x.chunks_exact(k.max(1))) {
            row[k..].fill(0.0);
            if !transform.is_identity() {
                x_scales.push(kernel.run(TransformRow { x, transform, out: &mut row[..k] }));
                continue;
            }
            row[..k].copy_from_slice(x);
            if !all_small {
                let [down, up] = overflow_guard(kernel.run(Absmax(x)));
                row.iter_mut().for_each(|x| *x *= down);
                x_scales.push(up);
            }
        }
        multiply(bytes, &x_scales)
    })
}

/// More inputs than one `i32` sum holds: exact sums of one block of `k` after the other, added up in `i64`.
fn split(kernel: Kernel, shape: &Shape<'_>, input: Input<'_>, epilogue: &DequantizeRows<'_>) -> Vec<f32> {
    let mut totals = vec![0i64; shape.m * shape.n];
    for k_block in 0..shape.weights.k_blocks().len() {
        let sums = raw(kernel, shape, input, k_block);
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += i64::from(sum));
    }
    let mut out = vec![0.0; totals.len()];
    let n = shape.n.max(1);
    for (row, (totals, out)) in totals.chunks_exact(n).zip(out.chunks_exact_mut(n)).enumerate() {
        epilogue.totals((row, input.scale(row)), totals, out);
    }
    out
}

/// The integer sums over one block of `k`.
fn raw(kernel: Kernel, shape: &Shape<'_>, input: Input<'_>, k_block: usize) -> Vec<i32> {
    let [sums] = run(std::array::from_ref(shape), |_, block| {
        let part = shape.k_block(input, k_block);
        kernel.run(MultiplyBlock::<Integers, _> { part, epilogue: &RawAccumulators, block });
    });
    sums
}

/// The checked sizes of one product.
struct Shape<'a> {
    weights: &'a PackedWeights,
    m: usize,
    k: usize,
    n: usize,
    threads: usize,
}

/// Fewer rows take as long as so many: their weights come from memory.
const FEW_ROWS: usize = 3;

/// The sizes of several products of one input, which share the threads.
fn shapes<'a, const N: usize>(x: &[f32], m: usize, products: &[Product<'a>; N]) -> [Shape<'a>; N] {
    let outputs: usize = products.iter().map(|product| product.weights.shape()[1]).sum();
    products.map(|Product { weights, bias, steps }| {
        let [k, n] = weights.shape();
        assert_eq!(m.checked_mul(k), Some(x.len()), "the input does not match [{m}, {k}]");
        assert!(m.checked_mul(n).is_some(), "an output of [{m}, {n}] is too large");
        assert!(bias.is_none_or(|bias| bias.len() == n), "the bias does not match {n} outputs");
        check_steps(steps, m * n, n);
        let transform = products[0].weights.transform();
        assert!(weights.transform() == transform, "the products transform their inputs in different ways");
        let work = m.max(FEW_ROWS).saturating_mul(k).saturating_mul(outputs);
        Shape { weights, m, k, n, threads: threads_for(work) }
    })
}

impl<'a> Shape<'a> {
    /// The inputs of a row, up to a multiple of [`KR`].
    fn padded(&self) -> usize {
        self.k.next_multiple_of(KR)
    }

    fn is_empty(&self) -> bool {
        self.m * self.n == 0
    }

    /// The product over all of `k`: sums of floats have no limit.
    fn all<'p>(&self, input: Input<'p>) -> PartialProduct<'p>
    where
        'a: 'p,
    {
        PartialProduct { weights: self.weights, input, steps: 0..self.k.div_ceil(KR), column_sums: &[] }
    }

    /// The product over one of the ranges of `k` that an `i32` sum holds.
    fn k_block<'p>(&self, input: Input<'p>, k_block: usize) -> PartialProduct<'p>
    where
        'a: 'p,
    {
        let steps = self.weights.k_blocks().get(k_block).cloned().unwrap_or_default();
        PartialProduct { weights: self.weights, input, steps, column_sums: self.weights.sums(k_block) }
    }

    /// Bands of rows, cut into strips of columns until all threads end together.
    fn block_size(&self) -> [usize; 2] {
        if self.threads == 1 {
            return [self.m.min(BLOCK_ROWS), self.n];
        }
        let bands = self.m.div_ceil(BLOCK_ROWS);
        let rows = self.m.div_ceil(bands);
        let panels = self.n.div_ceil(NR);
        let strips = (self.threads * BLOCKS_PER_THREAD).div_ceil(bands);
        let enough = SMALLEST_BLOCK.div_ceil(rows * self.k.max(1) * NR);
        [rows, (panels / strips).max(enough).max(1) * NR]
    }
}

/// At the end a thread waits for at most one block of another: 1/16 of what each of them does.
const BLOCKS_PER_THREAD: usize = 32;
/// The multiply-adds of a block that are worth the trip to the queue.
const SMALLEST_BLOCK: usize = 64_000;

/// Computes all blocks of the outputs, on as many threads as they are worth.
fn run<T: Send + Copy, const N: usize>(
    shapes: &[Shape<'_>; N],
    compute: impl Fn(usize, &mut Block<'_, T>) + Sync,
) -> [Vec<T>; N] {
    let threads = shapes.first().map_or(1, |shape| shape.threads);
    collect_uninit(shapes.each_ref().map(|shape| shape.m * shape.n), |outs| {
        let outs = shapes.iter().zip(outs).enumerate().filter(|(_, (_, out))| out.len() > 0);
        let blocks = outs.flat_map(|(i, (shape, out))| {
            out.into_blocks(shape.n, shape.block_size()).map(move |block| (i, block))
        });
        for_each(threads, blocks, |(i, mut block)| compute(i, &mut block));
    })
}

/// Quantizes `x` into this thread's buffers.
fn with_quantized<R>(
    kernel: Kernel,
    shape: &Shape<'_>,
    x: &[f32],
    scheme: InputScheme,
    run: impl FnOnce(Input<'_>) -> R,
) -> R {
    with_scratch(&QUANTIZED, |out| {
        with_scratch(&SCALES, |scales| {
            let stride = shape.padded() * kernel.run(CodeBytes);
            let out = out.at_least(shape.m * stride);
            let (scales, offsets) =
                scales.at_least(shape.m * 2 * size_of::<f32>()).split_at_mut(shape.m * size_of::<f32>());
            let scales: &mut [f32] = bytemuck::cast_slice_mut(scales);
            let offsets: &mut [i32] = bytemuck::cast_slice_mut(offsets);
            if shape.k == 0 {
                scales.fill(1.0);
                offsets.fill(0);
            } else {
                let (scheme, out) = ((scheme, shape.weights.transform()), (&mut *out, stride));
                quantize_into(kernel, x, shape.k, scheme, out, (&mut *scales, &mut *offsets));
            }
            run(Input { x: out, stride, scales, offsets })
        })
    })
}

/// The inputs of a product, in the encoding of its microkernel.
#[derive(Clone, Copy)]
struct Input<'a> {
    /// Row-major, padded to a multiple of [`KR`].
    x: &'a [u8],
    /// The bytes from one row to the next.
    stride: usize,
    /// The scale of each row; none if all are 1.
    scales: &'a [f32],
    /// The number that the encoding adds to each input of a row; none if inputs are floats.
    offsets: &'a [i32],
}

impl Input<'_> {
    fn scale(&self, row: usize) -> f32 {
        self.scales.get(row).copied().unwrap_or(1.0)
    }
}

/// A part of a product: some of the K steps.
struct PartialProduct<'a> {
    weights: &'a PackedWeights,
    input: Input<'a>,
    steps: Range<usize>,
    /// The column sums of the weights over those steps.
    column_sums: &'a [i32],
}
