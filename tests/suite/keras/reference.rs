//! What Keras computes, and how near a number must be.

use std::iter::zip;

use burn::prelude::*;

/// The numbers that Keras and we add to an absmax.
pub const KERAS_EPSILON: f32 = 1e-7;
pub const NO_EPSILON: f32 = 0.0;
/// The tolerance of outputs and gradients, relative to the largest: both sides round sums in f32, each in an order of its own,
/// and epsilon makes Keras' steps of inputs (absmax 0.8 and more) larger by up to 1.3e-7.
pub const CLOSE: f64 = 1e-6;
/// The tolerance of our step times Keras' factor, once epsilon is accounted for: three operations round (`absmax / 127`,
/// `absmax + epsilon`, `127 / sum`), each by at most a quarter of this.
const SCALE_ROUNDING: f64 = 2.0 * f32::EPSILON as f64;

/// `[_, n]` to `[n, _]`.
pub fn transpose<T: Copy>(matrix: &[T], n: usize) -> Vec<T> {
    let column = |j| matrix.iter().skip(j).step_by(n).copied();
    (0..n).flat_map(column).collect()
}

pub fn tensor<B: Backend>(values: &[f32]) -> Tensor<B, 1> {
    Tensor::from_data(TensorData::from(values), &B::Device::default())
}

pub fn floats<B: Backend>(tensor: Tensor<B, 1>) -> Vec<f32> {
    tensor.into_data().to_vec().expect("the backends compute in f32")
}

pub fn wide<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

pub fn absmax(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, v| v.abs().max(max))
}

/// Keras' quantizer: the integers, and the factor of each row of `k`.
pub fn quantize(x: &[f32], k: usize, epsilon: f32) -> (Vec<i8>, Vec<f32>) {
    let (mut integers, mut factors) = (Vec::new(), Vec::new());
    for row in x.chunks_exact(k) {
        let factor = 127.0 / (absmax(row) + epsilon);
        // Without epsilon, zeros times an infinite factor are NaN, which is 0 as an integer.
        let round = |&v: &f32| (v * factor).round_ties_even().clamp(-127.0, 127.0) as i8;
        integers.extend(row.iter().map(round));
        factors.push(factor);
    }
    (integers, factors)
}

/// The numbers that our integers stand for.
pub fn fake_quantize(x: &[f32], k: usize) -> Vec<f64> {
    let mut values = wide(&quantize(x, k, NO_EPSILON).0);
    for (values, x) in zip(values.chunks_exact_mut(k), x.chunks_exact(k)) {
        values.iter_mut().for_each(|v| *v *= f64::from(absmax(x)) / 127.0);
    }
    values
}

/// `x · wᵀ`, the rows of both `k` long.
pub fn product(x: &[f64], w: &[f64], k: usize) -> Vec<f64> {
    let dot = |x, w| zip::<&[f64], &[f64]>(x, w).map(|(x, w)| x * w).sum();
    let row = |x| w.chunks_exact(k).map(move |w| dot(x, w));
    x.chunks_exact(k).flat_map(row).collect()
}

pub fn assert_close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0, |max: f64, v| v.abs().max(max));
    for (i, (&got, want)) in zip(got, want).enumerate() {
        let error = (f64::from(got) - want).abs() / largest;
        assert!(error <= tolerance, "{what}, {i}: {got}, not {want}; {error:e} of the largest");
    }
}

/// Asserts that step times factor is 1 for each row of `k`, but for epsilon.
pub fn assert_inverse(steps: &[f32], factors: &[f32], x: &[f32], k: usize, what: &str) {
    assert_eq!(steps.len(), factors.len(), "{what}");
    for (row, (&step, &factor)) in zip(x.chunks_exact(k), zip(steps, factors)) {
        let absmax = f64::from(absmax(row));
        assert!(step.is_finite() && step > 0.0, "{what}: a step of {step}");
        let product = f64::from(step) * f64::from(factor) * (1.0 + f64::from(KERAS_EPSILON) / absmax);
        let close = (product - 1.0).abs() <= SCALE_ROUNDING;
        assert!(close || absmax == 0.0, "{what}: {step} times {factor} is {product}");
    }
}
