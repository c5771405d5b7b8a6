//! One scale for each pixel, where each output reads a single one: such a convolution is a product whose rows are pixels.

use super::ConvInput;
use crate::isa::{Isa, Kernel, Op};
use crate::parallel::{for_each, threads_for};
use crate::quantize::{ABSMAX_COST, SharedExtent};
use crate::range::{Extent, InputScheme, Quantizer, round_and_clip, steps};

/// The ways of all pixels to integers.
pub(super) struct PixelQuantizers {
    /// The scale of the pixel that each output reads, sample after sample.
    pub(super) scales: Vec<f32>,
    /// For each sample the prescales of its pixels, and then their inverse scales.
    factors: Vec<f32>,
    /// The smallest and the largest integer of each sample.
    limits: Vec<[i32; 2]>,
    /// True if all prescales are 1.
    usual: bool,
}

/// The ways of some neighbouring pixels to integers.
#[derive(Clone, Copy)]
pub(super) struct PixelFactors<'a> {
    pub(super) prescales: &'a [f32],
    pub(super) inverses: &'a [f32],
    pub(super) limits: [i32; 2],
    /// True if all prescales are 1.
    pub(super) usual: bool,
}

/// The pixels that are looked at together, channel after channel.
const STRIP: usize = 1024;

impl PixelQuantizers {
    /// Finds the way of each pixel, and that of each sample, which says whether its integers have a sign.
    pub(super) fn new(
        kernel: Kernel,
        input: &ConvInput<'_>,
        scheme: InputScheme,
    ) -> (Vec<Option<Quantizer>>, Self) {
        let volume: usize = input.geometry.input().iter().product();
        let (mut absmaxes, extents) = absmaxes(kernel, input, volume);
        let mut factors = vec![0.0; input.batch * 2 * volume];
        let quantizers: Vec<_> =
            extents.into_iter().map(|extent| Quantizer::of_inputs(extent, scheme)).collect();
        let samples = absmaxes.chunks_mut(volume).zip(factors.chunks_mut(2 * volume)).zip(&quantizers);
        let threads = threads_for(input.batch * volume * ABSMAX_COST);
        for_each(threads, samples, |((scales, factors), quantizer)| {
            let (prescales, inverses) = factors.split_at_mut(volume);
            let is_unsigned = quantizer.as_ref().is_some_and(Quantizer::is_unsigned);
            let divisor = scheme.divisor(is_unsigned);
            kernel.run(FindSteps { scales, prescales, inverses, divisor });
        });
        let limits = |quantizer: &Option<Quantizer>| {
            quantizer.map_or([scheme.range.qmin(), scheme.range.qmax()], |q| [q.qmin, q.qmax])
        };
        let limits = quantizers.iter().map(limits).collect();
        let mut samples = factors.chunks(2 * volume);
        let usual = samples.all(|factors| factors[..volume].iter().all(|prescale| *prescale == 1.0));
        let scales = of_outputs(input, absmaxes);
        (quantizers, Self { scales, factors, limits, usual })
    }

    /// The ways of the pixels of a sample.
    pub(super) fn of(&self, sample: usize) -> PixelFactors<'_> {
        let volume = self.factors.len() / self.limits.len() / 2;
        let (prescales, inverses) = self.factors[sample * 2 * volume..][..2 * volume].split_at(volume);
        PixelFactors { prescales, inverses, limits: self.limits[sample], usual: self.usual }
    }
}

impl PixelFactors<'_> {
    /// The integers of one value in each of the pixels from `at` on.
    #[inline(always)]
    pub(super) fn quantize<const N: usize>(self, at: usize, x: &[f32; N]) -> [i32; N] {
        let (prescales, inverses) = (&self.prescales[at..at + N], &self.inverses[at..at + N]);
        let mut integers = [0; N];
        if self.usual {
            for ((q, x), inverse) in integers.iter_mut().zip(x).zip(inverses) {
                *q = round_and_clip(x * inverse, self.limits);
            }
            return integers;
        }
        for (((q, x), prescale), inverse) in integers.iter_mut().zip(x).zip(prescales).zip(inverses) {
            *q = round_and_clip((x * prescale) * inverse, self.limits);
        }
        integers
    }
}

/// The largest magnitude of each pixel, and the extent of each sample.
fn absmaxes(kernel: Kernel, input: &ConvInput<'_>, volume: usize) -> (Vec<f32>, Vec<Extent>) {
    let mut absmaxes = vec![0.0; input.batch * volume];
    let extents: Vec<_> = (0..input.batch).map(|_| SharedExtent::default()).collect();
    let samples = absmaxes.chunks_mut(volume).zip(input.values.chunks(input.geometry.sample())).zip(&extents);
    let strips = samples.flat_map(|((absmaxes, x), extent)| {
        let strips = absmaxes.chunks_mut(STRIP).zip((0..).step_by(STRIP));
        strips.map(move |(absmaxes, first)| (PixelExtents { x, volume, first, absmaxes }, extent))
    });
    let threads = threads_for(input.values.len().saturating_mul(ABSMAX_COST));
    for_each(threads, strips, |(strip, extent)| extent.join(kernel.run(strip)));
    (absmaxes, extents.into_iter().map(SharedExtent::into_extent).collect())
}

/// Finds the largest magnitude of each pixel of a strip, which starts with the pixel `first`; the result is the extent of all.
struct PixelExtents<'a> {
    /// The channels of a sample, each of `volume` values.
    x: &'a [f32],
    volume: usize,
    first: usize,
    absmaxes: &'a mut [f32],
}

impl Op for PixelExtents<'_> {
    type Output = Extent;

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) -> Extent {
        let Self { x, volume, first, absmaxes } = self;
        let mut extent = Extent::default();
        for channel in x.chunks_exact(volume) {
            extent = extent.join(extent_of_pixels(&channel[first..][..absmaxes.len()], absmaxes));
        }
        extent
    }
}

/// Raises each absmax to the magnitude of a value; the result is the extent of the values.
#[inline(always)]
fn extent_of_pixels(x: &[f32], absmaxes: &mut [f32]) -> Extent {
    let (mut positive, mut negative) = (0, 0);
    for (x, absmax) in x.iter().zip(absmaxes) {
        let bits = x.to_bits();
        positive = bits.cast_signed().max(positive);
        negative = bits.max(negative);
        // Magnitudes are ordered as their bits are, NaN last.
        let magnitude = (bits & 0x7fff_ffff).cast_signed();
        *absmax = f32::from_bits(magnitude.max(absmax.to_bits().cast_signed()).cast_unsigned());
    }
    Extent::new(positive.cast_unsigned(), negative)
}

/// Finds the numbers of each pixel from its largest magnitude, which becomes its scale.
struct FindSteps<'a> {
    scales: &'a mut [f32],
    prescales: &'a mut [f32],
    inverses: &'a mut [f32],
    divisor: f32,
}

impl Op for FindSteps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let numbers = self.scales.iter_mut().zip(self.prescales).zip(self.inverses);
        for ((scale, prescale), inverse) in numbers {
            [*scale, *prescale, *inverse] = steps(*scale, self.divisor);
        }
    }
}

/// The scale of the pixel that each output reads.
fn of_outputs(input: &ConvInput<'_>, scales: Vec<f32>) -> Vec<f32> {
    let (from, to, stride) = (input.geometry.input(), input.geometry.output(), input.geometry.spec().stride);
    if from == to {
        return scales;
    }
    let mut outputs = Vec::with_capacity(input.batch * to.iter().product::<usize>());
    for scales in scales.chunks_exact(from.iter().product()) {
        for z in 0..to[0] {
            for y in 0..to[1] {
                let line = &scales[(z * stride[0] * from[1] + y * stride[1]) * from[2]..][..from[2]];
                outputs.extend(line.iter().step_by(stride[2]).take(to[2]));
            }
        }
    }
    outputs
}
