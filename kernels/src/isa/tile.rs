//! The safe ways to a microkernel: with an instruction set at hand, or as operations.

use std::marker::PhantomData;

use super::conv_microkernel::{
    ChannelOperands, ConvMicrokernel, ConvOperands, Depthwise3x3Operands, IgemmOperands, LINES_AT_ONCE,
    Shuffle, TRANSPOSED_ROWS, channel_sums, lines_3x3,
};
use super::convert::{Convert, Encode, SumRow, ToCodes, ToFloats};
use super::encoding::{InputEncoding, OffsetU8};
use super::instruction_set::{Isa, Op, Role};
use super::microkernel::{Accumulator, Microkernel, Operands, RowOffsets, Sums};
use crate::weight::NR;

/// Computes a tile of `size` rows and accumulators; its first sum of each row goes to column `first`.
#[inline(always)]
pub(crate) fn gemm_tile<I: Isa, R: Role, L: RowOffsets>(
    _isa: I,
    size: [usize; 2],
    operands: &Operands<'_, L>,
    first: usize,
    sums: &mut Sums<R::Sum>,
) {
    // SAFETY: there is a value of `I`, so the CPU has the features; the microkernel is one of `I` (the contract of `Role`).
    unsafe { R::Gemm::<I>::tile(size, operands, first, sums) }
}

/// Computes a tile of an implicit GEMM, of `size` pixels and accumulators of channels.
pub(crate) struct IgemmTile<'a, R: Role> {
    pub(crate) size: [usize; 2],
    pub(crate) operands: &'a IgemmOperands<'a>,
    pub(crate) sums: &'a mut Sums<R::Sum>,
}

impl<R: Role> Op for IgemmTile<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        gemm_tile::<I, R, _>(isa, self.size, self.operands, 0, self.sums);
    }
}

/// Computes a tile of a direct convolution, of `size` channels and accumulators of pixels. The sums still hold what the
/// encoding of the inputs put in.
pub(crate) struct ConvTile<'a, R: Role> {
    pub(crate) size: [usize; 2],
    pub(crate) operands: &'a ConvOperands<'a>,
    pub(crate) sums: &'a mut Sums<R::Sum>,
}

impl<R: Role> Op for ConvTile<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        // SAFETY: there is a value of `I`, so the CPU has the features; the microkernel is one of `I` (the contract of `Role`).
        unsafe { R::Conv::<I>::tile(self.size, self.operands, self.sums) }
    }
}

/// The sizes of a microkernel's tiles.
#[derive(Clone, Copy)]
pub(crate) struct TileSize {
    /// The most rows.
    pub(crate) rows: usize,
    /// The sums of one accumulator.
    pub(crate) lanes: usize,
    /// The most columns.
    pub(crate) columns: usize,
    /// The bytes of a block of inputs.
    pub(crate) block_bytes: usize,
}

/// Asks for the sizes of the tiles of direct convolutions (channels x pixels) and of implicit GEMM (pixels x channels).
pub(crate) struct TileSizes<R: Role>(PhantomData<R>);

impl<R: Role> TileSizes<R> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R: Role> Op for TileSizes<R> {
    type Output = [TileSize; 2];

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) -> [TileSize; 2] {
        const fn size<A: Accumulator>(block_bytes: usize) -> TileSize {
            TileSize { rows: A::MR, lanes: A::LANES, columns: A::LANES * A::VECTORS, block_bytes }
        }
        [size::<R::Conv<I>>(R::Conv::<I>::BLOCK_BYTES), size::<R::Gemm<I>>(R::Gemm::<I>::INPUT_BYTES)]
    }
}

/// `to[column][row]` becomes `from[row][column]`, for the columns before `columns`, a multiple of eight.
#[inline(always)]
pub(crate) fn transpose<I: Isa>(
    _isa: I,
    from: &[[f32; NR]; TRANSPOSED_ROWS],
    columns: usize,
    to: &mut [[f32; TRANSPOSED_ROWS]; NR],
) {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe { I::Shuffle::transpose(from, columns, to) }
}

/// Rotates a block of 64.
#[inline(always)]
pub(crate) fn rotate_64<I: Isa>(_isa: I, block: &[f32; 64], out: &mut [f32; 64]) {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe { I::Shuffle::rotate_64(block, out) }
}

/// The largest magnitude, NaN or infinite if any value is.
#[inline(always)]
pub(crate) fn absmax<I: Isa>(_isa: I, x: &[f32]) -> f32 {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe { I::Convert::absmax(x) }
}

/// Says whether a value is NaN.
#[inline(always)]
pub(crate) fn has_nan<I: Isa>(_isa: I, x: &[f32]) -> bool {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe { I::Convert::has_nan(x) }
}

/// Writes each value times a factor; `out` is as long as `x`.
#[inline(always)]
pub(crate) fn scale<I: Isa>(_isa: I, x: &[f32], factor: f32, out: &mut [f32]) {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe { I::Convert::scale(x, factor, out) }
}

/// Writes the code of each value; `out` is as long as `x`.
#[inline(always)]
pub(crate) fn encode<I: Isa>(
    _isa: I,
    x: &[f32],
    way: &ToCodes,
    out: &mut [<I::Input as InputEncoding>::Code],
) {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe { <I::Convert as Encode<I::Input>>::encode(x, way, out) }
}

/// Writes the integers of each value, which are in `0..=255` whatever the encoding of inputs; `out` is as long as `x`.
#[inline(always)]
pub(crate) fn encode_bytes<I: Isa>(_isa: I, x: &[f32], way: &ToCodes, out: &mut [u8]) {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe { <I::Convert as Encode<OffsetU8>>::encode(x, way, out) }
}

/// Writes what the first `columns` sums of a row give, up to the next multiple of [`LANES`](super::LANES).
#[inline(always)]
pub(crate) fn dequantize<I: Isa>(
    _isa: I,
    sums: SumRow<'_>,
    columns: usize,
    way: &ToFloats<'_>,
    out: &mut [f32; NR],
) {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe { I::Convert::dequantize(sums, columns, way, out) }
}

/// Writes each byte as a float; `out` is as long as `x`.
#[inline(always)]
pub(crate) fn widen<I: Isa>(_isa: I, x: &[u8], out: &mut [f32]) {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe { I::Convert::widen(x, out) }
}

/// Computes the sums of `outputs` neighbouring outputs of a depthwise convolution, at most [`MR`](super::MR), a row of channels each.
#[inline(always)]
pub(crate) fn channel_tile<I: Isa>(
    _isa: I,
    outputs: usize,
    operands: &ChannelOperands<'_>,
    sums: &mut Sums<f32>,
) {
    // SAFETY: there is a value of `I`, so the CPU has the features.
    unsafe {
        match outputs {
            1 => channel_sums::<I::ConvFloat, 1>(operands, sums),
            2 => channel_sums::<I::ConvFloat, 2>(operands, sums),
            3 => channel_sums::<I::ConvFloat, 3>(operands, sums),
            4 => channel_sums::<I::ConvFloat, 4>(operands, sums),
            5 => channel_sums::<I::ConvFloat, 5>(operands, sums),
            6 => channel_sums::<I::ConvFloat, 6>(operands, sums),
            _ => unreachable!("no tile of {outputs} outputs"),
        }
    }
}

/// Computes some lines of a depthwise 3 x 3 convolution: the sums line after line.
pub(crate) struct Depthwise3x3<'a> {
    pub(crate) operands: Depthwise3x3Operands<'a>,
    pub(crate) sums: &'a mut [f32],
}

impl Op for Depthwise3x3<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let Depthwise3x3Operands { x, pitch, size: [lines, width], .. } = self.operands;
        let few = lines < LINES_AT_ONCE || <I::ConvFloat as Accumulator>::MR < LINES_AT_ONCE;
        let at_once = if few { 1 } else { LINES_AT_ONCE };
        for line in (0..lines).step_by(at_once) {
            let line = line.min(lines - at_once); // the last ones perhaps a second time
            let (x, sums) = (&x[line * pitch..], &mut self.sums[line * width..]);
            // SAFETY: there is a value of `I`, so the CPU has the features.
            unsafe {
                if at_once == 1 {
                    lines_3x3::<I::ConvFloat, 1>(&self.operands, x, sums);
                } else {
                    lines_3x3::<I::ConvFloat, LINES_AT_ONCE>(&self.operands, x, sums);
                }
            }
        }
    }
}
