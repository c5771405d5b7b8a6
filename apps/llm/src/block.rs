//! One layer of the model: attention, then a gated feed-forward, each behind a norm, in some families before one, too.

use burn::nn::{RmsNorm, RmsNormConfig};
use burn::prelude::*;
use burn::tensor::activation::silu;
use burn_int8::nn::{Linear, LinearConfig};

use crate::attention::Attention;
use crate::cache::{LayerCache, Step};
use crate::config::{Activation, DecoderConfig};

#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    pub attention_norm: RmsNorm<B>,
    pub self_attn: Attention<B>,
    pub attention_output_norm: Option<RmsNorm<B>>,
    pub feedforward_norm: RmsNorm<B>,
    pub mlp: FeedForward<B>,
    pub feedforward_output_norm: Option<RmsNorm<B>>,
}

impl<B: Backend> Block<B> {
    pub fn new(config: &DecoderConfig, device: &B::Device) -> Self {
        let norm = || norm(config.hidden_size, config, device);
        Self {
            attention_norm: norm(),
            self_attn: Attention::new(config, device),
            attention_output_norm: config.output_norms.then(norm),
            feedforward_norm: norm(),
            mlp: FeedForward::new(config, device),
            feedforward_output_norm: config.output_norms.then(norm),
        }
    }

    /// `x` is `[batch * tokens, hidden_size]`.
    pub fn forward(
        &self,
        x: Tensor<B, 2>,
        batch: usize,
        step: &Step<B>,
        cached: &mut LayerCache<B>,
    ) -> Tensor<B, 2> {
        let y = self.self_attn.forward(self.attention_norm.forward(x.clone()), batch, step, cached);
        let x = x + normed(&self.attention_output_norm, y);
        let y = self.mlp.forward(self.feedforward_norm.forward(x.clone()));
        x + normed(&self.feedforward_output_norm, y)
    }
}

#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    pub gate_proj: Linear<B>,
    pub up_proj: Linear<B>,
    pub down_proj: Linear<B>,
    #[module(skip)]
    activation: Activation,
}

impl<B: Backend> FeedForward<B> {
    fn new(config: &DecoderConfig, device: &B::Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        let (narrow, wide) = (config.hidden_size, config.intermediate_size);
        Self {
            gate_proj: linear(narrow, wide),
            up_proj: linear(narrow, wide),
            down_proj: linear(wide, narrow),
            activation: config.activation,
        }
    }

    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let [gate, up] = Linear::forward_each([&self.gate_proj, &self.up_proj], x);
        let gate = match self.activation {
            Activation::GeluTanh => gelu_tanh(gate),
            Activation::Silu => silu(gate),
        };
        self.down_proj.forward(gate * up)
    }
}

/// `0.5 x (1 + tanh(z))` with `z = sqrt(2 / pi) (x + 0.044715 x^3)`.
///
/// The same is `x / (1 + exp(-2 z))`, which is quicker: Burn's own takes the cube by a power and its tangent in doubles.
pub fn gelu_tanh<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let linear = -2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let exponent = (x.clone() * x.clone() * (0.044715 * linear) + linear) * x.clone();
    x / (exponent.exp() + 1.0)
}

/// Files may hold the weights of norms without an offset, which is added when they are loaded.
pub fn norm<B: Backend>(width: usize, config: &DecoderConfig, device: &B::Device) -> RmsNorm<B> {
    RmsNormConfig::new(width).with_epsilon(config.rms_norm_eps).init(device)
}

/// The output of a norm that not every family has.
pub fn normed<B: Backend, const D: usize>(norm: &Option<RmsNorm<B>>, x: Tensor<B, D>) -> Tensor<B, D> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
