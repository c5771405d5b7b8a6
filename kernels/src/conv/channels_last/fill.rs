//! From the values of an input to the numbers in a window.

use std::ops::Range;

use super::window::{Window, WindowLine};
use crate::isa::InputEncoding;
use crate::range::{Quantizer, absmax, round_and_clip, steps};
use crate::weight::KR;

/// The pixels whose steps are found together.
const PIXELS: usize = 16;

/// Fills a window from the values of a sample.
#[derive(Clone, Copy)]
pub(super) struct WindowFiller<'a> {
    pub(super) x: &'a [f32],
    pub(super) channels: usize,
    pub(super) window: &'a Window,
}

impl WindowFiller<'_> {
    /// The integers of all pixels in one way, zeros if there is none; a pixel's channels are padded to a multiple of four.
    #[inline(always)]
    pub(super) fn encode<E: InputEncoding>(
        &self,
        quantizer: Option<&Quantizer>,
        offset: i32,
        out: &mut [E::Code],
    ) {
        let (padded, zero) = (self.channels.next_multiple_of(KR), E::encode(0, offset));
        let Some(quantizer) = quantizer else { return out.fill(zero) };
        // Where nothing lies between them, all pixels of a line are encoded as one.
        let run = if padded == self.channels && self.window.step() == 1 { usize::MAX } else { 1 };
        for line in self.window.lines() {
            let out = &mut out[line.first * padded..][..self.window.width() * padded];
            let inside = self.without_margins(&line, padded, out, zero);
            let at_once = run.min(line.inside.len()).max(1);
            let starts = self.pixels(&line).step_by(at_once);
            for (out, from) in inside.chunks_mut(at_once * padded).zip(starts) {
                let x = &self.x[from * self.channels..][..at_once * self.channels];
                let (body, padding) = out.split_at_mut(x.len());
                body.iter_mut().zip(x).for_each(|(out, &x)| *out = E::encode(quantizer.quantize(x), offset));
                padding.fill(zero);
            }
        }
    }

    /// The integers of each pixel in a way of its own, and its scale. All pixels are inputs.
    #[inline(always)]
    pub(super) fn encode_pixels<E: InputEncoding>(
        &self,
        (limits, divisor): ([i32; 2], f32),
        offset: i32,
        (out, scales): (&mut [E::Code], &mut [f32]),
    ) {
        let (padded, zero) = (self.channels.next_multiple_of(KR), E::encode(0, offset));
        let pixels = || self.window.lines().flat_map(|line| self.pixels(&line));
        let values = |pixel: usize| &self.x[pixel * self.channels..][..self.channels];
        scales.iter_mut().zip(pixels()).for_each(|(scale, pixel)| *scale = absmax(values(pixel)));
        let mut pixels = pixels();
        for (out, scales) in out.chunks_mut(PIXELS * padded).zip(scales.chunks_mut(PIXELS)) {
            // Divisions of several pixels at once.
            let mut ways = [[0.0; 2]; PIXELS];
            for (scale, way) in scales.iter_mut().zip(&mut ways) {
                let [step, prescale, inverse] = steps(*scale, divisor);
                (*scale, *way) = (step, [prescale, inverse]);
            }
            for ((out, pixel), [prescale, inverse]) in out.chunks_exact_mut(padded).zip(&mut pixels).zip(ways)
            {
                let (body, padding) = out.split_at_mut(self.channels);
                padding.fill(zero);
                for (out, x) in body.iter_mut().zip(values(pixel)) {
                    *out = E::encode(round_and_clip((x * prescale) * inverse, limits), offset);
                }
            }
        }
    }

    /// What `f` makes of some channels; a pixel's channels are padded to `width`.
    #[inline(always)]
    pub(super) fn floats(
        &self,
        channels: Range<usize>,
        width: usize,
        out: &mut [f32],
        f: impl Fn(f32) -> f32,
    ) {
        for line in self.window.lines() {
            let out = &mut out[line.first * width..][..self.window.width() * width];
            let inside = self.without_margins(&line, width, out, 0.0);
            for (out, from) in inside.chunks_exact_mut(width).zip(self.pixels(&line)) {
                let x = &self.x[from * self.channels..][channels.clone()];
                let (body, padding) = out.split_at_mut(x.len());
                body.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x));
                padding.fill(0.0);
            }
        }
    }

    /// The part of a line that holds input, once zeros are written beside it; `width` numbers a pixel.
    #[inline(always)]
    fn without_margins<'o, T: Copy>(
        &self,
        line: &WindowLine,
        width: usize,
        out: &'o mut [T],
        zero: T,
    ) -> &'o mut [T] {
        let (left, rest) = out.split_at_mut(line.inside.start * width);
        let (inside, right) = rest.split_at_mut(line.inside.len() * width);
        left.fill(zero);
        right.fill(zero);
        inside
    }

    /// The pixels of the input in a line.
    #[inline(always)]
    fn pixels(&self, line: &WindowLine) -> impl Iterator<Item = usize> + use<> {
        (line.from..).step_by(self.window.step()).take(line.inside.len())
    }
}
