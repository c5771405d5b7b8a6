//! BERT that makes one vector of a sentence: mean over its tokens, length 1.

use burn::nn::{LayerNorm, LayerNormConfig};
use burn::prelude::*;
use burn::tensor::activation::gelu;
use burn::tensor::module::attention;
use burn_int8::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};

use crate::config::BertConfig;

/// Sentences of one length; shorter ones are padded.
pub struct Batch<B: Backend> {
    /// `[sentences, tokens]`
    pub ids: Tensor<B, 2, Int>,
    /// `[sentences, tokens]`: 1 for a token, 0 for padding. None if nothing is padded.
    pub present: Option<Tensor<B, 2>>,
}

#[derive(Module, Debug)]
pub struct Bert<B: Backend> {
    embeddings: Embeddings<B>,
    layers: Vec<Layer<B>>,
}

impl<B: Backend> Bert<B> {
    pub fn new(config: &BertConfig, device: &B::Device) -> Self {
        Self {
            embeddings: Embeddings::new(config, device),
            layers: (0..config.num_hidden_layers).map(|_| Layer::new(config, device)).collect(),
        }
    }

    #[cfg(test)]
    pub fn qkv(&self, layer: usize) -> &Linear<B> {
        &self.layers[layer].attention.qkv
    }

    /// `[sentences, hidden_size]`
    pub fn forward(&self, batch: Batch<B>) -> Tensor<B, 2> {
        let [sentences, tokens] = batch.ids.dims();
        let padding =
            batch.present.clone().map(|present| present.equal_elem(0).reshape([sentences, 1, 1, tokens]));
        // Tokens are rows, of whichever sentence: one product of matrices for the whole batch.
        let mut x = self.embeddings.forward(batch.ids).flatten(0, 1);
        for layer in &self.layers {
            x = layer.forward(x, [sentences, tokens], padding.as_ref());
        }
        let [_, width] = x.dims();
        pool(x.reshape([sentences, tokens, width]), batch.present)
    }
}

/// The mean over the tokens that are present, scaled to length 1.
fn pool<B: Backend>(x: Tensor<B, 3>, present: Option<Tensor<B, 2>>) -> Tensor<B, 2> {
    // Its length is set afterwards, so that the sum does for the mean.
    let sum = match present {
        Some(present) => (x * present.unsqueeze_dim(2)).sum_dim(1),
        None => x.sum_dim(1),
    };
    let sum: Tensor<B, 2> = sum.squeeze_dim(1);
    let length = (sum.clone() * sum.clone()).sum_dim(1).sqrt();
    sum / length.clamp_min(1e-12)
}

#[derive(Module, Debug)]
struct Embeddings<B: Backend> {
    words: Embedding<B>,
    positions: Embedding<B>,
    types: Embedding<B>,
    norm: LayerNorm<B>,
}

impl<B: Backend> Embeddings<B> {
    fn new(config: &BertConfig, device: &B::Device) -> Self {
        let table = |rows| EmbeddingConfig::new(rows, config.hidden_size).init(device);
        Self {
            words: table(config.vocab_size),
            positions: table(config.max_position_embeddings),
            types: table(config.type_vocab_size),
            norm: norm(config, device),
        }
    }

    fn forward(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let (device, [_, tokens]) = (ids.device(), ids.dims());
        let positions = Tensor::<B, 1, Int>::arange(0..tokens as i64, &device).unsqueeze();
        // A single sentence is all of the first type.
        let types = self.types.forward(Tensor::zeros([1, 1], &device));
        self.norm.forward(self.words.forward(ids) + (self.positions.forward(positions) + types))
    }
}

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    attention: Attention<B>,
    attention_norm: LayerNorm<B>,
    up: Linear<B>,
    down: Linear<B>,
    norm: LayerNorm<B>,
}

impl<B: Backend> Layer<B> {
    fn new(config: &BertConfig, device: &B::Device) -> Self {
        let (narrow, wide) = (config.hidden_size, config.intermediate_size);
        Self {
            attention: Attention::new(config, device),
            attention_norm: norm(config, device),
            up: LinearConfig::new(narrow, wide).init(device),
            down: LinearConfig::new(wide, narrow).init(device),
            norm: norm(config, device),
        }
    }

    /// `x` is `[sentences * tokens, hidden_size]`.
    fn forward(
        &self,
        x: Tensor<B, 2>,
        batch: [usize; 2],
        padding: Option<&Tensor<B, 4, Bool>>,
    ) -> Tensor<B, 2> {
        let x = self.attention_norm.forward(self.attention.forward(x.clone(), batch, padding) + x);
        self.norm.forward(self.down.forward(gelu(self.up.forward(x.clone()))) + x)
    }
}

#[derive(Module, Debug)]
struct Attention<B: Backend> {
    /// Queries, keys and values beside each other: one product instead of three.
    qkv: Linear<B>,
    output: Linear<B>,
    heads: usize,
}

impl<B: Backend> Attention<B> {
    fn new(config: &BertConfig, device: &B::Device) -> Self {
        let width = config.hidden_size;
        Self {
            qkv: LinearConfig::new(width, 3 * width).init(device),
            output: LinearConfig::new(width, width).init(device),
            heads: config.num_attention_heads,
        }
    }

    fn forward(
        &self,
        x: Tensor<B, 2>,
        [sentences, tokens]: [usize; 2],
        padding: Option<&Tensor<B, 4, Bool>>,
    ) -> Tensor<B, 2> {
        let [rows, width] = x.dims();
        let qkv = self.qkv.forward(x).reshape([sentences, tokens, 3 * self.heads, width / self.heads]);
        let [q, k, v] =
            [0, 1, 2].map(|part| qkv.clone().narrow(2, part * self.heads, self.heads).swap_dims(1, 2));
        let mask = padding.map(|padding| padding.clone().expand([sentences, self.heads, tokens, tokens]));
        let y = attention(q, k, v, mask, None, Default::default());
        self.output.forward(y.swap_dims(1, 2).reshape([rows, width]))
    }
}

fn norm<B: Backend>(config: &BertConfig, device: &B::Device) -> LayerNorm<B> {
    LayerNormConfig::new(config.hidden_size).with_epsilon(config.layer_norm_eps).init(device)
}
