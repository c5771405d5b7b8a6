//! Convolution as an implicit GEMM: tiles whose rows are pixels and whose vectors hold neighbouring channels.
//!
//! No pixel is computed that is none of the output's, and weights are read in the order in which they lie; but outputs
//! must be transposed before they are stored, so it takes many channels, and sums long enough.

use std::ops::Range;

use super::direct::{ConvWeights, GroupConv};
use super::plan::Plan;
use crate::epilogue::{Epilogue, FinishTransposed, PixelRows};
use crate::isa::{GatheredRows, IgemmOperands, IgemmTile, MR, Role, TileSize};
use crate::scratch::CacheAligned;
use crate::uninit::Block;
use crate::weight::{COLUMN_BLOCK, NR};

/// The pixels whose sums are made before their outputs are written.
const CHUNK: usize = 48;

/// The sums of a chunk, a row for each pixel; a tile that starts at the last one still fits.
type ChunkSums<T> = [[T; NR]; CHUNK + MR];

/// True if a convolution can be an implicit GEMM: all its sums in one K block of one subconvolution, and enough channels.
pub(super) fn suits(plan: &Plan, groups: usize, outputs: usize) -> bool {
    let padded = outputs.next_multiple_of(COLUMN_BLOCK);
    let one = matches!(&plan.subconvs[..], [subconv] if subconv.k_blocks.len() == 1);
    one && !plan.interleaved && (groups == 1 || padded == outputs) && padded * 4 <= outputs * 5
}

impl<E> GroupConv<'_, E> {
    /// Computes a block: some channels of some outputs, in tiles of this size.
    pub(super) fn igemm<R: Role>(
        &self,
        size: TileSize,
        weights: &ConvWeights<'_>,
        block: &mut Block<'_, E::Output>,
    ) where
        E: Epilogue<R::Sum>,
    {
        let mut sums = CacheAligned([[Default::default(); NR]; CHUNK + MR]);
        let pixels = block.first_column..block.first_column + block.columns();
        let chunks = pixels.len().div_ceil(CHUNK);
        let even = pixels.len().div_ceil(chunks).next_multiple_of(size.rows).min(CHUNK);
        for first in pixels.clone().step_by(even) {
            let chunk = first..pixels.end.min(first + even);
            let positions = self.positions(chunk.clone(), size.block_bytes);
            let positions = &positions[..chunk.len()];
            let columns = chunk.start - pixels.start..chunk.end - pixels.start;
            let mut row = 0;
            while row < block.rows() {
                let channel = self.first_channel + block.first_row + row;
                let beside = weights.beside(channel).min(size.columns).min(block.rows() - row);
                let channels = channel..channel + beside;
                self.chunk::<R>(size, weights, positions, channels.clone(), &mut sums.0);
                self.finish_chunk::<R>(channels, &sums.0, (row, columns.clone()), block);
                row += beside;
            }
        }
    }

    /// The sums of some pixels, at these bytes of the input, and of channels that lie side by side.
    fn chunk<R: Role>(
        &self,
        size: TileSize,
        weights: &ConvWeights<'_>,
        positions: &[usize],
        channels: Range<usize>,
        sums: &mut ChunkSums<R::Sum>,
    ) {
        let subconv = &self.plan.subconvs[0];
        let (w, w_stride) = weights.from(0, channels.start);
        let vectors = channels.len().next_multiple_of(size.columns.min(COLUMN_BLOCK)) / size.lanes;
        let tiles = positions.len().div_ceil(size.rows);
        let mut first = 0;
        for left in (1..=tiles).rev() {
            let rows = (positions.len() - first).div_ceil(left); // even: 8 pixels are 4 + 4, not 6 + 2
            let gathered = GatheredRows::new(&positions[first..first + rows], &subconv.steps);
            let operands = IgemmOperands { x: self.input, rows: gathered, w, w_stride };
            let Some((sums, _)) = sums[first..].split_first_chunk_mut::<MR>() else { return };
            self.kernel.run(IgemmTile::<R> { size: [rows, vectors], operands: &operands, sums });
            first += rows;
        }
    }

    /// Writes the outputs of a chunk.
    fn finish_chunk<R: Role>(
        &self,
        channels: Range<usize>,
        sums: &ChunkSums<R::Sum>,
        (block_row, columns): (usize, Range<usize>),
        block: &mut Block<'_, E::Output>,
    ) where
        E: Epilogue<R::Sum>,
    {
        let mut offsets = [0; NR];
        for (channel, offset) in channels.clone().zip(&mut offsets) {
            *offset = self.offset_of(self.plan.subconvs[0].first_k_block, channel);
        }
        let chunk = PixelRows { sums, row: self.sample, channels, offsets: &offsets, block_row, columns };
        self.kernel.run(FinishTransposed::<R::Sum, E> { epilogue: self.epilogue, chunk: &chunk, block });
    }

    /// The places of these outputs' blocks, in bytes.
    fn positions(&self, outputs: Range<usize>, block_bytes: usize) -> [usize; CHUNK] {
        let [_, height, width] = self.output;
        let mut positions = [0; CHUNK];
        let (mut line, mut x) = (outputs.start / width, outputs.start % width);
        for position in &mut positions[..outputs.len()] {
            *position = self.plan.position([line / height, line % height, x]) * block_bytes;
            x += 1;
            if x == width {
                (line, x) = (line + 1, 0);
            }
        }
        positions
    }
}
