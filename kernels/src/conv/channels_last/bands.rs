//! The cut of outputs among threads: bands of whole lines, or channels where there are few pixels.

use super::Images;
use super::window::Window;
use crate::parallel::{for_each, threads_for};
use crate::quantize::QUANTIZE_COST;
use crate::uninit::{BLOCK_ROWS, Block, UninitSlice, collect_uninit};
use crate::weight::NR;

/// A part of the output: the pixels at some positions along the axis that is cut, and some channels.
pub(super) struct Band<'o, T> {
    pub(super) sample: usize,
    /// The first of its positions along the axis that is cut.
    pub(super) first: usize,
    /// The outputs, a row for each pixel, pixel after pixel.
    pub(super) blocks: Vec<Block<'o, T>>,
}

/// At the end a thread waits for at most one band of another.
const BANDS_PER_THREAD: usize = 4;

/// The bands of a convolution.
pub(super) struct Bands {
    /// The first axis along which there is more than one output: in front of it the outputs of a band have no gaps.
    pub(super) axis: usize,
    /// The positions along that axis in one band.
    pub(super) lines: usize,
    /// The outputs of one of these.
    line: usize,
    /// True if a band has all pixels and some channels.
    by_channels: bool,
    threads: usize,
}

impl Bands {
    /// Bands whose window takes about `bytes`, where a pixel of it takes `pixel_bytes`. Few pixels are not worth a cut: their
    /// channels are, if `cut_channels`.
    pub(super) fn new(images: &Images<'_>, [pixel_bytes, bytes]: [usize; 2], cut_channels: bool) -> Self {
        let geometry = images.geometry();
        let (spec, output) = (geometry.spec(), geometry.output());
        let axis = output.iter().position(|&positions| positions > 1).unwrap_or(2);
        let outputs = images.input.outputs();
        let inputs = spec.group_channels()[0];
        let work = outputs.saturating_mul(spec.taps()).saturating_mul(inputs);
        let fill = images.input.pixels.len().saturating_mul(QUANTIZE_COST);
        let threads = threads_for(work.saturating_add(fill));
        let line: usize = output[axis + 1..].iter().product();
        let all = output[axis];
        if cut_channels && all * line <= BLOCK_ROWS && images.input.batch < threads {
            return Self { axis, lines: all, line, by_channels: true, threads };
        }
        let mut lines = all;
        if threads > 1 {
            let bands = (threads * BANDS_PER_THREAD).div_ceil(images.input.batch);
            lines = all.div_ceil(bands.min(all));
        }
        // Of a long band less stays in the cache; of a short one more is read twice.
        while lines > 1 && Window::new(geometry, axis, 0..lines).pixels().saturating_mul(pixel_bytes) > bytes
        {
            lines = lines.div_ceil(2);
        }
        let lines = all.div_ceil(all.div_ceil(lines)); // even
        Self { axis, lines, line, by_channels: false, threads }
    }

    /// What a band reads whose first position is this. The last band may have fewer positions: its window is as large, so that
    /// taps are equally far apart in all.
    pub(super) fn window(&self, images: &Images<'_>, first: usize) -> Window {
        Window::new(images.geometry(), self.axis, first..first + self.lines)
    }

    /// Computes all bands.
    pub(super) fn run<T: Copy + Send>(
        &self,
        images: &Images<'_>,
        compute: impl Fn(Band<'_, T>) + Sync,
    ) -> Vec<T> {
        let (channels, all) = (images.geometry().spec().channels[1], images.geometry().output()[self.axis]);
        let pixels = all * self.line;
        let panels = channels.div_ceil(NR).div_ceil(self.threads * BANDS_PER_THREAD);
        let [out] = collect_uninit([images.input.outputs()], |[out]| {
            let samples = out.chunks(pixels * channels).enumerate();
            if self.by_channels {
                let strips = samples.flat_map(|(sample, out)| {
                    let strips = out.into_blocks(channels, [pixels, panels * NR]);
                    strips.map(move |strip| Band { sample, first: 0, blocks: vec![strip] })
                });
                return for_each(self.threads, strips, compute);
            }
            let bands = samples.flat_map(|(sample, out)| {
                let bands = out.chunks(self.lines * self.line * channels).zip((0..).step_by(self.lines));
                bands.map(move |(out, first)| Band { sample, first, blocks: blocks(out, channels) })
            });
            for_each(self.threads, bands, compute);
        });
        out
    }
}

/// Blocks of about equally many pixels.
fn blocks<T: Copy>(out: UninitSlice<'_, T>, channels: usize) -> Vec<Block<'_, T>> {
    let pixels = out.len() / channels;
    let rows = pixels.div_ceil(pixels.div_ceil(BLOCK_ROWS));
    let parts = out.chunks(rows * channels).zip((0..).step_by(rows));
    parts.map(|(out, first)| out.into_block_at(first, channels)).collect()
}

/// The position of an output in a band that is cut along this axis.
#[inline(always)]
pub(super) fn position(pixel: usize, axis: usize, [_, height, width]: [usize; 3]) -> [usize; 3] {
    match axis {
        0 => [pixel / (height * width), pixel / width % height, pixel % width],
        1 => [0, pixel / width, pixel % width],
        _ => [0, 0, pixel],
    }
}
