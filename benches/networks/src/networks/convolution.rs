//! What convolutional networks share.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::prelude::*;

/// The height and width of an image.
pub const SIDE: usize = 224;
pub const CLASSES: usize = 1000;

/// How a convolution that is not `[channels; 2]` and its kernel alone moves over the image.
pub struct Moves {
    pub stride: usize,
    pub groups: usize,
    pub padding: PaddingConfig2d,
}

/// A convolution with a bias, which a BatchNorm has been folded into.
pub fn conv<B: Backend>(channels: [usize; 2], kernel: usize, moves: Moves, device: &B::Device) -> Conv2d<B> {
    Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([moves.stride; 2])
        .with_groups(moves.groups)
        .with_padding(moves.padding)
        .init(device)
}

/// The padding with which a convolution of stride 1 keeps the size, on all sides.
pub fn around(kernel: usize) -> PaddingConfig2d {
    let padding = kernel / 2;
    PaddingConfig2d::Explicit(padding, padding, padding, padding)
}
