//! The meaning of a weight tensor to its layer, and the places of its weights in the matrix that is multiplied.

use std::collections::BTreeMap;

/// The inputs that are multiplied and summed by one instruction.
pub(crate) const KR: usize = 4;
/// The bytes that the order of a tensor without weights may take: nothing else says how large its other sizes may be.
const LARGEST_EMPTY: usize = 1 << 32;
/// The most inputs whose products surely fit an `i32` sum: `65,792 * 255 * 128 < 2^31`.
pub const MAX_EXACT_INPUTS: usize = 65_792;

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

/// A convolution: the sizes of its filters, and how they slide. Layers of fewer than three axes have ones in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvSpec {
    /// The axes of the layer: 1 to 3.
    pub axes: usize,
    /// The input and output channels.
    pub channels: [usize; 2],
    /// The parts of the channels that are convolved apart from each other.
    pub groups: usize,
    /// The taps along each axis.
    pub kernel: [usize; 3],
    /// The steps of the output on the input, or of the input on the output of a transposed convolution.
    pub stride: [usize; 3],
    /// The steps between taps.
    pub dilation: [usize; 3],
    /// True for a transposed convolution, whose weights are `[in, out / groups, ..]`.
    pub transposed: bool,
}

impl WeightLayout {
    /// Checks that the sizes belong together and that no product of them overflows.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if let Self::Conv(spec) = self {
            spec.check()?;
        }
        let sizes = self.shape();
        let count = sizes.iter().try_fold(1usize, |count, &size| count.checked_mul(size.max(1)));
        let channels = self.channels().max(1).checked_next_multiple_of(64);
        // Each row of the matrix is listed by an index of eight bytes.
        let bytes = [self.rows(), channels, Some(size_of::<usize>())];
        let bytes = bytes.into_iter().try_fold(1usize, |bytes, size| bytes.checked_mul(size?.max(1)));
        let is_empty = sizes.contains(&0);
        let fits =
            bytes.is_some_and(|bytes| bytes <= if is_empty { LARGEST_EMPTY } else { isize::MAX as usize });
        if count.is_some() && fits {
            return Ok(());
        }
        Err(format!("weights of shape {sizes:?} are more than memory can hold"))
    }

    /// The rows of the packed matrix at most, if they can be counted.
    fn rows(&self) -> Option<usize> {
        match *self {
            Self::Linear([k, _]) | Self::Table([_, k]) => k.checked_next_multiple_of(KR),
            Self::Conv(spec) => {
                let inputs = spec.group_channels()[0].max(1).checked_next_multiple_of(KR)?;
                spec.kernel.iter().try_fold(inputs, |rows, &taps| rows.checked_mul(taps.max(1)))
            }
        }
    }

    /// The shape of the weight tensor.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Linear(shape) | Self::Table(shape) => shape.to_vec(),
            Self::Conv(filter) => filter.shape(),
        }
    }

    /// The number of weights.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// True if there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of output channels, each with a scale of its own.
    pub fn channels(&self) -> usize {
        match *self {
            Self::Linear([_, n]) | Self::Table([n, _]) => n,
            Self::Conv(filter) => filter.channels[1],
        }
    }

    /// The number of inputs that each output sums up.
    pub fn inputs(&self) -> usize {
        match *self {
            Self::Linear([k, _]) | Self::Table([_, k]) => k,
            Self::Conv(filter) => filter.group_channels()[0] * filter.taps(),
        }
    }

    /// The places in a packed channel of the taps on each input channel; none where there is one tap.
    pub(super) fn taps_of_inputs(&self) -> Vec<Vec<usize>> {
        let mut taps = Vec::new();
        if let Self::Conv(filter) = self
            && filter.taps() > 1
        {
            taps.resize(filter.group_channels()[0], Vec::new());
            let rows = self.packed_order().rows.into_iter().filter(|row| *row != PackOrder::PADDING);
            rows.enumerate().for_each(|(place, row)| taps[row / filter.input_stride()].push(place));
        }
        taps
    }

    /// The step in the tensor from an input channel to the next; a linear layer's inputs are its channels.
    pub(crate) fn input_stride(&self) -> usize {
        match *self {
            Self::Linear([_, n]) => n,
            Self::Table(_) => 1,
            Self::Conv(filter) => filter.input_stride(),
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
        PackOrder { rows, columns: self.columns(), k_blocks: Vec::new() }
    }

    /// The order in which the CPU kernels read the weights.
    pub(super) fn packed_order(&self) -> PackOrder {
        let (rows, subconvolutions) = match *self {
            Self::Conv(filter) => filter.packed_rows(),
            _ => (self.matrix_rows(), vec![self.inputs().div_ceil(KR)]),
        };
        let mut k_blocks = Vec::new();
        let mut start = 0;
        for end in subconvolutions {
            let parts = (start..end).step_by(MAX_EXACT_INPUTS / KR);
            k_blocks.extend(parts.map(|g| g..end.min(g + MAX_EXACT_INPUTS / KR)));
            start = end;
        }
        PackOrder { rows, columns: self.columns(), k_blocks }
    }

    fn matrix_rows(&self) -> Vec<usize> {
        (0..self.inputs()).map(|row| row * self.input_stride()).collect()
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
    fn check(&self) -> Result<(), String> {
        let Self { axes, channels: [inputs, outputs], groups, kernel, .. } = *self;
        if !(1..=3).contains(&axes) {
            return Err(format!("a convolution has 1 to 3 axes, not {axes}"));
        }
        if kernel[..3 - axes].iter().any(|&taps| taps != 1) {
            return Err(format!("a convolution of {axes} axes can't have a kernel of {kernel:?}"));
        }
        if groups == 0 || inputs % groups != 0 || outputs % groups != 0 {
            return Err(format!(
                "{groups} groups do not divide {inputs} input and {outputs} output channels"
            ));
        }
        Ok(())
    }

    /// The channels that one group reads and writes.
    pub fn group_channels(&self) -> [usize; 2] {
        self.channels.map(|channels| channels / self.groups)
    }

    /// The weights for each pair of channels.
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

    /// The step in the tensor from an input channel to the next.
    fn input_stride(&self) -> usize {
        let outputs = if self.transposed { self.group_channels()[1] } else { 1 };
        outputs * self.taps()
    }

    /// The tensor's index of input channel `channel` (of its group) and `tap`, for output channel 0.
    fn row(&self, channel: usize, tap: usize) -> usize {
        channel * self.input_stride() + tap
    }

    /// The part of the tensor's index that output channel `channel` adds to that.
    fn column(&self, channel: usize) -> usize {
        let [inputs, outputs] = self.group_channels();
        if self.transposed {
            (channel / outputs * inputs * outputs + channel % outputs) * self.taps()
        } else {
            channel * inputs * self.taps()
        }
    }

    /// The taps in parts that are summed apart: all of them, or for each residue of a transposed convolution's stride that has
    /// any its own.
    pub(crate) fn subconvolutions(&self) -> Vec<Subconvolution> {
        let residue = |axis: usize, tap: usize| {
            let stride = if self.transposed { self.stride[axis].max(1) as u128 } else { 1 };
            (tap as u128 * self.dilation[axis] as u128 % stride) as usize
        };
        let along = |axis: usize| {
            let mut taps = BTreeMap::<usize, Vec<usize>>::new();
            (0..self.kernel[axis]).for_each(|tap| taps.entry(residue(axis, tap)).or_default().push(tap));
            taps
        };
        let [z, y, x] = [0, 1, 2].map(along);
        let mut subconvolutions = Vec::new();
        for (&at_z, z) in &z {
            for (&at_y, y) in &y {
                for (&at_x, x) in &x {
                    let (residue, along) = ([at_z, at_y, at_x], [z.clone(), y.clone(), x.clone()]);
                    subconvolutions.push(Subconvolution { residue, along });
                }
            }
        }
        subconvolutions
    }

    /// The rows in the order of the kernels, and where each subconvolution ends, in K steps.
    ///
    /// A group is one tap of four neighbouring channels; where a group has a single channel, four neighbouring taps.
    fn packed_rows(&self) -> (Vec<usize>, Vec<usize>) {
        let [inputs, _] = self.group_channels();
        let (mut rows, mut ends) = (Vec::new(), Vec::new());
        for subconvolution in self.subconvolutions() {
            let taps: Vec<_> = subconvolution.taps().map(|tap| self.tap(tap)).collect();
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

/// The taps that are summed together: a transposed convolution is one convolution for each residue of its stride.
pub(crate) struct Subconvolution {
    /// The residue of the output's position along each axis, by the stride of a transposed convolution.
    pub(crate) residue: [usize; 3],
    along: [Vec<usize>; 3],
}

impl Subconvolution {
    pub(crate) fn taps(&self) -> impl Iterator<Item = [usize; 3]> {
        let [z, y, x] = &self.along;
        z.iter().flat_map(move |&z| y.iter().flat_map(move |&y| x.iter().map(move |&x| [z, y, x])))
    }
}

/// The places of a tensor's weights in a matrix: at row and column, the weight at index `rows[row] + columns[column]`.
pub struct PackOrder {
    /// The part of an index that the row decides, [`Self::PADDING`] for a row of zeros.
    pub rows: Vec<usize>,
    /// The part of an index that the column decides.
    pub columns: Vec<usize>,
    /// The ranges of K steps whose products are summed in one `i32`.
    pub(super) k_blocks: Vec<std::ops::Range<usize>>,
}

impl PackOrder {
    /// A row of zeros.
    pub const PADDING: usize = usize::MAX;
}
