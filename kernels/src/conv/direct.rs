//! Direct convolution: tiles of channels x neighbouring pixels, so that outputs come in the order in which they are stored.
//!
//! Here is also what all ways to convolve share: one group of one sample, its weights, and the way of its sums to the output.

use std::borrow::Cow;
use std::ops::Range;

use super::plan::{Plan, SubconvPlan};
use super::tiles::{OutputRun, Tile, Tiles};
use crate::epilogue::Epilogue;
use crate::isa::{ConvOperands, ConvTile, Isa, Kernel, MR, Op, Role, Sum, Sums, TileSize};
use crate::scratch::CacheAligned;
use crate::uninit::Block;
use crate::weight::{KR, NR, PackedWeights};

/// The weights of a group, as its microkernel reads them.
pub(super) enum ConvWeights<'a> {
    /// The weights as INT8.
    Packed(&'a PackedWeights),
    /// The weights as floats: a row of `columns` channels for each step, from channel `first` on.
    Floats { values: &'a [f32], first: usize, columns: usize },
}

impl ConvWeights<'_> {
    /// The bytes from `step` of `channel` on, and how many from one step to the next.
    pub(super) fn from(&self, step: usize, channel: usize) -> (&[i8], usize) {
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

    /// The number of channels from `channel` on that lie side by side.
    pub(super) fn beside(&self, channel: usize) -> usize {
        match *self {
            Self::Packed(_) => NR - channel % NR,
            Self::Floats { first, columns, .. } => first + columns - channel,
        }
    }
}

/// The convolution of one group of one sample.
pub(super) struct GroupConv<'a, E> {
    pub(super) kernel: Kernel,
    pub(super) plan: &'a Plan,
    /// The tiles of a direct convolution.
    pub(super) size: TileSize,
    /// The blocked input.
    pub(super) input: &'a [u8],
    pub(super) packed: &'a PackedWeights,
    /// The number that the encoding adds to each input: the sums hold it times the column sums of the weights.
    pub(super) offset: i32,
    pub(super) sample: usize,
    /// The group's first output channel.
    pub(super) first_channel: usize,
    pub(super) output: [usize; 3],
    /// The tiles of each subconvolution for all outputs, if blocks are not cut across lines.
    pub(super) whole: &'a [Tiles],
    pub(super) epilogue: &'a E,
}

/// Some channels: the rows `rows` of the block, which start with `channel`.
struct ChannelBand {
    rows: Range<usize>,
    channel: usize,
    /// The part of each channel's sums that the encoding of the inputs adds, in the first K block.
    offsets: [i32; MR],
}

/// The bytes of the input that stay in the first-level cache while some channels after the other read them.
const INPUT_IN_CACHE: usize = 16 << 10;

/// Writes the outputs of the next runs of one row of a block.
struct FinishRuns<'a, 'b, 'o, S: Sum, E: Epilogue<S>> {
    epilogue: &'a E,
    /// The sample, the channel and the block's first pixel.
    at: [usize; 3],
    sums: &'a [S],
    offset: i32,
    runs: &'a [OutputRun],
    row: usize,
    block: &'b mut Block<'o, E::Output>,
}

impl<S: Sum, E: Epilogue<S>> Op for FinishRuns<'_, '_, '_, S, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let Self { epilogue, at, sums, offset, runs, row, block } = self;
        for run in runs {
            let sums = &sums[run.tile.clone()];
            block.append(row, run.column..run.column + sums.len(), |out| {
                epilogue.pixels([at[0], at[1], at[2] + run.column], sums, offset, out)
            });
        }
    }
}

impl<E> GroupConv<'_, E> {
    /// Computes a block: some channels of whole lines of the output.
    pub(super) fn direct<R: Role>(&self, weights: &ConvWeights<'_>, block: &mut Block<'_, E::Output>)
    where
        E: Epilogue<R::Sum>,
    {
        let TileSize { columns, block_bytes, .. } = self.size;
        let at_once = (INPUT_IN_CACHE / (columns * block_bytes * self.plan.channel_blocks.max(1))).max(1);
        let mut sums = CacheAligned([[Default::default(); NR]; MR]);
        self.prepare::<R>(block);
        for (i, subconv) in self.plan.subconvs.iter().enumerate() {
            let tiles = self.tiles(i, subconv, columns, block);
            for at_once in tiles.tiles.chunks(at_once) {
                self.channels::<R>(subconv, weights, (at_once, &tiles.runs), &mut sums.0, block);
            }
        }
    }

    /// Fills a block whose outputs are written in any order with what no tap at all gives: some outputs have none.
    pub(super) fn prepare<R: Role>(&self, block: &mut Block<'_, E::Output>)
    where
        E: Epilogue<R::Sum>,
    {
        if self.plan.interleaved {
            let first = self.first_channel + block.first_row;
            block.fill(|row| self.epilogue.total([self.sample, first + row, 0], 0));
        }
    }

    /// The tiles of a subconvolution that make the outputs of a block.
    pub(super) fn tiles<T: Copy>(
        &self,
        index: usize,
        subconv: &SubconvPlan,
        columns: usize,
        block: &Block<'_, T>,
    ) -> Cow<'_, Tiles> {
        if let Some(whole) = self.whole.get(index) {
            return Cow::Borrowed(whole);
        }
        let outputs = block.first_column..block.first_column + block.columns();
        Cow::Owned(Tiles::new(self.plan, subconv, self.output, outputs, columns))
    }

    /// Computes all channels of the block for the pixels of some tiles.
    fn channels<R: Role>(
        &self,
        subconv: &SubconvPlan,
        weights: &ConvWeights<'_>,
        (tiles, runs): (&[Tile], &[OutputRun]),
        sums: &mut Sums<R::Sum>,
        block: &mut Block<'_, E::Output>,
    ) where
        E: Epilogue<R::Sum>,
    {
        let mut row = 0;
        while row < block.rows() {
            let channel = self.first_channel + block.first_row + row;
            let left = weights.beside(channel).min(block.rows() - row);
            let rows = left.div_ceil(left.div_ceil(self.size.rows)); // even: 8 rows are 4 + 4, not 6 + 2
            let mut offsets = [0; MR];
            for (i, offset) in offsets.iter_mut().enumerate().take(rows) {
                *offset = self.offset_of(subconv.first_k_block, channel + i);
            }
            let band = ChannelBand { rows: row..row + rows, channel, offsets };
            for tile in tiles {
                let runs = &runs[tile.runs.clone()];
                if let [k_block] = &subconv.k_blocks[..] {
                    self.sums::<R>(subconv, weights, tile, k_block.clone(), &band, sums);
                    for (i, (row, sums)) in band.rows.clone().zip(sums.iter()).enumerate() {
                        self.finish_row::<R>((row, channel + i), sums, band.offsets[i], runs, block);
                    }
                } else {
                    let totals = self.totals::<R>(subconv, weights, tile, &band, sums);
                    self.finish_totals::<R>(&band, &totals, runs, block);
                }
            }
            row += rows;
        }
    }

    /// Writes the outputs of one row of the block: of one channel.
    pub(super) fn finish_row<R: Role>(
        &self,
        (row, channel): (usize, usize),
        sums: &[R::Sum],
        offset: i32,
        runs: &[OutputRun],
        block: &mut Block<'_, E::Output>,
    ) where
        E: Epilogue<R::Sum>,
    {
        let at = [self.sample, channel, block.first_column];
        if self.plan.interleaved {
            for run in runs {
                let sums = sums[run.tile.clone()].iter();
                let outputs = sums.map(|&sum| self.epilogue.one(at, sum, offset));
                block.overwrite(row, run.column, run.step, outputs);
            }
        } else {
            let epilogue = self.epilogue;
            self.kernel.run(FinishRuns::<R::Sum, E> { epilogue, at, sums, offset, runs, row, block });
        }
    }

    /// The sums of more steps than one sum holds, or of none.
    fn totals<R: Role>(
        &self,
        subconv: &SubconvPlan,
        weights: &ConvWeights<'_>,
        tile: &Tile,
        band: &ChannelBand,
        sums: &mut Sums<R::Sum>,
    ) -> Sums<i64> {
        let mut totals = [[0i64; NR]; MR];
        for (i, k_block) in subconv.k_blocks.iter().enumerate() {
            self.sums::<R>(subconv, weights, tile, k_block.clone(), band, sums);
            for (row, (totals, sums)) in totals.iter_mut().zip(sums.iter()).enumerate().take(band.rows.len())
            {
                let offset = self.offset_of(subconv.first_k_block + i, band.channel + row);
                totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += i64::from(sum.exact(offset)));
            }
        }
        totals
    }

    fn finish_totals<R: Role>(
        &self,
        band: &ChannelBand,
        totals: &Sums<i64>,
        runs: &[OutputRun],
        block: &mut Block<'_, E::Output>,
    ) where
        E: Epilogue<R::Sum>,
    {
        for (i, (row, totals)) in band.rows.clone().zip(totals).enumerate() {
            let first = block.first_column;
            for run in runs {
                let output = |(pixel, &total): (usize, &i64)| {
                    self.epilogue.total([self.sample, band.channel + i, first + run.column + pixel], total)
                };
                let totals = &totals[run.tile.clone()];
                if self.plan.interleaved {
                    block.overwrite(row, run.column, run.step, totals.iter().enumerate().map(output));
                } else {
                    let outputs: Vec<_> = totals.iter().enumerate().map(output).collect();
                    block.append_copy::<1>(row, run.column..run.column + totals.len(), &outputs);
                }
            }
        }
    }

    fn sums<R: Role>(
        &self,
        subconv: &SubconvPlan,
        weights: &ConvWeights<'_>,
        tile: &Tile,
        k_block: Range<usize>,
        band: &ChannelBand,
        sums: &mut Sums<R::Sum>,
    ) {
        let TileSize { lanes, block_bytes, .. } = self.size;
        let (w, w_stride) = weights.from(subconv.first_step + k_block.start, band.channel);
        let x = &self.input[tile.position * block_bytes..];
        let operands = ConvOperands { x, steps: &subconv.steps, range: k_block, w, w_stride };
        self.kernel.run(ConvTile::<R> {
            size: [band.rows.len(), tile.pixels.div_ceil(lanes)],
            operands: &operands,
            sums,
        });
    }

    /// The part of a channel's sums that the encoding of the inputs adds.
    pub(super) fn offset_of(&self, k_block: usize, channel: usize) -> i32 {
        match self.offset {
            0 => 0,
            offset => self.packed.sums(k_block).get(channel).map_or(0, |sum| sum.wrapping_mul(offset)),
        }
    }
}
