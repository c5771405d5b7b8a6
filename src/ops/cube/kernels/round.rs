//! Division and rounding in integer steps: a device may divide a little wrong, round ties its own way, or contract a product
//! and a sum, and then its integers would differ from the CPU's.

use cubecl::prelude::*;

use burn_int8_kernels::{InputCodes, MAX_ABSMAX, MIN_ABSMAX, PRESCALE, QuantRange};

/// The digits of a positive float, with the exponent that it would have as `1.m * 2^(e - 127)`.
const MANTISSA: u32 = 0x7f_ffff;
const ONE: u32 = 0x80_0000;
/// The bits of infinity, the smallest ones of no finite magnitude.
const INFINITY: u32 = 0x7f80_0000;

/// The bit of a float's sign, and in an extent that of a negative value.
const SIGN: u32 = 0x8000_0000;

/// The largest integer without a sign.
const UNSIGNED_MAX: u32 = InputCodes::UNSIGNED_MAX as u32;
/// The number of steps that the largest magnitude is divided into then.
const UNSIGNED_STEPS: f32 = InputCodes::UNSIGNED_MAX as f32;

/// The integers that a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Codes {
    /// Those with a sign.
    pub(crate) range: QuantRange,
    /// Says whether a row or an image without a negative value has integers up to 255. A byte with a sign then holds 128 less, and
    /// the scale is negative, so that whoever multiplies knows.
    pub(crate) auto: bool,
}

/// The numbers by which a row or an image becomes integers.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct Quantizer {
    /// The step; negative where integers have no sign.
    pub(crate) scale: f32,
    pub(crate) prescale: f32,
    pub(crate) inverse: f32,
}

/// `numerator / denominator`, correctly rounded, of positive normal floats. Where the quotient is not normal, as the device
/// divides.
#[cube]
pub(crate) fn divide(numerator: f32, denominator: f32) -> f32 {
    let n = u32::reinterpret(numerator);
    let d = u32::reinterpret(denominator);
    let mut rest = (n & MANTISSA) | ONE;
    let by = (d & MANTISSA) | ONE;
    let below = rest < by;
    rest = select(below, rest << 1, rest);
    let exponent = i32::cast_from(n >> 23) - i32::cast_from(d >> 23) + 127 - select(below, 1i32, 0i32);
    // 24 binary digits and one more to round by.
    let mut quotient = 0u32;
    for _ in 0..25u32 {
        let fits = rest >= by;
        rest = (rest - select(fits, by, 0u32)) << 1;
        quotient = (quotient << 1) | select(fits, 1u32, 0u32);
    }
    let half = quotient & 1;
    let mut digits = quotient >> 1;
    let up = half == 1 && (rest != 0 || (digits & 1) == 1);
    digits += select(up, 1u32, 0u32);
    let normal = u32::cast_from(exponent - 1) < 253;
    // The first digit counts once in the exponent.
    let bits = (u32::cast_from(select(normal, exponent, 1i32) - 1) << 23) + digits;
    select(normal, f32::reinterpret(bits), numerator / denominator)
}

/// The quantizer of values with this extent.
///
/// The scale is NaN if a value is NaN or infinite, 1 if all are zero; both give integers 0.
#[cube]
pub(crate) fn quantizer(extent: u32, #[comptime] codes: Codes) -> Quantizer {
    let top = comptime!(codes.range.divisor()).runtime();
    let unsigned = comptime!(codes.auto) && extent < INFINITY;
    let top = if comptime!(codes.auto) { select(unsigned, f32::new(UNSIGNED_STEPS), top) } else { top };
    let largest = extent & MAGNITUDE;
    let finite = largest < INFINITY;
    let some = finite && largest >= ONE;
    let absmax = f32::reinterpret(select(some, largest, 0x3f80_0000u32));
    let prescale = select(absmax < MIN_ABSMAX, f32::new(PRESCALE), f32::new(1.0));
    let scale = divide(absmax, top);
    let inverse = divide(top, absmax * prescale);
    let odd = f32::reinterpret(select(finite, 0x3f80_0000u32, 0x7fc0_0000u32));
    let scale = select(some, scale, odd);
    let scale = if comptime!(codes.auto) { select(unsigned, -scale, scale) } else { scale };
    Quantizer { scale, prescale, inverse: select(some, inverse, f32::new(0.0)) }
}

/// Says whether the integers of a row or an image with this scale have no sign.
#[cube]
pub(crate) fn is_unsigned(scale: f32) -> bool {
    u32::reinterpret(scale) >= SIGN
}

/// The extent as if a value were below zero, unless integers with this scale have no sign.
#[cube]
pub(crate) fn with_sign(extent: u32, scale: f32) -> u32 {
    select(is_unsigned(scale), extent, extent | SIGN)
}

/// The integer nearest to `(x * prescale) * inverse`, ties to even, clipped; 128 less if it has no sign.
#[cube]
pub(crate) fn quantize(x: f32, quantizer: Quantizer, #[comptime] codes: Codes) -> i32 {
    let bits = u32::reinterpret((x * quantizer.prescale) * quantizer.inverse);
    // An integer times `2^-shift`; below a quarter all is rest.
    let shift = u32::min(150 - u32::min((bits >> 23) & 0xff, 150), 31);
    let mantissa = (bits & MANTISSA) | ONE;
    let rest = mantissa & ((1u32 << shift) - 1);
    let half = (1u32 << shift) >> 1;
    let mut whole = mantissa >> shift;
    let up = rest > half || (rest == half && (whole & 1) == 1);
    whole += select(up, 1u32, 0u32);
    let least = comptime!(codes.range.qmin().unsigned_abs()).runtime();
    let largest = comptime!(codes.range.qmax().unsigned_abs()).runtime();
    let most = select((bits >> 31) == 1, least, largest);
    let unsigned = comptime!(codes.auto) && is_unsigned(quantizer.scale);
    let most = if comptime!(codes.auto) { select(unsigned, UNSIGNED_MAX, most) } else { most };
    let magnitude = i32::cast_from(u32::min(whole, most));
    let signed = select((bits >> 31) == 1, -magnitude, magnitude);
    let q = select(quantizer.inverse > 0.0, signed, 0i32);
    if comptime!(codes.auto) { q - select(unsigned, 128i32, 0i32) } else { q }
}

/// The bits of a magnitude, which are ordered as magnitudes are, NaN last.
const MAGNITUDE: u32 = 0x7fff_ffff;

/// The extent of one value: the bits of its magnitude, and [`SIGN`] if it is below zero.
#[cube]
pub(crate) fn extent_of(x: f32) -> u32 {
    let bits = u32::reinterpret(x);
    select(bits == SIGN, 0u32, bits)
}

/// The extent of the values that have one of these two: the larger magnitude, and [`SIGN`] if a value is below zero.
#[cube]
pub(crate) fn join_extents(a: u32, b: u32) -> u32 {
    u32::max(a & MAGNITUDE, b & MAGNITUDE) | ((a | b) & SIGN)
}

/// The bits of [`MAX_ABSMAX`], from which on rows are made smaller before they are added up, and of [`MIN_ABSMAX`], below which rows that
/// are rotated are brought up.
const LARGE: u32 = MAX_ABSMAX.to_bits();
const SMALL: u32 = MIN_ABSMAX.to_bits();
/// The bits of the factors of such rows, each the inverse of the other. Powers of two round nothing.
const SHRINK: u32 = (1.0 / PRESCALE).to_bits();
const BRING_UP: u32 = PRESCALE.to_bits();
/// The bits of 1.
const STAY: u32 = 1.0f32.to_bits();

/// The factor that leaves room for sums of a row of this extent.
#[cube]
pub(crate) fn room(extent: u32) -> f32 {
    f32::reinterpret(select((extent & MAGNITUDE) >= LARGE, SHRINK, STAY))
}

/// The factor that leaves room for the sums of a rotation, of a row of this extent; tiny rows are brought up.
#[cube]
pub(crate) fn room_for_rotation(extent: u32) -> f32 {
    select((extent & MAGNITUDE) < SMALL, f32::reinterpret(BRING_UP), room(extent))
}

/// The inverse of such a factor.
#[cube]
pub(crate) fn taken_back(factor: f32) -> f32 {
    let bits = select(factor < 1.0, BRING_UP, STAY);
    f32::reinterpret(select(factor > 1.0, SHRINK, bits))
}
