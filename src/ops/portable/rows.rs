//! The rows of a matrix of inputs as they are multiplied: integers, or floats that leave room for a sum.

use burn::prelude::*;
use burn::tensor::DType;

use crate::config::InputCodes;
use burn_int8_kernels::{InputScheme, MAX_ABSMAX, MIN_ABSMAX, PRESCALE, QuantRange};

/// Rows that leave room for a sum of products with integers, and the factors `[rows, 1]` that take that back from outputs:
/// both are exactly as before where a row is below [`MAX_ABSMAX`]. A power of two rounds nothing.
pub(super) fn make_room<B: Backend>(x: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let absmax = x.clone().abs().max_dim(1);
    let [shrink, restore] = overflow_guards(&absmax);
    (x * shrink, restore)
}

/// The same for rows whose sums are quantized: tiny ones are brought up.
pub(super) fn make_room_for_rotation<B: Backend>(x: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let absmax = x.clone().abs().max_dim(1);
    let [factor, restore] = overflow_guards(&absmax);
    let small = absmax.lower_elem(MIN_ABSMAX);
    (x * factor.mask_fill(small.clone(), PRESCALE), restore.mask_fill(small, PRESCALE.recip()))
}

/// The factors of rows with these largest magnitudes, and their inverses: 1 but for those from [`MAX_ABSMAX`] on.
fn overflow_guards<B: Backend>(absmax: &Tensor<B, 2>) -> [Tensor<B, 2>; 2] {
    let large = absmax.clone().greater_equal_elem(MAX_ABSMAX);
    [PRESCALE.recip(), PRESCALE].map(|factor| absmax.ones_like().mask_fill(large.clone(), factor))
}

/// The largest integer of a row without a negative value.
const UNSIGNED_MAX: f32 = InputCodes::UNSIGNED_MAX as f32;

/// The integers of each row, as floats, and the scales `[rows, 1]`: NaN for a row that has a NaN or an infinity.
pub(super) fn quantize_rows<B: Backend>(
    x: Tensor<B, 2>,
    scheme: InputScheme,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let unsigned = (scheme.codes == InputCodes::Auto).then(|| x.clone().min_dim(1).greater_equal_elem(0.0));
    quantize(x, scheme.range, unsigned)
}

/// The integers `[samples, channels, pixels]` of each pixel, as floats, and the scales `[samples * pixels, 1]`: NaN for a pixel that has
/// a NaN or an infinity. Integers have a sign if any value of the sample has one, or is not finite.
pub(super) fn quantize_pixels<B: Backend>(
    x: Tensor<B, 3>,
    range: QuantRange,
) -> (Tensor<B, 3>, Tensor<B, 2>) {
    let [samples, channels, pixels] = x.dims();
    let all = x.clone().reshape([samples, channels * pixels]);
    let finite = (all.clone() * 0.0).sum_dim(1).equal_elem(0.0);
    let unsigned = all.min_dim(1).greater_equal_elem(0.0).bool_and(finite);
    let unsigned = unsigned.expand([samples, pixels]).reshape([samples * pixels, 1]);
    let rows = x.swap_dims(1, 2).reshape([samples * pixels, channels]);
    let (q, scales) = quantize(rows, range, Some(unsigned));
    (q.reshape([samples, pixels, channels]).swap_dims(1, 2), scales)
}

/// The integers of each row and its scale, given the rows `[rows, 1]` whose integers have no sign, if there are any.
fn quantize<B: Backend>(
    x: Tensor<B, 2>,
    range: QuantRange,
    unsigned: Option<Tensor<B, 2, Bool>>,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let poison = (x.clone() * 0.0).sum_dim(1); // 0, or NaN
    let broken = poison.clone().equal_elem(0.0).bool_not();
    let shape = x.shape();
    let x = x.mask_fill(broken.expand(shape), 0.0);
    let absmax = x.clone().abs().max_dim(1);
    let zero = absmax.clone().equal_elem(0.0);
    let mut steps = absmax.full_like(range.divisor());
    if let Some(unsigned) = &unsigned {
        steps = steps.mask_fill(unsigned.clone(), UNSIGNED_MAX);
    }
    let scales = (absmax.clone() / steps.clone()).mask_fill(zero.clone(), 1.0) + poison;
    let prescale = absmax.ones_like().mask_fill(absmax.clone().lower_elem(MIN_ABSMAX), PRESCALE);
    let inverse = (steps / (absmax * prescale.clone())).mask_fill(zero, 0.0);
    let rounded = round_half_even((x * prescale) * inverse);
    let q = rounded.clone().clamp(range.qmin(), range.qmax());
    let q = match unsigned {
        Some(unsigned) => q.mask_where(unsigned.expand(rounded.shape()), rounded.clamp_max(UNSIGNED_MAX)),
        None => q,
    };
    (q, scales)
}

/// Spelled out, since devices differ in how their own `round` treats ties.
fn round_half_even<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let floor = x.clone().floor();
    let rest = x - floor.clone();
    let odd = (floor.clone() - (floor.clone() * 0.5).floor() * 2.0).equal_elem(1.0);
    let tie = rest.clone().equal_elem(0.5).bool_and(odd);
    floor + rest.greater_elem(0.5).bool_or(tie).float().cast(DType::F32)
}
