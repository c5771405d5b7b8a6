//! The integers that floats become: absmax, scale, round to nearest (ties to even), clip.

use crate::isa::ToCodes;

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

/// The integers that inputs become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum InputCodes {
    /// Those of the [`QuantRange`], which have a sign: what Keras computes.
    Signed,
    /// All eight bits for inputs that are never negative, as after a ReLU: a row of a product or a sample of a convolution with no
    /// value below zero has `scale = absmax / 255` and integers `0..=255`, whatever the range. Others are [`Signed`](Self::Signed).
    ///
    /// A convolution whose outputs read one pixel each, of several channels, has a scale for each pixel in place of one for each
    /// sample; a NaN or an infinity stays in its pixel.
    Auto,
}

impl InputCodes {
    /// The largest integer without a sign, which is also the number of steps that the largest magnitude is divided into then.
    pub const UNSIGNED_MAX: i32 = 255;
}

/// The way in which inputs are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct InputScheme {
    /// The integers of inputs with a sign.
    pub range: QuantRange,
    /// The choice between integers with and without a sign.
    pub codes: InputCodes,
}

impl InputScheme {
    /// The same with another choice of integers.
    pub fn with_codes(self, codes: InputCodes) -> Self {
        Self { codes, ..self }
    }

    /// The number of steps that the largest magnitude is divided into.
    pub(crate) fn divisor(self, unsigned: bool) -> f32 {
        if unsigned { InputCodes::UNSIGNED_MAX as f32 } else { self.range.divisor() }
    }
}

/// Integers that all have a sign.
impl From<QuantRange> for InputScheme {
    fn from(range: QuantRange) -> Self {
        Self { range, codes: InputCodes::Signed }
    }
}

/// Adding it leaves the nearest integer, ties to even, in the low mantissa bits of any `|x| < 2^22`.
///
/// This is how every kernel rounds: one addition, the same on all of them, and the compiler vectorizes it even
/// where there is no rounding instruction.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// Below this `255 / absmax` would overflow, so such rows are first brought up by an exact power of two, [`PRESCALE`].
pub const MIN_ABSMAX: f32 = 1e-30;
/// The power of two that brings up rows below [`MIN_ABSMAX`].
pub const PRESCALE: f32 = 18_446_744_073_709_551_616.0; // 2^64

/// The way from one row or channel to integers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantizer {
    /// The step: `real = scale * q`.
    pub(crate) scale: f32,
    prescale: f32,
    inverse: f32,
    pub(crate) qmin: i32,
    pub(crate) qmax: i32,
}

impl Quantizer {
    /// The way of values whose largest magnitude is `absmax`; `None` if that is infinite or NaN.
    ///
    /// All-zero values get scale 1: finite, and their integers are 0.
    #[inline(always)]
    pub(crate) fn new(absmax: f32, range: QuantRange) -> Option<Self> {
        Self::with_codes(absmax, [range.qmin(), range.qmax()], range.divisor())
    }

    /// The way of inputs that extend so far.
    #[inline(always)]
    pub(crate) fn of_inputs(extent: Extent, scheme: InputScheme) -> Option<Self> {
        if scheme.codes == InputCodes::Auto && !extent.has_negative() {
            Self::with_codes(extent.absmax(), [0, InputCodes::UNSIGNED_MAX], scheme.divisor(true))
        } else {
            Self::new(extent.absmax(), scheme.range)
        }
    }

    /// The way of values between zero and a finite bound to integers without a sign.
    pub(crate) fn up_to(bound: f32) -> Self {
        let [scale, prescale, inverse] = steps(bound, InputCodes::UNSIGNED_MAX as f32);
        Self { scale, prescale, inverse, qmin: 0, qmax: InputCodes::UNSIGNED_MAX }
    }

    /// True if its integers have no sign.
    #[inline(always)]
    pub(crate) fn is_unsigned(&self) -> bool {
        self.qmax == InputCodes::UNSIGNED_MAX
    }

    #[inline(always)]
    fn with_codes(absmax: f32, [qmin, qmax]: [i32; 2], divisor: f32) -> Option<Self> {
        if !absmax.is_finite() {
            return None;
        }
        let [scale, prescale, inverse] = steps(absmax, divisor);
        Some(Self { scale, prescale, inverse, qmin, qmax })
    }

    /// The way to codes to which an encoding adds this number.
    #[inline(always)]
    pub(crate) fn to_codes(self, offset: i32) -> ToCodes {
        ToCodes { factors: [self.prescale, self.inverse], limits: [self.qmin, self.qmax], offset }
    }

    /// The value in steps.
    #[inline(always)]
    pub(crate) fn steps(&self, x: f32) -> f32 {
        (x * self.prescale) * self.inverse
    }

    #[inline(always)]
    pub(crate) fn quantize(&self, x: f32) -> i32 {
        round_and_clip(self.steps(x), [self.qmin, self.qmax])
    }
}

/// The nearest integer, ties to even, clipped.
#[inline(always)]
pub(crate) fn round_and_clip(steps: f32, [qmin, qmax]: [i32; 2]) -> i32 {
    let rounded = steps + ROUND;
    let q = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    q.max(qmin).min(qmax) // `clamp` becomes a comparison and a masked minimum on AVX-512
}

/// The step, the prescale and the inverse step of values whose largest magnitude is `absmax`. The step is NaN if that is infinite or
/// NaN, and 1 if it is zero; the inverse is 0 in both cases.
#[inline(always)]
pub(crate) fn steps(absmax: f32, divisor: f32) -> [f32; 3] {
    let finite = absmax < f32::INFINITY;
    let some = finite && absmax > 0.0;
    let prescale = if some && absmax < MIN_ABSMAX { PRESCALE } else { 1.0 };
    let (scale, inverse) = (absmax / divisor, divisor / (absmax * prescale));
    let odd = if finite { 1.0 } else { f32::NAN };
    [if some { scale } else { odd }, prescale, if some { inverse } else { 0.0 }]
}

/// The largest magnitude, NaN or infinite if any value is.
///
/// Compares the bits without their sign as integers: the same order as the magnitudes, NaN above infinity, and a
/// reduction that the compiler vectorizes.
#[inline(always)]
pub(crate) fn absmax(x: &[f32]) -> f32 {
    let bits = x.iter().fold(0, |max, v| max.max((v.to_bits() & 0x7fff_ffff) as i32));
    f32::from_bits(bits as u32)
}

/// The bits of the values that reach farthest from zero on either side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    /// Those of the largest value with a positive sign, NaN above infinity.
    positive: u32,
    /// Those of the value with a negative sign that is farthest from zero; of a positive one if there is none.
    negative: u32,
}

impl Extent {
    /// The extent of values with these largest bits: of those with a positive sign, and of all.
    #[inline(always)]
    pub(crate) fn new(positive: u32, negative: u32) -> Self {
        Self { positive, negative }
    }

    /// The extent of both.
    #[inline(always)]
    pub(crate) fn join(self, other: Self) -> Self {
        Self { positive: self.positive.max(other.positive), negative: self.negative.max(other.negative) }
    }

    /// The largest magnitude, NaN or infinite if any value is.
    #[inline(always)]
    pub(crate) fn absmax(self) -> f32 {
        f32::from_bits(self.positive.max(self.negative & 0x7fff_ffff))
    }

    /// True if a value is below zero; `-0.0` is not.
    #[inline(always)]
    pub(crate) fn has_negative(self) -> bool {
        self.negative > 0x8000_0000
    }
}

/// The extent of these values: two maxima of integers. Of this loop the compiler makes vector code, of a `fold` with a pair it does not.
#[inline(always)]
pub(crate) fn extent(x: &[f32]) -> Extent {
    let (mut positive, mut negative) = (0i32, 0u32);
    for x in x {
        positive = positive.max(x.to_bits().cast_signed());
        negative = negative.max(x.to_bits());
    }
    Extent::new(positive.cast_unsigned(), negative)
}

/// From here on a float sum of inputs times integers may overflow where the output does not: with at most `2^25` inputs the sum
/// of smaller ones stays below `2^128`.
pub const MAX_ABSMAX: f32 = 79_228_162_514_264_337_593_543_950_336.0; // 2^96

/// The powers of two that floats with this largest magnitude are multiplied with before they are added up, and what was added up after
/// that: both are 1 but for those that come near overflow.
#[inline(always)]
pub(crate) fn overflow_guard(absmax: f32) -> [f32; 2] {
    if absmax >= MAX_ABSMAX { [1.0 / PRESCALE, PRESCALE] } else { [1.0; 2] }
}

/// The same for floats whose sums are quantized: tiny ones are brought up, so that halves of them round nothing.
#[inline(always)]
pub(crate) fn rotation_guard(absmax: f32) -> [f32; 2] {
    if absmax < MIN_ABSMAX { [PRESCALE, 1.0 / PRESCALE] } else { overflow_guard(absmax) }
}
