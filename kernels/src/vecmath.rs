//! Functions of floats that layers need between their products.
//!
//! Plain arithmetic without branches, which the compiler vectorizes for each instruction set, and sums in an order that does
//! not depend on it: every kernel computes the same bits.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LN_2, LOG2_E};

use crate::range::ROUND;

/// The function that a layer applies to its outputs before it stores them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// The outputs as they are.
    #[default]
    Identity,
    /// `x * Φ(x)`, with the distribution function of the normal distribution, to 4e-7 of `x`.
    Gelu,
    /// `x / (1 + exp(-2z))` with `z = sqrt(2 / π) * (x + 0.044715 x³)`, the same as `0.5 x (1 + tanh z)`.
    GeluApproximate,
    /// The larger of `x` and 0; NaN stays NaN.
    Relu,
    /// `x` between two limits; NaN stays NaN.
    Clamp([f32; 2]),
    /// `1 / (1 + exp(-x))`, to 2e-7.
    Sigmoid,
    /// The hyperbolic tangent, to 2e-7.
    Tanh,
}

impl Activation {
    #[inline(always)]
    pub(crate) fn apply(self, values: &mut [f32]) {
        match self {
            Self::Identity => {}
            Self::Gelu => each(values, gelu),
            Self::GeluApproximate => each(values, gelu_approximate),
            Self::Relu => each(values, relu),
            Self::Clamp(limits) => each(values, |x| clamp(x, limits)),
            Self::Sigmoid => each(values, sigmoid),
            Self::Tanh => each(values, |x| 2.0 * sigmoid(2.0 * x) - 1.0),
        }
    }
}

#[inline(always)]
pub(crate) fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

#[inline(always)]
pub(crate) fn clamp(x: f32, [low, high]: [f32; 2]) -> f32 {
    let y = if x < low { low } else { x };
    if y > high { high } else { y }
}

#[inline(always)]
fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|x| *x = f(*x));
}

/// `ln 2` in two parts: products of the first with small integers are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = (std::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;
/// Beyond these the exponential is infinite, or no normal number and taken for 0.
const LARGEST: f32 = 128.0 * LN_2;
const SMALLEST: f32 = -126.0 * LN_2;

/// `exp(x)` to 2 units in the last place; 0 where that is below the smallest normal number.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // Its Taylor series for |r| <= ln 2 / 2: the first term left out is below 6e-9.
    let mut y = 1.0 / 5040.0;
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        y = y * r + 1.0 / factorial;
    }
    // Times 2^n in two steps: n may be 128, which has no float of its own.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let y = y * power(n >> 1) * power(n - (n >> 1));
    let y = if x < SMALLEST { 0.0 } else { y };
    if x > LARGEST { f32::INFINITY } else { y }
}

#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    // Abramowitz and Stegun 7.1.26: the complementary error function of z to 1.5e-7.
    let z = x.abs() * FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = 1.061_405_4 * t - 1.453_152;
    let series = ((series * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6;
    let tail = 0.5 * series * t * exp(-z * z);
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

#[inline(always)]
pub(crate) fn gelu_approximate(x: f32) -> f32 {
    const LINEAR: f32 = -2.0 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2; // -2 sqrt(2 / π)
    let exponent = (x * x * (0.044_715 * LINEAR) + LINEAR) * x;
    x / (1.0 + exp(exponent))
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Partial sums that are kept, whatever the width of the CPU's vectors.
const LANES: usize = 16;

/// The sum of `f` of each value.
#[inline(always)]
pub(crate) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += f(x));
    }
    sums.iter_mut().zip(rest).for_each(|(sum, &x)| *sum += f(x));
    total(sums)
}

/// The larger of two; a NaN that comes second does not count.
#[inline(always)]
pub(crate) fn larger(max: f32, x: f32) -> f32 {
    if x > max { x } else { max }
}

/// The largest value; NaN does not count.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        lanes = std::array::from_fn(|i| larger(lanes[i], chunk[i]));
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger)
}

/// The sum of all, one after the other: halves upon halves lead the compiler to vectors of two.
#[inline(always)]
pub(crate) fn total<const N: usize>(sums: [f32; N]) -> f32 {
    sums.into_iter().fold(0.0, |total, sum| total + sum)
}

/// Turns scores into weights that add up to 1, or with `quiet` to less: there a 0 competes that has no value.
#[inline(always)]
pub(crate) fn softmax(scores: &mut [f32], quiet: bool) {
    let largest = largest(scores);
    scores.iter_mut().for_each(|x| *x = exp(*x - largest));
    let rest = if quiet { exp(-largest) } else { 0.0 };
    let factor = 1.0 / (sum(scores, |x| x) + rest);
    scores.iter_mut().for_each(|x| *x *= factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative error of `exp`: two roundings of the reduced argument and of the sum.
    const EXP_ERROR: f64 = 2.0 / (1u32 << 23) as f64;
    /// The error of `gelu` for each unit of `x`: the series has 7.5e-8, the roundings of its terms in `f32` the rest.
    const GELU_ERROR: f64 = 4e-7;

    fn grid() -> impl Iterator<Item = f32> {
        (-160_000..=160_000).map(|i| i as f32 / 1600.0)
    }

    #[test]
    fn exp_is_the_exponential() {
        for x in grid().filter(|x| (-87.3..88.7).contains(x)) {
            let (got, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got / expected - 1.0).abs() <= EXP_ERROR, "exp({x}) = {got:e}, not {expected:e}");
        }
        let ends = [f32::NEG_INFINITY, -1e4, -87.4, 0.0, 88.8, 1e4, f32::INFINITY].map(exp);
        assert_eq!(ends, [0.0, 0.0, 0.0, 1.0, f32::INFINITY, f32::INFINITY, f32::INFINITY]);
        assert!(exp(f32::NAN).is_nan());
    }

    /// Every `step`-th float between 2^-126 and 128, of both signs.
    fn dense(step: usize) -> impl Iterator<Item = f32> {
        let magnitudes = (f32::MIN_POSITIVE.to_bits()..=128f32.to_bits()).step_by(step).map(f32::from_bits);
        magnitudes.flat_map(|x| [x, -x])
    }

    /// The largest error of `f` for each unit of `x`.
    fn largest_error(f: impl Fn(f32) -> f32, expected: impl Fn(f64) -> f64) -> (f64, f32) {
        let error = |x: f32| ((f64::from(f(x)) - expected(f64::from(x))) / f64::from(x)).abs();
        let worst = |worst: (f64, f32), x: f32| if error(x) <= worst.0 { worst } else { (error(x), x) };
        dense(61).chain([0.036_870_25]).fold((0.0, 0.0), worst)
    }

    #[test]
    fn gelu_is_x_times_the_normal_distribution() {
        let normal = |x: f64| x * 0.5 * libm::erfc(-x / 2f64.sqrt());
        let (error, x) = largest_error(gelu, normal);
        assert!(error <= GELU_ERROR, "gelu({x}): {error:e}");
        assert_eq!([gelu(-40.0), gelu(0.0), gelu(40.0)], [0.0, 0.0, 40.0]);
        assert!(gelu(f32::NAN).is_nan());
    }

    /// The error of `Sigmoid` and `Tanh`: two units in the last place of the exponential, and the roundings of a sum and a quotient.
    const LOGISTIC_ERROR: f64 = 2e-7;

    #[test]
    fn sigmoid_and_tanh() {
        for x in grid().chain([f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-30]) {
            let [mut sigmoid, mut tanh] = [[x], [x]];
            Activation::Sigmoid.apply(&mut sigmoid);
            Activation::Tanh.apply(&mut tanh);
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid[0]) - expected).abs() <= LOGISTIC_ERROR, "{x}: {}", sigmoid[0]);
            assert!((f64::from(tanh[0]) - f64::from(x).tanh()).abs() <= LOGISTIC_ERROR, "{x}: {}", tanh[0]);
        }
        let mut nan = [f32::NAN];
        Activation::Sigmoid.apply(&mut nan);
        assert!(nan[0].is_nan());
    }

    #[test]
    fn gelu_approximate_is_the_formula_with_the_tangent() {
        let formula = |x: f64| {
            let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + z.tanh())
        };
        let (error, x) = largest_error(gelu_approximate, formula);
        assert!(error <= GELU_ERROR, "gelu_approximate({x}): {error:e}");
        assert!(gelu_approximate(f32::NAN).is_nan());
    }

    #[test]
    fn sums_hold_every_value() {
        for len in 0..40 {
            let values: Vec<_> = (0..len).map(|i| i as f32).collect();
            assert_eq!(sum(&values, |x| x + 1.0), (len * (len + 1) / 2) as f32);
        }
    }

    #[test]
    fn softmax_adds_up_to_one_unless_it_is_quiet() {
        for quiet in [false, true] {
            let scores: Vec<_> = (0..21).map(|i| (i % 7) as f32 - 3.0).collect();
            let sum: f64 =
                scores.iter().map(|&x| f64::from(x).exp()).sum::<f64>() + f64::from(u8::from(quiet));
            let mut weights = scores.clone();
            softmax(&mut weights, quiet);
            for (weight, x) in weights.iter().zip(scores) {
                assert!((f64::from(*weight) - f64::from(x).exp() / sum).abs() < 1e-7);
            }
        }
    }
}
