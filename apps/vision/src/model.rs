//! EfficientNet-Lite0: a stem, sixteen inverted bottlenecks, a head, a classifier.

use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::prelude::*;
use burn_int8::Int8Error;
use burn_int8::fold_batch_norm;
use burn_int8::nn::{Conv2d, Conv2dConfig, Linear, LinearConfig};

/// The height and width of an input.
pub const SIDE: usize = 224;
pub const CLASSES: usize = 1000;

const STEM: usize = 32;
const HEAD: usize = 1280;

/// TensorFlow's, with which the weights were trained.
const EPSILON: f64 = 1e-3;

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

const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];

#[derive(Module, Debug)]
pub struct EfficientNet<B: Backend> {
    stem: ConvNorm<B>,
    blocks: Vec<Block<B>>,
    head: ConvNorm<B>,
    classifier: Linear<B>,
}

impl<B: Backend> EfficientNet<B> {
    pub fn new(device: &B::Device) -> Self {
        let mut channels = STEM;
        let mut blocks = Vec::new();
        for stage in &STAGES {
            for at in 0..stage.blocks {
                let stride = if at == 0 { stage.stride } else { 1 };
                blocks.push(Block::new(channels, stage, stride, device));
                channels = stage.channels;
            }
        }
        Self {
            stem: ConvNorm::new([3, STEM], 3, 2, 1, device),
            blocks,
            head: ConvNorm::new([channels, HEAD], 1, 1, 1, device),
            classifier: LinearConfig::new(HEAD, CLASSES).init(device),
        }
    }

    /// The same model without its BatchNorms.
    pub fn fold(self) -> Result<Self, Int8Error> {
        let blocks: Result<_, _> = self.blocks.into_iter().map(Block::fold).collect();
        Ok(Self { stem: self.stem.fold()?, blocks: blocks?, head: self.head.fold()?, ..self })
    }

    /// Computes the scores of the classes `[n, CLASSES]` from `[n, 3, SIDE, SIDE]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = relu6(self.stem.forward(x));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = relu6(self.head.forward(x));
        let [images, channels, height, width] = x.dims();
        let means = x.reshape([images, channels, height * width]).mean_dim(2);
        self.classifier.forward(means.reshape([images, channels]))
    }
}

/// An inverted bottleneck: more channels, a depthwise convolution among them, few channels again.
#[derive(Module, Debug)]
struct Block<B: Backend> {
    expand: Option<ConvNorm<B>>,
    depthwise: ConvNorm<B>,
    project: ConvNorm<B>,
}

impl<B: Backend> Block<B> {
    fn new(channels: usize, stage: &Stage, stride: usize, device: &B::Device) -> Self {
        let wide = channels * stage.expansion;
        Self {
            expand: (wide != channels).then(|| ConvNorm::new([channels, wide], 1, 1, 1, device)),
            depthwise: ConvNorm::new([wide; 2], stage.kernel, stride, wide, device),
            project: ConvNorm::new([wide, stage.channels], 1, 1, 1, device),
        }
    }

    fn fold(self) -> Result<Self, Int8Error> {
        let expand = self.expand.map(ConvNorm::fold).transpose()?;
        Ok(Self { expand, depthwise: self.depthwise.fold()?, project: self.project.fold()? })
    }

    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = input.clone();
        let x = match &self.expand {
            Some(expand) => relu6(expand.forward(x)),
            None => x,
        };
        let x = relu6(self.depthwise.forward(x));
        let x = self.project.forward(x);
        // Each block that keeps the shape is trained with a shortcut around it.
        if x.dims() == input.dims() { x + input } else { x }
    }
}

/// A convolution and, until it is folded, its BatchNorm.
#[derive(Module, Debug)]
struct ConvNorm<B: Backend> {
    conv: Conv2d<B>,
    norm: Option<BatchNorm<B>>,
}

impl<B: Backend> ConvNorm<B> {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, groups: usize, device: &B::Device) -> Self {
        let conv = Conv2dConfig::new(channels, [kernel; 2])
            .with_stride([stride; 2])
            .with_groups(groups)
            // As in TensorFlow: where one more row is needed on one side, it is the last one.
            .with_padding(PaddingConfig2d::Same)
            .with_bias(false);
        let norm = BatchNormConfig::new(channels[1]).with_epsilon(EPSILON).init(device);
        Self { conv: conv.init(device), norm: Some(norm) }
    }

    fn fold(self) -> Result<Self, Int8Error> {
        let conv = match &self.norm {
            Some(norm) => fold_batch_norm(&self.conv, norm)?,
            None => self.conv,
        };
        Ok(Self { conv, norm: None })
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = self.conv.forward(x);
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}

fn relu6<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    x.clamp(0.0, 6.0)
}
