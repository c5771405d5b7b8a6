//! A convolution, two depthwise-separable blocks, two linear layers. Whose layers they are says the module that holds this one.

use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d, Relu};
use burn::prelude::*;
use burn_int8::Int8Error;
use burn_int8::fold_batch_norm;

use super::{Conv2d, Conv2dConfig, Linear, LinearConfig};
use crate::classifier::Classifier;
use crate::data::{CLASSES, SIDE};

#[derive(Module, Debug)]
pub struct Net<B: Backend> {
    stem: ConvNorm<B>,
    block1: Separable<B>,
    block2: Separable<B>,
    pool: MaxPool2d,
    hidden: Linear<B>,
    act: Relu,
    head: Linear<B>,
}

impl<B: Backend> Classifier for Net<B> {
    type Backend = B;

    fn new(device: &B::Device) -> Self {
        Self {
            stem: ConvNorm::new([1, 32], 3, 1, device),
            block1: Separable::new([32, 64], device),
            block2: Separable::new([64, 64], device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            hidden: LinearConfig::new(64 * (SIDE / 4) * (SIDE / 4), 128).init(device),
            act: Relu::new(),
            head: LinearConfig::new(128, CLASSES).init(device),
        }
    }

    fn fold(self) -> Result<Self, Int8Error> {
        let (stem, block1, block2) = (self.stem.fold()?, self.block1.fold()?, self.block2.fold()?);
        Ok(Self { stem, block1, block2, ..self })
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.pool.forward(self.stem.forward(x));
        let x = self.block2.forward(self.block1.forward(x));
        let x = self.hidden.forward(self.pool.forward(x).flatten(1, 3));
        self.head.forward(self.act.forward(x))
    }
}

/// A depthwise convolution sees how things lie, each channel alone; a pointwise one mixes the channels.
#[derive(Module, Debug)]
pub struct Separable<B: Backend> {
    depthwise: ConvNorm<B>,
    pointwise: ConvNorm<B>,
}

impl<B: Backend> Separable<B> {
    fn new(channels: [usize; 2], device: &B::Device) -> Self {
        Self {
            depthwise: ConvNorm::new([channels[0]; 2], 3, channels[0], device),
            pointwise: ConvNorm::new(channels, 1, 1, device),
        }
    }

    fn fold(self) -> Result<Self, Int8Error> {
        Ok(Self { depthwise: self.depthwise.fold()?, pointwise: self.pointwise.fold()? })
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.pointwise.forward(self.depthwise.forward(x))
    }
}

/// Convolution, BatchNorm until it is folded, Relu.
#[derive(Module, Debug)]
pub struct ConvNorm<B: Backend> {
    conv: Conv2d<B>,
    norm: Option<BatchNorm<B>>,
    act: Relu,
}

impl<B: Backend> ConvNorm<B> {
    fn new(channels: [usize; 2], kernel: usize, groups: usize, device: &B::Device) -> Self {
        let conv = Conv2dConfig::new(channels, [kernel; 2])
            .with_groups(groups)
            .with_padding(PaddingConfig2d::Same)
            .with_bias(false); // the norm would take it away again
        let norm = BatchNormConfig::new(channels[1]).init(device);
        Self { conv: conv.init(device), norm: Some(norm), act: Relu::new() }
    }

    fn fold(self) -> Result<Self, Int8Error> {
        let conv = match &self.norm {
            Some(norm) => fold_batch_norm(&self.conv, norm)?,
            None => self.conv,
        };
        Ok(Self { conv, norm: None, act: self.act })
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = self.conv.forward(x);
        let x = match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        self.act.forward(x)
    }
}
