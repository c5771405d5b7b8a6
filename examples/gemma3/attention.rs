//! Attention in which several heads of queries share one of keys and values.

use burn::nn::RmsNorm;
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::softmax;
use burn_int8::nn::{Linear, LinearConfig};

use crate::block::norm;
use crate::cache::{LayerCache, Step};
use crate::config::GemmaConfig;

#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    pub q_proj: Linear<B>,
    pub k_proj: Linear<B>,
    pub v_proj: Linear<B>,
    pub o_proj: Linear<B>,
    pub q_norm: RmsNorm<B>,
    pub k_norm: RmsNorm<B>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Of the queries.
    scale: f64,
}

impl<B: Backend> Attention<B> {
    pub fn new(config: &GemmaConfig, device: &B::Device) -> Self {
        let (heads, kv_heads, head_dim) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        let width = config.hidden_size;
        Self {
            q_proj: linear(width, heads * head_dim),
            k_proj: linear(width, kv_heads * head_dim),
            v_proj: linear(width, kv_heads * head_dim),
            o_proj: linear(heads * head_dim, width),
            q_norm: norm(head_dim, config, device),
            k_norm: norm(head_dim, config, device),
            heads,
            kv_heads,
            head_dim,
            scale: config.query_pre_attn_scalar.sqrt().recip(),
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
        let split = |y: Tensor<B, 2>, heads| y.reshape([batch, tokens, heads, self.head_dim]).swap_dims(1, 2);
        let q = self.q_norm.forward(split(self.q_proj.forward(x.clone()), self.heads));
        let k = self.k_norm.forward(split(self.k_proj.forward(x.clone()), self.kv_heads));
        let v = split(self.v_proj.forward(x), self.kv_heads);

        let q = step.rotation.apply(q) * self.scale;
        let k = step.rotation.apply(k).swap_dims(2, 3);
        let [keys, values] = cached.add(k, v, step);
        let y = self.attend(q, keys, values, step.mask.as_ref());
        self.o_proj.forward(y.swap_dims(1, 2).reshape([rows, self.heads * self.head_dim]))
    }

    /// `[batch, heads, tokens, head_dim]`, as the queries are.
    fn attend(
        &self,
        q: Tensor<B, 4>,
        keys: Tensor<B, 4>,
        values: Tensor<B, 4>,
        mask: Option<&Tensor<B, 4>>,
    ) -> Tensor<B, 4> {
        let shape @ [batch, heads, tokens, width] = q.dims();
        let (kv_heads, dtype) = (self.kv_heads, q.dtype());
        // The queries that share a head of keys below each other: one product of matrices for all of them.
        let q = q.reshape([batch, kv_heads, heads / kv_heads * tokens, width]);
        let scores = q.matmul(keys);
        let scores = match mask {
            Some(mask) => scores + mask.clone(),
            None => scores,
        };
        let weights = softmax(scores.cast(DType::F32), 3).cast(dtype);
        weights.matmul(values).reshape(shape)
    }
}
