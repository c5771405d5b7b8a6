//! What a weight tensor is to its layer, and which of its weights stands where in the matrix that is multiplied.

use super::pack::{KR, MAX_EXACT_INPUTS};

/// The weights of a layer, in Burn's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightLayout {
    /// A linear layer: `[inputs, outputs]`.
    Linear([usize; 2]),
    /// A table: `[entries, width]`, each entry an output channel.
    Table([usize; 2]),
    /// A convolution.
    Conv(ConvSpec),
}

/// The filters of a convolution: their sizes, and how they slide. Layers of fewer than three axes have ones in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvSpec {
    /// Axes of the layer: 1 to 3.
    pub axes: usize,
    /// Input and output channels.
    pub channels: [usize; 2],
    /// How many parts of the channels are convolved apart from each other.
    pub groups: usize,
    /// Taps along each axis.
    pub kernel: [usize; 3],
    /// Steps of the output on the input, or of the input on the output of a transposed convolution.
    pub stride: [usize; 3],
    /// Steps between taps.
    pub dilation: [usize; 3],
    /// Whether it is a transposed convolution, whose weights are `[in, out / groups, ..]`.
    pub transposed: bool,
}

/// Where filters stand on one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Values along each axis of the input.
    pub input: [usize; 3],
    /// Values along each axis of the output.
    pub output: [usize; 3],
    /// Zeros in front of the input; of a transposed convolution, outputs cut off in front.
    pub padding: [usize; 3],
}

impl WeightLayout {
    /// The shape of the weight tensor.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Linear(shape) | Self::Table(shape) => shape.to_vec(),
            Self::Conv(filter) => filter.shape(),
        }
    }

    /// How many weights there are.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many output channels there are, each with a scale of its own.
    pub fn channels(&self) -> usize {
        match *self {
            Self::Linear([_, n]) | Self::Table([n, _]) => n,
            Self::Conv(filter) => filter.channels[1],
        }
    }

    /// How many inputs each output sums up.
    pub fn inputs(&self) -> usize {
        match *self {
            Self::Linear([k, _]) | Self::Table([_, k]) => k,
            Self::Conv(filter) => filter.group_channels()[0] * filter.taps(),
        }
    }

    /// The output channel that the weight at `index` of the tensor belongs to.
    pub fn channel_of(&self, index: usize) -> usize {
        match *self {
            Self::Linear([_, n]) => index % n,
            Self::Table([_, width]) => index / width,
            Self::Conv(filter) => {
                let [inputs, outputs] = filter.group_channels();
                let taps = filter.taps();
                if filter.transposed {
                    index / (inputs * outputs * taps) * outputs + index / taps % outputs
                } else {
                    index / (inputs * taps)
                }
            }
        }
    }

    /// One row of the matrix for each input, tap by tap and then channel by channel. A tap of several channels starts at a
    /// multiple of four rows.
    pub fn plain_order(&self) -> PackOrder {
        let rows = match *self {
            Self::Conv(filter) => {
                let [inputs, _] = filter.group_channels();
                let mut rows = Vec::new();
                for tap in 0..filter.taps() {
                    rows.resize(filter.plain_row(tap), PackOrder::PADDING);
                    rows.extend((0..inputs).map(|channel| filter.row(channel, tap)));
                }
                rows
            }
            _ => self.matrix_rows(),
        };
        PackOrder { rows, columns: self.columns(), slices: Vec::new() }
    }

    /// The order in which the CPU kernels read.
    pub(super) fn packed_order(&self) -> PackOrder {
        let (rows, phases) = match *self {
            Self::Conv(filter) => filter.packed_rows(),
            _ => (self.matrix_rows(), vec![self.inputs().div_ceil(KR)]),
        };
        let mut slices = Vec::new();
        let mut start = 0;
        for end in phases {
            let parts = (start..end).step_by(MAX_EXACT_INPUTS / KR);
            slices.extend(parts.map(|g| g..end.min(g + MAX_EXACT_INPUTS / KR)));
            start = end;
        }
        PackOrder { rows, columns: self.columns(), slices }
    }

    fn matrix_rows(&self) -> Vec<usize> {
        let step = if let Self::Linear([_, n]) = *self { n } else { 1 };
        (0..self.inputs()).map(|row| row * step).collect()
    }

    fn columns(&self) -> Vec<usize> {
        match *self {
            Self::Linear([_, n]) => (0..n).collect(),
            Self::Table([n, width]) => (0..n).map(|entry| entry * width).collect(),
            Self::Conv(filter) => (0..filter.channels[1]).map(|channel| filter.column(channel)).collect(),
        }
    }
}

impl ConvSpec {
    /// Channels that one group reads and writes.
    pub fn group_channels(&self) -> [usize; 2] {
        self.channels.map(|channels| channels / self.groups)
    }

    /// Weights for each pair of channels.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// The first row of a tap in the plain order.
    pub fn plain_row(&self, tap: usize) -> usize {
        let [inputs, _] = self.group_channels();
        tap * if inputs == 1 { 1 } else { inputs.next_multiple_of(KR) }
    }

    fn shape(&self) -> Vec<usize> {
        let [inputs, outputs] = self.group_channels();
        let front = if self.transposed { [self.channels[0], outputs] } else { [self.channels[1], inputs] };
        front.into_iter().chain(self.kernel[3 - self.axes..].iter().copied()).collect()
    }

    /// Where it stands on an input of this size. `padding` is the zeros in front and behind; of a transposed convolution,
    /// what is cut off on both sides and what is added behind. `None` if there is no room for a single output.
    pub fn window(&self, input: [usize; 3], padding: [[usize; 2]; 3]) -> Option<ConvGeometry> {
        let mut output = [0; 3];
        if self.stride.contains(&0) {
            return None;
        }
        for axis in 0..3 {
            let reach = (self.kernel[axis].checked_sub(1)?).checked_mul(self.dilation[axis])?;
            let [front, behind] = padding[axis];
            output[axis] = if self.transposed {
                let whole =
                    input[axis].checked_sub(1)?.checked_mul(self.stride[axis])?.checked_add(reach + 1)?;
                whole.checked_add(behind)?.checked_sub(front.checked_mul(2)?)?
            } else {
                let padded = input[axis].checked_add(front)?.checked_add(behind)?;
                padded.checked_sub(reach + 1)? / self.stride[axis] + 1
            };
        }
        let window = ConvGeometry { input, output, padding: padding.map(|[front, _]| front) };
        (!output.contains(&0)).then_some(window)
    }

    /// The tensor's index of input channel `channel` (of its group) and `tap`, for output channel 0.
    fn row(&self, channel: usize, tap: usize) -> usize {
        let outputs = if self.transposed { self.group_channels()[1] } else { 1 };
        channel * outputs * self.taps() + tap
    }

    /// What output channel `channel` adds to that.
    fn column(&self, channel: usize) -> usize {
        let [inputs, outputs] = self.group_channels();
        if self.transposed {
            (channel / outputs * inputs * outputs + channel % outputs) * self.taps()
        } else {
            channel * inputs * self.taps()
        }
    }

    /// The taps, in parts that are summed apart: all of them, or those of one residue of a transposed convolution's stride.
    pub(super) fn phases(&self) -> Vec<Subconv> {
        let residues = if self.transposed { self.stride } else { [1; 3] };
        let along = |axis: usize, residue: usize| -> Vec<usize> {
            (0..self.kernel[axis])
                .filter(|tap| !self.transposed || tap * self.dilation[axis] % self.stride[axis] == residue)
                .collect()
        };
        let mut phases = Vec::new();
        for z in 0..residues[0] {
            for y in 0..residues[1] {
                for x in 0..residues[2] {
                    phases
                        .push(Subconv { residue: [z, y, x], along: [along(0, z), along(1, y), along(2, x)] });
                }
            }
        }
        phases
    }

    /// Rows in the order of the kernels, and where each phase ends, in groups.
    ///
    /// A group is one tap of four neighbouring channels; where a group has a single channel, four neighbouring taps.
    fn packed_rows(&self) -> (Vec<usize>, Vec<usize>) {
        let [inputs, _] = self.group_channels();
        let (mut rows, mut ends) = (Vec::new(), Vec::new());
        for phase in self.phases() {
            let taps: Vec<_> = phase.taps().map(|tap| self.tap(tap)).collect();
            if inputs == 1 {
                rows.extend(taps.iter().map(|&tap| self.row(0, tap)));
                rows.resize(rows.len().next_multiple_of(KR), PackOrder::PADDING);
            } else {
                for first in (0..inputs).step_by(KR) {
                    for &tap in &taps {
                        let lane = |c| if c < inputs { self.row(c, tap) } else { PackOrder::PADDING };
                        rows.extend((first..first + KR).map(lane));
                    }
                }
            }
            ends.push(rows.len() / KR);
        }
        (rows, ends)
    }

    fn tap(&self, [z, y, x]: [usize; 3]) -> usize {
        (z * self.kernel[1] + y) * self.kernel[2] + x
    }
}

/// Taps that are summed together.
pub(super) struct Subconv {
    /// Of the output's position, along each axis, by the stride of a transposed convolution.
    pub(super) residue: [usize; 3],
    along: [Vec<usize>; 3],
}

impl Subconv {
    pub(super) fn taps(&self) -> impl Iterator<Item = [usize; 3]> {
        let [z, y, x] = &self.along;
        z.iter().flat_map(move |&z| y.iter().flat_map(move |&y| x.iter().map(move |&x| [z, y, x])))
    }
}

/// Where the weights of a tensor stand in a matrix: at row and column, the weight at index `rows[row] + columns[column]`.
pub struct PackOrder {
    /// The part of an index that the row decides, [`Self::PADDING`] for a row of zeros.
    pub rows: Vec<usize>,
    /// The part of an index that the column decides.
    pub columns: Vec<usize>,
    /// Ranges of groups of rows whose products are summed in one `i32`.
    pub(super) slices: Vec<std::ops::Range<usize>>,
}

impl PackOrder {
    /// A row of zeros.
    pub const PADDING: usize = usize::MAX;
}
