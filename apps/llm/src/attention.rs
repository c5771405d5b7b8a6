//! Attention in which several heads of queries share one of keys and values.

use burn::nn::RmsNorm;
use burn::prelude::*;
use burn_int8::nn::attention::attention;
use burn_int8::nn::{Linear, LinearConfig};

use crate::block::{norm, normed};
use crate::cache::{LayerCache, Step};
use crate::config::DecoderConfig;

#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    pub q_proj: Linear<B>,
    pub k_proj: Linear<B>,
    pub v_proj: Linear<B>,
    pub o_proj: Linear<B>,
    pub q_norm: Option<RmsNorm<B>>,
    pub k_norm: Option<RmsNorm<B>>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// The factor of the scores.
    scale: f64,
}

impl<B: Backend> Attention<B> {
    pub fn new(config: &DecoderConfig, device: &B::Device) -> Self {
        let (heads, kv_heads, head_dim) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        let head_norm = || norm(head_dim, config, device);
        let width = config.hidden_size;
        Self {
            q_proj: linear(width, heads * head_dim),
            k_proj: linear(width, kv_heads * head_dim),
            v_proj: linear(width, kv_heads * head_dim),
            o_proj: linear(heads * head_dim, width),
            q_norm: config.head_norms.then(head_norm),
            k_norm: config.head_norms.then(head_norm),
            heads,
            kv_heads,
            head_dim,
            scale: config.attention_scale,
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
        let [rows, _] = x.dims();
        let tokens = rows / batch;
        let split = |y: Tensor<B, 2>, heads| y.reshape([batch, tokens, heads, self.head_dim]);
        let [q, k, v] = Linear::forward_each([&self.q_proj, &self.k_proj, &self.v_proj], x);
        let q = step.rotation.apply(normed(&self.q_norm, split(q, self.heads)));
        let k = step.rotation.apply(normed(&self.k_norm, split(k, self.kv_heads)));
        let [keys, values] = cached.add(k, split(v, self.kv_heads), step);
        let y = attention(q, keys, values, step.hidden.clone(), self.scale);
        self.o_proj.forward(y.reshape([rows, self.heads * self.head_dim]))
    }
}
