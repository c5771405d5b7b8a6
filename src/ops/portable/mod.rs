//! The same arithmetic in plain tensor operations, on any backend: the oracle of the others, and their stand-in.
//!
//! One slice of the integers at a time becomes float for a matrix product. The product of integers is exact: a slice is so
//! short that no partial sum leaves the integers that `f32` holds.

mod conv;
pub(super) mod weights;

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::{DType, Element, ElementConversion};

use crate::config::{LayerScheme, QuantMode};
use burn_int8_kernels::{MIN_ABSMAX, PRESCALE, QuantRange};
use weights::Words;

/// Inputs whose products sum exactly in `f32`: `1024 * 128 * 128 = 2^24`.
const EXACT_IN_F32: usize = 1024;
/// Inputs whose products sum exactly in `i32`, in whole slices of [`EXACT_IN_F32`].
const EXACT_IN_I32: usize = 127 * EXACT_IN_F32;

impl<B: Backend> Words<B> {
    pub(super) fn linear<const D: usize>(
        &self,
        x: Tensor<B, D>,
        scheme: LayerScheme,
        bias: Option<Tensor<B, 1>>,
    ) -> Tensor<B, D> {
        let [k, n] = self.shape();
        let (mut shape, dtype) = (x.shape(), x.dtype());
        let rows: usize = shape[..D - 1].iter().product();
        shape[D - 1] = n;
        if shape.num_elements() == 0 {
            return Tensor::zeros(shape, (&x.device(), dtype));
        }
        let x = x.cast(DType::F32).reshape([rows, k]);
        let mut y = match scheme.mode {
            _ if k == 0 => Tensor::zeros([rows, n], (&x.device(), DType::F32)),
            QuantMode::Dynamic => {
                let (q, x_scales) = quantize_rows(x, scheme.range);
                self.exact_product(q) * (x_scales * self.scales.clone().unsqueeze())
            }
            QuantMode::WeightOnly => self.float_product(x) * self.scales.clone().unsqueeze(),
        };
        if let Some(bias) = bias {
            y = y + bias.cast(DType::F32).unsqueeze();
        }
        y.reshape(shape).cast(dtype)
    }

    /// The rows at `indices` `[batch, length]`, the table being the transposed matrix: `[batch, length, width]`.
    pub(super) fn embed(&self, indices: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [batch, length] = indices.dims();
        let device = indices.device();
        let ([k, _], indices) = (self.shape(), indices.reshape([batch * length]));
        if batch * length * k == 0 {
            return Tensor::zeros([batch, length, k], &device);
        }
        let integers = self.select(indices.clone());
        let rows = (integers * self.scales.clone().select(0, indices).unsqueeze()).transpose();
        rows.reshape([batch, length, k]).cast(B::FloatElem::dtype())
    }

    /// The exact product with integers `q`, rounded to float once.
    fn exact_product(&self, q: Tensor<B, 2>) -> Tensor<B, 2> {
        let mut total = Total::default();
        for (range, product) in self.products(q) {
            total.add(range.len(), product);
        }
        total.finish().expect("at least one input")
    }

    fn float_product(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.products(x)
            .map(|(_, product)| product)
            .reduce(|sum, product| sum + product)
            .expect("at least one input")
    }

    /// The products with one slice of the inputs after another, each exact if `x` holds integers.
    fn products(&self, x: Tensor<B, 2>) -> impl Iterator<Item = (Range<usize>, Tensor<B, 2>)> {
        let [k, _] = self.shape();
        (0..k).step_by(EXACT_IN_F32).map(move |start| {
            let range = start..k.min(start + EXACT_IN_F32);
            let part = x.clone().slice([0..x.dims()[0], range.clone()]);
            (range.clone(), part.matmul(self.floats(range)))
        })
    }
}

/// An exact sum of products of integers, however many.
struct Total<B: Backend, const D: usize> {
    /// Inputs that `sum` holds.
    inputs: usize,
    sum: Option<Tensor<B, D, Int>>,
    /// Upper and lower 16 bits of sums that are complete: both totals are exact in float, only their own sum rounds.
    halves: Option<(Tensor<B, D>, Tensor<B, D>)>,
}

impl<B: Backend, const D: usize> Default for Total<B, D> {
    fn default() -> Self {
        Self { inputs: 0, sum: None, halves: None }
    }
}

impl<B: Backend, const D: usize> Total<B, D> {
    /// Adds the exact product of at most [`EXACT_IN_F32`] inputs.
    fn add(&mut self, inputs: usize, product: Tensor<B, D>) {
        if self.inputs + inputs > EXACT_IN_I32 {
            self.split();
        }
        let product = product.int().cast(DType::I32);
        self.inputs += inputs;
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + product,
            None => product,
        });
    }

    fn split(&mut self) {
        self.inputs = 0;
        let Some(sum) = self.sum.take() else { return };
        let high = to_f32(sum.clone().bitwise_right_shift_scalar(16.elem()));
        let low = to_f32(sum.bitwise_and_scalar(0xffff.elem()));
        self.halves = Some(match self.halves.take() {
            Some((h, l)) => (h + high, l + low),
            None => (high, low),
        });
    }

    /// The sum, rounded to float once; `None` if nothing was added.
    fn finish(mut self) -> Option<Tensor<B, D>> {
        if self.halves.is_none() {
            return self.sum.map(to_f32);
        }
        self.split();
        self.halves.map(|(high, low)| high * 65536.0 + low)
    }
}

fn to_f32<B: Backend, const D: usize>(integers: Tensor<B, D, Int>) -> Tensor<B, D> {
    integers.float().cast(DType::F32)
}

/// The integers of each row, as floats, and the scales `[rows, 1]`: NaN for a row that has a NaN or an infinity.
fn quantize_rows<B: Backend>(x: Tensor<B, 2>, range: QuantRange) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let poison = (x.clone() * 0.0).sum_dim(1); // 0, or NaN
    let broken = poison.clone().equal_elem(0.0).bool_not();
    let shape = x.shape();
    let x = x.mask_fill(broken.expand(shape), 0.0);
    let absmax = x.clone().abs().max_dim(1);
    let zero = absmax.clone().equal_elem(0.0);
    let scales = (absmax.clone() / range.divisor()).mask_fill(zero.clone(), 1.0) + poison;
    let prescale = absmax.ones_like().mask_fill(absmax.clone().lower_elem(MIN_ABSMAX), PRESCALE);
    let inverse = (absmax.full_like(range.divisor()) / (absmax * prescale.clone())).mask_fill(zero, 0.0);
    let q = round_half_even((x * prescale) * inverse).clamp(range.qmin(), range.qmax());
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
