//! What all instruction sets share: the walk over a block, tile by tile, written once over a tiny vector trait.
//!
//! Everything is `inline(always)`, so that each set's `#[target_feature]` functions compile it, epilogue included, for
//! their own instructions.

use std::ops::Range;

use crate::kernel::epilogue::Epilogue;
use crate::kernel::pack::{PANEL, Packed, PanelRef};
use crate::kernel::parallel::Block;
use crate::kernel::quantize::Encode;

/// Most rows of a tile, whatever the instruction set.
pub(in crate::kernel) const TILE_ROWS: usize = 6;

/// One product: encoded activations and packed weights.
pub(in crate::kernel) struct Job<'a> {
    pub(in crate::kernel) weights: &'a Packed,
    /// Row-major, in the kernel's own encoding, padded to whole groups.
    pub(in crate::kernel) x: &'a [u8],
    /// Bytes from one row of `x` to the next.
    pub(in crate::kernel) x_stride: usize,
    /// The groups of inputs to multiply.
    pub(in crate::kernel) groups: Range<usize>,
    /// Column sums of the weights over those groups.
    pub(in crate::kernel) sums: &'a [i32],
}

/// The vector arithmetic that a tile is made of, for one instruction set.
///
/// # Safety
///
/// All functions need a CPU with the instruction set's features, and `x` to point to what its maker promised.
pub(super) trait Dot {
    /// The element of a sum.
    type Sum: Copy + Default;
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
/// As [`Dot`]. `weights` reads `4 * COLUMNS` bytes, `inputs` reads `INPUT_BYTES` and its result may keep the pointer, so
/// those bytes must outlive it.
pub(super) trait Micro: Dot {
    /// Bytes of four encoded inputs.
    const INPUT_BYTES: usize;
    /// Whether a step's weights stay in registers while its inputs pass by, where they are fewer; else the inputs stay.
    const HOLDS_WEIGHTS: bool = true;

    unsafe fn weights(from: *const i8) -> Self::W;
    unsafe fn inputs(from: *const u8) -> Self::X;
    /// Takes out what the encoding of the inputs put into the sums.
    #[inline(always)]
    fn correct(_sums: &mut [Self::Sum], _column_sums: &[i32]) {}
    /// Computes a tile of `size` rows and accumulators.
    unsafe fn tile<I: Inputs>(size: [usize; 2], operands: &Operands<'_, I>, sums: &mut Sums<Self::Sum>);
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
pub(in crate::kernel) type Sums<T> = [[T; PANEL]; TILE_ROWS];

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
pub(in crate::kernel) struct Operands<'a, I> {
    pub(in crate::kernel) x: &'a [u8],
    pub(in crate::kernel) inputs: I,
    /// From the tile's first column in the first step on.
    pub(in crate::kernel) w: &'a [i8],
    /// Bytes from one step to the next.
    pub(in crate::kernel) w_stride: usize,
}

/// The tile of `ROWS` x `WIDTH` accumulators, all of them in registers.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
pub(super) unsafe fn tile<M: Micro, I: Inputs, const ROWS: usize, const WIDTH: usize>(
    operands: &Operands<'_, I>,
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
            for (acc, sums) in acc.iter().zip(sums.chunks_exact_mut(M::COLUMNS)) {
                M::store(*acc, sums);
            }
        }
    }
}

/// How far ahead of the products the weights are asked for, in bytes.
const PREFETCH: usize = 2048;

/// Implements [`Micro::tile`]: one instance of [`tile`] for each of the sizes listed.
macro_rules! tiles {
    ($micro:ty: $($rows:literal)* x $width:tt) => {
        #[inline(always)]
        unsafe fn tile<I: $crate::kernel::isa::micro::Inputs>(
            size: [usize; 2],
            operands: &$crate::kernel::isa::micro::Operands<'_, I>,
            sums: &mut $crate::kernel::isa::micro::Sums<Self::Sum>,
        ) {
            $(tiles!(@row $micro, $rows, $width, size, operands, sums);)*
            unreachable!("no tile of {size:?}")
        }
    };
    (@row $micro:ty, $rows:literal, [$($width:literal)*], $size:ident, $operands:ident, $sums:ident) => {
        $(if $rows <= Self::ROWS && $width <= Self::WIDTH && $size == [$rows, $width] {
            // SAFETY: this function's caller vouches for the same features.
            return unsafe {
                $crate::kernel::isa::micro::tile::<$micro, I, $rows, $width>($operands, $sums)
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
pub(super) unsafe fn block<M: Micro, E: Epilogue<M::Sum>>(
    job: &Job<'_>,
    epilogue: &E,
    block: &mut Block<'_, E::Out>,
) {
    let mut sums: Sums<M::Sum> = [[Default::default(); PANEL]; TILE_ROWS];
    for offset in (0..block.columns()).step_by(PANEL) {
        let panel = job.weights.panel(block.first_column + offset);
        for first in (0..panel.columns).step_by(M::COLUMNS * M::WIDTH) {
            let strip = Strip { offset: offset + first, first, panel: &panel };
            // SAFETY: the caller vouches for the same features.
            unsafe { self::strip::<M, E>(job, &strip, epilogue, block, &mut sums) };
        }
    }
}

/// As many columns of a panel as a tile is wide.
struct Strip<'a> {
    /// From the block's first column.
    offset: usize,
    /// From the panel's first column.
    first: usize,
    panel: &'a PanelRef<'a>,
}

/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
unsafe fn strip<M: Micro, E: Epilogue<M::Sum>>(
    job: &Job<'_>,
    strip: &Strip<'_>,
    epilogue: &E,
    block: &mut Block<'_, E::Out>,
    sums: &mut Sums<M::Sum>,
) {
    let width = (strip.panel.columns - strip.first).min(M::COLUMNS * M::WIDTH);
    let columns = strip.offset..(strip.offset + width).min(block.columns());
    let column = block.first_column + strip.offset;
    let first_row = block.first_row;
    let w = &strip.panel.bytes[job.groups.start * strip.panel.stride + strip.first * 4..];
    let tiles = block.rows().div_ceil(M::ROWS);
    let mut row = 0;
    for left in (1..=tiles).rev() {
        let rows = (block.rows() - row).div_ceil(left); // even tiles: 8 rows are 4 + 4, not 6 + 2
        let x = &job.x[(first_row + row) * job.x_stride + job.groups.start * M::INPUT_BYTES..];
        let inputs = Matrix { stride: job.x_stride, group: M::INPUT_BYTES, groups: job.groups.len() };
        let operands = Operands { x, inputs, w, w_stride: strip.panel.stride };
        // SAFETY: the caller vouches for the same features.
        unsafe { M::tile([rows, width / M::COLUMNS], &operands, sums) };
        for (i, sums) in sums.iter_mut().enumerate().take(rows) {
            M::correct(&mut sums[..width], &job.sums[column..]);
            let mut out = [E::Out::default(); PANEL];
            epilogue.finish(first_row + row + i, column, &sums[..width], &mut out[..width]);
            block.write(row + i, columns.clone(), &out);
        }
        row += rows;
    }
}

/// Declares the `#[target_feature]` functions of an instruction set and its row of the table.
macro_rules! kernel {
    (
        $(#[$doc:meta])* $vis:vis const $row:ident: $name:literal,
        features: [$($feature:tt),*], codes: $code:ty, integers: $integers:ty, floats: $floats:ty,
        cells: $cell:ty, pixels: $pixels:ty, pixel_floats: $pixel_floats:ty,
        channels: $channels:ty, turn: $turn:ty
    ) => {
        $(#[$doc])*
        $vis const $row: $crate::kernel::isa::Kernel = {
            use $crate::kernel::epilogue::{Bare, Scaled};
            use $crate::kernel::isa::micro::{Job, Micro, Sums, block};
            use $crate::kernel::isa::pixels::{
                self, ChannelOperands, ChunkOutputs, ChunkSums, Columns, LineOperands, PixelOperands, Pixels,
                TileSize,
            };
            use $crate::kernel::parallel::{Block, Unwritten};
            use $crate::kernel::quantize::{self, Levels, Quantizer, encode_cells, encode_row};

            $(#[target_feature(enable = $feature)])*
            fn encode(x: &[f32], levels: Levels, codes: &mut [u8]) -> f32 {
                encode_row::<$code>(x, levels, codes)
            }
            $(#[target_feature(enable = $feature)])*
            fn dynamic(job: &Job<'_>, to: &Scaled<'_>, out: &mut Block<'_, f32>) {
                // SAFETY: this function has the features.
                unsafe { block::<$integers, _>(job, to, out) }
            }
            $(#[target_feature(enable = $feature)])*
            fn accumulate(job: &Job<'_>, to: &Bare, out: &mut Block<'_, i32>) {
                // SAFETY: this function has the features.
                unsafe { block::<$integers, _>(job, to, out) }
            }
            $(#[target_feature(enable = $feature)])*
            fn float_activations(job: &Job<'_>, to: &Scaled<'_>, out: &mut Block<'_, f32>) {
                // SAFETY: this function has the features.
                unsafe { block::<$floats, _>(job, to, out) }
            }
            $(#[target_feature(enable = $feature)])*
            fn absmax(x: &[f32]) -> f32 {
                quantize::absmax(x)
            }
            $(#[target_feature(enable = $feature)])*
            fn cells(planes: &[&[f32]], quantizer: &Quantizer, cells: &mut [u8]) {
                encode_cells::<$cell>(planes, quantizer, cells)
            }
            $(#[target_feature(enable = $feature)])*
            fn round(x: &[f32], quantizer: &Quantizer, out: &mut [f32]) {
                quantize::round(x, quantizer, out)
            }
            $(#[target_feature(enable = $feature)])*
            fn pixels(size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<i32>) {
                // SAFETY: this function has the features.
                unsafe { <$pixels as Pixels>::tile(size, operands, sums) }
            }
            $(#[target_feature(enable = $feature)])*
            fn pixel_floats(size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<f32>) {
                // SAFETY: this function has the features.
                unsafe { <$pixel_floats as Pixels>::tile(size, operands, sums) }
            }
            $(#[target_feature(enable = $feature)])*
            fn lines(operands: &LineOperands<'_>, sums: &mut [f32]) {
                pixels::lines(operands, sums)
            }
            $(#[target_feature(enable = $feature)])*
            fn channels(size: [usize; 2], operands: &ChannelOperands<'_>, sums: &mut Sums<i32>) {
                // SAFETY: this function has the features.
                unsafe { <$channels as Micro>::tile(size, operands, sums) }
            }
            $(#[target_feature(enable = $feature)])*
            fn channel_floats(size: [usize; 2], operands: &ChannelOperands<'_>, sums: &mut Sums<f32>) {
                // SAFETY: this function has the features.
                unsafe { <$pixel_floats as Micro>::tile(size, operands, sums) }
            }
            $(#[target_feature(enable = $feature)])*
            fn turn_integers(
                sums: &ChunkSums<i32>,
                size: [usize; 2],
                by: &Columns,
                out: &mut ChunkOutputs<f32>,
            ) {
                let float = |sum: i32, offset| sum.wrapping_sub(offset) as f32;
                // SAFETY: this function has the features.
                unsafe { pixels::scale_and_turn::<$turn, _>(sums, size, by, float, out) }
            }
            $(#[target_feature(enable = $feature)])*
            fn turn_floats(
                sums: &ChunkSums<f32>,
                size: [usize; 2],
                by: &Columns,
                out: &mut ChunkOutputs<f32>,
            ) {
                // SAFETY: this function has the features.
                unsafe { pixels::scale_and_turn::<$turn, _>(sums, size, by, |sum, _| sum, out) }
            }
            $(#[target_feature(enable = $feature)])*
            fn scale_integers(sums: &[i32], offset: i32, by: [f32; 2], out: Unwritten<'_, f32>) -> usize {
                pixels::scale_integers(sums, offset, by, out)
            }
            $(#[target_feature(enable = $feature)])*
            fn scale_floats(sums: &[f32], by: [f32; 2], out: Unwritten<'_, f32>) -> usize {
                pixels::scale_floats(sums, by, out)
            }
            $crate::kernel::isa::Kernel {
                name: $name,
                supported: || true $(&& std::arch::is_x86_feature_detected!($feature))*,
                code_bytes: size_of::<$code>(),
                encode_row: encode,
                dynamic,
                accumulate,
                float_activations,
                absmax,
                cells,
                round,
                pixels,
                pixel_size: TileSize::of::<$pixels>(),
                pixel_floats,
                pixel_float_size: TileSize::of::<$pixel_floats>(),
                lines,
                channels,
                channel_size: TileSize::of_channels::<$channels>(),
                channel_floats,
                channel_float_size: TileSize::of_channels::<$pixel_floats>(),
                scale_integers,
                scale_floats,
                turn_integers,
                turn_floats,
            }
        };
    };
}
pub(super) use kernel;
