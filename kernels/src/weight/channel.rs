//! The weights of one output channel as they are quantized: transformed, scaled, rounded.

use super::rounding::ChannelRounding;
use crate::range::{QuantRange, Quantizer, absmax};
use crate::transform::InputTransform;

/// The error of rounding weights to integers, summed over all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuantError {
    signal: f64,
    noise: f64,
}

impl QuantError {
    /// Signal to quantization noise in dB; `None` where there is no noise or no signal.
    pub fn sqnr_db(&self) -> Option<f32> {
        let ratio = self.signal / self.noise;
        (ratio.is_finite() && ratio > 0.0).then(|| (10.0 * ratio.log10()) as f32)
    }

    /// Adds the error of other weights.
    pub(super) fn add(&mut self, other: &Self) {
        self.signal += other.signal;
        self.noise += other.noise;
    }
}

/// The way of a channel's weights to integers.
pub(super) struct ChannelQuantizer<'a> {
    pub(super) range: QuantRange,
    pub(super) rounding: ChannelRounding,
    pub(super) transform: &'a InputTransform,
}

/// The integers of a channel.
pub(super) struct QuantizedChannel {
    pub(super) integers: Vec<i8>,
    pub(super) scale: f32,
    pub(super) error: QuantError,
}

impl ChannelQuantizer<'_> {
    /// Quantizes a channel and leaves its weights transformed; `None` if one is NaN or infinite, or its scale would be.
    pub(super) fn quantize(&self, weights: &mut [f32]) -> Option<QuantizedChannel> {
        let restore = self.transform.channel(weights);
        let quantizer = Quantizer::new(absmax(weights), self.range)?;
        let scale = quantizer.scale * restore;
        if !scale.is_finite() {
            return None;
        }
        let integers = self.rounding.round(&quantizer, weights);
        let mut error = QuantError::default();
        for (&w, &q) in weights.iter().zip(&integers) {
            let (w, step) = (f64::from(w) * f64::from(restore), f64::from(scale));
            error.signal += w * w;
            error.noise += (w - step * f64::from(q)).powi(2);
        }
        Some(QuantizedChannel { integers, scale, error })
    }
}
