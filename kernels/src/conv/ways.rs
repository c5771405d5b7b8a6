//! The way of each sample to what is multiplied: integers by its extent, or floats that leave room for their sums.

use std::borrow::Cow;

use super::ConvInput;
use super::pixels::PixelQuantizers;
use crate::isa::Kernel;
use crate::parallel::{for_each, threads_for};
use crate::quantize::{ABSMAX_COST, ExtentOf, SharedExtent};
use crate::range::{Extent, InputCodes, InputScheme, Quantizer, overflow_guard};

/// The ways of a batch to what is multiplied.
#[derive(Default)]
pub(super) struct InputWays {
    /// One a sample, for quantized inputs; `None` where it has a NaN or an infinity.
    pub(super) quantizers: Vec<Option<Quantizer>>,
    /// Those of single pixels, if each has its own.
    pub(super) pixels: Option<PixelQuantizers>,
    /// One a sample, for float inputs.
    pub(super) factors: Vec<f32>,
}

impl InputWays {
    pub(super) fn quantized(kernel: Kernel, input: &ConvInput<'_>, scheme: InputScheme) -> Self {
        if scheme.codes == InputCodes::Auto && input.geometry.is_pointwise() {
            let (quantizers, pixels) = PixelQuantizers::new(kernel, input, scheme);
            return Self { quantizers, pixels: Some(pixels), ..Self::default() };
        }
        let extents = input.extents(kernel).into_iter();
        let quantizers = extents.map(|extent| Quantizer::of_inputs(extent, scheme)).collect();
        Self { quantizers, ..Self::default() }
    }

    /// Floats that leave room for their sums, and the factors that take that back from outputs.
    pub(super) fn floats(kernel: Kernel, input: &ConvInput<'_>) -> (Self, Vec<f32>) {
        let guards = input.extents(kernel).into_iter().map(|extent| overflow_guard(extent.absmax()));
        let (factors, x_scales) = guards.map(|[down, up]| (down, up)).unzip();
        (Self { factors, ..Self::default() }, x_scales)
    }

    /// The scales of all samples, or of the pixels that their outputs read.
    pub(super) fn scales(&self) -> Cow<'_, [f32]> {
        let scale = |quantizer: &Option<Quantizer>| quantizer.map_or(f32::NAN, |quantizer| quantizer.scale);
        match &self.pixels {
            Some(pixels) => Cow::Borrowed(&pixels.scales),
            None => Cow::Owned(self.quantizers.iter().map(scale).collect()),
        }
    }
}

impl ConvInput<'_> {
    /// The extent of each sample.
    fn extents(&self, kernel: Kernel) -> Vec<Extent> {
        extents(kernel, self.values, [self.batch, self.geometry.sample()])
    }
}

/// The extents of so many samples with so many values each.
pub(super) fn extents(kernel: Kernel, values: &[f32], [batch, sample]: [usize; 2]) -> Vec<Extent> {
    const AT_ONCE: usize = 1 << 15;
    let extents: Vec<_> = (0..batch).map(|_| SharedExtent::default()).collect();
    if sample > 0 {
        let samples = values.chunks(sample).zip(&extents);
        let parts = samples.flat_map(|(x, all)| x.chunks(AT_ONCE).map(move |x| (x, all)));
        let work = |(x, all): (&[f32], &SharedExtent)| all.join(kernel.run(ExtentOf(x)));
        for_each(threads_for(values.len().saturating_mul(ABSMAX_COST)), parts, work);
    }
    extents.into_iter().map(SharedExtent::into_extent).collect()
}
