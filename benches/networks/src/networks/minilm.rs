//! MiniLM-L6, a sentence encoder: embeddings, six of Burn's encoder layers, the mean over the tokens.

use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig};
use burn::prelude::*;

use super::Network;

const LAYERS: usize = 6;
const HEADS: usize = 12;
const WIDTH: usize = 384;
const INNER: usize = 1536;
pub const MINILM_VOCABULARY: usize = 30522;
const POSITIONS: usize = 512;
const EPSILON: f64 = 1e-12;

#[derive(Module, Debug)]
pub struct MiniLm<B: Backend> {
    token: Embedding<B>,
    position: Embedding<B>,
    norm: LayerNorm<B>,
    encoder: TransformerEncoder<B>,
}

impl<B: Backend> MiniLm<B> {
    pub fn new(device: &B::Device) -> Self {
        Self {
            token: EmbeddingConfig::new(MINILM_VOCABULARY, WIDTH).init(device),
            position: EmbeddingConfig::new(POSITIONS, WIDTH).init(device),
            norm: LayerNormConfig::new(WIDTH).with_epsilon(EPSILON).init(device),
            encoder: TransformerEncoderConfig::new(WIDTH, INNER, HEADS, LAYERS)
                .with_layer_norm_eps(EPSILON)
                .init(device),
        }
    }
}

impl<B: Backend> Network<B> for MiniLm<B> {
    type Input = Tensor<B, 2, Int>;

    fn forward(&self, tokens: Self::Input) -> Tensor<B, 2> {
        let [_, length] = tokens.dims();
        let positions = Tensor::arange(0..length as i64, &tokens.device()).unsqueeze();
        let x = self.token.forward(tokens) + self.position.forward(positions);
        let x = self.encoder.forward(TransformerEncoderInput::new(self.norm.forward(x)));
        x.mean_dim(1).squeeze_dim(1)
    }
}
