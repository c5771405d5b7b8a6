//! The products of a float matrix with packed weights.

use std::cell::Cell;

use super::aligned::Aligned;
use super::epilogue::Scaled;
use super::isa::{Active, Job};
use super::pack::{GROUP, PANEL, Packed};
use super::parallel::{BLOCK_ROWS, Block, Blocks, for_each, threads_for};
use super::quantize::{Levels, encode_rows};

/// `x · weights` with dynamically quantized activations: `out[i, j] = sum as f32 * (x_scale[i] * w_scale[j]) + bias[j]`.
///
/// `x` is `[m, k]`, `out` is `[m, n]`, both row-major; the sums are exact.
///
/// # Panics
///
/// If a slice does not match the shapes.
pub fn dynamic(
    kernel: Active,
    x: &[f32],
    levels: Levels,
    weights: &Packed,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let Some(problem) = Problem::new(kernel, x, weights, bias, out) else { return };
    with_activations(&problem, x, levels, |codes, x_scales| {
        let epilogue = Scaled { x_scales, w_scales: weights.scales(), bias };
        if weights.slices().count() <= 1 {
            let job = problem.job(codes, 0, 0..problem.groups);
            problem.run(out, |block| kernel.dynamic(&job, &epilogue, block));
        } else {
            sliced(&problem, codes, &epilogue, out);
        }
    });
}

/// The exact integer sums of [`dynamic`], before any scale: `[m, n]`.
///
/// # Panics
///
/// If a slice does not match the shapes, or there are so many inputs that a sum might not fit an `i32`.
pub fn accumulate(kernel: Active, x: &[f32], levels: Levels, weights: &Packed, out: &mut [i32]) {
    let Some(problem) = Problem::new(kernel, x, weights, None, out) else { return };
    assert!(weights.slices().count() <= 1, "more inputs than an i32 sum surely holds");
    with_activations(&problem, x, levels, |codes, _| {
        let job = problem.job(codes, 0, 0..problem.groups);
        problem.run(out, |block| kernel.accumulate(&job, block));
    });
}

/// `x · weights` with float activations: `out[i, j] = (sum over k of x[i, k] * q[k, j]) * w_scale[j] + bias[j]`.
///
/// The integers become floats in registers; the sum is a float sum, in an order of the kernel's own.
///
/// # Panics
///
/// If a slice does not match the shapes.
pub fn float_activations(kernel: Active, x: &[f32], weights: &Packed, bias: Option<&[f32]>, out: &mut [f32]) {
    let Some(problem) = Problem::new(kernel, x, weights, bias, out) else { return };
    let epilogue = Scaled { x_scales: &[], w_scales: weights.scales(), bias };
    let run = |x: &[u8], out: &mut [f32]| {
        let job =
            Job { x, x_stride: problem.padded() * size_of::<f32>(), ..problem.job(x, 0, 0..problem.groups) };
        problem.run(out, |block| kernel.float_activations(&job, &epilogue, block));
    };
    if problem.padded() == problem.k {
        return run(bytemuck::cast_slice(x), out);
    }
    with_scratch(|scratch| {
        let bytes = scratch.codes.at_least(problem.m * problem.padded() * size_of::<f32>());
        let padded: &mut [f32] = bytemuck::cast_slice_mut(bytes);
        for (row, x) in padded.chunks_exact_mut(problem.padded()).zip(x.chunks_exact(problem.k)) {
            row[..problem.k].copy_from_slice(x);
            row[problem.k..].fill(0.0);
        }
        run(bytes, out);
    });
}

/// More inputs than one `i32` sum holds: exact sums slice by slice, added up in `i64`.
fn sliced(problem: &Problem<'_>, codes: &[u8], epilogue: &Scaled<'_>, out: &mut [f32]) {
    let mut totals = vec![0i64; out.len()];
    let mut sums = vec![0i32; out.len()];
    for (slice, groups) in problem.weights.slices().enumerate() {
        let job = problem.job(codes, slice, groups);
        problem.run(&mut sums, |block| problem.kernel.accumulate(&job, block));
        totals.iter_mut().zip(&sums).for_each(|(total, &sum)| *total += i64::from(sum));
    }
    let rows = totals.chunks_exact(problem.n).zip(out.chunks_exact_mut(problem.n));
    for ((totals, out), &x_scale) in rows.zip(epilogue.x_scales) {
        epilogue.finish(x_scale, 0, totals.iter().map(|&total| total as f32), out);
    }
}

/// Checked shapes of one product.
struct Problem<'a> {
    kernel: Active,
    weights: &'a Packed,
    m: usize,
    k: usize,
    n: usize,
    groups: usize,
    threads: usize,
}

impl<'a> Problem<'a> {
    /// `None` if there is no output to compute.
    fn new<T>(
        kernel: Active,
        x: &[f32],
        weights: &'a Packed,
        bias: Option<&[f32]>,
        out: &[T],
    ) -> Option<Self> {
        let [k, n] = weights.shape();
        if out.is_empty() {
            return None;
        }
        let m = out.len() / n;
        assert_eq!(out.len(), m * n, "the output is no whole number of rows of {n}");
        assert_eq!(x.len(), m * k, "the input does not match [{m}, {k}]");
        assert!(bias.is_none_or(|bias| bias.len() == n), "the bias does not match {n} outputs");
        let groups = k.div_ceil(GROUP);
        Some(Self { kernel, weights, m, k, n, groups, threads: threads_for(m * k * n) })
    }

    fn padded(&self) -> usize {
        self.groups * GROUP
    }

    fn job<'j>(&self, x: &'j [u8], slice: usize, groups: std::ops::Range<usize>) -> Job<'j>
    where
        'a: 'j,
    {
        let x_stride = self.padded() * self.kernel.code_bytes();
        Job { weights: self.weights, x, x_stride, groups, sums: self.weights.sums(slice) }
    }

    /// Computes all blocks of `out`, on as many threads as it is worth.
    fn run<T: Send>(&self, out: &mut [T], compute: impl Fn(&mut Block<'_, T>) + Sync) {
        for_each(self.threads, Blocks::new(out, self.n, self.block_size()), |mut block| {
            compute(&mut block);
        });
    }

    /// A few blocks for each thread, so that they end together: bands of rows first, then panels of columns.
    fn block_size(&self) -> [usize; 2] {
        if self.threads == 1 {
            return [self.m.min(BLOCK_ROWS), self.n];
        }
        let bands = self.m.div_ceil(BLOCK_ROWS);
        let rows = self.m.div_ceil(bands);
        let strips = (self.threads * 4).div_ceil(bands);
        let panels = self.n.div_ceil(PANEL).div_ceil(strips).max(1);
        [rows, panels * PANEL]
    }
}

/// Buffers that live from call to call.
#[derive(Default)]
struct Scratch {
    codes: Aligned,
    scales: Vec<f32>,
}

/// Lends this thread's buffers, or new ones if they are lent out already (a thread that waits may start another product).
fn with_scratch<R>(run: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local!(static SCRATCH: Cell<Scratch> = Cell::default());
    let mut scratch = SCRATCH.take();
    let result = run(&mut scratch);
    SCRATCH.set(scratch);
    result
}

/// Quantizes `x` into this thread's buffers.
fn with_activations(problem: &Problem<'_>, x: &[f32], levels: Levels, run: impl FnOnce(&[u8], &[f32])) {
    with_scratch(|scratch| {
        let stride = problem.padded() * problem.kernel.code_bytes();
        let codes = scratch.codes.at_least(problem.m * stride);
        scratch.scales.resize(problem.m, 0.0);
        if problem.k == 0 {
            scratch.scales.fill(1.0);
        } else {
            let threads = threads_for(problem.m * problem.k * 16);
            let to = (&mut *codes, stride);
            encode_rows(problem.kernel, x, problem.k, levels, to, &mut scratch.scales, threads);
        }
        run(codes, &scratch.scales);
    });
}
