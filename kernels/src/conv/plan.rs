//! Where everything is: the cells of the input with the zeros around them, the steps of each sum, the outputs.
//!
//! Along an axis with stride `s` the padded input is split by position modulo `s`, so that neighbouring outputs read
//! neighbouring cells whatever the stride. Each combination of remainders that a tap reads is a plane of its own. A
//! transposed convolution is not split; its outputs are, by their position modulo `s`: each of these phases is a
//! convolution of stride 1 with some of the taps.

use std::ops::Range;

use crate::form::{ConvGeometry, ConvSpec, Subconv};
use crate::isa::Steps;
use crate::pack::{KR, MAX_EXACT_INPUTS};
use crate::quantize::{LOOKING, QUANTIZING, Span};

/// How inputs lie in cells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cells {
    /// Four channels to a cell, as codes.
    Codes,
    /// One value to a cell, as `f32`; sums of integers are exact up to [`EXACT_IN_F32`] steps.
    Integers,
    /// One value to a cell, as `f32`.
    Floats,
}

/// Products of integers whose sums are exact in `f32`: `1024 * 128 * 128 = 2^24`.
const EXACT_IN_F32: usize = 1024;

impl Cells {
    /// Channels of a cell.
    pub(super) fn channels(self) -> usize {
        if self == Self::Codes { KR } else { 1 }
    }

    /// What a value costs on its way into a cell, in multiply-adds.
    pub(super) fn filling(self) -> usize {
        if self == Self::Floats { LOOKING } else { QUANTIZING }
    }

    /// Steps that one sum holds exactly, or at all.
    fn exact_steps(self) -> usize {
        match self {
            Self::Codes => MAX_EXACT_INPUTS / KR,
            Self::Integers => EXACT_IN_F32,
            Self::Floats => usize::MAX,
        }
    }
}

/// One axis of the input in cells.
pub(super) struct Axis {
    pub(super) input: usize,
    /// The stride by which positions are split.
    pub(super) split: usize,
    /// Zeros in front of the input; values dropped if negative.
    pub(super) front: isize,
    /// Cells of a plane.
    pub(super) length: usize,
    /// The remainders of positions that taps read.
    remainders: Vec<usize>,
}

impl Axis {
    fn new(filter: &ConvSpec, window: &ConvGeometry, axis: usize) -> Self {
        let (stride, dilation) = (filter.stride[axis], filter.dilation[axis]);
        let (input, output, padding) = (window.input[axis], window.output[axis], window.padding[axis]);
        let reach = (filter.kernel[axis] - 1) * dilation / stride;
        if filter.transposed {
            let (first, last) = (padding / stride, (output - 1 + padding) / stride);
            let front = reach as isize - first as isize;
            return Self { input, split: 1, front, length: last - first + 1 + reach, remainders: vec![0] };
        }
        let mut remainders: Vec<_> = (0..filter.kernel[axis]).map(|tap| tap * dilation % stride).collect();
        remainders.sort_unstable();
        remainders.dedup();
        Self { input, split: stride, front: padding as isize, length: output + reach, remainders }
    }

    /// The cells of the plane with this remainder that hold input, and the input of the first of them; the next ones are
    /// `split` apart.
    pub(super) fn inside(&self, remainder: usize) -> (Range<usize>, usize) {
        let skipped = self.front - remainder as isize; // positions of this plane before the input starts
        let start = skipped.max(0).cast_unsigned().div_ceil(self.split);
        let end = (skipped + self.input as isize).max(0).cast_unsigned().div_ceil(self.split);
        let (start, end) = (start.min(self.length), end.min(self.length));
        let first = (start * self.split) as isize - skipped;
        (start..end.max(start), first.max(0).cast_unsigned())
    }
}

/// Where the outputs of a phase are along an axis.
pub(super) struct Outputs {
    /// The first position in the cells.
    first_cell: usize,
    /// The output at that position.
    first: usize,
    /// From one output to the next.
    step: usize,
    count: usize,
}

impl Outputs {
    fn new(filter: &ConvSpec, window: &ConvGeometry, residue: usize, axis: usize) -> Self {
        let (output, stride) = (window.output[axis], filter.stride[axis]);
        if !filter.transposed {
            return Self { first_cell: 0, first: 0, step: 1, count: output };
        }
        let cut = window.padding[axis] % stride;
        let first_cell = usize::from(residue < cut);
        let first = first_cell * stride + residue - cut;
        let count = output.saturating_sub(first).div_ceil(stride);
        Self { first_cell, first, step: stride, count }
    }

    /// The outputs of this phase within `range`: the cell of the first, the first, and how many.
    pub(super) fn within(&self, range: Range<usize>) -> (usize, usize, usize) {
        let skip = range.start.saturating_sub(self.first).div_ceil(self.step).min(self.count);
        let end = range.end.saturating_sub(self.first).div_ceil(self.step).min(self.count);
        (self.first_cell + skip, self.first + skip * self.step, end.saturating_sub(skip))
    }

    pub(super) fn step(&self) -> usize {
        self.step
    }

    /// One past the last position in the cells.
    fn end(&self) -> usize {
        self.first_cell + self.count
    }
}

/// Taps that are summed together, for the outputs that they make.
pub(super) struct PhasePlan {
    pub(super) steps: Steps,
    /// Where its steps start among those of all phases.
    pub(super) first_step: usize,
    /// Ranges of steps that one sum holds exactly.
    pub(super) slices: Vec<Range<usize>>,
    /// The first of its slices among those of all phases.
    pub(super) first_slice: usize,
    pub(super) outputs: [Outputs; 3],
}

/// The geometry of one convolution, the same for all samples and groups.
pub(super) struct Plan {
    pub(super) axes: [Axis; 3],
    /// Remainders along the axes.
    pub(super) planes: Vec<[usize; 3]>,
    pub(super) phases: Vec<PhasePlan>,
    /// Values of one channel.
    pub(super) volume: usize,
    /// The values of a channel that enter the cells of a block; the others of these cells are zeros.
    pub(super) spans: Vec<Span>,
    /// Whether there are such others.
    pub(super) margins: bool,
    /// Whether whole planes are encoded first, and their spans then taken from there.
    pub(super) staged: bool,
    /// Whether each sum is of three neighbouring cells in each of three neighbouring lines, and outputs are neighbours, too.
    pub(super) stencil: bool,
    /// Cells of one channel block: all its planes.
    pub(super) block_cells: usize,
    /// Channel blocks of a group.
    pub(super) blocks: usize,
    /// Cells that all tiles together may read.
    pub(super) cells: usize,
    /// For cells of one channel: the row of the packed matrix that each step multiplies.
    pub(super) rows: Vec<usize>,
}

impl Plan {
    /// The plan for cells of `cell` bytes and tiles of `columns` pixels.
    pub(super) fn new(
        filter: &ConvSpec,
        window: &ConvGeometry,
        kind: Cells,
        [cell, columns]: [usize; 2],
    ) -> Self {
        let axes = [0, 1, 2].map(|axis| Axis::new(filter, window, axis));
        let mut planes = Vec::new();
        for &z in &axes[0].remainders {
            for &y in &axes[1].remainders {
                planes.extend(axes[2].remainders.iter().map(|&x| [z, y, x]));
            }
        }
        let plane_cells: usize = axes.iter().map(|axis| axis.length).product();
        let block_cells = planes.len() * plane_cells;
        let blocks = filter.group_channels()[0].div_ceil(kind.channels());
        let spans = spans(&axes, &planes);
        let mut plan = Self {
            volume: axes.iter().map(|axis| axis.input).product(),
            margins: spans.iter().map(|span| span.len).sum::<usize>() < block_cells,
            staged: axes[2].split > 1 || spans.iter().any(|span| span.len < SHORT),
            stencil: false,
            spans,
            axes,
            planes,
            phases: Vec::new(),
            block_cells,
            blocks,
            cells: blocks * block_cells,
            rows: Vec::new(),
        };
        let (mut first_step, mut first_slice, mut first_group) = (0, 0, 0);
        for phase in filter.phases() {
            let steps = Steps::new(plan.offsets(filter, &phase, kind, &mut first_group, cell));
            let outputs = [0, 1, 2].map(|axis| Outputs::new(filter, window, phase.residue[axis], axis));
            let exact = kind.exact_steps();
            let slices: Vec<_> = (0..steps.len())
                .step_by(exact)
                .map(|s| s..steps.len().min(s.saturating_add(exact)))
                .collect();
            // A tile may start at the last output and is read whole.
            let last = plan.position([0, 1, 2].map(|axis| outputs[axis].end()));
            plan.cells = plan.cells.max(last + steps.reach() / cell + columns);
            let next = (first_step + steps.len(), first_slice + slices.len());
            plan.phases.push(PhasePlan { steps, first_step, slices, first_slice, outputs });
            (first_step, first_slice) = next;
        }
        plan.stencil = plan.is_stencil();
        plan
    }

    /// Whether no sum takes more than one tile.
    pub(super) fn sums_are_short(&self) -> bool {
        self.phases.iter().all(|phase| phase.slices.len() <= 1)
    }

    fn is_stencil(&self) -> bool {
        let line = self.axes[2].length;
        let taps = (0..3).flat_map(|y| (0..3).map(move |x| (y * line + x) * size_of::<f32>()));
        let [phase] = &self.phases[..] else { return false };
        self.axes.iter().all(|axis| axis.split == 1) && phase.steps.are(taps)
    }

    /// The cell at these positions of a plane.
    pub(super) fn position(&self, [z, y, x]: [usize; 3]) -> usize {
        (z * self.axes[1].length + y) * self.axes[2].length + x
    }

    /// The steps of a phase in the order of the packed matrix, and the rows that they multiply.
    fn offsets(
        &mut self,
        filter: &ConvSpec,
        phase: &Subconv,
        kind: Cells,
        first_group: &mut usize,
        cell: usize,
    ) -> Vec<usize> {
        let taps: Vec<_> = phase.taps().map(|tap| self.tap_offset(filter, tap)).collect();
        let [inputs, _] = filter.group_channels();
        let mut offsets = Vec::new();
        if inputs == 1 {
            self.rows.extend((0..taps.len()).map(|tap| *first_group * KR + tap));
            *first_group += taps.len().div_ceil(KR);
            return taps.into_iter().map(|tap| tap * cell).collect();
        }
        for first in (0..inputs).step_by(KR) {
            for tap in &taps {
                if kind == Cells::Codes {
                    offsets.push((first / KR * self.block_cells + tap) * cell);
                } else {
                    for lane in 0..KR.min(inputs - first) {
                        offsets.push(((first + lane) * self.block_cells + tap) * cell);
                        self.rows.push(*first_group * KR + lane);
                    }
                }
                *first_group += 1;
            }
        }
        offsets
    }

    /// From the cell of an output's position to the one that `tap` reads for it, in a block's first channel.
    fn tap_offset(&self, filter: &ConvSpec, tap: [usize; 3]) -> usize {
        let mut remainder = [0; 3];
        let mut position = [0; 3];
        for axis in 0..3 {
            let (at, stride) = (tap[axis] * filter.dilation[axis], filter.stride[axis]);
            if filter.transposed {
                let reach = (filter.kernel[axis] - 1) * filter.dilation[axis] / stride;
                position[axis] = reach - at / stride;
            } else {
                (remainder[axis], position[axis]) = (at % stride, at / stride);
            }
        }
        let plane = self.planes.iter().position(|plane| *plane == remainder).unwrap_or_default();
        plane * self.block_cells / self.planes.len() + self.position(position)
    }
}

/// Where spans are shorter, whole planes are encoded and then copied: less than the smallest vector takes pixel by pixel.
const SHORT: usize = 8;

/// Line by line the values of a channel that enter the cells of its planes, where the last axis is split only every `split`-th;
/// lines that go on where the one before ends are one span.
fn spans(axes: &[Axis; 3], planes: &[[usize; 3]]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let [_, height, width] = [0, 1, 2].map(|axis| axes[axis].input);
    for (plane, first_z) in planes.iter().zip((0..).step_by(axes[0].length)) {
        let [z, y, x] = [0, 1, 2].map(|axis| axes[axis].inside(plane[axis]));
        for at_z in z.0.clone().filter(|_| !x.0.is_empty()) {
            let from_z = z.1 + (at_z - z.0.start) * axes[0].split;
            for at_y in y.0.clone() {
                let from_y = y.1 + (at_y - y.0.start) * axes[1].split;
                let from = (from_z * height + from_y) * width + x.1;
                let to = ((first_z + at_z) * axes[1].length + at_y) * axes[2].length + x.0.start;
                match spans.last_mut() {
                    Some(last)
                        if axes[2].split == 1 && [last.from + last.len, last.to + last.len] == [from, to] =>
                    {
                        last.len += x.0.len();
                    }
                    _ => spans.push(Span { from, to, len: x.0.len() }),
                }
            }
        }
    }
    spans
}
