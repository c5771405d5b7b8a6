//! The one copy of a weight matrix in memory, in the order in which the kernels read it.
//!
//! Columns (output channels) are cut into panels of 64; the last panel is 16, 32, 48 or 64 wide. A panel holds, for each
//! group of four inputs, four bytes per column side by side: exactly what a dot product of four takes at once. Every
//! kernel reads this layout and it can be read back, so nothing else of the weight has to stay.

use super::aligned::Aligned;
use super::parallel::{for_each, threads_for};
use super::quantize::{Levels, Quantizer};

/// Columns of a panel.
pub(super) const PANEL: usize = 64;
/// Columns are padded to a multiple of this.
const COLUMN_BLOCK: usize = 16;
/// Inputs that are multiplied and summed by one instruction.
pub(super) const GROUP: usize = 4;
/// Most inputs whose products surely fit an `i32` sum: `131,068 * 128 * 128 < 2^31`.
pub(super) const MAX_EXACT_INPUTS: usize = 131_068;

/// A NaN or an infinity among the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// The first output channel that has one.
    pub channel: usize,
}

/// What rounding the weights to integers cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fidelity {
    signal: f64,
    noise: f64,
}

impl Fidelity {
    /// Signal to quantization noise in dB; `None` where there is no noise or no signal.
    pub fn sqnr_db(&self) -> Option<f32> {
        let ratio = self.signal / self.noise;
        (ratio.is_finite() && ratio > 0.0).then(|| (10.0 * ratio.log10()) as f32)
    }
}

/// An INT8 weight matrix `[k, n]` with one scale per column, packed for the kernels.
#[derive(Clone)]
pub struct Packed {
    k: usize,
    n: usize,
    data: Aligned,
    /// Sum of the weights of each padded column, for each [`MAX_EXACT_INPUTS`] of the inputs.
    sums: Vec<i32>,
    scales: Vec<f32>,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed {{ k: {}, n: {} }}", self.k, self.n)
    }
}

/// Two matrices are equal if their integers and scales are.
impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        (self.k, self.n) == (other.k, other.n)
            && self.scales == other.scales
            && self.data.as_i8() == other.data.as_i8()
    }
}

impl Packed {
    /// Quantizes a row-major float matrix `[k, n]`, one scale per column.
    ///
    /// # Errors
    ///
    /// [`NotFinite`] if a weight is NaN or infinite.
    ///
    /// # Panics
    ///
    /// If `weights` does not hold `k * n` values.
    pub fn quantize(
        weights: &[f32],
        [k, n]: [usize; 2],
        levels: Levels,
    ) -> Result<(Self, Fidelity), NotFinite> {
        assert_eq!(weights.len(), k * n, "weights do not match their shape [{k}, {n}]");
        let quantizers: Vec<_> = column_absmax(weights, n)
            .into_iter()
            .enumerate()
            .map(|(channel, max)| Quantizer::new(max, levels).ok_or(NotFinite { channel }))
            .collect::<Result<_, _>>()?;
        let fidelity = std::sync::Mutex::new(Fidelity::default());
        let packed = Self::build([k, n], quantizers.iter().map(|q| q.scale).collect(), |panel| {
            let mut seen = Fidelity::default();
            panel.fill(|row, column| {
                let (w, quantizer) = (weights[row * n + column], &quantizers[column]);
                let q = quantizer.quantize(w);
                let error = f64::from(w) - f64::from(quantizer.scale) * f64::from(q);
                seen.signal += f64::from(w) * f64::from(w);
                seen.noise += error * error;
                q as i8
            });
            let mut total = fidelity.lock().unwrap_or_else(|e| e.into_inner());
            total.signal += seen.signal;
            total.noise += seen.noise;
        });
        Ok((packed, fidelity.into_inner().unwrap_or_else(|e| e.into_inner())))
    }

    /// Packs integers that are already there: row-major `[k, n]`, one scale per column.
    ///
    /// # Panics
    ///
    /// If the slices do not match the shape.
    pub fn from_integers(integers: &[i8], scales: &[f32], [k, n]: [usize; 2]) -> Self {
        assert_eq!(integers.len(), k * n, "weights do not match their shape [{k}, {n}]");
        assert_eq!(scales.len(), n, "one scale per column");
        Self::build([k, n], scales.to_vec(), |panel| {
            panel.fill(|row, column| integers[row * n + column]);
        })
    }

    /// Lays out the panels in parallel; `fill` writes one of them.
    fn build([k, n]: [usize; 2], scales: Vec<f32>, fill: impl Fn(&mut Panel<'_>) + Sync) -> Self {
        let columns = n.next_multiple_of(COLUMN_BLOCK);
        let panel_bytes = PANEL * k.next_multiple_of(GROUP);
        let mut data = Aligned::zeroed(columns * k.next_multiple_of(GROUP));
        let mut packed = Self { k, n, data: Aligned::default(), sums: Vec::new(), scales };
        if k > 0 {
            let panels = data.as_i8_mut().chunks_mut(panel_bytes).enumerate();
            for_each(threads_for(k * n * 16), panels, |(i, data)| {
                fill(&mut Panel { first: i * PANEL, k, n, data });
            });
        }
        packed.data = data;
        packed.sums = packed.column_sums();
        packed
    }

    fn column_sums(&self) -> Vec<i32> {
        let columns = self.padded_columns();
        let mut sums = vec![0i32; columns * self.slices().count()];
        for (sums, groups) in sums.chunks_mut(columns.max(1)).zip(self.slices()) {
            for first in (0..columns).step_by(PANEL) {
                let panel = self.panel(first);
                for row in panel.bytes[groups.start * panel.stride..groups.end * panel.stride]
                    .chunks_exact(panel.stride)
                {
                    for (sum, group) in sums[first..].iter_mut().zip(row.chunks_exact(GROUP)) {
                        *sum += group.iter().map(|&q| i32::from(q)).sum::<i32>();
                    }
                }
            }
        }
        sums
    }

    /// The matrix as row-major integers `[k, n]`.
    pub fn to_integers(&self) -> Vec<i8> {
        let mut integers = vec![0; self.k * self.n];
        if self.n == 0 {
            return integers;
        }
        for (row, out) in integers.chunks_exact_mut(self.n).enumerate() {
            for (first, out) in (0..).step_by(PANEL).zip(out.chunks_mut(PANEL)) {
                let panel = self.panel(first);
                let group = &panel.bytes[row / GROUP * panel.stride..];
                for (column, out) in out.iter_mut().enumerate() {
                    *out = group[column * GROUP + row % GROUP];
                }
            }
        }
        integers
    }

    /// `[k, n]`: inputs and outputs.
    pub fn shape(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    /// One step per column.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Bytes that it keeps in memory.
    pub fn bytes(&self) -> usize {
        self.data.as_i8().len() + 4 * (self.sums.len() + self.scales.len())
    }

    fn padded_columns(&self) -> usize {
        self.n.next_multiple_of(COLUMN_BLOCK)
    }

    /// Ranges of groups whose products can be summed in an `i32`: one, but for very long columns.
    pub(super) fn slices(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (groups, step) = (self.k.div_ceil(GROUP), MAX_EXACT_INPUTS / GROUP);
        (0..groups).step_by(step).map(move |g| g..groups.min(g + step))
    }

    /// Column sums over the `slice`-th range of [`Self::slices`].
    pub(super) fn sums(&self, slice: usize) -> &[i32] {
        &self.sums[slice * self.padded_columns()..]
    }

    /// The panel that starts at column `first`.
    pub(super) fn panel(&self, first: usize) -> PanelRef<'_> {
        let groups = self.k.div_ceil(GROUP);
        let columns = (self.padded_columns() - first).min(PANEL);
        let start = first * groups * GROUP;
        let bytes = &self.data.as_i8()[start..start + columns * groups * GROUP];
        PanelRef { bytes, columns, stride: columns * GROUP }
    }
}

/// A panel to read: `stride` bytes for each group of inputs.
pub(super) struct PanelRef<'a> {
    pub(super) bytes: &'a [i8],
    pub(super) columns: usize,
    pub(super) stride: usize,
}

/// A panel to write.
struct Panel<'a> {
    first: usize,
    k: usize,
    n: usize,
    data: &'a mut [i8],
}

impl Panel<'_> {
    /// Writes `value(row, column)` everywhere but in the padding.
    fn fill(&mut self, mut value: impl FnMut(usize, usize) -> i8) {
        let stride = self.data.len() / self.k.div_ceil(GROUP);
        let columns = (self.n - self.first).min(PANEL);
        for row in 0..self.k {
            let group = &mut self.data[row / GROUP * stride..][..stride];
            for (column, cell) in group.chunks_exact_mut(GROUP).take(columns).enumerate() {
                cell[row % GROUP] = value(row, self.first + column);
            }
        }
    }
}

/// The largest magnitude of each column, NaN or infinite where one is.
fn column_absmax(weights: &[f32], n: usize) -> Vec<f32> {
    let mut max = vec![0u32; n];
    for row in weights.chunks_exact(n.max(1)) {
        for (max, w) in max.iter_mut().zip(row) {
            *max = (*max).max(w.to_bits() & 0x7fff_ffff);
        }
    }
    max.into_iter().map(f32::from_bits).collect()
}
