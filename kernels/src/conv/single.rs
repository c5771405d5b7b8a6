//! The walk over a block whose groups read a single channel each: tiles as long as the first-level cache allows.

use super::finish::{Finish, InFloats};
use super::walk::Part;
use crate::aligned::OnLines;
use crate::isa::{LINE, LineOperands, STENCIL_LINES, StencilOperands};
use crate::parallel::Block;

/// ConvMicrokernel of a tile: their cells and their sums take 8 KB.
pub(super) const PIXELS: usize = 1024;

impl<F: Finish<InFloats>> Part<'_, F> {
    /// Computes a block with the filters `values`, a row of `columns` channels for each step. Each sum is one of few steps.
    pub(super) fn single(&self, values: &[f32], columns: usize, block: &mut Block<'_, F::Out>) {
        const LONG_LINES: usize = PIXELS * STENCIL_LINES;
        let width = self.output[2];
        if width <= PIXELS && self.plan.stencil {
            return match width * STENCIL_LINES {
                ..=PIXELS => self.stencil::<PIXELS>(values, columns, block),
                _ => self.stencil::<LONG_LINES>(values, columns, block),
            };
        }
        let cells: &[f32] = bytemuck::cast_slice(self.cells);
        let mut sums = OnLines([0.0; PIXELS]);
        for (i, phase) in self.plan.phases.iter().enumerate() {
            let tiles = self.tiles(i, phase, PIXELS, block);
            for tile in &tiles.tiles {
                for row in 0..block.rows() {
                    let channel = self.first_channel + block.first_row + row;
                    let w = values.get(phase.first_step * columns + channel..).unwrap_or_default();
                    let x = &cells[tile.position..];
                    let operands = LineOperands { x, steps: &phase.steps, w, w_stride: columns };
                    let sums = &mut sums.0[..tile.pixels.next_multiple_of(LINE)];
                    self.kernel.lines(&operands, sums);
                    self.finish_row::<InFloats>(
                        (row, channel),
                        sums,
                        0,
                        &tiles.runs[tile.runs.clone()],
                        block,
                    );
                }
            }
        }
    }

    /// [`Self::single`] where each sum is of three cells of three lines, up to `SUMS` of some lines at once.
    fn stencil<const SUMS: usize>(&self, values: &[f32], columns: usize, block: &mut Block<'_, F::Out>) {
        let cells: &[f32] = bytemuck::cast_slice(self.cells);
        let [_, height, width] = self.output;
        let lines = block.first_column / width..(block.first_column + block.columns()) / width;
        let mut sums = OnLines([0.0; SUMS]);
        let at_once = SUMS / width;
        let at_once = at_once - at_once % STENCIL_LINES;
        for row in 0..block.rows() {
            let channel = self.first_channel + block.first_row + row;
            let taps = std::array::from_fn(|tap| values[tap * columns + channel]);
            let mut line = lines.start;
            while line < lines.end {
                let (z, y) = (line / height, line % height);
                let end = lines.end.min(line + at_once).min((z + 1) * height);
                let x = &cells[self.plan.position([z, y, 0])..];
                let size = [end - line, width];
                let operands = StencilOperands { x, pitch: self.plan.axes[2].length, taps, size };
                let sums = &mut sums.0[..size[0] * width];
                self.kernel.stencil(&operands, sums);
                let outputs = (line - lines.start) * width..(end - lines.start) * width;
                block.fill(row, outputs, |out| self.finish.finish(self.kernel, channel, sums, 0, out));
                line = end;
            }
        }
    }
}
