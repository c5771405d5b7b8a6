//! From the values of an input to the numbers in a window.

use std::ops::Range;

use super::window::Window;
use crate::isa::{InputEncoding, Isa, ToCodes, absmax, encode, scale, widen};
use crate::range::{Quantizer, steps};
use crate::weight::KR;

/// The pixels whose steps are found together.
const PIXELS: usize = 16;

/// The way from neighbouring values to numbers. It is no closure, which might be compiled without the features of the instruction set.
pub(super) trait Pass<X, T> {
    /// Writes the number of each value; `out` is as long as `x`.
    fn run(&self, x: &[X], out: &mut [T]);
}

/// Floats to the codes of inputs.
struct Encode<I>(I, ToCodes);

impl<I: Isa> Pass<f32, <I::Input as InputEncoding>::Code> for Encode<I> {
    #[inline(always)]
    fn run(&self, x: &[f32], out: &mut [<I::Input as InputEncoding>::Code]) {
        encode(self.0, x, &self.1, out);
    }
}

/// Integers without a sign to the codes of inputs.
struct Recode<I>(I);

impl<I: Isa> Pass<u8, <I::Input as InputEncoding>::Code> for Recode<I> {
    #[inline(always)]
    fn run(&self, x: &[u8], out: &mut [<I::Input as InputEncoding>::Code]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = I::Input::encode(i32::from(x), I::Input::UNSIGNED_OFFSET);
        }
    }
}

/// Integers without a sign to floats.
pub(super) struct Widen<I>(pub(super) I);

impl<I: Isa> Pass<u8, f32> for Widen<I> {
    #[inline(always)]
    fn run(&self, x: &[u8], out: &mut [f32]) {
        widen(self.0, x, out);
    }
}

/// Floats times a factor.
pub(super) struct Scale<I>(pub(super) I, pub(super) f32);

impl<I: Isa> Pass<f32, f32> for Scale<I> {
    #[inline(always)]
    fn run(&self, x: &[f32], out: &mut [f32]) {
        scale(self.0, x, self.1, out);
    }
}

/// Floats to integers, as floats.
impl Pass<f32, f32> for Quantizer {
    #[inline(always)]
    fn run(&self, x: &[f32], out: &mut [f32]) {
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = self.quantize(x) as f32);
    }
}

/// Fills a window from the values of a sample.
#[derive(Clone, Copy)]
pub(super) struct WindowFiller<'a, X> {
    pub(super) x: &'a [X],
    pub(super) channels: usize,
    pub(super) window: &'a Window,
}

impl<X> WindowFiller<'_, X> {
    /// What a pass makes of some channels; those of a pixel are padded to `width`.
    #[inline(always)]
    pub(super) fn fill<T: Copy>(
        &self,
        channels: Range<usize>,
        (width, zero): (usize, T),
        out: &mut [T],
        pass: &impl Pass<X, T>,
    ) {
        // Where nothing lies between them, all pixels of a line are one run of values.
        let is_run = channels.len() == self.channels && width == self.channels && self.window.step() == 1;
        for line in self.window.lines() {
            let out = &mut out[line.first * width..][..self.window.width() * width];
            let (left, rest) = out.split_at_mut(line.inside.start * width);
            let (inside, right) = rest.split_at_mut(line.inside.len() * width);
            left.fill(zero);
            right.fill(zero);
            if is_run {
                pass.run(&self.x[line.from * width..][..inside.len()], inside);
                continue;
            }
            let pixels = (line.from..).step_by(self.window.step());
            for (out, pixel) in inside.chunks_exact_mut(width).zip(pixels) {
                let (body, padding) = out.split_at_mut(channels.len());
                pass.run(&self.x[pixel * self.channels..][channels.clone()], body);
                padding.fill(zero);
            }
        }
    }
}

impl WindowFiller<'_, f32> {
    /// The integers of all pixels in one way, zeros if there is none; a pixel's channels are padded to a multiple of four.
    #[inline(always)]
    pub(super) fn encode<I: Isa>(
        &self,
        isa: I,
        quantizer: Option<&Quantizer>,
        offset: i32,
        out: &mut [<I::Input as InputEncoding>::Code],
    ) {
        let (padded, zero) = (self.channels.next_multiple_of(KR), I::Input::encode(0, offset));
        let Some(quantizer) = quantizer else { return out.fill(zero) };
        self.fill(0..self.channels, (padded, zero), out, &Encode(isa, quantizer.to_codes(offset)));
    }

    /// The integers of each pixel in a way of its own, and its scale. All pixels are inputs.
    #[inline(always)]
    pub(super) fn encode_pixels<I: Isa>(
        &self,
        isa: I,
        (limits, divisor): ([i32; 2], f32),
        offset: i32,
        (out, scales): (&mut [<I::Input as InputEncoding>::Code], &mut [f32]),
    ) {
        let (padded, zero) = (self.channels.next_multiple_of(KR), I::Input::encode(0, offset));
        let step = self.window.step();
        for line in self.window.lines() {
            let pixel = |i: usize| &self.x[(line.from + i * step) * self.channels..][..self.channels];
            for start in (0..line.inside.len()).step_by(PIXELS) {
                let count = PIXELS.min(line.inside.len() - start);
                let mut largest = [0.0; PIXELS];
                for (i, largest) in largest.iter_mut().enumerate().take(count) {
                    *largest = absmax(isa, pixel(start + i));
                }
                let ways = PixelWays::new(largest, divisor);
                let first = line.first + start;
                scales[first..][..count].copy_from_slice(&ways.scales[..count]);
                let out = &mut out[first * padded..][..count * padded];
                for (i, out) in out.chunks_exact_mut(padded).enumerate() {
                    let (body, padding) = out.split_at_mut(self.channels);
                    padding.fill(zero);
                    let factors = [ways.prescales[i], ways.inverses[i]];
                    encode(isa, pixel(start + i), &ToCodes { factors, limits, offset }, body);
                }
            }
        }
    }
}

impl WindowFiller<'_, u8> {
    /// Integers that have no sign, in the encoding of the instruction set.
    #[inline(always)]
    pub(super) fn recode<I: Isa>(&self, isa: I, out: &mut [<I::Input as InputEncoding>::Code]) {
        let zero = I::Input::encode(0, I::Input::UNSIGNED_OFFSET);
        let padded = self.channels.next_multiple_of(KR);
        self.fill(0..self.channels, (padded, zero), out, &Recode(isa));
    }
}

/// The ways of some pixels to integers.
struct PixelWays {
    scales: [f32; PIXELS],
    prescales: [f32; PIXELS],
    inverses: [f32; PIXELS],
}

impl PixelWays {
    /// The ways of pixels with these largest magnitudes, which are divided into so many steps.
    #[inline(always)]
    fn new(largest: [f32; PIXELS], divisor: f32) -> Self {
        let mut ways = Self { scales: [1.0; PIXELS], prescales: [1.0; PIXELS], inverses: [0.0; PIXELS] };
        for (i, largest) in largest.into_iter().enumerate() {
            [ways.scales[i], ways.prescales[i], ways.inverses[i]] = steps(largest, divisor);
        }
        ways
    }
}
