//! The walk over a block of outputs, tile by tile.

use std::ops::Range;

use super::plan::{PhasePlan, Plan};
use crate::kernel::isa::{Active, PixelOperands, Sums, TILE_ROWS, TileSize};
use crate::kernel::pack::{GROUP, PANEL, Packed};
use crate::kernel::parallel::{Block, Unwritten};

/// How sums are made and what becomes of them: in integers, or in floats.
pub(super) trait Arithmetic: Sync {
    type Sum: Copy + Default;

    fn size(kernel: Active) -> TileSize;
    fn tile(kernel: Active, size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<Self::Sum>);
    /// Writes `(sum - offset) * scale + bias`; returns how many.
    fn scale(
        kernel: Active,
        sums: &[Self::Sum],
        offset: i32,
        scale_bias: [f32; 2],
        out: Unwritten<'_, f32>,
    ) -> usize;
    /// `sum - offset`, for sums of integers.
    fn exact(sum: Self::Sum, offset: i32) -> i32;
    /// `sum - offset`.
    fn float(sum: Self::Sum, offset: i32) -> f32;
}

/// Sums in `i32` of codes that are offset by 128 where the kernel wants them so.
pub(super) struct InIntegers;

impl Arithmetic for InIntegers {
    type Sum = i32;

    fn size(kernel: Active) -> TileSize {
        kernel.pixel_size()
    }

    fn tile(kernel: Active, size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<i32>) {
        kernel.pixels(size, operands, sums);
    }

    fn scale(
        kernel: Active,
        sums: &[i32],
        offset: i32,
        scale_bias: [f32; 2],
        out: Unwritten<'_, f32>,
    ) -> usize {
        kernel.scale_integers(sums, offset, scale_bias, out)
    }

    fn exact(sum: i32, offset: i32) -> i32 {
        sum.wrapping_sub(offset)
    }

    fn float(sum: i32, offset: i32) -> f32 {
        Self::exact(sum, offset) as f32
    }
}

/// Sums in `f32`.
pub(super) struct InFloats;

impl Arithmetic for InFloats {
    type Sum = f32;

    fn size(kernel: Active) -> TileSize {
        kernel.pixel_float_size()
    }

    fn tile(kernel: Active, size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<f32>) {
        kernel.pixel_floats(size, operands, sums);
    }

    fn scale(
        kernel: Active,
        sums: &[f32],
        _offset: i32,
        scale_bias: [f32; 2],
        out: Unwritten<'_, f32>,
    ) -> usize {
        kernel.scale_floats(sums, scale_bias, out)
    }

    fn exact(sum: f32, _offset: i32) -> i32 {
        sum as i32
    }

    fn float(sum: f32, _offset: i32) -> f32 {
        sum
    }
}

/// What becomes of the sums of one sample.
pub(super) trait Finish<A: Arithmetic>: Sync {
    type Out: Copy + Default + Send;

    /// Writes what the sums of one channel give; returns how many.
    fn finish(
        &self,
        kernel: Active,
        channel: usize,
        sums: &[A::Sum],
        offset: i32,
        out: Unwritten<'_, Self::Out>,
    ) -> usize;
    /// What one sum gives.
    fn finish_one(&self, channel: usize, sum: A::Sum, offset: i32) -> Self::Out;
    /// What a sum gives that took more than one tile.
    fn finish_exact(&self, channel: usize, total: i64) -> Self::Out;
}

/// `sum as f32 * (x_scale * w_scale) + bias`.
pub(super) struct Scaled<'a> {
    pub(super) x_scale: f32,
    pub(super) w_scales: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
}

impl Scaled<'_> {
    fn scale_bias(&self, channel: usize) -> [f32; 2] {
        [self.x_scale * self.w_scales[channel], self.bias.map_or(0.0, |bias| bias[channel])]
    }
}

impl<A: Arithmetic> Finish<A> for Scaled<'_> {
    type Out = f32;

    fn finish(
        &self,
        kernel: Active,
        channel: usize,
        sums: &[A::Sum],
        offset: i32,
        out: Unwritten<'_, f32>,
    ) -> usize {
        A::scale(kernel, sums, offset, self.scale_bias(channel), out)
    }

    fn finish_one(&self, channel: usize, sum: A::Sum, offset: i32) -> f32 {
        let [scale, bias] = self.scale_bias(channel);
        A::float(sum, offset) * scale + bias
    }

    fn finish_exact(&self, channel: usize, total: i64) -> f32 {
        let [scale, bias] = self.scale_bias(channel);
        total as f32 * scale + bias
    }
}

/// The integer sums themselves.
pub(super) struct Bare;

impl<A: Arithmetic> Finish<A> for Bare {
    type Out = i32;

    fn finish(
        &self,
        _kernel: Active,
        _channel: usize,
        sums: &[A::Sum],
        offset: i32,
        out: Unwritten<'_, i32>,
    ) -> usize {
        out.iter_mut().zip(sums).map(|(out, &sum)| _ = out.write(A::exact(sum, offset))).count()
    }

    fn finish_one(&self, _channel: usize, sum: A::Sum, offset: i32) -> i32 {
        A::exact(sum, offset)
    }

    fn finish_exact(&self, _channel: usize, total: i64) -> i32 {
        total as i32
    }
}

/// The weights of a group, as its kernel reads them.
pub(super) enum Filters<'a> {
    Packed(&'a Packed),
    /// As floats: a row of `columns` channels for each step, from channel `first` on.
    Floats {
        values: &'a [f32],
        first: usize,
        columns: usize,
    },
}

impl Filters<'_> {
    /// The bytes from `step` of `channel` on, and how many from one step to the next.
    fn of(&self, step: usize, channel: usize) -> (&[i8], usize) {
        match *self {
            Self::Packed(packed) => {
                let first = channel % PANEL;
                let panel = packed.panel(channel - first);
                (&panel.bytes[step * panel.stride + first * GROUP..], panel.stride)
            }
            Self::Floats { values, first, columns } => (
                bytemuck::cast_slice(&values[step * columns + channel - first..]),
                columns * size_of::<f32>(),
            ),
        }
    }

    /// How many channels from `channel` on lie side by side.
    fn beside(&self, channel: usize) -> usize {
        match *self {
            Self::Packed(_) => PANEL - channel % PANEL,
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
    pub(super) packed: &'a Packed,
    pub(super) offset: i32,
    /// The group's first output channel.
    pub(super) first_channel: usize,
    pub(super) output: [usize; 3],
    /// The tiles of each phase for all outputs, if blocks are not cut across lines.
    pub(super) whole: &'a [Tiles],
    pub(super) finish: &'a F,
}

/// Where a part of a tile goes.
struct Run {
    tile: Range<usize>,
    /// From the block's first column.
    column: usize,
    step: usize,
}

/// Neighbouring cells that a tile starts from, and where its outputs go.
struct Tile {
    position: usize,
    pixels: usize,
    runs: Range<usize>,
}

/// The tiles of a phase that make the outputs of some whole lines.
#[derive(Default)]
pub(super) struct Tiles {
    tiles: Vec<Tile>,
    runs: Vec<Run>,
}

impl Tiles {
    /// Tiles of at most `columns` pixels, for some columns of an output of this size: whole lines.
    pub(super) fn new(
        plan: &Plan,
        phase: &PhasePlan,
        [_, height, width]: [usize; 3],
        outputs: Range<usize>,
        columns: usize,
    ) -> Self {
        let mut all = Self::default();
        let lines = outputs.start / width..outputs.end / width;
        for z in lines.start / height..lines.end.div_ceil(height) {
            let within = |line: usize| line.saturating_sub(z * height).min(height);
            let (cell_z, _, planes) = phase.outputs[0].within(z..z + 1);
            let (cell_y, first_y, ys) = phase.outputs[1].within(within(lines.start)..within(lines.end));
            let (cell_x, first_x, xs) = phase.outputs[2].within(0..width);
            if planes * ys * xs == 0 {
                continue;
            }
            let first = plan.position([cell_z, cell_y, cell_x]);
            let [step_y, step] = [1, 2].map(|axis| phase.outputs[axis].step());
            let line = plan.axes[2].length;
            let pixels = (ys - 1) * line + xs;
            for start in (0..pixels).step_by(columns) {
                let end = pixels.min(start + columns);
                let first_run = all.runs.len();
                for y in start / line..=(end - 1) / line {
                    let tile = (y * line).max(start)..(y * line + xs).min(end);
                    if !tile.is_empty() {
                        let x = first_x + (tile.start - y * line) * step;
                        let column = (z * height + first_y + y * step_y) * width + x - outputs.start;
                        all.runs.push(Run { tile: tile.start - start..tile.end - start, column, step });
                    }
                }
                let runs = first_run..all.runs.len();
                all.tiles.push(Tile { position: first + start, pixels: end - start, runs });
            }
        }
        all
    }
}

/// Some channels: the rows `rows` of the block, which start with `channel`.
struct Band {
    rows: Range<usize>,
    channel: usize,
    /// What the encoding of the cells adds to each channel's sums, in the first slice.
    offsets: [i32; TILE_ROWS],
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
        let mut sums = [[Default::default(); PANEL]; TILE_ROWS];
        for (i, phase) in self.plan.phases.iter().enumerate() {
            let some;
            let tiles = match self.whole.get(i) {
                Some(whole) => whole,
                None => {
                    let outputs = block.first_column..block.first_column + block.columns();
                    some = Tiles::new(self.plan, phase, self.output, outputs, columns);
                    &some
                }
            };
            for at_once in tiles.tiles.chunks(at_once) {
                self.channels::<A>(phase, filters, (at_once, &tiles.runs), &mut sums, block);
            }
        }
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
            let mut offsets = [0; TILE_ROWS];
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
            let (channel, offset) = (band.channel + i, band.offsets[i]);
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
        let mut totals = [[0i64; PANEL]; TILE_ROWS];
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

    fn offset_of(&self, slice: usize, channel: usize) -> i32 {
        match self.offset {
            0 => 0,
            offset => self.packed.sums(slice).get(channel).map_or(0, |sum| sum.wrapping_mul(offset)),
        }
    }
}
