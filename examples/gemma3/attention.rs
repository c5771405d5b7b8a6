//! Attention of several query heads over shared key-value heads.

use burn::nn::{RmsNorm, RmsNormConfig};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn_int8::nn::{Linear, LinearConfig};

use crate::cache::{LayerCache, Step};
use crate::config::GemmaConfig;
use crate::rope::Rope;

/// What all layers of a kind, local or global, share in one forward pass.
pub struct View<B: Backend> {
    pub step: Step,
    pub rope: Rope<B>,
    /// `[tokens, keys]`, true where a token must not look.
    pub mask: Option<Tensor<B, 2, Bool>>,
}

/// Field names are the checkpoint's.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    pub q_proj: Linear<B>,
    pub k_proj: Linear<B>,
    pub v_proj: Linear<B>,
    pub o_proj: Linear<B>,
    q_norm: RmsNorm<B>,
    k_norm: RmsNorm<B>,
    heads: usize,
    shared: usize,
    width: usize,
    query_scale: f64,
}

impl<B: Backend> Attention<B> {
    pub fn new(config: &GemmaConfig, device: &B::Device) -> Self {
        let (heads, shared) = (config.num_attention_heads, config.num_key_value_heads);
        let (hidden, width) = (config.hidden_size, config.head_dim);
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        let norm = || RmsNormConfig::new(width).with_epsilon(config.rms_norm_eps).init(device);
        Self {
            q_proj: linear(hidden, heads * width),
            k_proj: linear(hidden, shared * width),
            v_proj: linear(hidden, shared * width),
            o_proj: linear(heads * width, hidden),
            q_norm: norm(),
            k_norm: norm(),
            heads,
            shared,
            width,
            query_scale: config.query_pre_attn_scalar.powf(-0.5),
        }
    }

    /// `[batch, tokens, hidden]` to the same.
    pub fn forward(&self, x: Tensor<B, 3>, view: &View<B>, cache: &mut LayerCache<B>) -> Tensor<B, 3> {
        let [batch, tokens, _] = x.dims();
        let Self { heads, shared, width, .. } = *self;
        let by_head = |x: Tensor<B, 3>, heads| x.reshape([batch, tokens, heads, width]);
        let queries = self.q_norm.forward(by_head(self.q_proj.forward(x.clone()), heads));
        let keys = self.k_norm.forward(by_head(self.k_proj.forward(x.clone()), shared));
        let values = by_head(self.v_proj.forward(x), shared);

        let queries = view.rope.rotate(queries.swap_dims(1, 2)) * self.query_scale;
        let keys = view.rope.rotate(keys.swap_dims(1, 2));
        let [keys, values] = cache.add(view.step, [keys, values.swap_dims(1, 2)]);

        // The queries that share a key-value head lie below each other: one product for all of them.
        let queries = queries.reshape([batch, shared, heads / shared * tokens, width]);
        let scores = self.mask(queries.matmul(keys.transpose()), view);
        let seen = softmax(scores, 3).matmul(values);
        let seen = seen.reshape([batch, heads, tokens, width]).swap_dims(1, 2);
        self.o_proj.forward(seen.reshape([batch, tokens, heads * width]))
    }

    /// Scores `[batch, shared, heads / shared * tokens, keys]`.
    fn mask(&self, scores: Tensor<B, 4>, view: &View<B>) -> Tensor<B, 4> {
        let Some(mask) = &view.mask else { return scores };
        let ([batch, .., keys], [tokens, _]) = (scores.dims(), mask.dims());
        let (shape, all) = (scores.shape(), [batch, self.heads, tokens, keys]);
        let mask = mask.clone().unsqueeze::<4>().expand(all);
        scores.reshape(all).mask_fill(mask, f32::NEG_INFINITY).reshape(shape)
    }
}
