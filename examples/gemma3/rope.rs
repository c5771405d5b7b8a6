//! Rotary position embedding, each half of a head turned against the other.

use burn::prelude::*;

use crate::cache::Step;

/// The rotations of the tokens of a step: `[tokens, width]` each.
pub struct Rope<B: Backend> {
    cos: Tensor<B, 2>,
    /// Negative in the first half.
    sin: Tensor<B, 2>,
}

impl<B: Backend> Rope<B> {
    pub fn new(step: Step, width: usize, base: f64, device: &B::Device) -> Self {
        let half = width / 2;
        let mut cos = Vec::with_capacity(step.tokens * width);
        let mut sin = Vec::with_capacity(step.tokens * width);
        for position in step.position..step.position + step.tokens {
            let angle = |i: usize| position as f64 * base.powf(-2.0 * i as f64 / width as f64);
            cos.extend((0..width).map(|i| angle(i % half).cos() as f32));
            sin.extend((0..half).map(|i| -angle(i).sin() as f32));
            sin.extend((0..half).map(|i| angle(i).sin() as f32));
        }
        let tensor = |values| Tensor::from_data(TensorData::new(values, [step.tokens, width]), device);
        Self { cos: tensor(cos), sin: tensor(sin) }
    }

    /// `[batch, heads, tokens, width]`
    pub fn rotate(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let half = x.dims()[3] / 2;
        let (first, second) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
        let swapped = Tensor::cat(vec![second, first], 3);
        x * self.cos.clone().unsqueeze() + swapped * self.sin.clone().unsqueeze()
    }
}
