//! The same arithmetic in plain tensor operations, on any backend: the oracle of the others, and their stand-in.
//!
//! One slice of the integers at a time becomes float for a matrix product. The product of integers is exact: a slice is so
//! short that no partial sum leaves the integers that `f32` holds.

pub(super) mod conv;
mod rows;
mod total;
mod transform;
pub(super) mod weights;

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::{DType, Element};

use super::op::LinearOp;
use crate::config::QuantMode;
#[cfg(feature = "wgpu")]
use burn_int8_kernels::InputTransform;
use rows::{make_room, quantize_rows};
use total::{EXACT_IN_F32, Total, exact_in_f32};
use transform::{restore_rows, transform_rows};
use weights::DeviceWeights;

/// The product of the last axis of `x` with each column, plus bias.
pub(super) fn linear<B: Backend, const D: usize>(
    weights: &DeviceWeights<B>,
    x: Tensor<B, D>,
    op: LinearOp<B>,
) -> Tensor<B, D> {
    let [k, n] = weights.shape();
    let (mut shape, dtype) = (x.shape(), x.dtype());
    let rows: usize = shape[..D - 1].iter().product();
    shape[D - 1] = n;
    if shape.num_elements() == 0 {
        return Tensor::zeros(shape, (&x.device(), dtype));
    }
    let x = x.cast(DType::F32).reshape([rows, k]);
    let (x, restore) = transform_rows(x, &weights.transform);
    let scales = weights.scales.clone().unsqueeze();
    let mut y = match op.scheme.mode {
        _ if k == 0 => Tensor::zeros([rows, n], (&x.device(), DType::F32)),
        QuantMode::Auto | QuantMode::Dynamic => {
            let (q, x_scales) = quantize_rows(x, op.scheme.inputs());
            let x_scales = restore.map_or(x_scales.clone(), |restore| x_scales * restore);
            exact_product(weights, q, exact_in_f32(op.scheme.codes)) * (x_scales * scales)
        }
        QuantMode::WeightOnly => {
            let (x, restore) = restore.map_or_else(|| make_room(x.clone()), |restore| (x.clone(), restore));
            float_product(weights, x) * scales * restore
        }
    };
    if let Some(bias) = op.bias {
        y = y + bias.cast(DType::F32).unsqueeze();
    }
    y.reshape(shape).cast(dtype)
}

/// The rows at `indices` `[batch, length]`, the table being the transposed matrix: `[batch, length, width]`.
pub(super) fn embed<B: Backend>(weights: &DeviceWeights<B>, indices: Tensor<B, 2, Int>) -> Tensor<B, 3> {
    let [batch, length] = indices.dims();
    let device = indices.device();
    let ([k, _], indices) = (weights.shape(), indices.reshape([batch * length]));
    if batch * length * k == 0 {
        return Tensor::zeros([batch, length, k], &device);
    }
    let integers = weights.select(indices.clone());
    let rows = (integers * weights.scales.clone().select(0, indices).unsqueeze()).transpose();
    let rows = restore_rows(rows, &weights.transform);
    rows.reshape([batch, length, k]).cast(B::FloatElem::dtype())
}

/// Looked-up rows `[batch, length, width]` as they were before their table was transformed.
#[cfg(feature = "wgpu")]
pub(super) fn restored<B: Backend>(rows: Tensor<B, 3>, transform: &InputTransform) -> Tensor<B, 3> {
    if transform.is_identity() {
        return rows;
    }
    let ([batch, length, width], dtype) = (rows.dims(), rows.dtype());
    let rows = rows.cast(DType::F32).reshape([batch * length, width]);
    restore_rows(rows, transform).reshape([batch, length, width]).cast(dtype)
}

/// The exact product with integers `q`, rounded to float once; `exact` of its inputs are multiplied exactly.
fn exact_product<B: Backend>(weights: &DeviceWeights<B>, q: Tensor<B, 2>, exact: usize) -> Tensor<B, 2> {
    let mut total = Total::default();
    for (range, product) in products(weights, q, exact) {
        total.add(range.len(), product);
    }
    total.finish().expect("at least one input")
}

fn float_product<B: Backend>(weights: &DeviceWeights<B>, x: Tensor<B, 2>) -> Tensor<B, 2> {
    products(weights, x, EXACT_IN_F32)
        .map(|(_, product)| product)
        .reduce(|sum, product| sum + product)
        .expect("at least one input")
}

/// The products with one slice of `at_once` inputs after another.
fn products<B: Backend>(
    weights: &DeviceWeights<B>,
    x: Tensor<B, 2>,
    at_once: usize,
) -> impl Iterator<Item = (Range<usize>, Tensor<B, 2>)> {
    let [k, _] = weights.shape();
    (0..k).step_by(at_once).map(move |start| {
        let range = start..k.min(start + at_once);
        let slice = x.clone().slice([0..x.dims()[0], range.clone()]);
        (range.clone(), slice.matmul(weights.floats(range)))
    })
}
