//! From the sums of a tile to the outputs that a caller gets: one for products and convolutions.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::isa::{
    Isa, LANES, MR, Op, ShortFunction, Sum, Sums, TRANSPOSED_ROWS, ToCodes, ToFloats, dequantize,
    encode_bytes, has_nan, transpose,
};
use crate::range::Quantizer;
use crate::scratch::CacheAligned;
use crate::uninit::{Block, init_map, init_map_pairs};
use crate::vecmath::Activation;
use crate::weight::NR;

/// One of the steps that outputs go through before they are stored.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A function of each output.
    Activate(Activation),
    /// The sum with another tensor, of the shape and the layout of the outputs.
    Add(&'a [f32]),
    /// An operation of each output with the number of its channel.
    Channels(ChannelOp, &'a [f32]),
}

/// An operation of an output, on the left, with the number of its channel: what a BatchNorm is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub enum ChannelOp {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl ChannelOp {
    #[inline(always)]
    fn apply(self, out: &mut [f32], numbers: &[f32]) {
        let each = out.iter_mut().zip(numbers);
        match self {
            Self::Add => each.for_each(|(out, y)| *out += y),
            Self::Subtract => each.for_each(|(out, y)| *out -= y),
            Self::Multiply => each.for_each(|(out, y)| *out *= y),
            Self::Divide => each.for_each(|(out, y)| *out /= y),
        }
    }
}

/// # Panics
///
/// If a tensor that is added has another number of values than the outputs, or an operation another number than the channels.
pub(crate) fn check_steps(steps: &[Step<'_>], outputs: usize, channels: usize) {
    for step in steps {
        match step {
            Step::Activate(_) => {}
            Step::Add(other) => {
                let len = other.len();
                assert!(len == outputs, "{len} values are to be added to {outputs} outputs");
            }
            Step::Channels(_, numbers) => {
                let len = numbers.len();
                assert!(len == channels, "{len} numbers are for {channels} channels");
            }
        }
    }
}

/// The sums of a tile: some neighbouring channels of a panel for some rows, which follow one another.
pub(crate) struct TileSums<'a, S> {
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    /// The first channel, which is the panel's first, too.
    pub(crate) channel: usize,
    /// The channels, and the padding of the last of them: whole vectors.
    pub(crate) columns: usize,
    /// The scale of each row's inputs.
    pub(crate) x_scales: [f32; MR],
    /// The number that the encoding added to each input of a row.
    pub(crate) offsets: [i32; MR],
    pub(crate) sums: &'a Sums<S>,
}

/// Turns sums into outputs whose channels lie side by side, up to [`NR`] of them in a panel.
pub(crate) trait RowEpilogue<S: Sum>: Sync {
    /// The element of an output.
    type Output: Copy + Default + Send;
    /// What all rows of a panel have in common.
    type Panel: Copy;

    /// The panel from this channel on, whose weights have these column sums; none if inputs have no offset.
    fn panel(&self, channel: usize, column_sums: &[i32]) -> Self::Panel;

    /// Writes the outputs of a tile. Those past the last channel are padding: nobody uses what they give.
    fn tile<I: Isa>(
        &self,
        isa: I,
        panel: &Self::Panel,
        tile: &TileSums<'_, S>,
        out: &mut [[Self::Output; NR]; MR],
    );
}

/// The first of `values`, and zeros where there are none.
#[inline(always)]
fn padded<T: Copy + Default>(values: &[T]) -> [T; NR] {
    let mut all = [T::default(); NR];
    all.iter_mut().zip(values).for_each(|(all, value)| *all = *value);
    all
}

/// Writes `f(i, sum)` for each of the first `columns` of a row.
#[inline(always)]
fn map_row<S: Copy, T>(sums: &[S; NR], columns: usize, out: &mut [T; NR], f: impl Fn(usize, S) -> T) {
    let rows = sums.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0);
    for (chunk, (sums, out)) in rows.enumerate().take(columns / LANES) {
        for i in 0..LANES {
            out[i] = f(chunk * LANES + i, sums[i]);
        }
    }
}

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

/// `sum as f32 * (x_scale * w_scale) + bias`, in that order everywhere, and some steps with that, in rows of channels.
#[derive(Clone, Copy)]
pub(crate) struct DequantizeRows<'a> {
    /// The scale of each channel's weights.
    pub(crate) w_scales: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) steps: &'a [Step<'a>],
}

/// What a panel's outputs are made with.
#[derive(Clone, Copy)]
pub(crate) struct DequantizedPanel {
    column_sums: [i32; NR],
    w_scales: [f32; NR],
    biases: Option<[f32; NR]>,
}

impl DequantizeRows<'_> {
    /// The outputs of sums that took more than one tile.
    pub(crate) fn totals(&self, (row, x_scale): (usize, f32), totals: &[i64], out: &mut [f32]) {
        for (i, (out, &total)) in out.iter_mut().zip(totals).enumerate() {
            let y = total as f32 * (x_scale * self.w_scales[i]);
            *out = self.bias.map_or(y, |bias| y + bias[i]);
        }
        for step in self.steps {
            match step {
                Step::Activate(activation) => activation.apply(out),
                Step::Add(other) => ChannelOp::Add.apply(out, &other[row * out.len()..]),
                Step::Channels(op, numbers) => op.apply(out, numbers),
            }
        }
    }
}

impl<S: Sum> RowEpilogue<S> for DequantizeRows<'_> {
    type Output = f32;
    type Panel = DequantizedPanel;

    #[inline(always)]
    fn panel(&self, channel: usize, column_sums: &[i32]) -> DequantizedPanel {
        let biases = self.bias.map(|bias| padded(&bias[channel..]));
        DequantizedPanel {
            column_sums: padded(column_sums),
            w_scales: padded(&self.w_scales[channel..]),
            biases,
        }
    }

    #[inline(always)]
    fn tile<I: Isa>(
        &self,
        isa: I,
        panel: &DequantizedPanel,
        tile: &TileSums<'_, S>,
        out: &mut [[f32; NR]; MR],
    ) {
        // The first function, if it is short, is computed in the pass over the sums.
        let (function, steps) = match self.steps.split_first() {
            Some((Step::Activate(Activation::Relu), rest)) => (ShortFunction::Relu, rest),
            Some((&Step::Activate(Activation::Clamp(limits)), rest)) => (ShortFunction::Clamp(limits), rest),
            _ => (ShortFunction::Identity, self.steps),
        };
        let DequantizedPanel { column_sums, w_scales, biases } = panel;
        for (i, out) in out.iter_mut().enumerate().take(tile.rows) {
            let (offset, x_scale) = (tile.offsets[i], tile.x_scales[i]);
            let way = ToFloats { offset, x_scale, column_sums, w_scales, biases: biases.as_ref(), function };
            dequantize(isa, S::row(&tile.sums[i]), tile.columns, &way, out);
        }
        for step in steps {
            for (row, out) in (tile.first_row..).zip(out.iter_mut()).take(tile.rows) {
                match step {
                    Step::Activate(activation) => activation.apply(&mut out[..tile.columns]),
                    Step::Add(other) => {
                        let row = &other[row * self.w_scales.len()..][..self.w_scales.len()];
                        ChannelOp::Add.apply(&mut out[..tile.columns], &row[tile.channel..]);
                    }
                    Step::Channels(op, numbers) => {
                        op.apply(&mut out[..tile.columns], &numbers[tile.channel..]);
                    }
                }
            }
        }
    }
}

/// The outputs of [`DequantizeRows`] as integers without a sign, which can't be NaN: the samples that have one are noted.
pub(crate) struct EncodeRows<'a> {
    rows: DequantizeRows<'a>,
    way: ToCodes,
    /// One for each sample, of so many rows.
    has_nan: &'a [AtomicBool],
    sample_rows: usize,
}

impl<'a> EncodeRows<'a> {
    /// Integers of outputs between zero and `bound`, of samples with so many rows.
    pub(crate) fn new(
        rows: DequantizeRows<'a>,
        bound: f32,
        (has_nan, sample_rows): (&'a [AtomicBool], usize),
    ) -> Self {
        Self { rows, way: Quantizer::up_to(bound).to_codes(0), has_nan, sample_rows }
    }
}

impl<S: Sum> RowEpilogue<S> for EncodeRows<'_> {
    type Output = u8;
    type Panel = DequantizedPanel;

    #[inline(always)]
    fn panel(&self, channel: usize, column_sums: &[i32]) -> DequantizedPanel {
        RowEpilogue::<S>::panel(&self.rows, channel, column_sums)
    }

    #[inline(always)]
    fn tile<I: Isa>(
        &self,
        isa: I,
        panel: &DequantizedPanel,
        tile: &TileSums<'_, S>,
        out: &mut [[u8; NR]; MR],
    ) {
        let mut floats = CacheAligned([[0.0; NR]; MR]);
        self.rows.tile(isa, panel, tile, &mut floats.0);
        for (row, (out, floats)) in out.iter_mut().zip(&floats.0).enumerate().take(tile.rows) {
            let floats = &floats[..tile.columns];
            encode_bytes(isa, floats, &self.way, &mut out[..tile.columns]);
            if has_nan(isa, floats) {
                self.has_nan[(tile.first_row + row) / self.sample_rows].store(true, Ordering::Relaxed);
            }
        }
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

/// The exact integer sums themselves.
#[derive(Clone, Copy)]
pub(crate) struct RawAccumulators;

impl<S: Sum> RowEpilogue<S> for RawAccumulators {
    type Output = i32;
    type Panel = [i32; NR];

    #[inline(always)]
    fn panel(&self, _channel: usize, column_sums: &[i32]) -> [i32; NR] {
        padded(column_sums)
    }

    #[inline(always)]
    fn tile<I: Isa>(&self, _isa: I, panel: &[i32; NR], tile: &TileSums<'_, S>, out: &mut [[i32; NR]; MR]) {
        for (i, out) in out.iter_mut().enumerate().take(tile.rows) {
            let offset = tile.offsets[i];
            map_row(&tile.sums[i], tile.columns, out, |i, sum| sum.exact(panel[i].wrapping_mul(offset)));
        }
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
