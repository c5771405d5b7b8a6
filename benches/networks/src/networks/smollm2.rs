//! SmolLM2-135M, a language model, which writes one more token.

use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, RmsNorm, RmsNormConfig};
use burn::nn::{RotaryEncoding, RotaryEncodingConfig};
use burn::prelude::*;
use burn::tensor::activation::{silu, softmax};

use super::{Input, Network, data};
use crate::case::Case;

pub const LAYERS: usize = 30;
pub const KV_HEADS: usize = 3;
pub const HEAD_WIDTH: usize = 64;
pub const SMOLLM2_VOCABULARY: usize = 49152;
const HEADS: usize = 9;
const WIDTH: usize = 576;
const INNER: usize = 1536;
const POSITIONS: usize = 8192;
const THETA: f32 = 100_000.0;
const EPSILON: f64 = 1e-5;

#[derive(Module, Debug)]
pub struct SmolLm2<B: Backend> {
    token: Embedding<B>,
    rotary: RotaryEncoding<B>,
    layers: Vec<Layer<B>>,
    norm: RmsNorm<B>,
}

/// A token, and the keys and values of those before it, for each layer.
#[derive(Clone)]
pub struct Step<B: Backend> {
    token: Tensor<B, 2, Int>,
    past: Vec<[Tensor<B, 4>; 2]>,
}

impl<B: Backend> Input<B> for Step<B> {
    fn new(case: &Case, device: &B::Device) -> Self {
        let mut arrays = case.inputs().into_iter().map(data);
        let mut next = || arrays.next().expect("a case of this network has a token and all caches");
        let token = Tensor::from_data(next(), device);
        let past = (0..LAYERS).map(|_| [(); 2].map(|()| Tensor::from_data(next(), device))).collect();
        Self { token, past }
    }
}

impl<B: Backend> SmolLm2<B> {
    pub fn new(device: &B::Device) -> Self {
        Self {
            token: EmbeddingConfig::new(SMOLLM2_VOCABULARY, WIDTH).init(device),
            rotary: RotaryEncodingConfig::new(POSITIONS, HEAD_WIDTH).with_theta(THETA).init(device),
            layers: (0..LAYERS).map(|_| Layer::new(device)).collect(),
            norm: norm(device),
        }
    }
}

impl<B: Backend> Network<B> for SmolLm2<B> {
    type Input = Step<B>;

    fn forward(&self, step: Step<B>) -> Tensor<B, 2> {
        let x = self.token.forward(step.token).squeeze_dim(1);
        let layers = self.layers.iter().zip(step.past);
        let x = layers.fold(x, |x, (layer, past)| layer.forward(x, past, &self.rotary));
        self.norm.forward(x).matmul(self.token.weight.val().transpose())
    }
}

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    attention_norm: RmsNorm<B>,
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    output: Linear<B>,
    inner_norm: RmsNorm<B>,
    gate: Linear<B>,
    up: Linear<B>,
    down: Linear<B>,
}

impl<B: Backend> Layer<B> {
    fn new(device: &B::Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        Self {
            attention_norm: norm(device),
            query: linear(WIDTH, HEADS * HEAD_WIDTH),
            key: linear(WIDTH, KV_HEADS * HEAD_WIDTH),
            value: linear(WIDTH, KV_HEADS * HEAD_WIDTH),
            output: linear(HEADS * HEAD_WIDTH, WIDTH),
            inner_norm: norm(device),
            gate: linear(WIDTH, INNER),
            up: linear(WIDTH, INNER),
            down: linear(INNER, WIDTH),
        }
    }

    /// `x` is `[1, WIDTH]`.
    fn forward(&self, x: Tensor<B, 2>, past: [Tensor<B, 4>; 2], rotary: &RotaryEncoding<B>) -> Tensor<B, 2> {
        let x = x.clone() + self.attend(self.attention_norm.forward(x), past, rotary);
        let y = self.inner_norm.forward(x.clone());
        x + self.down.forward(silu(self.gate.forward(y.clone())) * self.up.forward(y))
    }

    fn attend(&self, x: Tensor<B, 2>, past: [Tensor<B, 4>; 2], rotary: &RotaryEncoding<B>) -> Tensor<B, 2> {
        let split = |linear: &Linear<B>| linear.forward(x.clone()).reshape([1, -1, 1, HEAD_WIDTH as i32]);
        let [past_keys, past_values] = past;
        let position = past_keys.dims()[2];
        let query = rotary.apply(split(&self.query), position);
        let keys = Tensor::cat(vec![past_keys, rotary.apply(split(&self.key), position)], 2);
        let values = Tensor::cat(vec![past_values, split(&self.value)], 2);
        // Of one token: heads that share their keys are the rows of one product.
        let query = query.reshape([1, KV_HEADS, HEADS / KV_HEADS, HEAD_WIDTH]);
        let scores = query.matmul(keys.transpose()).div_scalar((HEAD_WIDTH as f32).sqrt());
        let context = softmax(scores, 3).matmul(values);
        self.output.forward(context.reshape([1, HEADS * HEAD_WIDTH]))
    }
}

fn norm<B: Backend>(device: &B::Device) -> RmsNorm<B> {
    RmsNormConfig::new(WIDTH).with_epsilon(EPSILON).init(device)
}
