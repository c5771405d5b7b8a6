//! One layer of the model: attention, then a gated feed-forward, each between two norms.

use burn::nn::{RmsNorm, RmsNormConfig};
use burn::prelude::*;
use burn_int8::nn::{Linear, LinearConfig};

use crate::attention::Attention;
use crate::cache::{LayerCache, Step};
use crate::config::GemmaConfig;

#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    pub input_layernorm: RmsNorm<B>,
    pub self_attn: Attention<B>,
    pub post_attention_layernorm: RmsNorm<B>,
    pub pre_feedforward_layernorm: RmsNorm<B>,
    pub mlp: FeedForward<B>,
    pub post_feedforward_layernorm: RmsNorm<B>,
}

impl<B: Backend> Block<B> {
    pub fn new(config: &GemmaConfig, device: &B::Device) -> Self {
        let norm = || norm(config.hidden_size, config, device);
        Self {
            input_layernorm: norm(),
            self_attn: Attention::new(config, device),
            post_attention_layernorm: norm(),
            pre_feedforward_layernorm: norm(),
            mlp: FeedForward::new(config, device),
            post_feedforward_layernorm: norm(),
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
        let y = self.self_attn.forward(self.input_layernorm.forward(x.clone()), batch, step, cached);
        let x = x + self.post_attention_layernorm.forward(y);
        let y = self.mlp.forward(self.pre_feedforward_layernorm.forward(x.clone()));
        x + self.post_feedforward_layernorm.forward(y)
    }
}

#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    pub gate_proj: Linear<B>,
    pub up_proj: Linear<B>,
    pub down_proj: Linear<B>,
}

impl<B: Backend> FeedForward<B> {
    fn new(config: &GemmaConfig, device: &B::Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        let (narrow, wide) = (config.hidden_size, config.intermediate_size);
        Self {
            gate_proj: linear(narrow, wide),
            up_proj: linear(narrow, wide),
            down_proj: linear(wide, narrow),
        }
    }

    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let [gate, up] = Linear::forward_each([&self.gate_proj, &self.up_proj], x);
        self.down_proj.forward(gelu_tanh(gate) * up)
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

/// Its gamma is `1 + weight` of the checkpoint's weight, which lies around zero: who loads one adds the 1.
pub fn norm<B: Backend>(width: usize, config: &GemmaConfig, device: &B::Device) -> RmsNorm<B> {
    RmsNormConfig::new(width).with_epsilon(config.rms_norm_eps).init(device)
}
