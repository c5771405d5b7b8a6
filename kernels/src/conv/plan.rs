//! The places of everything: the blocked input with the zeros around it, the steps of each sum, the outputs.
//!
//! Along an axis with stride `s` the padded input is split by position modulo `s`, so that neighbouring outputs read
//! neighbouring blocks whatever the stride. Each combination of remainders that a tap reads is a plane of its own. A
//! transposed convolution is not split; its outputs are, by their position modulo `s`: each of these subconvolutions is a
//! convolution of stride 1 with some of the taps.

use std::ops::Range;

use super::geometry::ConvGeometry;
use crate::isa::KSteps;
use crate::quantize::{ABSMAX_COST, QUANTIZE_COST};
use crate::weight::{ConvSpec, KR, MAX_EXACT_INPUTS, Subconvolution};

/// The way in which inputs lie in blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InputKind {
    /// Four channels to a block, in the encoding of the instruction set.
    Quantized,
    /// One channel to a block, integers as `f32`; their sums are exact up to [`EXACT_IN_F32`] steps.
    QuantizedPlanes,
    /// One channel to a block, as `f32`.
    Floats,
}

/// The products of integers whose sums are exact in `f32`: `512 * 255 * 128 < 2^24`.
pub(super) const EXACT_IN_F32: usize = 512;

impl InputKind {
    /// The channels of a block.
    pub(super) fn channels(self) -> usize {
        if self == Self::Quantized { KR } else { 1 }
    }

    /// The cost of a value on its way into a block, in multiply-adds.
    pub(super) fn fill_cost(self) -> usize {
        if self == Self::Floats { ABSMAX_COST } else { QUANTIZE_COST }
    }

    /// The steps that one sum holds exactly, or at all.
    fn exact_steps(self) -> usize {
        match self {
            Self::Quantized => MAX_EXACT_INPUTS / KR,
            Self::QuantizedPlanes => EXACT_IN_F32,
            Self::Floats => usize::MAX,
        }
    }
}

/// A run of neighbouring pixels of a plane, and the neighbouring blocks that they become: the first of both, and how many.
/// The pixels are `split` apart where the last axis is split.
#[derive(Clone, Copy)]
pub(super) struct RowSegment {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) len: usize,
}

/// One axis of the blocked input.
pub(super) struct Axis {
    pub(super) input: usize,
    /// The stride by which positions are split.
    pub(super) split: usize,
    /// The zeros in front of the input; values dropped if negative.
    pub(super) front: isize,
    /// The positions of a plane.
    pub(super) length: usize,
    /// The remainders of positions that taps read.
    remainders: Vec<usize>,
}

impl Axis {
    fn new(geometry: &ConvGeometry, axis: usize) -> Self {
        let spec = geometry.spec();
        let (stride, dilation) = (spec.stride[axis], spec.dilation[axis]);
        let (input, output, padding) =
            (geometry.input()[axis], geometry.output()[axis], geometry.padding()[axis]);
        let reach = (spec.kernel[axis] - 1) * dilation / stride;
        if spec.transposed {
            let (first, last) = (padding / stride, (output - 1 + padding) / stride);
            let front = reach as isize - first as isize;
            return Self { input, split: 1, front, length: last - first + 1 + reach, remainders: vec![0] };
        }
        let mut remainders: Vec<_> = (0..spec.kernel[axis]).map(|tap| tap * dilation % stride).collect();
        remainders.sort_unstable();
        remainders.dedup();
        Self { input, split: stride, front: padding as isize, length: output + reach, remainders }
    }

    /// The blocks of the plane with this remainder that hold input, and the input of the first of them; the next ones are
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

/// The places of a subconvolution's outputs along an axis.
pub(super) struct Outputs {
    /// The first position in the blocked input.
    first_block: usize,
    /// The output at that position.
    first: usize,
    /// The distance from one output to the next.
    step: usize,
    count: usize,
}

impl Outputs {
    fn new(geometry: &ConvGeometry, residue: usize, axis: usize) -> Self {
        let spec = geometry.spec();
        let (output, stride) = (geometry.output()[axis], spec.stride[axis]);
        if !spec.transposed {
            return Self { first_block: 0, first: 0, step: 1, count: output };
        }
        let cut = geometry.padding()[axis] % stride;
        let first_block = usize::from(residue < cut);
        let first = first_block * stride + residue - cut;
        let count = output.saturating_sub(first).div_ceil(stride);
        Self { first_block, first, step: stride, count }
    }

    /// The outputs of this subconvolution within `range`: the block of the first, the first, and how many.
    pub(super) fn within(&self, range: Range<usize>) -> (usize, usize, usize) {
        let skip = range.start.saturating_sub(self.first).div_ceil(self.step).min(self.count);
        let end = range.end.saturating_sub(self.first).div_ceil(self.step).min(self.count);
        (self.first_block + skip, self.first + skip * self.step, end.saturating_sub(skip))
    }

    pub(super) fn step(&self) -> usize {
        self.step
    }

    /// One past the last position in the blocked input.
    fn end(&self) -> usize {
        self.first_block + self.count
    }
}

/// The taps that are summed together, for the outputs that they make.
pub(super) struct SubconvPlan {
    pub(super) steps: KSteps,
    /// The first of its steps among those of all subconvolutions.
    pub(super) first_step: usize,
    /// The ranges of steps that one sum holds exactly.
    pub(super) k_blocks: Vec<Range<usize>>,
    /// The first of its K blocks among those of all subconvolutions.
    pub(super) first_k_block: usize,
    pub(super) outputs: [Outputs; 3],
}

/// The geometry of one convolution, the same for all samples and groups.
pub(super) struct Plan {
    pub(super) axes: [Axis; 3],
    /// The remainders along the axes.
    pub(super) planes: Vec<[usize; 3]>,
    pub(super) subconvs: Vec<SubconvPlan>,
    /// True if the outputs of a subconvolution lie between those of others, or between such as no tap reaches.
    pub(super) interleaved: bool,
    /// The values of one channel.
    pub(super) volume: usize,
    /// The rows of a channel's values that enter a channel block; the rest of it is zeros.
    pub(super) segments: Vec<RowSegment>,
    /// True if there are such zeros.
    pub(super) margins: bool,
    /// True if whole planes are quantized first, and their rows then taken from there.
    pub(super) staged: bool,
    /// True if each sum is of three neighbouring values in each of three neighbouring lines, and outputs are neighbours, too.
    pub(super) is_3x3: bool,
    /// InputKind of one channel block: all its planes.
    pub(super) channel_block: usize,
    /// The channel blocks of a group.
    pub(super) channel_blocks: usize,
    /// InputKind that all tiles together may read.
    pub(super) blocks: usize,
    /// The row of the packed matrix that each step multiplies, where a block holds one channel.
    pub(super) rows: Vec<usize>,
}

impl Plan {
    /// The plan for blocks of `block_bytes` and tiles of `columns` pixels.
    pub(super) fn new(geometry: &ConvGeometry, kind: InputKind, [block_bytes, columns]: [usize; 2]) -> Self {
        let spec = geometry.spec();
        let axes = [0, 1, 2].map(|axis| Axis::new(geometry, axis));
        let mut planes = Vec::new();
        for &z in &axes[0].remainders {
            for &y in &axes[1].remainders {
                planes.extend(axes[2].remainders.iter().map(|&x| [z, y, x]));
            }
        }
        let plane_len: usize = axes.iter().map(|axis| axis.length).product();
        let channel_block = planes.len() * plane_len;
        let channel_blocks = spec.group_channels()[0].div_ceil(kind.channels());
        let segments = segments(&axes, &planes);
        let mut plan = Self {
            volume: axes.iter().map(|axis| axis.input).product(),
            margins: segments.iter().map(|segment| segment.len).sum::<usize>() < channel_block,
            staged: axes[2].split > 1 || segments.iter().any(|segment| segment.len < SHORT),
            is_3x3: false,
            segments,
            axes,
            planes,
            subconvs: Vec::new(),
            interleaved: spec.transposed && spec.stride != [1; 3],
            channel_block,
            channel_blocks,
            blocks: channel_blocks * channel_block,
            rows: Vec::new(),
        };
        let (mut first_step, mut first_k_block, mut first_group) = (0, 0, 0);
        for subconv in spec.subconvolutions() {
            let steps = KSteps::new(plan.offsets(spec, &subconv, kind, &mut first_group, block_bytes));
            let outputs = [0, 1, 2].map(|axis| Outputs::new(geometry, subconv.residue[axis], axis));
            let exact = kind.exact_steps();
            let k_blocks: Vec<_> = (0..steps.len())
                .step_by(exact)
                .map(|s| s..steps.len().min(s.saturating_add(exact)))
                .collect();
            // A tile may start at the last output and is read whole.
            let last = plan.position([0, 1, 2].map(|axis| outputs[axis].end()));
            plan.blocks = plan.blocks.max(last + steps.reach() / block_bytes + columns);
            let next = (first_step + steps.len(), first_k_block + k_blocks.len());
            plan.subconvs.push(SubconvPlan { steps, first_step, k_blocks, first_k_block, outputs });
            (first_step, first_k_block) = next;
        }
        plan.is_3x3 = plan.is_3x3();
        plan
    }

    /// True if no sum takes more than one tile.
    pub(super) fn sums_are_short(&self) -> bool {
        self.subconvs.iter().all(|subconv| subconv.k_blocks.len() <= 1)
    }

    fn is_3x3(&self) -> bool {
        let line = self.axes[2].length;
        let taps = (0..3).flat_map(|y| (0..3).map(move |x| (y * line + x) * size_of::<f32>()));
        let [subconv] = &self.subconvs[..] else { return false };
        self.axes.iter().all(|axis| axis.split == 1) && subconv.steps.offsets().iter().copied().eq(taps)
    }

    /// The block at these positions of a plane.
    pub(super) fn position(&self, [z, y, x]: [usize; 3]) -> usize {
        (z * self.axes[1].length + y) * self.axes[2].length + x
    }

    /// The steps of a subconvolution in the order of the packed matrix, and the rows that they multiply.
    fn offsets(
        &mut self,
        spec: &ConvSpec,
        subconv: &Subconvolution,
        kind: InputKind,
        first_group: &mut usize,
        block_bytes: usize,
    ) -> Vec<usize> {
        let taps: Vec<_> = subconv.taps().map(|tap| self.tap_offset(spec, tap)).collect();
        let [inputs, _] = spec.group_channels();
        let mut offsets = Vec::new();
        if inputs == 1 {
            self.rows.extend((0..taps.len()).map(|tap| *first_group * KR + tap));
            *first_group += taps.len().div_ceil(KR);
            return taps.into_iter().map(|tap| tap * block_bytes).collect();
        }
        for first in (0..inputs).step_by(KR) {
            for tap in &taps {
                if kind == InputKind::Quantized {
                    offsets.push((first / KR * self.channel_block + tap) * block_bytes);
                } else {
                    for lane in 0..KR.min(inputs - first) {
                        offsets.push(((first + lane) * self.channel_block + tap) * block_bytes);
                        self.rows.push(*first_group * KR + lane);
                    }
                }
                *first_group += 1;
            }
        }
        offsets
    }

    /// The blocks from an output's position to the one that `tap` reads for it, in the first channel block.
    fn tap_offset(&self, spec: &ConvSpec, tap: [usize; 3]) -> usize {
        let mut remainder = [0; 3];
        let mut position = [0; 3];
        for axis in 0..3 {
            let (at, stride) = (tap[axis] * spec.dilation[axis], spec.stride[axis]);
            if spec.transposed {
                let reach = (spec.kernel[axis] - 1) * spec.dilation[axis] / stride;
                position[axis] = reach - at / stride;
            } else {
                (remainder[axis], position[axis]) = (at % stride, at / stride);
            }
        }
        let plane = self.planes.iter().position(|plane| *plane == remainder).unwrap_or_default();
        plane * self.channel_block / self.planes.len() + self.position(position)
    }
}

/// Whole planes are encoded and then copied where segments are shorter: less than the smallest vector takes pixel by pixel.
const SHORT: usize = 8;

/// Line by line the values of a channel that enter its planes, where the last axis is split only every `split`-th;
/// lines that go on where the one before ends are one segment.
fn segments(axes: &[Axis; 3], planes: &[[usize; 3]]) -> Vec<RowSegment> {
    let mut segments: Vec<RowSegment> = Vec::new();
    let [_, height, width] = [0, 1, 2].map(|axis| axes[axis].input);
    for (plane, first_z) in planes.iter().zip((0..).step_by(axes[0].length)) {
        let [z, y, x] = [0, 1, 2].map(|axis| axes[axis].inside(plane[axis]));
        for at_z in z.0.clone().filter(|_| !x.0.is_empty()) {
            let from_z = z.1 + (at_z - z.0.start) * axes[0].split;
            for at_y in y.0.clone() {
                let from_y = y.1 + (at_y - y.0.start) * axes[1].split;
                let from = (from_z * height + from_y) * width + x.1;
                let to = ((first_z + at_z) * axes[1].length + at_y) * axes[2].length + x.0.start;
                match segments.last_mut() {
                    Some(last)
                        if axes[2].split == 1 && [last.from + last.len, last.to + last.len] == [from, to] =>
                    {
                        last.len += x.0.len();
                    }
                    _ => segments.push(RowSegment { from, to, len: x.0.len() }),
                }
            }
        }
    }
    segments
}
