//! The walk over a block of outputs, tile by tile.

use std::ops::Range;

use super::plan::{PhasePlan, Plan};
use crate::kernel::isa::{Active, PixelOperands, Sums, TILE_ROWS, TileSize};
use crate::kernel::pack::{GROUP, PANEL, Packed};
use crate::kernel::parallel::Block;

/// How sums are made and what becomes of them: in integers, or in floats.
pub(super) trait Arithmetic: Sync {
    type Sum: Copy + Default;

    fn size(kernel: Active) -> TileSize;
    fn tile(kernel: Active, size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<Self::Sum>);
    /// `(sum - offset) * scale + bias`.
    fn scale(kernel: Active, sums: &[Self::Sum], offset: i32, scale_bias: [f32; 2], out: &mut [f32]);
    /// `sum - offset`, for sums of integers.
    fn exact(sum: Self::Sum, offset: i32) -> i32;
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

    fn scale(kernel: Active, sums: &[i32], offset: i32, scale_bias: [f32; 2], out: &mut [f32]) {
        kernel.scale_integers(sums, offset, scale_bias, out);
    }

    fn exact(sum: i32, offset: i32) -> i32 {
        sum.wrapping_sub(offset)
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

    fn scale(kernel: Active, sums: &[f32], _offset: i32, scale_bias: [f32; 2], out: &mut [f32]) {
        kernel.scale_floats(sums, scale_bias, out);
    }

    fn exact(sum: f32, _offset: i32) -> i32 {
        sum as i32
    }
}

/// What becomes of the sums of one sample.
pub(super) trait Finish<A: Arithmetic>: Sync {
    type Out: Copy + Default + Send;

    /// From the sums of one channel.
    fn finish(&self, kernel: Active, channel: usize, sums: &[A::Sum], offset: i32, out: &mut [Self::Out]);
    /// From sums that took more than one tile.
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

    fn finish(&self, kernel: Active, channel: usize, sums: &[A::Sum], offset: i32, out: &mut [f32]) {
        A::scale(kernel, sums, offset, self.scale_bias(channel), out);
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

    fn finish(&self, _kernel: Active, _channel: usize, sums: &[A::Sum], offset: i32, out: &mut [i32]) {
        out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = A::exact(sum, offset));
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
    /// The bytes from `step` of `channel` on, from one step to the next, and how many channels lie side by side there.
    fn of(&self, step: usize, channel: usize) -> (&[i8], usize, usize) {
        match *self {
            Self::Packed(packed) => {
                let first = channel % PANEL;
                let panel = packed.panel(channel - first);
                let start = (step * panel.stride + first * GROUP).min(panel.bytes.len());
                (&panel.bytes[start..], panel.stride, PANEL - first)
            }
            Self::Floats { values, first, columns } => {
                let start = (step * columns + channel - first).min(values.len());
                (
                    bytemuck::cast_slice(&values[start..]),
                    columns * size_of::<f32>(),
                    columns + first - channel,
                )
            }
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
struct Tile<'a> {
    phase: &'a PhasePlan,
    filters: &'a Filters<'a>,
    position: usize,
    pixels: usize,
    runs: &'a [Run],
}

impl<F> Part<'_, F> {
    /// Computes a block: some channels of whole lines of the output.
    pub(super) fn block<A: Arithmetic>(&self, filters: &Filters<'_>, block: &mut Block<'_, F::Out>)
    where
        F: Finish<A>,
    {
        let [_, height, width] = self.output;
        let lines = block.first_column / width..(block.first_column + block.columns()) / width;
        let columns = A::size(self.kernel).columns;
        let mut runs = Vec::with_capacity(columns);
        for phase in &self.plan.phases {
            for z in lines.start / height..lines.end.div_ceil(height) {
                let within = |line: usize| line.saturating_sub(z * height).min(height);
                let (cell_z, _, planes) = phase.outputs[0].within(z..z + 1);
                let (cell_y, first_y, ys) = phase.outputs[1].within(within(lines.start)..within(lines.end));
                let (cell_x, first_x, xs) = phase.outputs[2].within(0..width);
                if planes * ys * xs == 0 {
                    continue;
                }
                let line = self.plan.axes[2].length;
                let first = self.plan.position([cell_z, cell_y, cell_x]);
                let all = (ys - 1) * line + xs;
                for start in (0..all).step_by(columns) {
                    let pixels = columns.min(all - start);
                    runs.clear();
                    for y in start / line..=(start + pixels - 1) / line {
                        let tile = (y * line).max(start)..(y * line + xs).min(start + pixels);
                        if !tile.is_empty() {
                            let (y_out, x) = (first_y + y * phase.outputs[1].step(), tile.start - y * line);
                            let column = (z * height + y_out) * width + first_x + x * phase.outputs[2].step();
                            let tile = tile.start - start..tile.end - start;
                            let column = column - block.first_column;
                            runs.push(Run { tile, column, step: phase.outputs[2].step() });
                        }
                    }
                    let tile = Tile { phase, filters, position: first + start, pixels, runs: &runs };
                    self.channels::<A>(&tile, block);
                }
            }
        }
    }

    /// Computes all channels of the block for the pixels of one tile.
    fn channels<A: Arithmetic>(&self, tile: &Tile<'_>, block: &mut Block<'_, F::Out>)
    where
        F: Finish<A>,
    {
        let TileSize { rows: most, .. } = A::size(self.kernel);
        let mut sums: Sums<A::Sum> = [[Default::default(); PANEL]; TILE_ROWS];
        let mut out = [F::Out::default(); PANEL];
        let mut row = 0;
        while row < block.rows() {
            let channel = self.first_channel + block.first_row + row;
            let (_, _, beside) = tile.filters.of(0, channel);
            let left = beside.min(block.rows() - row);
            let rows = left.div_ceil(left.div_ceil(most)); // even tiles: 8 rows are 4 + 4, not 6 + 2
            if let [slice] = &tile.phase.slices[..] {
                self.sums::<A>(tile, slice.clone(), channel, rows, &mut sums);
                for (i, sums) in sums.iter().enumerate().take(rows) {
                    let (sums, out) = (&sums[..tile.pixels], &mut out[..tile.pixels]);
                    let offset = self.offset_of(tile.phase.first_slice, channel + i);
                    self.finish.finish(self.kernel, channel + i, sums, offset, out);
                    write(tile, out, row + i, block);
                }
            } else {
                self.long::<A>(tile, channel, row, rows, block);
            }
            row += rows;
        }
    }

    /// More steps than one sum holds, or none: totals in `i64`.
    fn long<A: Arithmetic>(
        &self,
        tile: &Tile<'_>,
        channel: usize,
        row: usize,
        rows: usize,
        block: &mut Block<'_, F::Out>,
    ) where
        F: Finish<A>,
    {
        let mut sums: Sums<A::Sum> = [[Default::default(); PANEL]; TILE_ROWS];
        let mut totals = [[0i64; PANEL]; TILE_ROWS];
        for (i, slice) in tile.phase.slices.iter().enumerate() {
            self.sums::<A>(tile, slice.clone(), channel, rows, &mut sums);
            for (row, (totals, sums)) in totals.iter_mut().zip(&sums).enumerate().take(rows) {
                let offset = self.offset_of(tile.phase.first_slice + i, channel + row);
                totals.iter_mut().zip(sums).for_each(|(t, &s)| *t += i64::from(A::exact(s, offset)));
            }
        }
        for (i, totals) in totals.iter().enumerate().take(rows) {
            let out = totals.map(|total| self.finish.finish_exact(channel + i, total));
            write(tile, &out, row + i, block);
        }
    }

    fn sums<A: Arithmetic>(
        &self,
        tile: &Tile<'_>,
        slice: Range<usize>,
        channel: usize,
        rows: usize,
        sums: &mut Sums<A::Sum>,
    ) {
        let TileSize { lanes, cell, .. } = A::size(self.kernel);
        let (w, w_stride, _) = tile.filters.of(tile.phase.first_step + slice.start, channel);
        let x = &self.cells[tile.position * cell..];
        let operands = PixelOperands { x, steps: &tile.phase.steps, range: slice, w, w_stride };
        A::tile(self.kernel, [rows, tile.pixels.div_ceil(lanes)], &operands, sums);
    }

    fn offset_of(&self, slice: usize, channel: usize) -> i32 {
        if self.offset == 0 { 0 } else { self.packed.sums(slice)[channel].wrapping_mul(self.offset) }
    }
}

/// Writes the outputs of one channel of a tile.
fn write<T: Copy>(tile: &Tile<'_>, out: &[T], row: usize, block: &mut Block<'_, T>) {
    for run in tile.runs {
        block.write_every(row, run.column, run.step, &out[run.tile.clone()]);
    }
}
