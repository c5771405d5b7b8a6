//! The walk over a block whose groups read a single channel each: tiles as long as the first-level cache allows.

use super::finish::{Finish, InFloats};
use super::walk::Part;
use crate::kernel::isa::{LINE, LineOperands};
use crate::kernel::parallel::Block;

/// Pixels of a tile: their cells and their sums take 16 KB.
pub(super) const PIXELS: usize = 2048;

impl<F: Finish<InFloats>> Part<'_, F> {
    /// Computes a block with the filters `values`, a row of `columns` channels for each step. Each sum is one of few steps.
    pub(super) fn single(&self, values: &[f32], columns: usize, block: &mut Block<'_, F::Out>) {
        let cells: &[f32] = bytemuck::cast_slice(self.cells);
        let mut sums = [0.0; PIXELS];
        for (i, phase) in self.plan.phases.iter().enumerate() {
            let tiles = self.tiles(i, phase, PIXELS, block);
            for tile in &tiles.tiles {
                for row in 0..block.rows() {
                    let channel = self.first_channel + block.first_row + row;
                    let w = values.get(phase.first_step * columns + channel..).unwrap_or_default();
                    let x = &cells[tile.position..];
                    let operands = LineOperands { x, steps: &phase.steps, w, w_stride: columns };
                    let sums = &mut sums[..tile.pixels.next_multiple_of(LINE)];
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
}
