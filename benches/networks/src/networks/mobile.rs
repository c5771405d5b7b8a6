//! EfficientNet-Lite0 and MobileNetV2: a stem, inverted bottlenecks, a head, a classifier.

use burn::nn::conv::Conv2d;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::prelude::*;

use super::Network;
use super::convolution::{CLASSES, Moves, around, conv};

const STEM: usize = 32;
const HEAD: usize = 1280;

/// Blocks in a row, of which only the first changes the size and the number of channels.
struct Stage {
    blocks: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    channels: usize,
}

const fn stage(blocks: usize, kernel: usize, stride: usize, expansion: usize, channels: usize) -> Stage {
    Stage { blocks, kernel, stride, expansion, channels }
}

const EFFICIENTNET_LITE0: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];

const MOBILENET_V2: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(3, 3, 2, 6, 32),
    stage(4, 3, 2, 6, 64),
    stage(3, 3, 1, 6, 96),
    stage(3, 3, 2, 6, 160),
    stage(1, 3, 1, 6, 320),
];

#[derive(Module, Debug)]
pub struct Mobile<B: Backend> {
    stem: Conv2d<B>,
    blocks: Vec<Block<B>>,
    head: Conv2d<B>,
    pool: AdaptiveAvgPool2d,
    classifier: Linear<B>,
}

impl<B: Backend> Mobile<B> {
    /// Padded as in TensorFlow: where one more row is needed on one side, it is the last one.
    pub fn efficientnet_lite0(device: &B::Device) -> Self {
        Self::new(&EFFICIENTNET_LITE0, |_| PaddingConfig2d::Same, device)
    }

    /// Padded as in PyTorch: the same on all sides.
    pub fn mobilenet_v2(device: &B::Device) -> Self {
        Self::new(&MOBILENET_V2, around, device)
    }

    fn new(stages: &[Stage], padding: fn(usize) -> PaddingConfig2d, device: &B::Device) -> Self {
        let mut channels = STEM;
        let mut blocks = Vec::new();
        for stage in stages {
            for at in 0..stage.blocks {
                let stride = if at == 0 { stage.stride } else { 1 };
                blocks.push(Block::new(channels, stage, stride, padding, device));
                channels = stage.channels;
            }
        }
        let stem = Moves { stride: 2, groups: 1, padding: padding(3) };
        let head = Moves { stride: 1, groups: 1, padding: PaddingConfig2d::Valid };
        Self {
            stem: conv([3, STEM], 3, stem, device),
            blocks,
            head: conv([channels, HEAD], 1, head, device),
            pool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            classifier: LinearConfig::new(HEAD, CLASSES).init(device),
        }
    }
}

impl<B: Backend> Network<B> for Mobile<B> {
    type Input = Tensor<B, 4>;

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = relu6(self.stem.forward(x));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = relu6(self.head.forward(x));
        let x = self.pool.forward(x).flatten(1, 3);
        self.classifier.forward(x)
    }
}

/// An inverted bottleneck: more channels, a depthwise convolution among them, few channels again.
#[derive(Module, Debug)]
struct Block<B: Backend> {
    expand: Option<Conv2d<B>>,
    depthwise: Conv2d<B>,
    project: Conv2d<B>,
}

impl<B: Backend> Block<B> {
    fn new(
        channels: usize,
        stage: &Stage,
        stride: usize,
        padding: fn(usize) -> PaddingConfig2d,
        device: &B::Device,
    ) -> Self {
        let wide = channels * stage.expansion;
        let pointwise = || Moves { stride: 1, groups: 1, padding: PaddingConfig2d::Valid };
        let depthwise = Moves { stride, groups: wide, padding: padding(stage.kernel) };
        Self {
            expand: (wide != channels).then(|| conv([channels, wide], 1, pointwise(), device)),
            depthwise: conv([wide; 2], stage.kernel, depthwise, device),
            project: conv([wide, stage.channels], 1, pointwise(), device),
        }
    }

    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = input.clone();
        let x = match &self.expand {
            Some(expand) => relu6(expand.forward(x)),
            None => x,
        };
        let x = relu6(self.depthwise.forward(x));
        let x = self.project.forward(x);
        // Each block that keeps the shape has a shortcut around it.
        if x.dims() == input.dims() { x + input } else { x }
    }
}

fn relu6<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    x.clamp(0.0, 6.0)
}
