//! Gemma 3, for text: token ids to logits.

use burn::nn::RmsNorm;
use burn::prelude::*;
use burn_int8::nn::{Embedding, EmbeddingConfig};

use crate::block::{Block, norm};
use crate::cache::Cache;
use crate::config::GemmaConfig;

/// Fields are named as in a checkpoint: its `model.layers.3.self_attn.q_proj.weight` is the parameter
/// `layers.3.self_attn.q_proj.weight`, with inputs first. Norms hold `1 + weight` (see [`norm`]).
#[derive(Module, Debug)]
pub struct Gemma<B: Backend> {
    /// The table of the tokens, which is the output head, too.
    pub embed_tokens: Embedding<B>,
    pub layers: Vec<Block<B>>,
    pub norm: RmsNorm<B>,
    /// The factor of the embeddings.
    scale: f64,
}

impl<B: Backend> Gemma<B> {
    /// One to load weights into. It takes no memory until then.
    pub fn new(config: &GemmaConfig, device: &B::Device) -> Self {
        Self {
            embed_tokens: EmbeddingConfig::new(config.vocab_size, config.hidden_size).init(device),
            layers: (0..config.num_hidden_layers).map(|_| Block::new(config, device)).collect(),
            norm: norm(config.hidden_size, config, device),
            scale: (config.hidden_size as f64).sqrt(),
        }
    }

    /// The states of new tokens, which are added to the cache.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, tokens]`, the same batch in all calls with a cache
    /// - output: `[batch, tokens, hidden_size]`
    ///
    /// # Panics
    ///
    /// If there are no tokens, or more than the cache has [room](Cache::room) for.
    pub fn forward(&self, ids: Tensor<B, 2, Int>, cache: &mut Cache<B>) -> Tensor<B, 3> {
        let [batch, tokens] = ids.dims();
        let (steps, cached) = cache.advance(tokens, &ids.device());
        // Tokens are rows, of whichever text: one product of matrices for the whole batch.
        let mut x = self.embed_tokens.forward(ids).flatten(0, 1) * self.scale;
        for (layer, cached) in self.layers.iter().zip(cached) {
            x = layer.forward(x, batch, steps.of(cached.kind), cached);
        }
        let [_, width] = x.dims();
        self.norm.forward(x).reshape([batch, tokens, width])
    }

    /// Scores of each token of the vocabulary to come next. For the next token alone, the last state is enough.
    ///
    /// # Shapes
    ///
    /// - hidden: `[batch, tokens, hidden_size]`
    /// - output: `[batch, tokens, vocab_size]`
    pub fn logits(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, tokens, _] = hidden.dims();
        let logits = self.embed_tokens.logits(hidden.flatten::<2>(0, 1));
        let [_, vocabulary] = logits.dims();
        logits.reshape([batch, tokens, vocabulary])
    }
}
