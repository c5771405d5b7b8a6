//! Rotary positions: pairs of numbers turned by an angle that grows with the position.

use burn::prelude::*;

/// The angle by which each pair of a head turns: `base^(-2i / head_dim)` for each position.
#[derive(Clone, Debug)]
pub struct Frequencies(Vec<f64>);

impl Frequencies {
    pub fn new(base: f64, head_dim: usize) -> Self {
        let frequency = |pair: usize| base.powf(-2.0 * pair as f64 / head_dim as f64);
        Self((0..head_dim / 2).map(frequency).collect())
    }

    /// The rotation of `tokens` positions from `start`. Angles are computed in double precision: far into a text they are large.
    pub fn rotation<B: Backend>(&self, start: usize, tokens: usize, device: &B::Device) -> Rotation<B> {
        let half = self.0.len();
        let (mut cos, mut sin) = (vec![0.0; 2 * half * tokens], vec![0.0; 2 * half * tokens]);
        let rows = cos.chunks_exact_mut(2 * half).zip(sin.chunks_exact_mut(2 * half));
        for (position, (cos, sin)) in (start..).zip(rows) {
            for (pair, frequency) in self.0.iter().enumerate() {
                let (s, c) = (position as f64 * frequency).sin_cos();
                (cos[pair], cos[pair + half]) = (c as f32, c as f32);
                (sin[pair], sin[pair + half]) = (-s as f32, s as f32);
            }
        }
        let tensor = |values| Tensor::from_data(TensorData::new(values, [1, tokens, 1, 2 * half]), device);
        Rotation { cos: tensor(cos), sin: tensor(sin) }
    }
}

/// The turns of some tokens, the same for all layers of a kind; both are `[1, tokens, 1, head_dim]`.
#[derive(Clone, Debug)]
pub struct Rotation<B: Backend> {
    cos: Tensor<B, 4>,
    /// Negative in its first half, so that one product does for both.
    sin: Tensor<B, 4>,
}

impl<B: Backend> Rotation<B> {
    /// `(x1, x2)` becomes `(x1 cos - x2 sin, x2 cos + x1 sin)`, where x1 is the first half of a head and x2 the second.
    ///
    /// `x` is `[batch, tokens, heads, head_dim]`.
    pub fn apply(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let half = x.dims()[3] / 2;
        let swapped = Tensor::cat(vec![x.clone().narrow(3, half, half), x.clone().narrow(3, 0, half)], 3);
        x * self.cos.clone() + swapped * self.sin.clone()
    }
}
