//! Outputs whose channels lie side by side: of products, and of images with channels last.

use std::sync::atomic::{AtomicBool, Ordering};

use super::RawAccumulators;
use super::step::Step;
use crate::isa::{
    Isa, LANES, MR, ShortFunction, Sum, Sums, ToCodes, ToFloats, dequantize, encode_bytes, has_nan,
};
use crate::range::Quantizer;
use crate::scratch::CacheAligned;
use crate::vecmath::Activation;
use crate::weight::NR;

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
            step.apply([row, 0], out.len(), out);
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
                step.apply([row, tile.channel], self.w_scales.len(), &mut out[..tile.columns]);
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
