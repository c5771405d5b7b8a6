//! BERT that makes one vector of a sentence: mean over its tokens, length 1. Whose layers it is made of says the module that
//! holds this one.

use burn::nn::{LayerNorm, LayerNormConfig};
use burn::prelude::*;

use super::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use super::nn::{Embedding, EmbeddingConfig};
use crate::config::BertConfig;
use crate::encoder::SentenceModel;
use crate::tokens::Batch;

#[derive(Module, Debug)]
pub struct Bert<B: Backend> {
    embeddings: Embeddings<B>,
    pub encoder: TransformerEncoder<B>,
}

impl<B: Backend> SentenceModel for Bert<B> {
    type Backend = B;

    fn new(config: &BertConfig, device: &B::Device) -> Self {
        Self { embeddings: Embeddings::new(config, device), encoder: encoder(config, device) }
    }

    fn forward(&self, batch: Batch<B>) -> Tensor<B, 2> {
        let mut input = TransformerEncoderInput::new(self.embeddings.forward(batch.ids));
        if let Some(present) = &batch.present {
            input = input.mask_pad(present.clone().equal_elem(0));
        }
        pool(self.encoder.forward(input), batch.present)
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

/// BERT is the encoder of a transformer as Burn has it, with the norms last.
fn encoder<B: Backend>(config: &BertConfig, device: &B::Device) -> TransformerEncoder<B> {
    let (narrow, wide) = (config.hidden_size, config.intermediate_size);
    TransformerEncoderConfig::new(narrow, wide, config.num_attention_heads, config.num_hidden_layers)
        .with_layer_norm_eps(config.layer_norm_eps)
        .init(device)
}

fn norm<B: Backend>(config: &BertConfig, device: &B::Device) -> LayerNorm<B> {
    LayerNormConfig::new(config.hidden_size).with_epsilon(config.layer_norm_eps).init(device)
}
