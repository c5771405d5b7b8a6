//! The transform of inputs before they are quantized, and its inverse for weights: products stay as they are.

mod rotation;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use rotation::BlockRotation;
use rotation::rotate;
pub(crate) use rotation::rotate_lanes;

use crate::isa::Isa;

use crate::parallel::{for_each, threads_for};
use crate::range::{absmax, overflow_guard, rotation_guard};
use crate::weight::WeightLayout;

/// The way of a layer's inputs to what is quantized: `x -> rotate(factors * x)`. Its weights were quantized as
/// `rotate(weights / factors)`.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::{BlockRotation, InputTransform};
///
/// let rotation = BlockRotation::new(2).expect("a power of two");
/// let transform = InputTransform::from(rotation).with_shifts(&[0, 1]);
/// assert_eq!(transform.apply(&[1.0, 2.0], 2), [2f32.sqrt(), 0.0]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputTransform {
    rotation: BlockRotation,
    /// One power of two for each input.
    factors: Option<Arc<[f32]>>,
}

impl From<BlockRotation> for InputTransform {
    fn from(rotation: BlockRotation) -> Self {
        Self { rotation, factors: None }
    }
}

impl InputTransform {
    /// The largest shift.
    pub const LARGEST_SHIFT: u8 = 16;

    /// The same with one factor for each input, `2^-shift`: a power of two rounds nothing, and one below 1 does not overflow.
    /// Shifts above [`Self::LARGEST_SHIFT`] become that.
    pub fn with_shifts(self, shifts: &[u8]) -> Self {
        let factor = |&shift: &u8| 0.5f32.powi(i32::from(shift.min(Self::LARGEST_SHIFT)));
        Self { factors: Some(shifts.iter().map(factor).collect()), ..self }
    }

    /// The rotation.
    pub fn rotation(&self) -> BlockRotation {
        self.rotation
    }

    /// The shift of each input, if there are factors.
    pub fn shifts(&self) -> Option<Vec<u8>> {
        let shift = |factor: &f32| (127 - (factor.to_bits() >> 23)) as u8;
        self.factors.as_ref().map(|factors| factors.iter().map(shift).collect())
    }

    /// The factor of each input, a power of two, if there are factors.
    pub fn factors(&self) -> Option<&[f32]> {
        self.factors.as_deref()
    }

    /// Bytes that it keeps in memory: four for each factor.
    pub fn bytes(&self) -> usize {
        self.factors.as_deref().map_or(0, size_of_val)
    }

    /// True if inputs stay as they are.
    pub fn is_identity(&self) -> bool {
        self.rotation.is_none() && self.factors.is_none()
    }

    /// Checks that the transform suits such a layer: it is no convolution, its inputs can be cut into blocks, and there are as many
    /// factors.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub fn check(&self, layout: &WeightLayout) -> Result<(), String> {
        if self.is_identity() {
            return Ok(());
        }
        if let WeightLayout::Conv(_) = layout {
            return Err("the inputs of a convolution are not transformed".into());
        }
        let inputs = layout.inputs();
        if !inputs.is_multiple_of(self.rotation.block()) {
            return Err(format!("{inputs} inputs can't be rotated in blocks of {}", self.rotation.block()));
        }
        match &self.factors {
            Some(factors) if factors.len() != inputs => {
                Err(format!("{} smoothing factors for {inputs} inputs", factors.len()))
            }
            _ => Ok(()),
        }
    }

    /// The rows of `x` (`[m, k]`) as they are quantized.
    ///
    /// Rows near the largest float overflow; the kernels multiply those by a power of two first.
    ///
    /// # Panics
    ///
    /// If `x` is not a whole number of rows, or the transform does not suit `k` inputs.
    pub fn apply(&self, x: &[f32], k: usize) -> Vec<f32> {
        if let Err(reason) = self.check(&WeightLayout::Linear([k, 1])) {
            panic!("{reason}");
        }
        assert!(k > 0 && x.len().is_multiple_of(k), "{} values are no rows of {k}", x.len());
        let mut out = vec![0.0; x.len()];
        let rows = x.chunks_exact(k).zip(out.chunks_exact_mut(k));
        rows.for_each(|(x, out)| {
            self.scale(x, 1.0, out);
            self.rotation.apply(out);
        });
        out
    }

    /// One row as it is quantized, and the power of two that takes back what it was multiplied with to leave room for sums:
    /// 1 but for rows near the largest or the smallest float. Rows that are not finite stay that.
    #[inline(always)]
    pub(crate) fn row<I: Isa>(&self, isa: I, x: &[f32], out: &mut [f32]) -> f32 {
        let [factor, restore] = rotation_guard(absmax(x));
        let block = self.rotation.block();
        if factor == 1.0 && self.factors.is_none() {
            for (x, out) in x.chunks_exact(block).zip(out.chunks_exact_mut(block)) {
                rotate(isa, x, out);
            }
            return restore;
        }
        self.scale(x, factor, out);
        self.rotation.apply_on(isa, out);
        restore
    }

    /// Takes back what was done to one row of weights.
    #[inline(always)]
    pub(crate) fn restore_row<I: Isa>(&self, isa: I, row: &mut [f32]) {
        self.rotation.apply_on(isa, row);
        if let Some(factors) = &self.factors {
            row.iter_mut().zip(&**factors).for_each(|(w, factor)| *w *= factor);
        }
    }

    /// `factors * factor * x`.
    #[inline(always)]
    fn scale(&self, x: &[f32], factor: f32, out: &mut [f32]) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = x * factor);
        if let Some(factors) = &self.factors {
            out.iter_mut().zip(&**factors).for_each(|(out, factor)| *out *= factor);
        }
    }

    /// Turns the weights of one channel, one for each input, into what is quantized. The result is the power of two that their scale
    /// is to be multiplied with: 1 but for weights near the largest float.
    pub(crate) fn channel(&self, weights: &mut [f32]) -> f32 {
        if self.is_identity() {
            return 1.0;
        }
        let [factor, restore] = overflow_guard(absmax(weights));
        weights.iter_mut().for_each(|w| *w *= factor);
        if let Some(factors) = &self.factors {
            weights.iter_mut().zip(&**factors).for_each(|(w, factor)| *w /= factor);
        }
        self.rotation.apply(weights);
        restore
    }

    /// Takes back what was done to the channels of such a layer.
    ///
    /// # Panics
    ///
    /// If the transform does not suit the layout.
    pub(crate) fn restore(&self, weights: &mut [f32], layout: &WeightLayout) {
        if let Err(reason) = self.check(layout) {
            panic!("{reason}");
        }
        if self.is_identity() || weights.is_empty() {
            return;
        }
        let (block, stride) = (self.rotation.block(), layout.input_stride());
        let blocks = layout.inputs() / block;
        let threads = threads_for(weights.len() * WEIGHT_COST);
        for_each(threads, weights.chunks_exact_mut(block * stride).enumerate(), |(i, weights)| {
            let factors = self.factors.as_ref().map(|factors| &factors[i % blocks * block..][..block]);
            let mut line = [0.0; BlockRotation::LARGEST];
            let line = &mut line[..block];
            for first in 0..stride {
                let from = weights[first..].iter().step_by(stride);
                line.iter_mut().zip(from).for_each(|(line, w)| *line = *w);
                self.rotation.apply(line);
                if let Some(factors) = factors {
                    line.iter_mut().zip(factors).for_each(|(w, factor)| *w *= factor);
                }
                let to = weights[first..].iter_mut().step_by(stride);
                to.zip(&*line).for_each(|(w, line)| *w = *line);
            }
        });
    }
}

/// The cost of transforming a weight, in multiply-adds.
const WEIGHT_COST: usize = 64;
