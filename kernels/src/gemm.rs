//! The products of a float matrix with packed weights.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::aligned::{CODES, SCALES, lend};
use super::epilogue::Scaled;
use super::isa::{Active, Job, written};
use super::math::Activation;
use super::pack::{KR, NR, PackedWeights};
use super::parallel::{BLOCK_ROWS, Block, Blocks, for_each, threads_for};
use super::quantize::{QUANTIZING, QuantRange, encode_rows};

/// What an input is multiplied with, and what becomes of the products.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// Of `n` outputs.
    pub weights: &'a PackedWeights,
    /// One an output, if there are any.
    pub bias: Option<&'a [f32]>,
    /// What is done to the outputs.
    pub activation: Activation,
}

impl<'a> Layer<'a> {
    /// Of plain products.
    pub fn new(weights: &'a PackedWeights, bias: Option<&'a [f32]>) -> Self {
        Self { weights, bias, activation: Activation::Identity }
    }

    fn scaled<'e>(&self, x_scales: &'e [f32]) -> Scaled<'e>
    where
        'a: 'e,
    {
        let Self { weights, bias, activation } = *self;
        Scaled { x_scales, w_scales: weights.scales(), bias, activation }
    }
}

/// `x · weights` of each layer with dynamically quantized activations:
/// `out[i, j] = activation(sum as f32 * (x_scale[i] * w_scale[j]) + bias[j])`.
///
/// `x` is `[m, k]`, an output `[m, n]`, all row-major; the sums are exact. `x` is quantized once for all layers.
///
/// # Panics
///
/// If a slice does not match the shapes, or layers differ in their `k`.
pub fn dynamic<const N: usize>(
    kernel: Active,
    (x, m): (&[f32], usize),
    range: QuantRange,
    layers: [Layer<'_>; N],
) -> [Vec<f32>; N] {
    let problems = problems(kernel, x, m, &layers);
    let Some(first) = problems.first() else { return [(); N].map(|()| Vec::new()) };
    with_activations(first, x, range, |codes, x_scales| {
        let epilogues = layers.map(|layer| layer.scaled(x_scales));
        if first.weights.slices().len() > 1 {
            return std::array::from_fn(|i| sliced(&problems[i], codes, &epilogues[i]));
        }
        let jobs = problems.each_ref().map(|problem| problem.job(codes, 0, 0..problem.groups));
        run(&problems, |i, block| kernel.dynamic(&jobs[i], &epilogues[i], block))
    })
}

/// The exact integer sums of [`dynamic`], before any scale: `[m, n]`.
///
/// # Panics
///
/// If a slice does not match the shapes, or there are so many inputs that a sum might not fit an `i32`.
pub fn accumulate(
    kernel: Active,
    (x, m): (&[f32], usize),
    range: QuantRange,
    weights: &PackedWeights,
) -> Vec<i32> {
    let [problem] = problems(kernel, x, m, &[Layer::new(weights, None)]);
    assert!(weights.slices().len() <= 1, "more inputs than an i32 sum surely holds");
    with_activations(&problem, x, range, |codes, _| {
        let job = problem.job(codes, 0, 0..problem.groups);
        problem.run(|block| kernel.accumulate(&job, block))
    })
}

/// `x · weights` with float activations:
/// `out[i, j] = activation((sum over k of x[i, k] * q[k, j]) * w_scale[j] + bias[j])`.
///
/// The integers become floats in registers; the sum is a float sum, in an order of the kernel's own.
///
/// # Panics
///
/// If a slice does not match the shapes.
pub fn weight_only(kernel: Active, (x, m): (&[f32], usize), layer: Layer<'_>) -> Vec<f32> {
    let [problem] = problems(kernel, x, m, &[layer]);
    let epilogue = layer.scaled(&[]);
    let run = |x: &[u8]| {
        let x_stride = problem.padded() * size_of::<f32>();
        let job = Job { x_stride, ..problem.job(x, 0, 0..problem.groups) };
        problem.run(|block| kernel.weight_only(&job, &epilogue, block))
    };
    if problem.padded() == problem.k {
        return run(bytemuck::cast_slice(x));
    }
    lend(&CODES, |buffer| {
        let bytes = buffer.at_least(problem.m * problem.padded() * size_of::<f32>());
        let padded: &mut [f32] = bytemuck::cast_slice_mut(bytes);
        for (row, x) in padded.chunks_exact_mut(problem.padded()).zip(x.chunks_exact(problem.k)) {
            row[..problem.k].copy_from_slice(x);
            row[problem.k..].fill(0.0);
        }
        run(bytes)
    })
}

/// More inputs than one `i32` sum holds: exact sums slice by slice, added up in `i64`.
fn sliced(problem: &Problem<'_>, codes: &[u8], epilogue: &Scaled<'_>) -> Vec<f32> {
    let mut totals = vec![0i64; problem.m * problem.n];
    for (slice, groups) in problem.weights.slices().iter().enumerate() {
        let job = problem.job(codes, slice, groups.clone());
        let sums = problem.run(|block| problem.kernel.accumulate(&job, block));
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += i64::from(sum));
    }
    let mut out = vec![0.0; totals.len()];
    let rows = totals.chunks_exact(problem.n.max(1)).zip(out.chunks_exact_mut(problem.n.max(1)));
    for ((totals, out), &x_scale) in rows.zip(epilogue.x_scales) {
        epilogue.scale(x_scale, 0, totals.iter().map(|&total| total as f32), out);
    }
    out
}

/// Checked shapes of one product.
struct Problem<'a> {
    kernel: Active,
    weights: &'a PackedWeights,
    m: usize,
    k: usize,
    n: usize,
    groups: usize,
    threads: usize,
}

/// Fewer rows take as long as so many: their weights come from memory.
const FEW_ROWS: usize = 3;

/// Those of several layers, which share the threads.
fn problems<'a, const N: usize>(
    kernel: Active,
    x: &[f32],
    m: usize,
    layers: &[Layer<'a>; N],
) -> [Problem<'a>; N] {
    let outputs: usize = layers.iter().map(|layer| layer.weights.shape()[1]).sum();
    layers.map(|Layer { weights, bias, .. }| {
        let [k, n] = weights.shape();
        assert_eq!(x.len(), m * k, "the input does not match [{m}, {k}]");
        assert!(bias.is_none_or(|bias| bias.len() == n), "the bias does not match {n} outputs");
        let groups = k.div_ceil(KR);
        let threads = threads_for(m.max(FEW_ROWS) * k * outputs);
        Problem { kernel, weights, m, k, n, groups, threads }
    })
}

/// Computes all blocks of the outputs, on as many threads as they are worth.
fn run<T: Send + Copy, const N: usize>(
    problems: &[Problem<'_>; N],
    compute: impl Fn(usize, &mut Block<'_, T>) + Sync,
) -> [Vec<T>; N] {
    let threads = problems.first().map_or(1, |problem| problem.threads);
    written(problems.each_ref().map(|problem| problem.m * problem.n), |outs| {
        let counts = [(); N].map(|()| AtomicUsize::new(0));
        let outs = problems.iter().zip(outs).enumerate().filter(|(_, (_, out))| !out.is_empty());
        let blocks = outs.flat_map(|(i, (problem, out))| {
            Blocks::new(out, problem.n, problem.block_size()).map(move |block| (i, block))
        });
        for_each(threads, blocks, |(i, mut block)| {
            compute(i, &mut block);
            counts[i].fetch_add(block.written(), Ordering::Relaxed);
        });
        counts.map(AtomicUsize::into_inner)
    })
}

impl<'a> Problem<'a> {
    fn padded(&self) -> usize {
        self.groups * KR
    }

    fn job<'j>(&self, x: &'j [u8], slice: usize, groups: std::ops::Range<usize>) -> Job<'j>
    where
        'a: 'j,
    {
        let x_stride = self.padded() * self.kernel.code_bytes();
        Job { weights: self.weights, x, x_stride, groups, sums: self.weights.sums(slice) }
    }

    /// Computes all blocks of the output.
    fn run<T: Send + Copy>(&self, compute: impl Fn(&mut Block<'_, T>) + Sync) -> Vec<T> {
        let [out] = run(std::array::from_ref(self), |_, block| compute(block));
        out
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
/// Multiply-adds of a block that are worth the trip to the queue.
const SMALLEST_BLOCK: usize = 64_000;

/// Quantizes `x` into this thread's buffers.
fn with_activations<R>(
    problem: &Problem<'_>,
    x: &[f32],
    range: QuantRange,
    run: impl FnOnce(&[u8], &[f32]) -> R,
) -> R {
    lend(&CODES, |codes| {
        lend(&SCALES, |scales| {
            let stride = problem.padded() * problem.kernel.code_bytes();
            let codes = codes.at_least(problem.m * stride);
            let scales: &mut [f32] = bytemuck::cast_slice_mut(scales.at_least(problem.m * size_of::<f32>()));
            if problem.k == 0 {
                scales.fill(1.0);
            } else {
                let threads = threads_for(problem.m * problem.k * QUANTIZING);
                encode_rows(problem.kernel, x, problem.k, range, (&mut *codes, stride), scales, threads);
            }
            run(codes, scales)
        })
    })
}
