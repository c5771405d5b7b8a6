//! Microkernels of matrix products: a tile of the output whose sums stay in registers, written once over a small trait of
//! vector arithmetic.
//!
//! Everything is `inline(always)`, so that it is compiled with the features of the instruction set that runs it.

use super::convert::SumRow;
use crate::weight::NR;

/// The most rows of a tile on any instruction set.
pub(crate) const MR: usize = 6;

/// A sum of products.
pub(crate) trait Sum: Copy + Default + Send + Sync {
    /// This sum and the one of further products.
    fn join(self, other: Self) -> Self;
    /// `self - offset`, for sums of integers.
    fn exact(self, offset: i32) -> i32;
    /// `self - offset` as a float.
    fn to_f32(self, offset: i32) -> f32;
    /// A row of a tile, with the type of its sums at hand.
    fn row(sums: &[Self; NR]) -> SumRow<'_>;
}

impl Sum for i32 {
    #[inline(always)]
    fn join(self, other: Self) -> Self {
        self.wrapping_add(other) // an offset that is not taken out yet may be too much
    }

    #[inline(always)]
    fn exact(self, offset: i32) -> i32 {
        self.wrapping_sub(offset)
    }

    #[inline(always)]
    fn to_f32(self, offset: i32) -> f32 {
        self.exact(offset) as f32
    }

    #[inline(always)]
    fn row(sums: &[i32; NR]) -> SumRow<'_> {
        SumRow::Integers(sums)
    }
}

/// Sums of integers in `f32` have no offset: their inputs are not encoded.
impl Sum for f32 {
    #[inline(always)]
    fn join(self, other: Self) -> Self {
        self + other
    }

    #[inline(always)]
    fn exact(self, _offset: i32) -> i32 {
        self as i32
    }

    #[inline(always)]
    fn to_f32(self, _offset: i32) -> f32 {
        self
    }

    #[inline(always)]
    fn row(sums: &[f32; NR]) -> SumRow<'_> {
        SumRow::Floats(sums)
    }
}

/// The vector arithmetic that a tile is made of.
///
/// # Safety
///
/// All functions need a CPU with the features of the instruction set, and `x` to point to what its maker promised. They read
/// and write no more than the constants say.
pub(crate) unsafe trait Accumulator {
    /// The element of a sum.
    type Sum: Sum;
    /// The sums of `LANES` neighbours, in registers.
    type Acc: Copy;
    /// Weights, as `multiply_add` takes them.
    type W: Copy;
    /// Inputs, as `multiply_add` takes them.
    type X: Copy;
    /// The sums of one accumulator.
    const LANES: usize;
    /// The accumulators side by side in a full tile.
    const VECTORS: usize;
    /// The rows of a full tile.
    const MR: usize;

    unsafe fn zero() -> Self::Acc;
    unsafe fn multiply_add(acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc;
    /// Writes the `LANES` sums; `out` has at least that many.
    unsafe fn store(acc: Self::Acc, out: &mut [Self::Sum]);
    /// Asks for the weights at `from` before they are needed; any address will do.
    #[inline(always)]
    unsafe fn prefetch(_from: *const i8) {}
}

/// The microkernel of a matrix product: its rows are rows of inputs, each vector holds the weights of neighbouring columns.
///
/// # Safety
///
/// The contract of [`Accumulator`]. `weights` reads `4 * LANES` bytes, `inputs` reads `INPUT_BYTES` and may keep the pointer, so
/// those bytes must outlive it.
pub(crate) unsafe trait Microkernel: Accumulator {
    /// The bytes of the inputs that one step reads from a row.
    const INPUT_BYTES: usize;
    /// True if a step's weights stay in registers while its inputs pass by, where they are fewer; else the inputs stay.
    const HOLDS_WEIGHTS: bool = true;
    /// The steps after which the tile beside has its turn, where all rows fit a full tile and tiles are narrower than a
    /// panel: the weights then come from memory in the order in which they lie there.
    const KC: usize = usize::MAX;

    /// The most rows of a tile where there are so many in all.
    #[inline(always)]
    fn rows(_all: usize) -> usize {
        Self::MR
    }

    /// The accumulators side by side in a tile of so many rows.
    #[inline(always)]
    fn vectors(_rows: usize) -> usize {
        Self::VECTORS
    }

    unsafe fn weights(from: *const i8) -> Self::W;
    unsafe fn inputs(from: *const u8) -> Self::X;
    /// Computes a tile of `size` rows and accumulators; its first sum of each row goes to column `first`.
    unsafe fn tile<L: RowOffsets>(
        size: [usize; 2],
        operands: &Operands<'_, L>,
        first: usize,
        sums: &mut Sums<Self::Sum>,
    );
}

/// The sums of one tile, row by row.
pub(crate) type Sums<T> = [[T; NR]; MR];

/// The places of a tile's inputs, in bytes.
///
/// # Safety
///
/// For each of `steps` and each `row < rows`, `row(row) + step` does not overflow and is at most `reach(rows)`, if that is
/// not `None`; and `steps` gives as many as it says, the same in each call.
pub(crate) unsafe trait RowOffsets: Copy {
    fn row(&self, row: usize) -> usize;
    fn steps(&self) -> impl ExactSizeIterator<Item = usize>;
    /// The largest offset; `None` if it is no `usize`.
    fn reach(&self, rows: usize) -> Option<usize>;
}

/// The rows of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    /// The bytes from one row to the next.
    pub(crate) stride: usize,
    /// The bytes from one step to the next.
    pub(crate) step: usize,
    pub(crate) steps: usize,
}

// SAFETY: both are products of unsigned numbers, at most those of the last row and the last step.
unsafe impl RowOffsets for Matrix {
    #[inline(always)]
    fn row(&self, row: usize) -> usize {
        row.wrapping_mul(self.stride)
    }

    #[inline(always)]
    fn steps(&self) -> impl ExactSizeIterator<Item = usize> {
        (0..self.steps).map(|step| step.wrapping_mul(self.step))
    }

    #[inline(always)]
    fn reach(&self, rows: usize) -> Option<usize> {
        let row = rows.saturating_sub(1).checked_mul(self.stride)?;
        row.checked_add(self.steps.saturating_sub(1).checked_mul(self.step)?)
    }
}

/// The factors of one tile.
pub(crate) struct Operands<'a, L> {
    pub(crate) x: &'a [u8],
    pub(crate) rows: L,
    /// The weights from the tile's first column in the first step on.
    pub(crate) w: &'a [i8],
    /// The bytes from one step to the next.
    pub(crate) w_stride: usize,
}

/// The tile of `ROWS` x `VECTORS` accumulators, all of them in registers.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
pub(super) unsafe fn tile<M: Microkernel, L: RowOffsets, const ROWS: usize, const VECTORS: usize>(
    operands: &Operands<'_, L>,
    first: usize,
    sums: &mut Sums<M::Sum>,
) {
    let &Operands { x, rows: offsets, w, w_stride } = operands;
    let steps = offsets.steps().len();
    // These two pay for every pointer below, and count without wrapping.
    let x_end = offsets.reach(ROWS).and_then(|reach| reach.checked_add(M::INPUT_BYTES));
    let w_end = steps.saturating_sub(1).checked_mul(w_stride);
    let w_end = w_end.and_then(|last| last.checked_add(VECTORS * M::LANES * 4));
    assert!(steps == 0 || x_end.is_some_and(|end| end <= x.len()));
    assert!(steps == 0 || w_end.is_some_and(|end| end <= w.len()));
    let rows: [*const u8; ROWS] = std::array::from_fn(|row| x.as_ptr().wrapping_add(offsets.row(row)));
    // SAFETY: the caller vouches for the features. For each of the steps, `row < ROWS` and `i < VECTORS`, the inputs read end at
    // most at `reach(ROWS) + INPUT_BYTES` (the contract of `RowOffsets`) and the weights at `step * w_stride + (i + 1) * LANES *
    // 4`, both within their slices by the asserts; a prefetch address is never read (hence `wrapping_add`).
    unsafe {
        let mut acc = [[M::zero(); VECTORS]; ROWS];
        for (step, offset) in offsets.steps().enumerate() {
            let w = w.as_ptr().add(step * w_stride);
            for line in 0..(VECTORS * M::LANES * 4).div_ceil(64) {
                M::prefetch(w.wrapping_add(PREFETCH + line * 64));
            }
            let weights = |i: usize| M::weights(w.add(i * M::LANES * 4));
            if M::HOLDS_WEIGHTS && VECTORS < ROWS {
                let weights: [M::W; VECTORS] = std::array::from_fn(weights);
                for (acc, row) in acc.iter_mut().zip(rows) {
                    let x = M::inputs(row.add(offset));
                    acc.iter_mut().zip(weights).for_each(|(acc, w)| *acc = M::multiply_add(*acc, x, w));
                }
            } else {
                let inputs = rows.map(|row| M::inputs(row.add(offset)));
                for i in 0..VECTORS {
                    let w = weights(i);
                    acc.iter_mut().zip(inputs).for_each(|(acc, x)| acc[i] = M::multiply_add(acc[i], x, w));
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums) {
            let sums = &mut sums[first..][..VECTORS * M::LANES];
            // Counted to a constant: else the accumulators go through memory on their way.
            for i in 0..VECTORS {
                M::store(acc[i], &mut sums[i * M::LANES..]);
            }
        }
    }
}

/// The distance ahead of the products at which weights are asked for, in bytes.
pub(super) const PREFETCH: usize = 2048;

/// Implements [`Microkernel::tile`]: one instance of [`tile`] for each of the sizes listed.
macro_rules! tiles {
    ($microkernel:ty: $($rows:literal)* x $vectors:tt) => {
        #[inline(always)]
        unsafe fn tile<L: $crate::isa::microkernel::RowOffsets>(
            size: [usize; 2],
            operands: &$crate::isa::microkernel::Operands<'_, L>,
            first: usize,
            sums: &mut $crate::isa::microkernel::Sums<Self::Sum>,
        ) {
            $(tiles!(@row $microkernel, $rows, $vectors, size, operands, first, sums);)*
            unreachable!("no tile of {size:?}")
        }
    };
    (@row $microkernel:ty, $rows:literal, [$($vectors:literal)*], $size:ident, $operands:ident, $first:ident, $sums:ident) => {
        $(if $rows <= Self::MR && $vectors <= Self::vectors($rows) && $size == [$rows, $vectors] {
            // SAFETY: this function's caller vouches for the same features.
            return unsafe {
                $crate::isa::microkernel::tile::<$microkernel, L, $rows, $vectors>($operands, $first, $sums)
            };
        })*
    };
}
pub(super) use tiles;
