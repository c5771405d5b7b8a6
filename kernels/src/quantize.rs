//! From float rows to integers: absmax, scale, round to nearest (ties to even), clip.

use super::isa::Active;
use super::parallel::for_each;

/// The integers that stand for a channel or row, and which of them its largest magnitude becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum QuantRange {
    /// `scale = absmax / 127`, integers `-127..=127`: what Keras computes.
    Symmetric,
    /// `scale = absmax / 128`, integers `-128..=127`: what Keras' guide describes. The largest positive value clips by a
    /// whole step, which shows in layers with few inputs.
    Full,
}

impl QuantRange {
    /// The smallest integer.
    pub const fn qmin(self) -> i32 {
        match self {
            Self::Symmetric => -127,
            Self::Full => -128,
        }
    }

    /// The largest integer.
    pub const fn qmax(self) -> i32 {
        127
    }

    /// The number of steps that the largest magnitude is divided into: `scale = absmax / divisor`.
    pub const fn divisor(self) -> f32 {
        match self {
            Self::Symmetric => 127.0,
            Self::Full => 128.0,
        }
    }
}

/// Adding it leaves the nearest integer, ties to even, in the low mantissa bits of any `|x| < 2^22`.
///
/// This is how every kernel rounds: one addition, the same on all of them, and the compiler vectorizes it even
/// where there is no rounding instruction.
pub(super) const ROUND: f32 = 12_582_912.0;

/// Below this `127 / absmax` would overflow, so such rows are first brought up by an exact power of two.
pub const MIN_ABSMAX: f32 = 1e-30;
/// That power of two.
pub const PRESCALE: f32 = 18_446_744_073_709_551_616.0; // 2^64

/// How one row or channel becomes integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantizer {
    /// The step: `real = scale * q`.
    pub(super) scale: f32,
    prescale: f32,
    inverse: f32,
    qmin: i32,
    qmax: i32,
}

impl Quantizer {
    /// For values whose largest magnitude is `absmax`; `None` if that is infinite or NaN.
    ///
    /// All-zero values get scale 1: finite, and their integers are 0.
    #[inline(always)]
    pub(super) fn new(absmax: f32, range: QuantRange) -> Option<Self> {
        if !absmax.is_finite() {
            return None;
        }
        let (qmin, qmax) = (range.qmin(), range.qmax());
        if absmax == 0.0 {
            return Some(Self { scale: 1.0, prescale: 1.0, inverse: 0.0, qmin, qmax });
        }
        let prescale = if absmax < MIN_ABSMAX { PRESCALE } else { 1.0 };
        let inverse = range.divisor() / (absmax * prescale);
        Some(Self { scale: absmax / range.divisor(), prescale, inverse, qmin, qmax })
    }

    #[inline(always)]
    pub(super) fn quantize(&self, x: f32) -> i32 {
        let rounded = (x * self.prescale) * self.inverse + ROUND;
        let q = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
        q.max(self.qmin).min(self.qmax) // `clamp` becomes a comparison and a masked minimum on AVX-512
    }
}

/// The largest magnitude, NaN or infinite if any value is.
///
/// Compares the bits without their sign as integers: the same order as the magnitudes, NaN above infinity, and a
/// reduction that the compiler vectorizes.
#[inline(always)]
pub(super) fn absmax(x: &[f32]) -> f32 {
    let bits = x.iter().fold(0, |max, v| max.max((v.to_bits() & 0x7fff_ffff) as i32));
    f32::from_bits(bits as u32)
}

/// How a kernel wants its integer activations.
pub(super) trait Encode: bytemuck::Pod {
    fn encode(q: i32) -> Self;
}

/// `q + 128`, for instructions that multiply unsigned by signed bytes.
impl Encode for u8 {
    #[inline(always)]
    fn encode(q: i32) -> Self {
        (q + 128) as u8
    }
}

impl Encode for i16 {
    #[inline(always)]
    fn encode(q: i32) -> Self {
        q as i16
    }
}

/// Quantizes one row into `codes` (zeros past the row's end) and returns its scale; NaN if a value is not finite.
#[inline(always)]
pub(super) fn encode_row<E: Encode>(x: &[f32], range: QuantRange, codes: &mut [u8]) -> f32 {
    let codes: &mut [E] = bytemuck::cast_slice_mut(codes);
    let (body, padding) = codes.split_at_mut(x.len());
    padding.fill(E::encode(0));
    let Some(quantizer) = Quantizer::new(absmax(x), range) else {
        body.fill(E::encode(0));
        return f32::NAN;
    };
    for (code, &v) in body.iter_mut().zip(x) {
        *code = E::encode(quantizer.quantize(v));
    }
    quantizer.scale
}

/// What one pixel brings to one step of a convolution: the codes of four channels, or the integer of a single one.
pub(super) trait Cell: bytemuck::Pod {
    /// Zeros.
    const ZEROS: Self;
    /// With `q` in one of its lanes, which was zero.
    fn with(self, lane: usize, q: i32) -> Self;
}

/// Four bytes `q + 128`.
impl Cell for u32 {
    const ZEROS: Self = 0x8080_8080;

    #[inline(always)]
    fn with(self, lane: usize, q: i32) -> Self {
        self.wrapping_add((q as u32) << (8 * lane)) // each byte stays in 0..=255, so none carries into the next
    }
}

/// An integer that stays `f32`, of the only channel.
impl Cell for f32 {
    const ZEROS: Self = 0.0;

    #[inline(always)]
    fn with(self, _lane: usize, q: i32) -> Self {
        q as f32
    }
}

/// Four `i16`.
impl Cell for u64 {
    const ZEROS: Self = 0;

    #[inline(always)]
    fn with(self, lane: usize, q: i32) -> Self {
        self | (u64::from(q as u16) << (16 * lane))
    }
}

/// ConvMicrokernel of a plane and the neighbouring cells that they become: the first of both, and how many. The pixels are neighbours,
/// too, unless whoever made the span says otherwise.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) len: usize,
}

/// Up to four planes of pixels, one to a lane of a cell.
pub(super) type Planes<'a> = [&'a [f32]];

/// Quantizes spans of some planes; lanes without one are zero.
#[inline(always)]
pub(super) fn encode_cells<C: Cell>(
    planes: &Planes<'_>,
    spans: &[Span],
    quantizer: &Quantizer,
    cells: &mut [C],
) {
    match *planes {
        [a, b, c, d] => encode_lanes([a, b, c, d], spans, quantizer, cells),
        [a, b, c] => encode_lanes([a, b, c], spans, quantizer, cells),
        [a, b] => encode_lanes([a, b], spans, quantizer, cells),
        [a] => encode_lanes([a], spans, quantizer, cells),
        _ => unreachable!("{} planes for four lanes", planes.len()),
    }
}

#[inline(always)]
fn encode_lanes<C: Cell, const LANES: usize>(
    planes: [&[f32]; LANES],
    spans: &[Span],
    quantizer: &Quantizer,
    cells: &mut [C],
) {
    for &Span { from, to, len } in spans {
        let (planes, cells) = (planes.map(|plane| &plane[from..][..len]), &mut cells[to..][..len]);
        match len {
            16.. => encode_span::<C, LANES, 16>(planes, quantizer, cells),
            8.. => encode_span::<C, LANES, 8>(planes, quantizer, cells),
            _ => encode_span::<C, LANES, 1>(planes, quantizer, cells),
        }
    }
}

/// `N` at a time, the last of them perhaps a second time: lines of an image are short, and what remains of one after its
/// whole vectors would take longer than these.
#[inline(always)]
fn encode_span<C: Cell, const LANES: usize, const N: usize>(
    planes: [&[f32]; LANES],
    quantizer: &Quantizer,
    cells: &mut [C],
) {
    let last = cells.len().saturating_sub(N);
    for first in (0..cells.len()).step_by(N) {
        encode_some::<C, LANES, N>(planes, first.min(last), quantizer, cells);
    }
}

/// `N` cells from the one `at` on.
#[inline(always)]
fn encode_some<C: Cell, const LANES: usize, const N: usize>(
    planes: [&[f32]; LANES],
    at: usize,
    quantizer: &Quantizer,
    cells: &mut [C],
) {
    let mut some = [C::ZEROS; N];
    for (lane, plane) in planes.iter().enumerate() {
        let pixels = &plane[at..at + N];
        for (cell, &x) in some.iter_mut().zip(pixels) {
            *cell = cell.with(lane, quantizer.quantize(x));
        }
    }
    cells[at..at + N].copy_from_slice(&some);
}

/// What quantizing a value costs, in multiply-adds of the fastest kernel.
pub(super) const QUANTIZING: usize = 64;
/// What looking at it costs, to find the largest magnitude.
pub(super) const LOOKING: usize = 16;

/// Quantizes every row of `x` (`[scales.len(), k]`) into `codes`, `stride` bytes a row.
pub(super) fn encode_rows(
    kernel: Active,
    x: &[f32],
    k: usize,
    range: QuantRange,
    (codes, stride): (&mut [u8], usize),
    scales: &mut [f32],
    threads: usize,
) {
    let rows = scales.len().div_ceil(threads * 4).max(1);
    let parts = x.chunks(rows * k).zip(codes.chunks_mut(rows * stride)).zip(scales.chunks_mut(rows));
    for_each(threads, parts, |((x, codes), scales)| {
        let rows = x.chunks_exact(k).zip(codes.chunks_exact_mut(stride));
        for ((x, codes), scale) in rows.zip(scales) {
            *scale = kernel.encode_row(x, range, codes);
        }
    });
}

/// Quantizes the rows of `x` (`[m, k]`) as a layer quantizes its activations: the integers and one scale a row.
///
/// A row with a NaN or an infinity gets integers 0 and scale NaN.
///
/// # Panics
///
/// If `x` is not a whole number of rows.
pub fn quantize_rows(x: &[f32], k: usize, range: QuantRange) -> (Vec<i8>, Vec<f32>) {
    assert!(k > 0 && x.len().is_multiple_of(k), "{} values are no rows of {k}", x.len());
    let mut integers = Vec::with_capacity(x.len());
    let mut scales = Vec::with_capacity(x.len() / k);
    for row in x.chunks_exact(k) {
        let quantizer = Quantizer::new(absmax(row), range);
        scales.push(quantizer.map_or(f32::NAN, |q| q.scale));
        integers.extend(row.iter().map(|&v| quantizer.map_or(0, |q| q.quantize(v) as i8)));
    }
    (integers, scales)
}
