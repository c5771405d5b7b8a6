//! Filling cells: quantize the planes of a group's channels and put zeros around them.

use bytemuck::Pod;

use super::plan::{Cells, Plan};
use crate::aligned::{STAGING, lend};
use crate::isa::Active;
use crate::parallel::for_each;
use crate::quantize::{Cell, Quantizer, Span};

/// How the values of one sample enter cells.
pub(super) struct Source<'a> {
    pub(super) kernel: Active,
    pub(super) kind: Cells,
    /// `None` for floats, and for a sample that is not finite: its cells are zeros.
    pub(super) quantizer: Option<&'a Quantizer>,
    /// Whether the zeros around the input are still to be written.
    pub(super) margins: bool,
}

impl Source<'_> {
    /// Writes the cells of one group from its channels `x`.
    pub(super) fn fill(&self, plan: &Plan, x: &[f32], cells: &mut [u8], cell: usize, threads: usize) {
        if plan.volume == 0 {
            return self.blank(cells);
        }
        let (values, bytes) = (self.kind.channels() * plan.volume, (plan.block_cells * cell).max(1));
        let at_once = plan.blocks.div_ceil(threads * PIECES).max(1);
        let some = x.chunks(values * at_once).zip(cells.chunks_mut(bytes * at_once));
        for_each(threads, some, |(x, cells)| {
            for (x, cells) in x.chunks(values).zip(cells.chunks_mut(bytes)) {
                match (cell, self.kind) {
                    (8, _) => self.block(plan, x, bytemuck::cast_slice_mut(cells), u64::ZEROS),
                    (_, Cells::Codes) => self.block(plan, x, bytemuck::cast_slice_mut(cells), u32::ZEROS),
                    _ => self.block(plan, x, bytemuck::cast_slice_mut(cells), 0u32), // the bits of 0.0
                }
            }
        });
    }

    /// Writes the cells of one block of channels.
    fn block<T: Pod>(&self, plan: &Plan, x: &[f32], cells: &mut [T], zeros: T) {
        if self.margins && plan.margins {
            cells.fill(zeros);
        }
        if !plan.staged {
            return self.encode(plan, x, &plan.spans, bytemuck::cast_slice_mut(cells));
        }
        lend(&STAGING, |staging| {
            let staged = staging.at_least(plan.volume * size_of::<T>());
            self.encode(plan, x, &[Span { from: 0, to: 0, len: plan.volume }], staged);
            let staged: &[T] = bytemuck::cast_slice(staged);
            for &Span { from, to, len } in &plan.spans {
                take(plan.axes[2].split, &staged[from..], &mut cells[to..][..len]);
            }
        });
    }

    /// The values of spans of up to four planes, side by side.
    fn encode(&self, plan: &Plan, x: &[f32], spans: &[Span], cells: &mut [u8]) {
        match (self.kind, self.quantizer) {
            (Cells::Floats, _) => {
                let cells: &mut [f32] = bytemuck::cast_slice_mut(cells);
                spans.iter().for_each(|s| cells[s.to..][..s.len].copy_from_slice(&x[s.from..][..s.len]));
            }
            (Cells::Integers, Some(quantizer)) => {
                self.kernel.round(x, spans, quantizer, bytemuck::cast_slice_mut(cells));
            }
            (Cells::Codes, Some(quantizer)) => {
                let mut planes = [&x[..0]; 4];
                planes.iter_mut().zip(x.chunks(plan.volume)).for_each(|(plane, x)| *plane = x);
                self.kernel.cells(&planes[..x.len() / plan.volume], spans, quantizer, cells);
            }
            (_, None) => self.blank(cells),
        }
    }

    fn blank(&self, cells: &mut [u8]) {
        let offset = self.kind == Cells::Codes && self.kernel.pixel_size().cell == size_of::<u32>();
        cells.fill(if offset { u32::ZEROS as u8 } else { 0 });
    }
}

/// Pieces of work for each thread: fewer trips to the queue than blocks, and at the end no long wait for another.
const PIECES: usize = 6;

/// Every `split`-th cell; the usual strides are spelt out so that they become vector code.
fn take<T: Pod>(split: usize, from: &[T], to: &mut [T]) {
    match split {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => to.iter_mut().zip(from.chunks(2)).for_each(|(to, from)| *to = from[0]),
        split => to.iter_mut().zip(from.iter().step_by(split)).for_each(|(to, from)| *to = *from),
    }
}
