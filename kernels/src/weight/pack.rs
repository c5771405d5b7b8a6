//! The one copy of a weight matrix in memory, in the order in which the kernels read it.
//!
//! Columns (output channels) are cut into panels of 64; the last panel is 16, 32, 48 or 64 wide. A panel holds, for each
//! K step of four inputs, four bytes per column side by side: exactly what a dot product of four takes at once. Every
//! kernel reads this layout and it can be read back, so nothing else of the weight has to stay.

use std::ops::Range;
use std::sync::Mutex;

use super::channel::{ChannelQuantizer, QuantError};
use super::layout::{KR, PackOrder, WeightLayout};
use super::qtensor::QTensor;
use super::rounding::{ChannelRounding, Rounding};
use crate::isa::Kernel;
use crate::parallel::{for_each, threads_for};
use crate::quantize::RestoreRow;
use crate::range::QuantRange;
use crate::scratch::AlignedBytes;
use crate::transform::InputTransform;

/// The columns of a panel.
pub(crate) const NR: usize = 64;
/// Columns are padded to a multiple of this.
pub(crate) const COLUMN_BLOCK: usize = 16;
/// A NaN or an infinity among the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// The first output channel that has one.
    pub channel: usize,
}

/// INT8 weights as a matrix `[k, n]` with one scale per column, packed for the kernels.
#[derive(Clone)]
pub struct PackedWeights {
    layout: WeightLayout,
    k: usize,
    n: usize,
    data: AlignedBytes,
    k_blocks: Vec<Range<usize>>,
    /// Sum of the weights of each padded column, for each slice.
    sums: Vec<i32>,
    scales: Vec<f32>,
    transform: InputTransform,
}

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedWeights {{ k: {}, n: {} }}", self.k, self.n)
    }
}

/// Two matrices are equal if their integers and scales are, and the transforms of their inputs.
impl PartialEq for PackedWeights {
    fn eq(&self, other: &Self) -> bool {
        (self.k, self.n) == (other.k, other.n)
            && self.scales == other.scales
            && self.transform == other.transform
            && self.data.as_i8() == other.data.as_i8()
    }
}

impl PackedWeights {
    /// Quantizes a weight tensor, one scale per output channel, each weight to the nearest integer.
    ///
    /// # Errors
    ///
    /// [`NotFinite`] if a weight is NaN or infinite.
    ///
    /// # Panics
    ///
    /// If `weights` does not match `layout`.
    pub fn quantize(
        weights: &[f32],
        layout: &WeightLayout,
        range: QuantRange,
    ) -> Result<(Self, QuantError), NotFinite> {
        Self::quantize_transformed(weights, layout, (range, Rounding::Nearest), InputTransform::default())
    }

    /// The same with another rounding, for a layer whose inputs go through `transform`.
    ///
    /// # Errors
    ///
    /// [`NotFinite`] if a weight is NaN or infinite, or too near to that to be transformed.
    ///
    /// # Panics
    ///
    /// If `weights` or `transform` do not match `layout`.
    pub fn quantize_transformed(
        weights: &[f32],
        layout: &WeightLayout,
        (range, rounding): (QuantRange, Rounding),
        transform: InputTransform,
    ) -> Result<(Self, QuantError), NotFinite> {
        if let Err(reason) = layout.check().and_then(|()| transform.check(layout)) {
            panic!("{reason}");
        }
        assert_eq!(weights.len(), layout.len(), "weights do not match their shape {:?}", layout.shape());
        let kernels = if rounding == Rounding::KeepSums { layout.taps_of_inputs() } else { Vec::new() };
        let rounding = ChannelRounding { rounding, kernels };
        let quantizer = ChannelQuantizer { range, rounding, transform: &transform };
        let seen = Mutex::new((QuantError::default(), None::<usize>));
        let mut packed = Self::build(layout, vec![1.0; layout.channels()], |panel, scales| {
            let quantized = panel.quantize(weights, &quantizer, scales);
            let mut seen = seen.lock().unwrap_or_else(|e| e.into_inner());
            match quantized {
                Ok(error) => seen.0.add(&error),
                Err(NotFinite { channel }) => seen.1 = seen.1.into_iter().chain([channel]).min(),
            }
        });
        packed.transform = transform;
        match seen.into_inner().unwrap_or_else(|e| e.into_inner()) {
            (_, Some(channel)) => Err(NotFinite { channel }),
            (error, None) => Ok((packed, error)),
        }
    }

    /// Packs integers that are already there.
    pub fn from_qtensor(tensor: &QTensor) -> Self {
        let values = tensor.values();
        let mut packed = Self::build(&tensor.layout(), tensor.scales().to_vec(), |panel, _| {
            panel.fill(|index| values[index]);
        });
        packed.transform = tensor.transform().clone();
        packed
    }

    /// Lays out the panels in parallel; `fill` writes one of them, and its scales.
    fn build(
        layout: &WeightLayout,
        mut scales: Vec<f32>,
        fill: impl Fn(&mut PanelMut<'_>, &mut [f32]) + Sync,
    ) -> Self {
        let order = layout.packed_order();
        let (k, n) = (order.rows.len(), order.columns.len());
        let columns = n.next_multiple_of(COLUMN_BLOCK);
        let panel_bytes = NR * k.next_multiple_of(KR);
        let mut data = AlignedBytes::zeroed(columns * k.next_multiple_of(KR));
        if k > 0 {
            let panels = data.as_i8_mut().chunks_mut(panel_bytes).zip(scales.chunks_mut(NR)).enumerate();
            for_each(threads_for(k * n * 16), panels, |(i, (data, scales))| {
                let columns = &order.columns[i * NR..][..scales.len()];
                fill(&mut PanelMut { first: i * NR, rows: &order.rows, columns, data }, scales);
            });
        }
        let (k_blocks, transform) = (order.k_blocks, InputTransform::default());
        let mut packed = Self { layout: *layout, k, n, data, k_blocks, sums: Vec::new(), scales, transform };
        packed.sums = packed.column_sums();
        packed
    }

    fn column_sums(&self) -> Vec<i32> {
        let columns = self.padded_columns();
        let mut sums = vec![0i32; columns * self.k_blocks.len()];
        for (sums, groups) in sums.chunks_mut(columns.max(1)).zip(&self.k_blocks) {
            for first in (0..columns).step_by(NR) {
                let panel = self.panel(first);
                for row in panel.bytes[groups.start * panel.stride..groups.end * panel.stride]
                    .chunks_exact(panel.stride)
                {
                    for (sum, group) in sums[first..].iter_mut().zip(row.chunks_exact(KR)) {
                        *sum += group.iter().map(|&q| i32::from(q)).sum::<i32>();
                    }
                }
            }
        }
        sums
    }

    /// The integers in the layout of the weight tensor.
    pub fn to_integers(&self) -> Vec<i8> {
        let order = self.layout.packed_order();
        let mut integers = vec![0; self.layout.len()];
        for (first, columns) in (0..).step_by(NR).zip(order.columns.chunks(NR)) {
            let panel = self.panel(first);
            for (row, from) in live(&order.rows) {
                let group = &panel.bytes[row / KR * panel.stride + row % KR..];
                for (q, column) in group.iter().step_by(KR).zip(columns) {
                    integers[from + column] = *q;
                }
            }
        }
        integers
    }

    /// The weights as they are saved.
    pub fn to_qtensor(&self) -> QTensor {
        QTensor::new(self.to_integers(), self.scales.clone(), self.layout)
            .and_then(|tensor| tensor.with_transform(self.transform.clone()))
            .expect("packed weights fit their layout")
    }

    /// The meaning of the weights to their layer.
    pub fn layout(&self) -> WeightLayout {
        self.layout
    }

    /// The rows `entries` of a table, one after the other, as the floats that they stand for.
    ///
    /// # Panics
    ///
    /// If an entry is not in the table.
    pub fn rows_of_table(&self, kernel: Kernel, entries: &[usize]) -> Vec<f32> {
        let mut out = vec![0.0; entries.len() * self.k];
        if self.k == 0 {
            return out;
        }
        let threads = threads_for(out.len() * 8);
        let chunk = entries.len().div_ceil(threads * 4).max(1);
        let parts = entries.chunks(chunk).zip(out.chunks_mut(chunk * self.k));
        for_each(threads, parts, |(entries, out)| {
            for (&entry, out) in entries.iter().zip(out.chunks_exact_mut(self.k)) {
                let (panel, scale) = (self.panel(entry / NR * NR), self.scales[entry]);
                let groups = panel.bytes[entry % NR * KR..].chunks(panel.stride);
                for (out, group) in out.chunks_mut(KR).zip(groups) {
                    out.iter_mut().zip(group).for_each(|(out, &q)| *out = scale * f32::from(q));
                }
                if !self.transform.is_identity() {
                    kernel.run(RestoreRow { transform: &self.transform, row: out });
                }
            }
        });
        out
    }

    /// The way of inputs to what is quantized.
    pub fn transform(&self) -> &InputTransform {
        &self.transform
    }

    /// `[k, n]`: rows, of which some may be padding, and output channels.
    pub fn shape(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    /// One step per column.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Bytes that it keeps in memory, with the factors of its inputs.
    pub fn bytes(&self) -> usize {
        self.data.as_i8().len() + 4 * (self.sums.len() + self.scales.len()) + self.transform.bytes()
    }

    fn padded_columns(&self) -> usize {
        self.n.next_multiple_of(COLUMN_BLOCK)
    }

    /// The integers of some rows and columns as floats: a row of `width` for each of `rows`, what follows the columns unchanged.
    pub(crate) fn unpack(&self, rows: &[usize], columns: Range<usize>, width: usize, out: &mut [f32]) {
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(width.max(1))) {
            let mut column = columns.start;
            while column < columns.end {
                let (first, panel) = (column % NR, self.panel(column - column % NR));
                let beside = (NR - first).min(columns.end - column);
                let group = &panel.bytes[row / KR * panel.stride..][..panel.stride];
                let cells: &[i32] = bytemuck::cast_slice(group);
                let shift = 8 * (KR - 1 - row % KR);
                let out = &mut out[column - columns.start..][..beside];
                for (out, cell) in out.iter_mut().zip(&cells[first..]) {
                    *out = ((i32::from_le(*cell) << shift) >> 24) as f32;
                }
                column += beside;
            }
        }
    }

    /// Ranges of groups whose products are summed in one `i32`: one, but for very long columns and transposed convolutions.
    pub(crate) fn k_blocks(&self) -> &[Range<usize>] {
        &self.k_blocks
    }

    /// Column sums over the `k_block`-th range of [`Self::k_blocks`].
    pub(crate) fn sums(&self, k_block: usize) -> &[i32] {
        self.sums.get(k_block * self.padded_columns()..).unwrap_or_default()
    }

    /// The panel that starts at column `first`.
    pub(crate) fn panel(&self, first: usize) -> Panel<'_> {
        let groups = self.k.div_ceil(KR);
        let columns = (self.padded_columns() - first).min(NR);
        let start = first * groups * KR;
        let bytes = &self.data.as_i8()[start..start + columns * groups * KR];
        Panel { bytes, columns, stride: columns * KR }
    }
}

/// A panel to read: `stride` bytes for each K step.
pub(crate) struct Panel<'a> {
    pub(crate) bytes: &'a [i8],
    pub(crate) columns: usize,
    pub(crate) stride: usize,
}

/// A panel to write.
struct PanelMut<'a> {
    first: usize,
    rows: &'a [usize],
    columns: &'a [usize],
    data: &'a mut [i8],
}

impl PanelMut<'_> {
    /// Writes `value(index)` everywhere but in the padding.
    fn fill(&mut self, value: impl Fn(usize) -> i8) {
        let stride = self.data.len() / self.rows.len().div_ceil(KR);
        for (row, from) in live(self.rows) {
            let group = &mut self.data[row / KR * stride..][..stride];
            let cells = group.iter_mut().skip(row % KR).step_by(KR);
            for (cell, column) in cells.zip(self.columns) {
                *cell = value(from + column);
            }
        }
    }

    /// Writes the integers and the scale of each column, up to the first whose weights are not finite.
    fn quantize(
        &mut self,
        weights: &[f32],
        quantizer: &ChannelQuantizer<'_>,
        scales: &mut [f32],
    ) -> Result<QuantError, NotFinite> {
        let stride = self.data.len() / self.rows.len().div_ceil(KR);
        let mut channel = vec![0.0; live(self.rows).count()];
        let mut seen = QuantError::default();
        for ((i, column), scale) in self.columns.iter().enumerate().zip(scales) {
            channel.iter_mut().zip(live(self.rows)).for_each(|(w, (_, from))| *w = weights[from + column]);
            let quantized = quantizer.quantize(&mut channel).ok_or(NotFinite { channel: self.first + i })?;
            *scale = quantized.scale;
            seen.add(&quantized.error);
            for ((row, _), &q) in live(self.rows).zip(&quantized.integers) {
                self.data[row / KR * stride + i * KR + row % KR] = q;
            }
        }
        Ok(seen)
    }
}

/// The rows that are not padding, each with what it adds to an index.
fn live(rows: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    rows.iter().copied().enumerate().filter(|(_, from)| *from != PackOrder::PADDING)
}
