//! Microkernels of convolutions.
//!
//! Direct convolution: the rows of a tile are output channels and its vectors hold neighbouring pixels, so that outputs come in
//! the order in which they are stored. Implicit GEMM: the tile of a matrix product whose rows are pixels, anywhere in memory.

use std::ops::Range;

use super::microkernel::{Accumulator, MR, Microkernel, Operands, PREFETCH, RowOffsets, Sums};
use crate::weight::NR;

/// The microkernel of a direct convolution. Inputs come blocked: one block is all that a pixel brings to one step of a sum.
///
/// # Safety
///
/// The contract of [`Accumulator`]. `blocks` reads `BLOCK_BYTES * LANES` bytes, `weight` reads four.
pub(crate) unsafe trait ConvMicrokernel: Accumulator {
    /// The bytes of a block.
    const BLOCK_BYTES: usize;

    unsafe fn blocks(from: *const u8) -> Self::X;
    unsafe fn weight(from: *const i8) -> Self::W;
    /// Computes a tile of `size` channels and accumulators.
    unsafe fn tile(size: [usize; 2], operands: &ConvOperands<'_>, sums: &mut Sums<Self::Sum>);
}

/// The K loop of a convolution: where the block of each step is, in bytes from the block of the first.
pub(crate) struct KSteps {
    offsets: Vec<usize>,
    /// The largest of the offsets.
    reach: usize,
}

impl KSteps {
    pub(crate) fn new(offsets: Vec<usize>) -> Self {
        let reach = offsets.iter().copied().max().unwrap_or(0);
        Self { offsets, reach }
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    pub(crate) fn reach(&self) -> usize {
        self.reach
    }
}

/// The blocks of pixels that need not be neighbours, step by step.
#[derive(Clone, Copy)]
pub(crate) struct GatheredRows<'a> {
    /// The place of each pixel's block in the first step.
    rows: [usize; MR],
    steps: &'a KSteps,
}

impl<'a> GatheredRows<'a> {
    #[inline(always)]
    pub(crate) fn new(positions: &[usize], steps: &'a KSteps) -> Self {
        // Element by element: what a copy of unknown length has just written could not be read at once.
        Self { rows: std::array::from_fn(|row| positions.get(row).copied().unwrap_or(0)), steps }
    }
}

// SAFETY: no row is above the largest of them, and no offset above `reach` (`KSteps` has no other maker than `new`).
unsafe impl RowOffsets for GatheredRows<'_> {
    #[inline(always)]
    fn row(&self, row: usize) -> usize {
        self.rows[row]
    }

    #[inline(always)]
    fn steps(&self) -> impl ExactSizeIterator<Item = usize> {
        self.steps.offsets.iter().copied()
    }

    #[inline(always)]
    fn reach(&self, rows: usize) -> Option<usize> {
        self.rows[..rows].iter().max().copied().unwrap_or(0).checked_add(self.steps.reach)
    }
}

/// The factors of one tile of an implicit GEMM.
pub(crate) type IgemmOperands<'a> = Operands<'a, GatheredRows<'a>>;

/// The factors of one tile of a direct convolution.
pub(crate) struct ConvOperands<'a> {
    /// The input from the block of the first pixel on.
    pub(crate) x: &'a [u8],
    pub(crate) steps: &'a KSteps,
    /// The steps to sum up.
    pub(crate) range: Range<usize>,
    /// The weights from the first channel's in the first of those steps on: four bytes a channel.
    pub(crate) w: &'a [i8],
    /// The bytes from one step to the next.
    pub(crate) w_stride: usize,
}

/// The tile of `ROWS` channels and `VECTORS` accumulators, all of them in registers.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
pub(super) unsafe fn conv_tile<M: ConvMicrokernel, const ROWS: usize, const VECTORS: usize>(
    operands: &ConvOperands<'_>,
    sums: &mut Sums<M::Sum>,
) {
    let &ConvOperands { x, steps, w, w_stride, .. } = operands;
    let offsets = &steps.offsets[operands.range.clone()];
    // These two pay for every pointer below, and count without wrapping.
    let x_end = steps.reach.checked_add(VECTORS * M::LANES * M::BLOCK_BYTES);
    let w_end = offsets.len().saturating_sub(1).checked_mul(w_stride);
    let w_end = w_end.and_then(|last| last.checked_add(ROWS * 4));
    assert!(offsets.is_empty() || x_end.is_some_and(|end| end <= x.len()));
    assert!(offsets.is_empty() || w_end.is_some_and(|end| end <= w.len()));
    // SAFETY: the caller vouches for the features. No offset is above `reach` (only `KSteps::new` makes `KSteps`), so blocks are
    // read up to `reach + VECTORS * LANES * BLOCK_BYTES`, and each step's weights up to `(steps - 1) * w_stride + ROWS * 4`: by
    // the asserts within their slices. A prefetch address is never read (hence `wrapping_add`).
    unsafe {
        let mut acc = [[M::zero(); VECTORS]; ROWS];
        for (step, &offset) in offsets.iter().enumerate() {
            let x = x.as_ptr().add(offset);
            let w = w.as_ptr().add(step * w_stride);
            M::prefetch(w.wrapping_add(PREFETCH));
            let mut blocks = [M::blocks(x); VECTORS];
            for (i, blocks) in blocks.iter_mut().enumerate().skip(1) {
                *blocks = M::blocks(x.add(i * M::LANES * M::BLOCK_BYTES));
            }
            for (row, acc) in acc.iter_mut().enumerate() {
                let w = M::weight(w.add(row * 4));
                for (acc, &blocks) in acc.iter_mut().zip(&blocks) {
                    *acc = M::multiply_add(*acc, blocks, w);
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums) {
            for (acc, sums) in acc.iter().zip(sums.chunks_exact_mut(M::LANES)) {
                M::store(*acc, sums);
            }
        }
    }
}

/// Implements [`ConvMicrokernel::tile`]: one instance of [`conv_tile`] for each of the sizes listed.
macro_rules! conv_tiles {
    ($microkernel:ty: $($rows:literal)* x $vectors:tt) => {
        #[inline(always)]
        unsafe fn tile(
            size: [usize; 2],
            operands: &$crate::isa::conv_microkernel::ConvOperands<'_>,
            sums: &mut $crate::isa::microkernel::Sums<Self::Sum>,
        ) {
            $(conv_tiles!(@row $microkernel, $rows, $vectors, size, operands, sums);)*
            unreachable!("no tile of {size:?}")
        }
    };
    (@row $microkernel:ty, $rows:literal, [$($vectors:literal)*], $size:ident, $operands:ident, $sums:ident) => {
        $(if $rows <= Self::MR && $vectors <= Self::VECTORS && $size == [$rows, $vectors] {
            // SAFETY: this function's caller vouches for the same features.
            return unsafe {
                $crate::isa::conv_microkernel::conv_tile::<$microkernel, $rows, $vectors>($operands, $sums)
            };
        })*
    };
}
pub(super) use conv_tiles;

/// The rows that are transposed at once.
pub(crate) const TRANSPOSED_ROWS: usize = 8;

/// The operations that move floats between the lanes of registers.
///
/// # Safety
///
/// The CPU has the instruction set's features.
pub(crate) trait Shuffle {
    /// `to[column][row]` becomes `from[row][column]`, for the columns before `columns`, a multiple of eight.
    unsafe fn transpose(
        from: &[[f32; NR]; TRANSPOSED_ROWS],
        columns: usize,
        to: &mut [[f32; TRANSPOSED_ROWS]; NR],
    );

    /// Rotates a block of 64: `rotate` in `transform/rotation.rs` says in which order values are added.
    unsafe fn rotate_64(block: &[f32; 64], out: &mut [f32; 64]);
}

/// The factors of some lines of a depthwise convolution by three lines of three taps.
pub(crate) struct Depthwise3x3Operands<'a> {
    /// The input from the value under the first output's first tap on.
    pub(crate) x: &'a [f32],
    /// The values from one line to the next.
    pub(crate) pitch: usize,
    /// The taps, line by line.
    pub(crate) taps: [f32; 9],
    /// The lines of outputs, and how many outputs there are in a line.
    pub(crate) size: [usize; 2],
}

/// The lines of outputs that are made together, where registers hold them: each value that is read serves several lines.
pub(crate) const LINES_AT_ONCE: usize = 4;
/// No accumulator has more lanes; the compiler checks it.
const WIDEST: usize = 16;

/// Writes the sums of `N` lines whose inputs begin with `x`.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
pub(super) unsafe fn lines_3x3<M: ConvMicrokernel<Sum = f32>, const N: usize>(
    operands: &Depthwise3x3Operands<'_>,
    x: &[f32],
    sums: &mut [f32],
) {
    let &Depthwise3x3Operands { pitch, taps, size: [_, width], .. } = operands;
    const { assert!(M::BLOCK_BYTES == size_of::<f32>() && M::LANES <= WIDEST) };
    let last = width.saturating_sub(M::LANES);
    // This pays for every pointer below, and counts without wrapping.
    let end = pitch.checked_mul(N + 1).and_then(|end| end.checked_add(last)?.checked_add(M::LANES + 2));
    assert!(end.is_some_and(|end| end <= x.len()));
    for first in (0..width).step_by(M::LANES) {
        let first = first.min(last); // the last ones perhaps a second time
        // SAFETY: the caller vouches for the features. The last values read begin at `(N + 1) * pitch + last + 2`, so they end
        // within `x` by the assert; a tap is four bytes, as `weight` reads.
        let acc = unsafe {
            let mut acc = [M::zero(); N];
            for line in 0..N + 2 {
                for column in 0..3 {
                    let blocks = M::blocks(x.as_ptr().add(line * pitch + first + column).cast());
                    for (output, acc) in acc.iter_mut().enumerate() {
                        if (output..output + 3).contains(&line) {
                            let tap = M::weight(taps.as_ptr().add((line - output) * 3 + column).cast());
                            *acc = M::multiply_add(*acc, blocks, tap);
                        }
                    }
                }
            }
            acc
        };
        for (acc, sums) in acc.into_iter().zip(sums.chunks_mut(width)) {
            // SAFETY: the caller vouches for the features; `all` has `WIDEST` elements, at least `LANES`, and what is left of a
            // line after `first` has `LANES`, or `store` panics.
            unsafe {
                if width < M::LANES {
                    let mut all = [0.0; WIDEST];
                    M::store(acc, &mut all);
                    sums.copy_from_slice(&all[..sums.len()]);
                } else {
                    M::store(acc, &mut sums[first..]);
                }
            }
        }
    }
}

/// The factors of neighbouring outputs of a depthwise convolution whose channels lie side by side.
pub(crate) struct ChannelOperands<'a> {
    /// The input from the first channel under the first tap of the first output on.
    pub(crate) x: &'a [f32],
    /// The values from the one under the first tap to that under each.
    pub(crate) taps: &'a KSteps,
    /// The values from one output to the next.
    pub(crate) next: usize,
    /// The weights from the first channel of the first tap on.
    pub(crate) w: &'a [f32],
    /// The weights from one tap to the next.
    pub(crate) w_stride: usize,
    /// The channels: a multiple of [`WIDEST`], at most [`NR`].
    pub(crate) channels: usize,
}

/// Writes the sums of `N` outputs.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
pub(super) unsafe fn channel_sums<M, const N: usize>(operands: &ChannelOperands<'_>, sums: &mut Sums<f32>)
where
    M: ConvMicrokernel<Sum = f32> + Microkernel<Sum = f32>,
{
    let &ChannelOperands { x, taps, next, w, w_stride, channels } = operands;
    const { assert!(M::BLOCK_BYTES == size_of::<f32>() && WIDEST.is_multiple_of(M::LANES) && N <= MR) };
    // These pay for every pointer below, and count without wrapping.
    let x_end = next.checked_mul(N - 1).and_then(|last| last.checked_add(taps.reach)?.checked_add(channels));
    let w_end =
        taps.len().saturating_sub(1).checked_mul(w_stride).and_then(|last| last.checked_add(channels));
    assert!(x_end.is_some_and(|end| end <= x.len()) && w_end.is_some_and(|end| end <= w.len()));
    assert!(channels.is_multiple_of(WIDEST) && channels <= NR);
    for first in (0..channels).step_by(M::LANES) {
        let mut acc;
        // SAFETY: the caller vouches for the features. Both read `LANES` floats: `first + LANES <= channels`, no tap is above
        // `reach` and no `i` above `N - 1`, so the inputs end within `x` and the weights within `w` by the asserts.
        unsafe {
            acc = [M::zero(); N];
            for (tap, offset) in taps.offsets.iter().enumerate() {
                let w = <M as Microkernel>::weights(w.as_ptr().add(tap * w_stride + first).cast());
                for (i, acc) in acc.iter_mut().enumerate() {
                    let x = M::blocks(x.as_ptr().add(offset + i * next + first).cast());
                    *acc = M::multiply_add(*acc, x, w);
                }
            }
        }
        for (acc, sums) in acc.into_iter().zip(&mut *sums) {
            // SAFETY: the caller vouches for the features; `store` panics if there are fewer than `LANES` sums.
            unsafe { M::store(acc, &mut sums[first..]) };
        }
    }
}
