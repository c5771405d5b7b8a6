//! Gemma 3: Burn's own parts, but for the linear layers and the table, which can become INT8.
//!
//! Fields have the names that the checkpoint's tensors have.

use burn::nn::{RmsNorm, RmsNormConfig};
use burn::prelude::*;
use burn_int8::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};

use crate::attention::{Attention, View};
use crate::cache::{Cache, LayerCache, Step};
use crate::config::GemmaConfig;
use crate::rope::Rope;

/// Norms hold one more than the checkpoint, which stores weights around zero.
#[derive(Module, Debug)]
pub struct Gemma<B: Backend> {
    pub embed_tokens: Embedding<B>,
    pub layers: Vec<Block<B>>,
    norm: RmsNorm<B>,
    #[module(skip)]
    config: Sizes,
}

/// What the forward pass asks of the configuration.
#[derive(Clone, Debug)]
struct Sizes {
    hidden: usize,
    head: usize,
    bases: [f64; 2],
    local: Vec<bool>,
}

impl<B: Backend> Gemma<B> {
    /// With parameters that take no memory until they are loaded or read.
    pub fn new(config: &GemmaConfig, device: &B::Device) -> Self {
        let layers = config.num_hidden_layers;
        Self {
            embed_tokens: EmbeddingConfig::new(config.vocab_size, config.hidden_size).init(device),
            layers: (0..layers).map(|_| Block::new(config, device)).collect(),
            norm: norm(config, device),
            config: Sizes {
                hidden: config.hidden_size,
                head: config.head_dim,
                bases: [config.rope_theta, config.rope_local_base_freq],
                local: (0..layers).map(|layer| config.is_local(layer)).collect(),
            },
        }
    }

    /// Reads tokens `[batch, tokens]` after those in the cache: what the model thinks at each, `[batch, tokens, hidden]`.
    ///
    /// # Panics
    ///
    /// If the cache has no room for them, or if it is of another model.
    pub fn forward(&self, ids: Tensor<B, 2, Int>, cache: &mut Cache<B>) -> Tensor<B, 3> {
        let ([_, tokens], device) = (ids.dims(), ids.device());
        let room = cache.room();
        assert!(tokens <= room, "Gemma: {tokens} tokens do not fit a cache with room for {room}");
        let step = Step { position: cache.position(), tokens };
        let view = |local: bool| {
            let layer = self.config.local.iter().position(|is| *is == local)?;
            let rope = Rope::new(step, self.config.head, self.config.bases[usize::from(local)], &device);
            Some(View { step, rope, mask: step.mask(cache.layers[layer].slots(), &device) })
        };
        let views = [view(false), view(true)];
        let mut x = self.embed_tokens.forward(ids) * (self.config.hidden as f64).sqrt();
        let layers = self.layers.iter().zip(&self.config.local).zip(&mut cache.layers);
        for ((layer, local), cache) in layers {
            if let Some(view) = &views[usize::from(*local)] {
                x = layer.forward(x, view, cache);
            }
        }
        cache.advance(tokens);
        self.norm.forward(x)
    }

    /// How likely it finds each token to be next: `[batch, tokens, hidden]` to `[batch, tokens, vocabulary]`.
    pub fn logits(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.embed_tokens.logits(hidden)
    }
}

fn norm<B: Backend>(config: &GemmaConfig, device: &B::Device) -> RmsNorm<B> {
    RmsNormConfig::new(config.hidden_size).with_epsilon(config.rms_norm_eps).init(device)
}

#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    pub self_attn: Attention<B>,
    pub mlp: FeedForward<B>,
    input_layernorm: RmsNorm<B>,
    post_attention_layernorm: RmsNorm<B>,
    pre_feedforward_layernorm: RmsNorm<B>,
    post_feedforward_layernorm: RmsNorm<B>,
}

impl<B: Backend> Block<B> {
    fn new(config: &GemmaConfig, device: &B::Device) -> Self {
        Self {
            self_attn: Attention::new(config, device),
            mlp: FeedForward::new(config, device),
            input_layernorm: norm(config, device),
            post_attention_layernorm: norm(config, device),
            pre_feedforward_layernorm: norm(config, device),
            post_feedforward_layernorm: norm(config, device),
        }
    }

    fn forward(&self, x: Tensor<B, 3>, view: &View<B>, cache: &mut LayerCache<B>) -> Tensor<B, 3> {
        let attended = self.self_attn.forward(self.input_layernorm.forward(x.clone()), view, cache);
        let x = x + self.post_attention_layernorm.forward(attended);
        let fed = self.mlp.forward(self.pre_feedforward_layernorm.forward(x.clone()));
        x + self.post_feedforward_layernorm.forward(fed)
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
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        Self {
            gate_proj: linear(hidden, wide),
            up_proj: linear(hidden, wide),
            down_proj: linear(wide, hidden),
        }
    }

    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let gate = gelu(self.gate_proj.forward(x.clone()));
        self.down_proj.forward(gate * self.up_proj.forward(x))
    }
}

/// GELU as approximated by a tanh: `x (1 + tanh(u)) / 2` is `x / (1 + exp(-2 u))`, with one slow function. Burn's own takes
/// most of its time for a power, its sigmoid three slow functions.
fn gelu<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    const TWICE_ROOT_OF_2_OVER_PI: f64 = 1.595_769_121_605_730_8;
    let cubic = x.clone() * x.clone() * (-0.044_715 * TWICE_ROOT_OF_2_OVER_PI) - TWICE_ROOT_OF_2_OVER_PI;
    let power = (cubic * x.clone()).exp();
    x / (power + 1.0)
}
