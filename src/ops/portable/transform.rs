//! The transform of inputs, in the order of the kernels' additions: every rounding is theirs.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::prelude::*;
use burn::tensor::DType;

use super::rows::make_room_for_rotation;
use burn_int8_kernels::InputTransform;

/// Rows as they are quantized, and the powers of two `[rows, 1]` that take back what left room for their sums, if anything was
/// done to them.
pub(super) fn transform_rows<B: Backend>(
    x: Tensor<B, 2>,
    transform: &InputTransform,
) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
    if transform.is_identity() {
        return (x, None);
    }
    let (x, restore) = make_room_for_rotation(x);
    let x = match factors(transform, &x) {
        Some(factors) => x * factors,
        None => x,
    };
    (rotate(x, transform), Some(restore))
}

/// Rows of a table as they were before their weights were transformed.
pub(super) fn restore_rows<B: Backend>(rows: Tensor<B, 2>, transform: &InputTransform) -> Tensor<B, 2> {
    let rows = rotate(rows, transform);
    match factors(transform, &rows) {
        Some(factors) => rows * factors,
        None => rows,
    }
}

/// The factors of the inputs, `[1, inputs]`.
fn factors<B: Backend>(transform: &InputTransform, x: &Tensor<B, 2>) -> Option<Tensor<B, 2>> {
    let factors = transform.factors()?;
    let data = TensorData::new(factors.to_vec(), [1, factors.len()]);
    Some(Tensor::from_data(data, (&x.device(), DType::F32)))
}

/// Rotates each block of each row: pass by pass, as the kernels do.
fn rotate<B: Backend>(x: Tensor<B, 2>, transform: &InputTransform) -> Tensor<B, 2> {
    let ([rows, k], block) = (x.dims(), transform.rotation().block());
    let mut x = x.reshape([rows * k / block, block]);
    let mut rest = block;
    while rest > 1 {
        x = if rest >= 4 { fours(x) } else { twos(x) };
        rest /= if rest >= 4 { 4 } else { 2 };
    }
    x.reshape([rows, k])
}

/// Multiplies each four neighbours by the matrix of four; first results come first.
fn fours<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let [a, b, c, d] = neighbours(x);
    let half = ((a.clone() + b.clone()) + (c.clone() + d.clone())) * 0.5;
    Tensor::cat(vec![half.clone() - d, half.clone() - c, half.clone() - b, half - a], 1)
}

/// Multiplies each two neighbours by the matrix of two.
fn twos<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let [a, b] = neighbours(x);
    Tensor::cat(vec![(a.clone() + b.clone()) * FRAC_1_SQRT_2, (a - b) * FRAC_1_SQRT_2], 1)
}

/// The first of each `N` neighbours in a row, the second ones, and so on.
fn neighbours<B: Backend, const N: usize>(x: Tensor<B, 2>) -> [Tensor<B, 2>; N] {
    let [blocks, block] = x.dims();
    let x = x.reshape([blocks, block / N, N]);
    std::array::from_fn(|i| x.clone().slice([0..blocks, 0..block / N, i..i + 1]).reshape([blocks, block / N]))
}
