//! The same arithmetic in plain tensor operations, on any backend: the oracle of the others, and their stand-in.
//!
//! Integers live on the device four to a 32-bit word, and one slice of them at a time becomes float for a matrix product.
//! The product of integers is exact: a slice is so short that no partial sum leaves the integers that `f32` holds.

mod conv;

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Element, ElementConversion};

use super::host::with_floats;
use crate::kernel::{Form, LIFT, Levels, Order, TINY};
use crate::scheme::{Activations, LayerScheme};

/// Inputs whose products sum exactly in `f32`: `1024 * 128 * 128 = 2^24`.
const EXACT_IN_F32: usize = 1024;
/// Inputs whose products sum exactly in `i32`, in whole slices of [`EXACT_IN_F32`].
const EXACT_IN_I32: usize = 127 * EXACT_IN_F32;
/// Weights in a word.
const WORD: usize = 4;
/// Added to each weight in a word, so that no byte has a sign to extend: backends differ in how they shift one.
const OFFSET: i32 = 128;

/// Integers `[k, n]` on a device, four neighbours of a column in one word, the first in the lowest byte.
///
/// The rows are in the form's plain order.
#[derive(Clone)]
pub(crate) struct Words<B: Backend> {
    k: usize,
    words: Tensor<B, 2, Int>,
    scales: Tensor<B, 2>,
}

impl<B: Backend> Words<B> {
    /// From integers in the layout of the weight tensor.
    pub(super) fn new(integers: &[i8], scales: &[f32], form: &Form, device: &B::Device) -> Self {
        let Order { rows, columns, .. } = form.plain_order();
        let (k, n) = (rows.len(), columns.len());
        let mut words = vec![0i32; k.div_ceil(WORD) * n];
        for (row, from) in rows.iter().enumerate() {
            let words = &mut words[row / WORD * n..][..n];
            for (word, column) in words.iter_mut().zip(&columns) {
                *word |= (i32::from(integers[from + column]) + OFFSET) << (8 * (row % WORD));
            }
        }
        let shape = [k.div_ceil(WORD), n];
        let words = Tensor::from_data(TensorData::new(words, shape), (device, DType::I32));
        let scales = TensorData::new(scales.to_vec(), [1, n]);
        Self { k, words, scales: Tensor::from_data(scales, (device, DType::F32)) }
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        [self.k, self.words.dims()[1]]
    }

    /// The integers in the layout of the weight tensor.
    pub(super) fn to_integers(&self, form: &Form) -> Vec<i8> {
        let Order { rows, columns, .. } = form.plain_order();
        let words: Vec<i32> = self.words.to_data().iter().collect();
        let mut integers = vec![0; form.len()];
        for (row, from) in rows.iter().enumerate() {
            let words = &words[row / WORD * columns.len()..];
            for (word, column) in words.iter().zip(&columns) {
                integers[from + column] = (((word >> (8 * (row % WORD))) & 0xff) - OFFSET) as i8;
            }
        }
        integers
    }

    pub(super) fn scales(&self) -> Vec<f32> {
        with_floats(self.scales.clone(), <[f32]>::to_vec)
    }

    pub(super) fn to_device(&self, device: &B::Device) -> Self {
        Self {
            k: self.k,
            words: self.words.clone().to_device(device),
            scales: self.scales.clone().to_device(device),
        }
    }

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
        let mut y = match scheme.activations {
            _ if k == 0 => Tensor::zeros([rows, n], (&x.device(), DType::F32)),
            Activations::Dynamic => {
                let (q, x_scales) = quantize_rows(x, scheme.range.into());
                self.exact_product(q) * (x_scales * self.scales.clone())
            }
            Activations::WeightOnly => self.float_product(x) * self.scales.clone(),
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
        let (k, indices) = (self.k, indices.reshape([batch * length]));
        if batch * length * k == 0 {
            return Tensor::zeros([batch, length, k], &device);
        }
        let integers = unpack(self.words.clone().select(1, indices.clone()));
        let integers = integers.slice([0..k, 0..batch * length]);
        let rows = (integers * self.scales.clone().select(1, indices)).transpose();
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
        (0..self.k).step_by(EXACT_IN_F32).map(move |start| {
            let range = start..self.k.min(start + EXACT_IN_F32);
            let part = x.clone().slice([0..x.dims()[0], range.clone()]);
            (range.clone(), part.matmul(self.floats(range)))
        })
    }

    /// The integers of the inputs `range` as floats.
    fn floats(&self, range: Range<usize>) -> Tensor<B, 2> {
        let [_, n] = self.words.dims();
        let words = range.start / WORD..range.end.div_ceil(WORD);
        let first = range.start % WORD;
        unpack(self.words.clone().slice([words, 0..n])).slice([first..first + range.len(), 0..n])
    }
}

/// Words `[k / 4, n]` to integers `[k, n]`, as floats.
fn unpack<B: Backend>(words: Tensor<B, 2, Int>) -> Tensor<B, 2> {
    let [rows, n] = words.dims();
    let bytes = (0..WORD as i32).map(|byte| {
        let low = words.clone().bitwise_right_shift_scalar((8 * byte).elem());
        low.bitwise_and_scalar(0xff.elem())
    });
    let integers = Tensor::stack::<3>(bytes.collect(), 1).reshape([rows * WORD, n]);
    to_f32(integers) - OFFSET as f32
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

impl<B: AutodiffBackend> Words<B> {
    pub(super) fn inner(&self) -> Words<B::InnerBackend> {
        let (words, scales) = (self.words.clone().inner(), self.scales.clone().inner());
        Words { k: self.k, words, scales }
    }

    pub(super) fn from_inner(inner: Words<B::InnerBackend>) -> Self {
        let (words, scales) = (Tensor::from_inner(inner.words), Tensor::from_inner(inner.scales));
        Self { k: inner.k, words, scales }
    }
}

fn to_f32<B: Backend, const D: usize>(integers: Tensor<B, D, Int>) -> Tensor<B, D> {
    integers.float().cast(DType::F32)
}

/// The integers of each row, as floats, and the scales `[rows, 1]`: NaN for a row that has a NaN or an infinity.
fn quantize_rows<B: Backend>(x: Tensor<B, 2>, levels: Levels) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let Levels { min, max, top } = levels;
    let poison = (x.clone() * 0.0).sum_dim(1); // 0, or NaN
    let broken = poison.clone().equal_elem(0.0).bool_not();
    let shape = x.shape();
    let x = x.mask_fill(broken.expand(shape), 0.0);
    let absmax = x.clone().abs().max_dim(1);
    let zero = absmax.clone().equal_elem(0.0);
    let scales = (absmax.clone() / top).mask_fill(zero.clone(), 1.0) + poison;
    let lift = absmax.ones_like().mask_fill(absmax.clone().lower_elem(TINY), LIFT);
    let inverse = (absmax.full_like(top) / (absmax * lift.clone())).mask_fill(zero, 0.0);
    let q = round_half_even((x * lift) * inverse).clamp(min, max);
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
