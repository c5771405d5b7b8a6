//! Exact sums of products of integers, in tensors that hold floats and 32-bit integers.

use burn::prelude::*;
use burn::tensor::{DType, ElementConversion};

use crate::config::InputCodes;

/// Inputs whose products sum exactly in `f32` if all have a sign: `1024 * 128 * 128 = 2^24`.
pub(super) const EXACT_IN_F32: usize = 1024;
/// Inputs whose products sum exactly in `i32`, in whole slices of [`EXACT_IN_F32`]: `64 * 1024 * 255 * 128 < 2^31`.
const EXACT_IN_I32: usize = 64 * EXACT_IN_F32;

/// The number of inputs of a layer whose products sum exactly in `f32`.
pub(super) fn exact_in_f32(codes: InputCodes) -> usize {
    match codes {
        InputCodes::Signed => EXACT_IN_F32,
        _ => EXACT_IN_F32 / 2, // `512 * 255 * 128 < 2^24`
    }
}

/// An exact sum of products of integers, however many.
pub(super) struct Total<B: Backend, const D: usize> {
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
    pub(super) fn add(&mut self, inputs: usize, product: Tensor<B, D>) {
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
    pub(super) fn finish(mut self) -> Option<Tensor<B, D>> {
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
