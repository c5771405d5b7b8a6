//! What all instruction sets share: the walk over a block, tile by tile, written once over a tiny vector trait.
//!
//! Everything is `inline(always)`, so that each set's `#[target_feature]` functions compile it, epilogue included, for
//! their own instructions.

use std::ops::Range;

use crate::aligned::OnLines;
use crate::epilogue::Epilogue;
use crate::pack::{NR, PackedWeights, PanelRef};
use crate::parallel::Block;
use crate::quantize::Encode;

/// Most rows of a tile, whatever the instruction set.
pub(crate) const MR: usize = 6;

/// One product: encoded activations and packed weights.
pub(crate) struct Job<'a> {
    pub(crate) weights: &'a PackedWeights,
    /// Row-major, in the kernel's own encoding, padded to whole groups.
    pub(crate) x: &'a [u8],
    /// Bytes from one row of `x` to the next.
    pub(crate) x_stride: usize,
    /// The groups of inputs to multiply.
    pub(crate) groups: Range<usize>,
    /// Column sums of the weights over those groups.
    pub(crate) sums: &'a [i32],
}

/// A sum of products.
pub(super) trait Sum: Copy + Default {
    /// That of some steps and that of others.
    fn join(self, other: Self) -> Self;
}

impl Sum for i32 {
    #[inline(always)]
    fn join(self, other: Self) -> Self {
        self.wrapping_add(other) // an offset that is not taken out yet may be too much
    }
}

impl Sum for f32 {
    #[inline(always)]
    fn join(self, other: Self) -> Self {
        self + other
    }
}

/// The vector arithmetic that a tile is made of, for one instruction set.
///
/// # Safety
///
/// All functions need a CPU with the instruction set's features, and `x` to point to what its maker promised.
pub(super) trait Accumulator {
    /// The element of a sum.
    type Sum: Sum;
    /// Sums of `COLUMNS` columns.
    type Acc: Copy;
    /// What activations are multiplied with.
    type W: Copy;
    /// Activations.
    type X: Copy;
    /// Columns of one accumulator.
    const COLUMNS: usize;
    /// Accumulators side by side in a full tile.
    const WIDTH: usize;
    /// Rows of a full tile.
    const ROWS: usize;

    unsafe fn zero() -> Self::Acc;
    unsafe fn multiply_add(acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc;
    /// Writes the `COLUMNS` sums; `out` has at least that many.
    unsafe fn store(acc: Self::Acc, out: &mut [Self::Sum]);
    /// Asks for the weights at `from` before they are needed; any address will do.
    #[inline(always)]
    unsafe fn prefetch(_from: *const i8) {}
}

/// Tiles of a matrix product: the rows are rows of inputs, each vector holds the weights of neighbouring columns.
///
/// # Safety
///
/// As [`Accumulator`]. `weights` reads `4 * COLUMNS` bytes, `inputs` reads `INPUT_BYTES` and its result may keep the pointer, so
/// those bytes must outlive it.
pub(super) trait Microkernel: Accumulator {
    /// Bytes of four encoded inputs.
    const INPUT_BYTES: usize;
    /// Whether a step's weights stay in registers while its inputs pass by, where they are fewer; else the inputs stay.
    const HOLDS_WEIGHTS: bool = true;
    /// Where all rows fit a full tile, and tiles are narrower than a panel: the steps after which the tile beside it has its
    /// turn. The weights then come from memory in the order in which they lie there.
    const CHUNK: usize = usize::MAX;

    /// Most rows of a tile where there are so many in all.
    #[inline(always)]
    fn height(_rows: usize) -> usize {
        Self::ROWS
    }

    /// Accumulators side by side in a tile of so many rows.
    #[inline(always)]
    fn width(_rows: usize) -> usize {
        Self::WIDTH
    }

    unsafe fn weights(from: *const i8) -> Self::W;
    unsafe fn inputs(from: *const u8) -> Self::X;
    /// Takes out what the encoding of the inputs put into the sums.
    #[inline(always)]
    fn correct(_sums: &mut [Self::Sum], _column_sums: &[i32]) {}
    /// Computes a tile of `size` rows and accumulators; its first sum of each row goes to column `first`.
    unsafe fn tile<I: Inputs>(
        size: [usize; 2],
        operands: &Operands<'_, I>,
        first: usize,
        sums: &mut Sums<Self::Sum>,
    );
}

/// `sum((x + offset) * w) - offset * sum(w)`, modulo 2^32, with the offset of `C`.
#[inline(always)]
pub(super) fn take_out_offset<C: Encode + Into<i32>>(sums: &mut [i32], column_sums: &[i32]) {
    let offset = C::encode(0).into();
    for (sum, column) in sums.iter_mut().zip(column_sums) {
        *sum = sum.wrapping_sub(column.wrapping_mul(offset));
    }
}

/// The sums of one tile, row by row.
pub(crate) type Sums<T> = [[T; NR]; MR];

/// Where the inputs of a tile are, in bytes.
///
/// # Safety
///
/// For each `row` and each of `steps`, `row(row) + step` is at most `reach(rows)` if `row < rows`.
pub(super) unsafe trait Inputs: Copy {
    fn row(&self, row: usize) -> usize;
    fn steps(&self) -> impl ExactSizeIterator<Item = usize>;
    fn reach(&self, rows: usize) -> usize;
}

/// Rows of a matrix.
#[derive(Clone, Copy)]
struct Matrix {
    /// From one row to the next.
    stride: usize,
    /// From one group to the next.
    group: usize,
    groups: usize,
}

// SAFETY: both are products of unsigned numbers, at most those of the last row and the last group.
unsafe impl Inputs for Matrix {
    #[inline(always)]
    fn row(&self, row: usize) -> usize {
        row * self.stride
    }

    #[inline(always)]
    fn steps(&self) -> impl ExactSizeIterator<Item = usize> {
        (0..self.groups).map(|group| group * self.group)
    }

    #[inline(always)]
    fn reach(&self, rows: usize) -> usize {
        rows.saturating_sub(1) * self.stride + self.groups.saturating_sub(1) * self.group
    }
}

/// What one tile multiplies.
pub(crate) struct Operands<'a, I> {
    pub(crate) x: &'a [u8],
    pub(crate) inputs: I,
    /// From the tile's first column in the first step on.
    pub(crate) w: &'a [i8],
    /// Bytes from one step to the next.
    pub(crate) w_stride: usize,
}

/// The tile of `ROWS` x `WIDTH` accumulators, all of them in registers.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
pub(super) unsafe fn tile<M: Microkernel, I: Inputs, const ROWS: usize, const WIDTH: usize>(
    operands: &Operands<'_, I>,
    first: usize,
    sums: &mut Sums<M::Sum>,
) {
    let &Operands { x, inputs, w, w_stride } = operands;
    let steps = inputs.steps().len();
    // These two pay for every pointer below.
    assert!(steps == 0 || x.len() >= inputs.reach(ROWS) + M::INPUT_BYTES);
    assert!(steps == 0 || w.len() >= (steps - 1) * w_stride + WIDTH * M::COLUMNS * 4);
    let rows: [*const u8; ROWS] = std::array::from_fn(|row| x.as_ptr().wrapping_add(inputs.row(row)));
    // SAFETY: the caller vouches for the features. For each of the steps, `row < ROWS` and `i < WIDTH`, the inputs read end at
    // most at `reach(ROWS) + INPUT_BYTES` (the contract of `Inputs`) and the weights at `step * w_stride + (i + 1) * COLUMNS *
    // 4`, both within their slices by the asserts; a prefetch address is never read (hence `wrapping_add`).
    unsafe {
        let mut acc = [[M::zero(); WIDTH]; ROWS];
        for (step, offset) in inputs.steps().enumerate() {
            let w = w.as_ptr().add(step * w_stride);
            for line in 0..(WIDTH * M::COLUMNS * 4).div_ceil(64) {
                M::prefetch(w.wrapping_add(PREFETCH + line * 64));
            }
            let weights = |i: usize| M::weights(w.add(i * M::COLUMNS * 4));
            if M::HOLDS_WEIGHTS && WIDTH < ROWS {
                let weights: [M::W; WIDTH] = std::array::from_fn(weights);
                for (acc, row) in acc.iter_mut().zip(rows) {
                    let x = M::inputs(row.add(offset));
                    acc.iter_mut().zip(weights).for_each(|(acc, w)| *acc = M::multiply_add(*acc, x, w));
                }
            } else {
                let inputs = rows.map(|row| M::inputs(row.add(offset)));
                for i in 0..WIDTH {
                    let w = weights(i);
                    acc.iter_mut().zip(inputs).for_each(|(acc, x)| acc[i] = M::multiply_add(acc[i], x, w));
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums) {
            let sums = &mut sums[first..][..WIDTH * M::COLUMNS];
            // Counted to a constant: else the accumulators go through memory on their way.
            for i in 0..WIDTH {
                M::store(acc[i], &mut sums[i * M::COLUMNS..]);
            }
        }
    }
}

/// How far ahead of the products the weights are asked for, in bytes.
const PREFETCH: usize = 2048;

/// Implements [`Microkernel::tile`]: one instance of [`tile`] for each of the sizes listed.
macro_rules! tiles {
    ($micro:ty: $($rows:literal)* x $width:tt) => {
        #[inline(always)]
        unsafe fn tile<I: $crate::isa::micro::Inputs>(
            size: [usize; 2],
            operands: &$crate::isa::micro::Operands<'_, I>,
            first: usize,
            sums: &mut $crate::isa::micro::Sums<Self::Sum>,
        ) {
            $(tiles!(@row $micro, $rows, $width, size, operands, first, sums);)*
            unreachable!("no tile of {size:?}")
        }
    };
    (@row $micro:ty, $rows:literal, [$($width:literal)*], $size:ident, $operands:ident, $first:ident, $sums:ident) => {
        $(if $rows <= Self::ROWS && $width <= Self::width($rows) && $size == [$rows, $width] {
            // SAFETY: this function's caller vouches for the same features.
            return unsafe {
                $crate::isa::micro::tile::<$micro, I, $rows, $width>($operands, $first, $sums)
            };
        })*
    };
}
pub(super) use tiles;

/// Computes one block of the output.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
pub(super) unsafe fn block<M: Microkernel, E: Epilogue<M::Sum>>(
    job: &Job<'_>,
    epilogue: &E,
    block: &mut Block<'_, E::Out>,
) {
    // Few rows are bound by the memory that the weights come from: these are read in order.
    let chunk = if block.rows() <= M::ROWS { M::CHUNK } else { usize::MAX };
    let tiles = block.rows().div_ceil(M::height(block.rows()));
    let mut sums = OnLines([[Default::default(); NR]; MR]);
    for offset in (0..block.columns()).step_by(NR) {
        let panel = job.weights.panel(block.first_column + offset);
        let mut row = 0;
        for left in (1..=tiles).rev() {
            let rows = (block.rows() - row).div_ceil(left); // even tiles: 8 rows are 4 + 4, not 6 + 2
            // SAFETY: the caller vouches for the same features.
            unsafe { strip::<M>(job, &panel, [block.first_row + row, rows], chunk, &mut sums.0) };
            Part { row, rows, offset, width: panel.columns }.finish::<M, E>(
                job,
                epilogue,
                block,
                &mut sums.0,
            );
            row += rows;
        }
    }
}

/// The sums of all columns of a panel, for so many rows from the first on, `chunk` steps at a time.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
unsafe fn strip<M: Microkernel>(
    job: &Job<'_>,
    panel: &PanelRef<'_>,
    [row, rows]: [usize; 2],
    chunk: usize,
    sums: &mut Sums<M::Sum>,
) {
    let ends = |start: usize| job.groups.end.min(start.saturating_add(chunk));
    let mut start = ends(job.groups.start);
    // SAFETY: the caller vouches for the same features.
    unsafe { steps::<M>(job, panel, [row, rows], job.groups.start..start, sums) };
    if start == job.groups.end {
        return;
    }
    let mut more = OnLines([[Default::default(); NR]; MR]);
    while start < job.groups.end {
        // SAFETY: the caller vouches for the same features.
        unsafe { steps::<M>(job, panel, [row, rows], start..ends(start), &mut more.0) };
        let rows = sums.iter_mut().zip(&more.0).take(rows);
        let columns = rows.flat_map(|(sums, more)| sums.iter_mut().zip(more));
        columns.for_each(|(sum, more)| *sum = sum.join(*more));
        start = ends(start);
    }
}

/// The sums of all columns of a panel over some groups.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
unsafe fn steps<M: Microkernel>(
    job: &Job<'_>,
    panel: &PanelRef<'_>,
    [row, rows]: [usize; 2],
    groups: Range<usize>,
    sums: &mut Sums<M::Sum>,
) {
    let width = M::COLUMNS * M::width(rows);
    for first in (0..panel.columns).step_by(width) {
        let operands = operands::<M>(job, row, (panel, first), groups.clone());
        let width = width.min(panel.columns - first) / M::COLUMNS;
        // SAFETY: the caller vouches for the same features.
        unsafe { M::tile([rows, width], &operands, first, sums) };
    }
}

/// Of a tile whose first row and column are these, over some groups.
#[inline(always)]
fn operands<'a, M: Microkernel>(
    job: &'a Job<'_>,
    row: usize,
    (panel, first): (&PanelRef<'a>, usize),
    groups: Range<usize>,
) -> Operands<'a, Matrix> {
    let inputs = Matrix { stride: job.x_stride, group: M::INPUT_BYTES, groups: groups.len() };
    Operands {
        x: &job.x[row * job.x_stride + groups.start * M::INPUT_BYTES..],
        inputs,
        w: &panel.bytes[groups.start * panel.stride + first * 4..],
        w_stride: panel.stride,
    }
}

/// Some rows and columns of a block.
struct Part {
    row: usize,
    rows: usize,
    offset: usize,
    width: usize,
}

impl Part {
    /// Writes what its sums become.
    #[inline(always)]
    fn finish<M: Microkernel, E: Epilogue<M::Sum>>(
        &self,
        job: &Job<'_>,
        epilogue: &E,
        block: &mut Block<'_, E::Out>,
        sums: &mut Sums<M::Sum>,
    ) {
        let Self { row, rows, offset, width } = *self;
        let (column, columns) = (block.first_column + offset, offset..(offset + width).min(block.columns()));
        let mut out = OnLines([E::Out::default(); NR]);
        for (i, sums) in sums.iter_mut().enumerate().take(rows) {
            M::correct(&mut sums[..width], &job.sums[column..]);
            epilogue.finish(block.first_row + row + i, column, &sums[..width], &mut out.0[..width]);
            block.write(row + i, columns.clone(), &out.0);
        }
    }
}
