//! From the sums of a tile to what a caller stores.

use super::math::Activation;

/// Turns the sums of one tile row into outputs.
pub(super) trait Epilogue<Sum>: Sync {
    /// What is stored.
    type Out: Copy + Default + Send;

    /// Writes the outputs of `row`, columns from `column` on, for all of `sums`. Columns past the last are padding: what
    /// they give is not used.
    fn finish(&self, row: usize, column: usize, sums: &[Sum], out: &mut [Self::Out]);
}

/// `sum as f32 * (x_scale * w_scale) + bias`, in that order everywhere, and what is done to that.
#[derive(Clone, Copy)]
pub(super) struct Scaled<'a> {
    /// Per row; empty for float activations, which have none.
    pub(super) x_scales: &'a [f32],
    pub(super) w_scales: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
}

impl Scaled<'_> {
    /// One row of outputs, from `column` on.
    #[inline(always)]
    pub(super) fn scale(
        &self,
        x_scale: f32,
        column: usize,
        sums: impl Iterator<Item = f32>,
        out: &mut [f32],
    ) {
        let w_scales = &self.w_scales[column..];
        let scaled = sums.zip(w_scales).map(|(sum, w_scale)| sum * (x_scale * w_scale));
        match self.bias {
            None => out.iter_mut().zip(scaled).for_each(|(out, y)| *out = y),
            Some(bias) => {
                let biased = scaled.zip(&bias[column..]).map(|(y, b)| y + b);
                out.iter_mut().zip(biased).for_each(|(out, y)| *out = y);
            }
        }
        self.activation.apply(out);
    }
}

impl Epilogue<i32> for Scaled<'_> {
    type Out = f32;

    #[inline(always)]
    fn finish(&self, row: usize, column: usize, sums: &[i32], out: &mut [f32]) {
        self.scale(self.x_scales[row], column, sums.iter().map(|&sum| sum as f32), out);
    }
}

impl Epilogue<f32> for Scaled<'_> {
    type Out = f32;

    #[inline(always)]
    fn finish(&self, _row: usize, column: usize, sums: &[f32], out: &mut [f32]) {
        self.scale(1.0, column, sums.iter().copied(), out);
    }
}

/// The integer sums themselves.
#[derive(Clone, Copy)]
pub(super) struct Bare;

impl Epilogue<i32> for Bare {
    type Out = i32;

    #[inline(always)]
    fn finish(&self, _row: usize, _column: usize, sums: &[i32], out: &mut [i32]) {
        out[..sums.len()].copy_from_slice(sums);
    }
}
