//! Outputs whose pixels lie side by side.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::RawAccumulators;
use crate::isa::{Isa, Op, Sum, TRANSPOSED_ROWS, transpose};
use crate::scratch::CacheAligned;
use crate::uninit::{Block, init_map, init_map_pairs};
use crate::weight::NR;

/// Turns sums into outputs whose pixels lie side by side. `at` is a sample, a channel and the first of some pixels.
pub(crate) trait Epilogue<S: Sum>: Sync {
    /// The element of an output.
    type Output: Copy + Default + Send;

    /// Writes what the sums of neighbouring pixels of one channel give, after `offset` is taken out of them.
    fn pixels<'o>(
        &self,
        at: [usize; 3],
        sums: &[S],
        offset: i32,
        out: &'o mut [MaybeUninit<Self::Output>],
    ) -> &'o mut [Self::Output];

    /// Writes what sums give that hold a row of channels for each pixel.
    fn transposed<I: Isa>(&self, isa: I, chunk: &PixelRows<'_, S>, block: &mut Block<'_, Self::Output>);

    /// The output of one sum of a row and a channel.
    fn one(&self, at: [usize; 3], sum: S, offset: i32) -> Self::Output;

    /// The output of a sum that took more than one tile.
    fn total(&self, at: [usize; 3], total: i64) -> Self::Output;
}

/// Sums that hold a row of channels for each of some pixels, and where their outputs go.
pub(crate) struct PixelRows<'a, S> {
    /// The sums, one row a pixel.
    pub(crate) sums: &'a [[S; NR]],
    /// The sample.
    pub(crate) row: usize,
    pub(crate) channels: Range<usize>,
    /// The part of each channel's sums that the encoding of the inputs put there.
    pub(crate) offsets: &'a [i32; NR],
    /// The first of the block's rows that the channels are.
    pub(crate) block_row: usize,
    /// The columns of the block that the pixels are.
    pub(crate) columns: Range<usize>,
}

/// [`Epilogue::pixels`] as an operation.
pub(crate) struct FinishPixels<'a, 'o, S: Sum, E: Epilogue<S>> {
    pub(crate) epilogue: &'a E,
    pub(crate) at: [usize; 3],
    pub(crate) sums: &'a [S],
    pub(crate) offset: i32,
    pub(crate) out: &'o mut [MaybeUninit<E::Output>],
}

impl<'o, S: Sum, E: Epilogue<S>> Op for FinishPixels<'_, 'o, S, E> {
    type Output = &'o mut [E::Output];

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) -> &'o mut [E::Output] {
        self.epilogue.pixels(self.at, self.sums, self.offset, self.out)
    }
}

/// [`Epilogue::transposed`] as an operation.
pub(crate) struct FinishTransposed<'a, 'b, 'o, S: Sum, E: Epilogue<S>> {
    pub(crate) epilogue: &'a E,
    pub(crate) chunk: &'a PixelRows<'a, S>,
    pub(crate) block: &'b mut Block<'o, E::Output>,
}

impl<S: Sum, E: Epilogue<S>> Op for FinishTransposed<'_, '_, '_, S, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.epilogue.transposed(isa, self.chunk, self.block);
    }
}

/// `sum as f32 * (x_scale * w_scale) + bias`, in that order everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Dequantize<'a> {
    /// The scales of each sample's inputs; empty if all are 1.
    pub(crate) x_scales: &'a [f32],
    /// The scales of one sample: one, or one for each pixel.
    pub(crate) row_scales: usize,
    /// The scale of each channel's weights.
    pub(crate) w_scales: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
}

impl Dequantize<'_> {
    #[inline(always)]
    fn x_scale(&self, row: usize, pixel: usize) -> f32 {
        let of_row = if self.row_scales == 1 { 0 } else { pixel };
        self.x_scales.get(row * self.row_scales + of_row).copied().unwrap_or(1.0)
    }

    /// The scales of a row's pixels from this one on, if each has its own.
    #[inline(always)]
    fn pixel_scales(&self, row: usize, pixel: usize) -> Option<&[f32]> {
        (self.row_scales > 1).then(|| &self.x_scales[row * self.row_scales..][pixel..self.row_scales])
    }

    /// The scale of one pixel's sums for one channel, and the channel's bias.
    #[inline(always)]
    fn scale_and_bias(&self, [row, channel, pixel]: [usize; 3]) -> [f32; 2] {
        [self.x_scale(row, pixel) * self.w_scales[channel], self.bias.map_or(0.0, |bias| bias[channel])]
    }
}

/// `(sum - offset) as f32 * (x_scale * w_scale) + bias` of the channels of some pixels, each with an `x_scale` of its own.
#[inline(always)]
fn dequantize_scaled_pixels<S: Sum>(
    (sums, x_scales): (&[[S; NR]], &[f32]),
    (offsets, w_scales, biases): (&[i32], &[f32; NR], &[f32; NR]),
    out: &mut [[f32; NR]],
) {
    for ((out, sums), x_scale) in out.iter_mut().zip(sums).zip(x_scales) {
        let by = offsets.iter().zip(w_scales).zip(biases);
        for ((out, sum), ((&offset, w_scale), bias)) in out.iter_mut().zip(sums).zip(by) {
            *out = sum.to_f32(offset) * (x_scale * w_scale) + bias;
        }
    }
}

/// `(sum - offset) as f32 * scale + bias` of the channels of some pixels.
#[inline(always)]
fn dequantize_pixels<S: Sum>(
    sums: &[[S; NR]],
    (offsets, scales, biases): (&[i32], &[f32; NR], &[f32; NR]),
    out: &mut [[f32; NR]],
) {
    for (out, sums) in out.iter_mut().zip(sums) {
        let by = offsets.iter().zip(scales).zip(biases);
        for ((out, sum), ((&offset, scale), bias)) in out.iter_mut().zip(sums).zip(by) {
            *out = sum.to_f32(offset) * scale + bias;
        }
    }
}

impl<S: Sum> Epilogue<S> for Dequantize<'_> {
    type Output = f32;

    #[inline(always)]
    fn pixels<'o>(
        &self,
        at: [usize; 3],
        sums: &[S],
        offset: i32,
        out: &'o mut [MaybeUninit<f32>],
    ) -> &'o mut [f32] {
        let [scale, bias] = self.scale_and_bias(at);
        let [row, channel, pixel] = at;
        match self.pixel_scales(row, pixel) {
            Some(x_scales) => {
                let w_scale = self.w_scales[channel];
                init_map_pairs(out, (sums, x_scales), |sum, x_scale| {
                    sum.to_f32(offset) * (x_scale * w_scale) + bias
                })
            }
            None => init_map(out, sums, |sum| sum.to_f32(offset) * scale + bias),
        }
    }

    #[inline(always)]
    fn transposed<I: Isa>(&self, isa: I, chunk: &PixelRows<'_, S>, block: &mut Block<'_, f32>) {
        let (mut scales, mut biases) = ([0.0; NR], [0.0; NR]);
        let pixel_scales = self.pixel_scales(chunk.row, block.first_column + chunk.columns.start);
        let x_scale = if pixel_scales.is_some() { 1.0 } else { self.x_scale(chunk.row, 0) };
        let w_scales = &self.w_scales[chunk.channels.clone()];
        scales.iter_mut().zip(w_scales).for_each(|(scale, w_scale)| *scale = x_scale * w_scale);
        if let Some(bias) = self.bias {
            biases[..chunk.channels.len()].copy_from_slice(&bias[chunk.channels.clone()]);
        }
        let columns = chunk.channels.len().next_multiple_of(8).min(NR); // as `transpose` wants them
        let mut scaled = CacheAligned([[0.0; NR]; TRANSPOSED_ROWS]);
        let mut transposed = CacheAligned([[0.0; TRANSPOSED_ROWS]; NR]);
        let starts = chunk.columns.clone().step_by(TRANSPOSED_ROWS);
        for (start, first) in starts.zip((0..).step_by(TRANSPOSED_ROWS)) {
            let by = (&chunk.offsets[..columns], &scales, &biases);
            match pixel_scales {
                Some(x_scales) => {
                    let pixels = (&chunk.sums[first..], &x_scales[first..]);
                    dequantize_scaled_pixels(pixels, by, &mut scaled.0);
                }
                None => dequantize_pixels(&chunk.sums[first..], by, &mut scaled.0),
            }
            transpose(isa, &scaled.0, columns, &mut transposed.0);
            let pixels = start..chunk.columns.end.min(start + TRANSPOSED_ROWS);
            let rows = chunk.block_row..chunk.block_row + chunk.channels.len();
            block.append_rows::<_, TRANSPOSED_ROWS>(rows, pixels, &transposed.0);
        }
    }

    fn one(&self, at: [usize; 3], sum: S, offset: i32) -> f32 {
        let [scale, bias] = self.scale_and_bias(at);
        sum.to_f32(offset) * scale + bias
    }

    fn total(&self, at: [usize; 3], total: i64) -> f32 {
        let [scale, bias] = self.scale_and_bias(at);
        total as f32 * scale + bias
    }
}

impl<S: Sum> Epilogue<S> for RawAccumulators {
    type Output = i32;

    #[inline(always)]
    fn pixels<'o>(
        &self,
        _at: [usize; 3],
        sums: &[S],
        offset: i32,
        out: &'o mut [MaybeUninit<i32>],
    ) -> &'o mut [i32] {
        init_map(out, sums, |sum| sum.exact(offset))
    }

    #[inline(always)]
    fn transposed<I: Isa>(&self, _isa: I, chunk: &PixelRows<'_, S>, block: &mut Block<'_, i32>) {
        for channel in 0..chunk.channels.len() {
            block.append(chunk.block_row + channel, chunk.columns.clone(), |out| {
                init_map(out, chunk.sums, |sums| sums[channel].exact(chunk.offsets[channel]))
            });
        }
    }

    fn one(&self, _at: [usize; 3], sum: S, offset: i32) -> i32 {
        sum.exact(offset)
    }

    fn total(&self, _at: [usize; 3], total: i64) -> i32 {
        total as i32
    }
}
