//! What all instruction sets share for convolutions: tiles whose rows are output channels and whose vectors hold
//! neighbouring pixels, so that outputs come in the order in which they are stored; and the other way round, tiles of a
//! matrix product whose rows are pixels, anywhere in memory.

use std::ops::Range;

use super::micro::{Accumulator, Inputs, MR, Microkernel, Operands, Sums};
use crate::aligned::OnLines;
use crate::pack::NR;
use crate::parallel::{Unwritten, write};

/// Tiles of a convolution. Inputs come in cells: what one pixel brings to one step of the sum.
///
/// # Safety
///
/// As [`Accumulator`]. `cells` reads `CELL * COLUMNS` bytes, `weight` reads four.
pub(super) trait ConvMicrokernel: Accumulator {
    /// Bytes of a cell.
    const CELL: usize;

    unsafe fn cells(from: *const u8) -> Self::X;
    unsafe fn weight(from: *const i8) -> Self::W;
    /// Computes a tile of `size` channels and accumulators.
    unsafe fn tile(size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<Self::Sum>);
}

/// Where the cells of each step are, in bytes from the cell of the first.
pub(crate) struct Steps {
    offsets: Vec<usize>,
    /// The largest of them.
    reach: usize,
}

impl Steps {
    pub(crate) fn new(offsets: Vec<usize>) -> Self {
        let reach = offsets.iter().copied().max().unwrap_or(0);
        Self { offsets, reach }
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn are(&self, offsets: impl Iterator<Item = usize>) -> bool {
        self.offsets.iter().copied().eq(offsets)
    }

    pub(crate) fn reach(&self) -> usize {
        self.reach
    }
}

/// Cells of pixels that need not be neighbours, step by step.
#[derive(Clone, Copy)]
pub(crate) struct Scattered<'a> {
    /// Where the cells of the first step are.
    rows: [usize; MR],
    steps: &'a Steps,
}

impl<'a> Scattered<'a> {
    pub(crate) fn new(positions: &[usize], steps: &'a Steps) -> Self {
        let mut rows = [0; MR];
        rows.iter_mut().zip(positions).for_each(|(row, position)| *row = *position);
        Self { rows, steps }
    }
}

// SAFETY: no row is above the largest of them, and no offset above `reach` (`Steps` has no other maker than `new`).
unsafe impl Inputs for Scattered<'_> {
    #[inline(always)]
    fn row(&self, row: usize) -> usize {
        self.rows[row]
    }

    #[inline(always)]
    fn steps(&self) -> impl ExactSizeIterator<Item = usize> {
        self.steps.offsets.iter().copied()
    }

    #[inline(always)]
    fn reach(&self, rows: usize) -> usize {
        self.rows[..rows].iter().max().map_or(0, |row| row + self.steps.reach)
    }
}

/// What one tile of channels multiplies.
pub(crate) type ChannelOperands<'a> = Operands<'a, Scattered<'a>>;

/// What one tile multiplies.
pub(crate) struct PixelOperands<'a> {
    /// From the cell of the first pixel on.
    pub(crate) x: &'a [u8],
    pub(crate) steps: &'a Steps,
    /// The steps to sum up.
    pub(crate) range: Range<usize>,
    /// From the first channel's weight in the first of those steps on: four bytes a channel.
    pub(crate) w: &'a [i8],
    /// Bytes from one step to the next.
    pub(crate) w_stride: usize,
}

/// The tile of `ROWS` channels and `WIDTH` accumulators, all of them in registers.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
pub(super) unsafe fn pixel_tile<M: ConvMicrokernel, const ROWS: usize, const WIDTH: usize>(
    operands: &PixelOperands<'_>,
    sums: &mut Sums<M::Sum>,
) {
    let &PixelOperands { x, steps, w, w_stride, .. } = operands;
    let offsets = &steps.offsets[operands.range.clone()];
    // These two pay for every pointer below.
    assert!(offsets.is_empty() || x.len() >= steps.reach + WIDTH * M::COLUMNS * M::CELL);
    assert!(offsets.is_empty() || w.len() >= (offsets.len() - 1) * w_stride + ROWS * 4);
    // SAFETY: the caller vouches for the features. No offset is above `reach` (only `Steps::new` makes `Steps`), so cells are read up
    // to `reach + WIDTH * COLUMNS * CELL`, and each step's weights up to `(steps - 1) * w_stride + ROWS * 4`: by the asserts within
    // their slices. A prefetch address is never read (hence `wrapping_add`).
    unsafe {
        let mut acc = [[M::zero(); WIDTH]; ROWS];
        for (step, &offset) in offsets.iter().enumerate() {
            let x = x.as_ptr().add(offset);
            let w = w.as_ptr().add(step * w_stride);
            M::prefetch(w.wrapping_add(PREFETCH));
            let mut cells = [M::cells(x); WIDTH];
            for (i, cells) in cells.iter_mut().enumerate().skip(1) {
                *cells = M::cells(x.add(i * M::COLUMNS * M::CELL));
            }
            for (row, acc) in acc.iter_mut().enumerate() {
                let w = M::weight(w.add(row * 4));
                for (acc, &cells) in acc.iter_mut().zip(&cells) {
                    *acc = M::multiply_add(*acc, cells, w);
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums) {
            for (acc, sums) in acc.iter().zip(sums.chunks_exact_mut(M::COLUMNS)) {
                M::store(*acc, sums);
            }
        }
    }
}

/// How far ahead of the products the weights are asked for, in bytes.
const PREFETCH: usize = 2048;

/// Implements [`ConvMicrokernel::tile`]: one instance of [`pixel_tile`] for each of the sizes listed.
macro_rules! pixel_tiles {
    ($micro:ty: $($rows:literal)* x $width:tt) => {
        #[inline(always)]
        unsafe fn tile(
            size: [usize; 2],
            operands: &$crate::isa::pixels::PixelOperands<'_>,
            sums: &mut $crate::isa::micro::Sums<Self::Sum>,
        ) {
            $(pixel_tiles!(@row $micro, $rows, $width, size, operands, sums);)*
            unreachable!("no tile of {size:?}")
        }
    };
    (@row $micro:ty, $rows:literal, [$($width:literal)*], $size:ident, $operands:ident, $sums:ident) => {
        $(if $rows <= Self::ROWS && $width <= Self::WIDTH && $size == [$rows, $width] {
            // SAFETY: this function's caller vouches for the same features.
            return unsafe {
                $crate::isa::pixels::pixel_tile::<$micro, $rows, $width>($operands, $sums)
            };
        })*
    };
}
pub(super) use pixel_tiles;

/// The sizes of an instruction set's tiles.
#[derive(Clone, Copy)]
pub(crate) struct TileSize {
    /// Most channels.
    pub(crate) rows: usize,
    /// ConvMicrokernel of one accumulator.
    pub(crate) lanes: usize,
    /// Most pixels.
    pub(crate) columns: usize,
    /// Bytes of a cell.
    pub(crate) cell: usize,
}

impl TileSize {
    pub(super) const fn of<M: ConvMicrokernel>() -> Self {
        Self { rows: M::ROWS, lanes: M::COLUMNS, columns: M::COLUMNS * M::WIDTH, cell: M::CELL }
    }

    /// Of tiles whose rows are pixels and whose columns are channels.
    pub(super) const fn of_channels<M: Microkernel>() -> Self {
        Self { rows: M::ROWS, lanes: M::COLUMNS, columns: M::COLUMNS * M::WIDTH, cell: M::INPUT_BYTES }
    }
}

/// Neighbouring pixels of one channel whose sums are made together: as many vectors as an addition takes cycles, and more.
pub(crate) const LINE: usize = 64;

/// What the sums of one channel multiply.
pub(crate) struct LineOperands<'a> {
    /// From the cell of the first pixel on.
    pub(crate) x: &'a [f32],
    pub(crate) steps: &'a Steps,
    /// From the channel's weight in the first step on.
    pub(crate) w: &'a [f32],
    /// Floats from one step to the next.
    pub(crate) w_stride: usize,
}

/// The sums of one channel for neighbouring pixels, a whole number of lines.
#[inline(always)]
pub(super) fn lines(operands: &LineOperands<'_>, sums: &mut [f32]) {
    let &LineOperands { x, steps, w, w_stride } = operands;
    for (sums, first) in sums.as_chunks_mut::<LINE>().0.iter_mut().zip((0..).step_by(LINE)) {
        let mut acc = [0.0; LINE];
        for (step, offset) in steps.offsets.iter().enumerate() {
            let w = w[step * w_stride];
            let x = &x[first + offset / size_of::<f32>()..][..LINE];
            acc.iter_mut().zip(x).for_each(|(acc, x)| *acc += x * w);
        }
        *sums = acc;
    }
}

/// ConvMicrokernel whose sums are made before their outputs are written.
pub(crate) const CHUNK: usize = 48;
/// ConvMicrokernel that are turned at once, from rows of channels to rows of pixels.
pub(super) const TURN: usize = 8;

/// Sums of a chunk, a row for each pixel; a tile that starts at the last one still fits.
pub(crate) type ChunkSums<T> = [[T; NR]; CHUNK + MR];

/// Where the outputs of a chunk go.
pub(crate) struct ChunkOutputs<'a, 'b, T> {
    /// One for each channel.
    pub(crate) rows: &'a mut [Unwritten<'b, T>],
    /// The pixels of the chunk, from the block's corner.
    pub(crate) columns: Range<usize>,
}

/// How sums become outputs, channel by channel: `(sum - offset) as f32 * scale + bias`.
pub(crate) struct Columns {
    pub(crate) offsets: [i32; NR],
    pub(crate) scales: [f32; NR],
    pub(crate) biases: [f32; NR],
}

/// Swaps rows and columns.
///
/// # Safety
///
/// The CPU has the instruction set's features.
pub(super) trait Turn {
    /// `to[column][row]` becomes `from[row][column]`, for the columns before `columns`, a multiple of eight.
    unsafe fn turn(from: &[[f32; NR]; TURN], columns: usize, to: &mut [[f32; TURN]; NR]);
}

/// Writes the outputs of a chunk; returns how many.
///
/// # Safety
///
/// The CPU has the features of `T`.
#[inline(always)]
pub(super) unsafe fn scale_and_turn<T: Turn, S: Copy>(
    sums: &ChunkSums<S>,
    by: &Columns,
    float: impl Fn(S, i32) -> f32,
    to: ChunkOutputs<'_, '_, f32>,
) -> usize {
    let columns = to.rows.len().next_multiple_of(8).min(NR); // as `turn` wants them
    let (mut scaled, mut turned) = (OnLines([[0.0; NR]; TURN]), OnLines([[0.0; TURN]; NR]));
    let mut written = 0;
    for (pixels, first) in to.columns.clone().step_by(TURN).zip((0..).step_by(TURN)) {
        for (scaled, sums) in scaled.0.iter_mut().zip(&sums[first..]) {
            let by = by.offsets[..columns].iter().zip(&by.scales).zip(&by.biases);
            for ((scaled, &sum), ((&offset, scale), bias)) in scaled.iter_mut().zip(sums).zip(by) {
                *scaled = float(sum, offset) * scale + bias;
            }
        }
        // SAFETY: the caller vouches for the same features.
        unsafe { T::turn(&scaled.0, columns, &mut turned.0) };
        let pixels = pixels..to.columns.end.min(pixels + TURN);
        for (row, turned) in to.rows.iter_mut().zip(&turned.0) {
            written += write::<_, TURN>(&mut row[pixels.clone()], turned);
        }
    }
    written
}

/// Writes `(sum - offset) as f32 * scale + bias`, modulo 2^32 before it is float; returns how many.
#[inline(always)]
pub(super) fn scale_integers(
    sums: &[i32],
    offset: i32,
    [scale, bias]: [f32; 2],
    out: Unwritten<'_, f32>,
) -> usize {
    for (out, sum) in out.iter_mut().zip(sums) {
        out.write(sum.wrapping_sub(offset) as f32 * scale + bias);
    }
    out.len().min(sums.len())
}

/// Writes `sum * scale + bias`; returns how many.
#[inline(always)]
pub(super) fn scale_floats(sums: &[f32], [scale, bias]: [f32; 2], out: Unwritten<'_, f32>) -> usize {
    for (out, sum) in out.iter_mut().zip(sums) {
        out.write(sum * scale + bias);
    }
    out.len().min(sums.len())
}
