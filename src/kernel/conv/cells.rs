//! Filling cells: quantize the planes of a group's channels and put zeros around them.

use std::ops::Range;

use bytemuck::Pod;

use super::plan::{Cells, Plan};
use crate::kernel::aligned::{STAGING, lend};
use crate::kernel::isa::Active;
use crate::kernel::parallel::for_each;
use crate::kernel::quantize::{Cell, Quantizer};

/// How the values of one sample enter cells.
pub(super) struct Source<'a> {
    pub(super) kernel: Active,
    pub(super) kind: Cells,
    /// `None` for floats, and for a sample that is not finite: its cells are zeros.
    pub(super) quantizer: Option<&'a Quantizer>,
}

impl Source<'_> {
    /// Writes the cells of one group from its channels `x`.
    pub(super) fn fill(&self, plan: &Plan, x: &[f32], cells: &mut [u8], cell: usize, threads: usize) {
        let volume: usize = plan.axes.iter().map(|axis| axis.input).product();
        let channels = self.kind.channels() * volume;
        if volume == 0 {
            return self.blank(cells);
        }
        let blocks = x.chunks(channels).zip(cells.chunks_mut((plan.block_cells * cell).max(1)));
        for_each(threads, blocks, |(x, cells)| match (cell, self.kind) {
            (8, _) => self.block(plan, [x, &x[..volume]], cells, u64::ZEROS),
            (_, Cells::Codes) => self.block(plan, [x, &x[..volume]], cells, u32::ZEROS),
            _ => self.block(plan, [x, &x[..volume]], cells, 0u32), // the bits of 0.0
        });
    }

    /// Writes the cells of one block of channels; the first of them is `plane`.
    fn block<T: Pod>(&self, plan: &Plan, [x, plane]: [&[f32]; 2], cells: &mut [u8], zeros: T) {
        let volume = plane.len();
        let bytes = volume * size_of::<T>();
        let plain = plan.axes.iter().all(|a| a.split == 1 && a.front == 0 && a.length == a.input);
        if plain {
            return self.encode(x, volume, 0..volume, &mut cells[..bytes]);
        }
        let axis = &plan.axes[2];
        if axis.split == 1 && axis.input >= LONG_LINE {
            return lines(plan, cells, zeros, |from, to: &mut [T]| {
                self.encode(x, volume, from..from + to.len(), bytemuck::cast_slice_mut(to));
            });
        }
        lend(&STAGING, |staging| {
            let staged = staging.at_least(bytes);
            self.encode(x, volume, 0..volume, staged);
            let staged: &[T] = bytemuck::cast_slice(staged);
            lines(plan, cells, zeros, |from, to| take(axis.split, &staged[from..], to));
        });
    }

    /// The values at `range` of up to four planes, side by side, without zeros around them.
    fn encode(&self, x: &[f32], volume: usize, range: Range<usize>, cells: &mut [u8]) {
        match (self.kind, self.quantizer) {
            (Cells::Floats, _) => cells.copy_from_slice(bytemuck::cast_slice(&x[range])),
            (Cells::Integers, Some(quantizer)) => {
                self.kernel.round(&x[range], quantizer, bytemuck::cast_slice_mut(cells));
            }
            (Cells::Codes, Some(quantizer)) => {
                let mut planes = [&x[..0]; 4];
                planes.iter_mut().zip(x.chunks(volume)).for_each(|(plane, x)| *plane = &x[range.clone()]);
                self.kernel.cells(&planes[..x.len() / volume], quantizer, cells);
            }
            (_, None) => self.blank(cells),
        }
    }

    fn blank(&self, cells: &mut [u8]) {
        let offset = self.kind == Cells::Codes && self.kernel.pixel_size().cell == size_of::<u32>();
        cells.fill(if offset { u32::ZEROS as u8 } else { 0 });
    }
}

/// Cells that are worth a call of their own.
const LONG_LINE: usize = 24;

/// Fills the lines of a block: zeros around the input, and `write` what lies inside. It is told which value of a channel
/// comes first.
fn lines<T: Pod>(plan: &Plan, cells: &mut [u8], zeros: T, write: impl Fn(usize, &mut [T])) {
    let [_, height, width] = [0, 1, 2].map(|axis| plan.axes[axis].input);
    let mut lines = bytemuck::cast_slice_mut(cells).chunks_exact_mut(plan.axes[2].length);
    for plane in &plan.planes {
        let [z, y, x] = [0, 1, 2].map(|axis| plan.axes[axis].inside(plane[axis]));
        for at_z in 0..plan.axes[0].length {
            for at_y in 0..plan.axes[1].length {
                let Some(line) = lines.next() else { return };
                if !z.0.contains(&at_z) || !y.0.contains(&at_y) || x.0.is_empty() {
                    line.fill(zeros);
                    continue;
                }
                let from_z = z.1 + (at_z - z.0.start) * plan.axes[0].split;
                let from_y = y.1 + (at_y - y.0.start) * plan.axes[1].split;
                line[..x.0.start].fill(zeros);
                line[x.0.end..].fill(zeros);
                write((from_z * height + from_y) * width + x.1, &mut line[x.0.clone()]);
            }
        }
    }
}

/// Every `split`-th cell; the usual strides are spelt out so that they become vector code.
fn take<T: Pod>(split: usize, from: &[T], to: &mut [T]) {
    match split {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => to.iter_mut().zip(from.chunks(2)).for_each(|(to, from)| *to = from[0]),
        split => to.iter_mut().zip(from.iter().step_by(split)).for_each(|(to, from)| *to = *from),
    }
}
