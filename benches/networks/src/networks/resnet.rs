//! ResNet-50, with the strides where PyTorch has them: in the 3x3 convolutions.

use burn::nn::conv::Conv2d;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

use super::Network;
use super::convolution::{CLASSES, Moves, around, conv};

const STEM: usize = 64;
/// The outputs of a block over the channels inside.
const EXPANSION: usize = 4;
/// Blocks, channels inside, stride of the first block.
const STAGES: [(usize, usize, usize); 4] = [(3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)];

#[derive(Module, Debug)]
pub struct ResNet<B: Backend> {
    stem: Conv2d<B>,
    max_pool: MaxPool2d,
    blocks: Vec<Block<B>>,
    pool: AdaptiveAvgPool2d,
    classifier: Linear<B>,
}

impl<B: Backend> ResNet<B> {
    pub fn new(device: &B::Device) -> Self {
        let mut channels = STEM;
        let mut blocks = Vec::new();
        for (count, width, stride) in STAGES {
            for at in 0..count {
                blocks.push(Block::new(channels, width, if at == 0 { stride } else { 1 }, device));
                channels = width * EXPANSION;
            }
        }
        Self {
            stem: conv([3, STEM], 7, Moves { stride: 2, groups: 1, padding: around(7) }, device),
            max_pool: MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(around(3)).init(),
            blocks,
            pool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            classifier: LinearConfig::new(channels, CLASSES).init(device),
        }
    }
}

impl<B: Backend> Network<B> for ResNet<B> {
    type Input = Tensor<B, 4>;

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.max_pool.forward(relu(self.stem.forward(x)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = self.pool.forward(x).flatten(1, 3);
        self.classifier.forward(x)
    }
}

/// A bottleneck: few channels, a convolution among them, many channels again.
#[derive(Module, Debug)]
struct Block<B: Backend> {
    reduce: Conv2d<B>,
    middle: Conv2d<B>,
    expand: Conv2d<B>,
    shortcut: Option<Conv2d<B>>,
}

impl<B: Backend> Block<B> {
    fn new(channels: usize, width: usize, stride: usize, device: &B::Device) -> Self {
        let wide = width * EXPANSION;
        let pointwise = |stride| Moves { stride, groups: 1, padding: around(1) };
        let middle = Moves { stride, groups: 1, padding: around(3) };
        Self {
            reduce: conv([channels, width], 1, pointwise(1), device),
            middle: conv([width; 2], 3, middle, device),
            expand: conv([width, wide], 1, pointwise(1), device),
            shortcut: (channels != wide).then(|| conv([channels, wide], 1, pointwise(stride), device)),
        }
    }

    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = relu(self.reduce.forward(input.clone()));
        let x = relu(self.middle.forward(x));
        let x = self.expand.forward(x);
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(input),
            None => input,
        };
        relu(x + shortcut)
    }
}
