//! A decoder, as Gemma 3 and Llama are: token ids to logits.

use burn::nn::RmsNorm;
use burn::prelude::*;
use burn_int8::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};

use crate::block::{Block, norm};
use crate::cache::Cache;
use crate::config::DecoderConfig;

/// Parameters have names of their own here; `gemma.rs` and `llama.rs` know those of files. Linear layers have inputs first.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    /// The table of the tokens, which is the output head, too, unless there is another.
    pub embed_tokens: Embedding<B>,
    pub layers: Vec<Block<B>>,
    pub norm: RmsNorm<B>,
    pub head: Option<Linear<B>>,
    /// The factor of the embeddings.
    scale: f64,
}

impl<B: Backend> Decoder<B> {
    /// One to load weights into. It takes no memory until then.
    pub fn new(config: &DecoderConfig, device: &B::Device) -> Self {
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let head = || LinearConfig::new(width, vocabulary).with_bias(false).init(device);
        Self {
            embed_tokens: EmbeddingConfig::new(vocabulary, width).init(device),
            layers: config.layers.iter().map(|_| Block::new(config, device)).collect(),
            norm: norm(width, config, device),
            head: (!config.tied_head).then(head),
            scale: config.embedding_scale,
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
            x = layer.forward(x, batch, steps.of(cached), cached);
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
        let rows = hidden.flatten::<2>(0, 1);
        let logits = match &self.head {
            Some(head) => head.forward(rows),
            None => self.embed_tokens.logits(rows),
        };
        let [_, vocabulary] = logits.dims();
        logits.reshape([batch, tokens, vocabulary])
    }
}
