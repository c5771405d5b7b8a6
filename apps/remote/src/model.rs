//! A model of each kind of layer: it reads tokens and scores classes.

use burn::prelude::*;
use burn::tensor::activation::gelu;

use super::nn::conv::{Conv1d, Conv1dConfig};
use super::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};

pub const VOCABULARY: usize = 200;
const WIDTH: usize = 64;
const CHANNELS: usize = 96;
const CLASSES: usize = 10;

#[derive(Module, Debug)]
pub struct Reader<B: Backend> {
    table: Embedding<B>,
    conv: Conv1d<B>,
    hidden: Linear<B>,
    head: Linear<B>,
}

impl<B: Backend> Reader<B> {
    pub fn new(device: &B::Device) -> Self {
        Self {
            table: EmbeddingConfig::new(VOCABULARY, WIDTH).init(device),
            conv: Conv1dConfig::new(WIDTH, CHANNELS, 3).init(device),
            hidden: LinearConfig::new(CHANNELS, WIDTH).init(device),
            head: LinearConfig::new(WIDTH, CLASSES).with_bias(false).init(device),
        }
    }

    /// The scores `[batch, length - 2, classes]` of tokens `[batch, length]`.
    pub fn forward(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let x = self.table.forward(tokens).swap_dims(1, 2);
        let x = self.conv.forward(x).swap_dims(1, 2).clamp_min(0.0);
        self.head.forward(gelu(self.hidden.forward(x)))
    }
}
