//! The walk over a block for tiles whose rows are pixels and whose vectors hold neighbouring channels.
//!
//! No pixel is computed that is none of the output's, and weights are read in the order in which they lie; but outputs
//! must be turned before they are stored, so it takes many channels, and sums long enough.

use std::ops::Range;

use super::finish::{Arithmetic, Finish};
use super::plan::Plan;
use super::walk::{Filters, Part};
use crate::aligned::OnLines;
use crate::isa::{CHUNK, ChannelOperands, ChunkOutputs, ChunkSums, MR, Scattered};
use crate::pack::{COLUMN_BLOCK, NR};
use crate::parallel::Block;

/// Whether this walk can take a convolution: all its sums in one slice of one phase, and enough channels.
pub(super) fn suits(plan: &Plan, groups: usize, outputs: usize) -> bool {
    let padded = outputs.next_multiple_of(COLUMN_BLOCK);
    let one = matches!(&plan.phases[..], [phase] if phase.slices.len() == 1);
    one && (groups == 1 || padded == outputs) && padded * 4 <= outputs * 5
}

impl<F> Part<'_, F> {
    /// Computes a block: some channels of some outputs.
    pub(super) fn across<A: Arithmetic>(&self, filters: &Filters<'_>, block: &mut Block<'_, F::Out>)
    where
        F: Finish<A>,
    {
        let size = A::channel_size(self.kernel);
        let mut sums = OnLines([[Default::default(); NR]; CHUNK + MR]);
        let pixels = block.first_column..block.first_column + block.columns();
        let chunks = pixels.len().div_ceil(CHUNK);
        let even = pixels.len().div_ceil(chunks).next_multiple_of(size.rows).min(CHUNK);
        for first in pixels.clone().step_by(even) {
            let chunk = first..pixels.end.min(first + even);
            let positions = self.positions(chunk.clone(), size.cell);
            let positions = &positions[..chunk.len()];
            let columns = chunk.start - pixels.start..chunk.end - pixels.start;
            let mut row = 0;
            while row < block.rows() {
                let channel = self.first_channel + block.first_row + row;
                let beside = filters.beside(channel).min(size.columns).min(block.rows() - row);
                let channels = channel..channel + beside;
                self.chunk::<A>(filters, positions, channels.clone(), &mut sums.0);
                block.fill_rows(row..row + beside, |rows| {
                    self.turn::<A>(channels, &sums.0, ChunkOutputs { rows, columns: columns.clone() })
                });
                row += beside;
            }
        }
    }

    /// The sums of some pixels, at these bytes of the cells, and of channels that lie side by side.
    fn chunk<A: Arithmetic>(
        &self,
        filters: &Filters<'_>,
        positions: &[usize],
        channels: Range<usize>,
        sums: &mut ChunkSums<A::Sum>,
    ) {
        let size = A::channel_size(self.kernel);
        let phase = &self.plan.phases[0];
        let (w, w_stride) = filters.of(0, channels.start);
        let width = channels.len().next_multiple_of(size.columns.min(COLUMN_BLOCK)) / size.lanes;
        let tiles = positions.len().div_ceil(size.rows);
        let mut first = 0;
        for left in (1..=tiles).rev() {
            let rows = (positions.len() - first).div_ceil(left); // even: 8 pixels are 4 + 4, not 6 + 2
            let inputs = Scattered::new(&positions[first..first + rows], &phase.steps);
            let operands = ChannelOperands { x: self.cells, inputs, w, w_stride };
            let Some((tile, _)) = sums[first..].split_first_chunk_mut::<MR>() else { return };
            A::channels(self.kernel, [rows, width], &operands, tile);
            first += rows;
        }
    }

    /// Writes the outputs of a chunk; returns how many.
    fn turn<A: Arithmetic>(
        &self,
        channels: Range<usize>,
        sums: &ChunkSums<A::Sum>,
        to: ChunkOutputs<'_, '_, F::Out>,
    ) -> usize
    where
        F: Finish<A>,
    {
        let mut offsets = [0; NR];
        for (channel, offset) in channels.clone().zip(&mut offsets) {
            *offset = self.offset_of(self.plan.phases[0].first_slice, channel);
        }
        self.finish.turn(self.kernel, (channels, offsets), sums, to)
    }

    /// Where the cells of these outputs are, in bytes.
    fn positions(&self, outputs: Range<usize>, cell: usize) -> [usize; CHUNK] {
        let [_, height, width] = self.output;
        let mut positions = [0; CHUNK];
        let (mut line, mut x) = (outputs.start / width, outputs.start % width);
        for position in &mut positions[..outputs.len()] {
            *position = self.plan.position([line / height, line % height, x]) * cell;
            x += 1;
            if x == width {
                (line, x) = (line + 1, 0);
            }
        }
        positions
    }
}
