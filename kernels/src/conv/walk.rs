//! The walk over a block of outputs, tile by tile.

use std::borrow::Cow;
use std::ops::Range;

use super::finish::{Arithmetic, Finish};
use super::plan::{PhasePlan, Plan};
use super::tiles::{Run, Tile, Tiles};
use crate::aligned::OnLines;
use crate::isa::{Active, MR, PixelOperands, Sums, TileSize};
use crate::pack::{KR, NR, PackedWeights};
use crate::parallel::Block;

/// The weights of a group, as its kernel reads them.
pub(super) enum Filters<'a> {
    Packed(&'a PackedWeights),
    /// As floats: a row of `columns` channels for each step, from channel `first` on.
    Floats {
        values: &'a [f32],
        first: usize,
        columns: usize,
    },
}

impl Filters<'_> {
    /// The bytes from `step` of `channel` on, and how many from one step to the next.
    pub(super) fn of(&self, step: usize, channel: usize) -> (&[i8], usize) {
        match *self {
            Self::Packed(packed) => {
                let first = channel % NR;
                let panel = packed.panel(channel - first);
                (&panel.bytes[step * panel.stride + first * KR..], panel.stride)
            }
            Self::Floats { values, first, columns } => (
                bytemuck::cast_slice(&values[step * columns + channel - first..]),
                columns * size_of::<f32>(),
            ),
        }
    }

    /// How many channels from `channel` on lie side by side.
    pub(super) fn beside(&self, channel: usize) -> usize {
        match *self {
            Self::Packed(_) => NR - channel % NR,
            Self::Floats { first, columns, .. } => first + columns - channel,
        }
    }
}

/// One group of one sample.
pub(super) struct Part<'a, F> {
    pub(super) kernel: Active,
    pub(super) plan: &'a Plan,
    pub(super) cells: &'a [u8],
    /// Of the cells' integers, what their encoding adds to the sums: `offset * column sum`.
    pub(super) packed: &'a PackedWeights,
    pub(super) offset: i32,
    /// The group's first output channel.
    pub(super) first_channel: usize,
    pub(super) output: [usize; 3],
    /// The tiles of each phase for all outputs, if blocks are not cut across lines.
    pub(super) whole: &'a [Tiles],
    pub(super) finish: &'a F,
}

/// Some channels: the rows `rows` of the block, which start with `channel`.
struct Band {
    rows: Range<usize>,
    channel: usize,
    /// What the encoding of the cells adds to each channel's sums, in the first slice.
    offsets: [i32; MR],
}

/// Bytes of cells that stay in the first-level cache while some channels after the other read them.
const CELLS_IN_CACHE: usize = 16 << 10;

impl<F> Part<'_, F> {
    /// Computes a block: some channels of whole lines of the output.
    pub(super) fn block<A: Arithmetic>(&self, filters: &Filters<'_>, block: &mut Block<'_, F::Out>)
    where
        F: Finish<A>,
    {
        let TileSize { columns, cell, .. } = A::size(self.kernel);
        let at_once = (CELLS_IN_CACHE / (columns * cell * self.plan.blocks.max(1))).max(1);
        let mut sums = OnLines([[Default::default(); NR]; MR]);
        for (i, phase) in self.plan.phases.iter().enumerate() {
            let tiles = self.tiles(i, phase, columns, block);
            for at_once in tiles.tiles.chunks(at_once) {
                self.channels::<A>(phase, filters, (at_once, &tiles.runs), &mut sums.0, block);
            }
        }
    }

    /// The tiles of a phase that make the outputs of a block.
    pub(super) fn tiles<T: Copy>(
        &self,
        index: usize,
        phase: &PhasePlan,
        columns: usize,
        block: &Block<'_, T>,
    ) -> Cow<'_, Tiles> {
        if let Some(whole) = self.whole.get(index) {
            return Cow::Borrowed(whole);
        }
        let outputs = block.first_column..block.first_column + block.columns();
        Cow::Owned(Tiles::new(self.plan, phase, self.output, outputs, columns))
    }

    /// Computes all channels of the block for the pixels of some tiles.
    fn channels<A: Arithmetic>(
        &self,
        phase: &PhasePlan,
        filters: &Filters<'_>,
        (tiles, runs): (&[Tile], &[Run]),
        sums: &mut Sums<A::Sum>,
        block: &mut Block<'_, F::Out>,
    ) where
        F: Finish<A>,
    {
        let mut row = 0;
        while row < block.rows() {
            let channel = self.first_channel + block.first_row + row;
            let left = filters.beside(channel).min(block.rows() - row);
            let rows = left.div_ceil(left.div_ceil(A::size(self.kernel).rows)); // even: 8 rows are 4 + 4, not 6 + 2
            let mut offsets = [0; MR];
            for (i, offset) in offsets.iter_mut().enumerate().take(rows) {
                *offset = self.offset_of(phase.first_slice, channel + i);
            }
            let band = Band { rows: row..row + rows, channel, offsets };
            for tile in tiles {
                let runs = &runs[tile.runs.clone()];
                if let [slice] = &phase.slices[..] {
                    self.sums::<A>(phase, filters, tile, slice.clone(), &band, sums);
                    self.finish::<A>(&band, sums, runs, block);
                } else {
                    let totals = self.totals::<A>(phase, filters, tile, &band, sums);
                    self.finish_totals::<A>(&band, &totals, runs, block);
                }
            }
            row += rows;
        }
    }

    /// Writes the outputs of one tile.
    fn finish<A: Arithmetic>(
        &self,
        band: &Band,
        sums: &Sums<A::Sum>,
        runs: &[Run],
        block: &mut Block<'_, F::Out>,
    ) where
        F: Finish<A>,
    {
        for (i, (row, sums)) in band.rows.clone().zip(sums).enumerate() {
            self.finish_row::<A>((row, band.channel + i), sums, band.offsets[i], runs, block);
        }
    }

    /// Writes the outputs of one row of the block: of one channel.
    pub(super) fn finish_row<A: Arithmetic>(
        &self,
        (row, channel): (usize, usize),
        sums: &[A::Sum],
        offset: i32,
        runs: &[Run],
        block: &mut Block<'_, F::Out>,
    ) where
        F: Finish<A>,
    {
        for run in runs {
            let (sums, len) = (&sums[run.tile.clone()], run.tile.len());
            if run.step == 1 {
                block.fill(row, run.column..run.column + len, |out| {
                    self.finish.finish(self.kernel, channel, sums, offset, out)
                });
            } else {
                let outputs = sums.iter().map(|&sum| self.finish.finish_one(channel, sum, offset));
                block.write_every(row, run.column, run.step, outputs);
            }
        }
    }

    /// The sums of more steps than one sum holds, or of none.
    fn totals<A: Arithmetic>(
        &self,
        phase: &PhasePlan,
        filters: &Filters<'_>,
        tile: &Tile,
        band: &Band,
        sums: &mut Sums<A::Sum>,
    ) -> Sums<i64> {
        let mut totals = [[0i64; NR]; MR];
        for (i, slice) in phase.slices.iter().enumerate() {
            self.sums::<A>(phase, filters, tile, slice.clone(), band, sums);
            for (row, (totals, sums)) in totals.iter_mut().zip(sums.iter()).enumerate().take(band.rows.len())
            {
                let offset = self.offset_of(phase.first_slice + i, band.channel + row);
                totals.iter_mut().zip(sums).for_each(|(t, &s)| *t += i64::from(A::exact(s, offset)));
            }
        }
        totals
    }

    fn finish_totals<A: Arithmetic>(
        &self,
        band: &Band,
        totals: &Sums<i64>,
        runs: &[Run],
        block: &mut Block<'_, F::Out>,
    ) where
        F: Finish<A>,
    {
        for (i, (row, totals)) in band.rows.clone().zip(totals).enumerate() {
            for run in runs {
                let outputs = totals[run.tile.clone()].iter();
                let outputs = outputs.map(|&total| self.finish.finish_exact(band.channel + i, total));
                block.write_every(row, run.column, run.step, outputs);
            }
        }
    }

    fn sums<A: Arithmetic>(
        &self,
        phase: &PhasePlan,
        filters: &Filters<'_>,
        tile: &Tile,
        slice: Range<usize>,
        band: &Band,
        sums: &mut Sums<A::Sum>,
    ) {
        let TileSize { lanes, cell, .. } = A::size(self.kernel);
        let (w, w_stride) = filters.of(phase.first_step + slice.start, band.channel);
        let x = &self.cells[tile.position * cell..];
        let operands = PixelOperands { x, steps: &phase.steps, range: slice, w, w_stride };
        A::tile(self.kernel, [band.rows.len(), tile.pixels.div_ceil(lanes)], &operands, sums);
    }

    pub(super) fn offset_of(&self, slice: usize, channel: usize) -> i32 {
        match self.offset {
            0 => 0,
            offset => self.packed.sums(slice).get(channel).map_or(0, |sum| sum.wrapping_mul(offset)),
        }
    }
}
