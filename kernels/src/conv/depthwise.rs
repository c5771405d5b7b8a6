//! Depthwise convolution, whose groups read a single channel each: tiles as long as the first-level cache allows.

use super::direct::GroupConv;
use crate::epilogue::{Epilogue, FinishPixels};
use crate::isa::{Depthwise3x3, Depthwise3x3Operands, Floats, Isa, KSteps, LINES_AT_ONCE, Op};
use crate::scratch::CacheAligned;
use crate::uninit::Block;

/// The pixels of a tile: their inputs and their sums take 8 KB.
pub(super) const TILE_PIXELS: usize = 1024;

/// The neighbouring pixels whose sums are made together: as many vectors as an addition takes cycles, and more.
pub(super) const LINE: usize = 64;

/// Sums up one channel for neighbouring pixels, a multiple of [`LINE`] of them.
struct DepthwiseLines<'a> {
    /// The input from the first pixel on.
    x: &'a [f32],
    steps: &'a KSteps,
    /// The weights from the channel's in the first step on.
    w: &'a [f32],
    /// The floats from one step to the next.
    w_stride: usize,
    sums: &'a mut [f32],
}

impl Op for DepthwiseLines<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        sum_lines(self.x, self.steps.offsets(), (self.w, self.w_stride), self.sums);
    }
}

/// A function with arguments of its own, which the compiler knows not to overlap.
#[inline(always)]
fn sum_lines(x: &[f32], offsets: &[usize], (w, w_stride): (&[f32], usize), sums: &mut [f32]) {
    for (sums, first) in sums.as_chunks_mut::<LINE>().0.iter_mut().zip((0..).step_by(LINE)) {
        let mut acc = [0.0; LINE];
        for (step, offset) in offsets.iter().enumerate() {
            let w = w[step * w_stride];
            let x = &x[first + offset / size_of::<f32>()..][..LINE];
            acc.iter_mut().zip(x).for_each(|(acc, x)| *acc += x * w);
        }
        *sums = acc;
    }
}

impl<E: Epilogue<f32>> GroupConv<'_, E> {
    /// Computes a block with float weights, a row of `columns` channels for each step. Each sum is one of few steps.
    pub(super) fn depthwise(&self, weights: &[f32], columns: usize, block: &mut Block<'_, E::Output>) {
        const LONG_LINES: usize = TILE_PIXELS * LINES_AT_ONCE;
        let width = self.output[2];
        if width <= TILE_PIXELS && self.plan.is_3x3 {
            return match width * LINES_AT_ONCE {
                ..=TILE_PIXELS => self.depthwise_3x3::<TILE_PIXELS>(weights, columns, block),
                _ => self.depthwise_3x3::<LONG_LINES>(weights, columns, block),
            };
        }
        let input: &[f32] = bytemuck::cast_slice(self.input);
        let mut sums = CacheAligned([0.0; TILE_PIXELS]);
        self.prepare::<Floats>(block);
        for (i, subconv) in self.plan.subconvs.iter().enumerate() {
            let tiles = self.tiles(i, subconv, TILE_PIXELS, block);
            for tile in &tiles.tiles {
                let runs = &tiles.runs[tile.runs.clone()];
                for row in 0..block.rows() {
                    let channel = self.first_channel + block.first_row + row;
                    let w = weights.get(subconv.first_step * columns + channel..).unwrap_or_default();
                    let sums = &mut sums.0[..tile.pixels.next_multiple_of(LINE)];
                    let (x, steps) = (&input[tile.position..], &subconv.steps);
                    self.kernel.run(DepthwiseLines { x, steps, w, w_stride: columns, sums });
                    self.finish_row::<Floats>((row, channel), sums, 0, runs, block);
                }
            }
        }
    }

    /// [`Self::depthwise`] by three lines of three neighbouring taps, up to `SUMS` of some lines at once.
    fn depthwise_3x3<const SUMS: usize>(
        &self,
        weights: &[f32],
        columns: usize,
        block: &mut Block<'_, E::Output>,
    ) {
        let input: &[f32] = bytemuck::cast_slice(self.input);
        let [_, height, width] = self.output;
        let lines = block.first_column / width..(block.first_column + block.columns()) / width;
        let mut sums = CacheAligned([0.0; SUMS]);
        let at_once = SUMS / width;
        let at_once = at_once - at_once % LINES_AT_ONCE;
        for row in 0..block.rows() {
            let channel = self.first_channel + block.first_row + row;
            let taps = std::array::from_fn(|tap| weights[tap * columns + channel]);
            let mut line = lines.start;
            while line < lines.end {
                let (z, y) = (line / height, line % height);
                let end = lines.end.min(line + at_once).min((z + 1) * height);
                let x = &input[self.plan.position([z, y, 0])..];
                let size = [end - line, width];
                let operands = Depthwise3x3Operands { x, pitch: self.plan.axes[2].length, taps, size };
                let sums = &mut sums.0[..size[0] * width];
                self.kernel.run(Depthwise3x3 { operands, sums });
                let outputs = (line - lines.start) * width..(end - lines.start) * width;
                let (at, epilogue) = ([self.sample, channel, 0], self.epilogue);
                block.append(row, outputs, |out| {
                    self.kernel.run(FinishPixels { epilogue, at, sums: &*sums, offset: 0, out })
                });
                line = end;
            }
        }
    }
}
