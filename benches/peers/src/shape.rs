//! The layers that are timed.

use std::fmt;

/// A layer and the size of its input.
#[derive(Clone, Copy)]
pub enum Shape {
    Linear(Linear),
    Conv(Conv),
}

/// Rows of the input, inputs and outputs of a linear layer.
#[derive(Clone, Copy)]
pub struct Linear {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// A 2D convolution of one square image.
#[derive(Clone, Copy)]
pub struct Conv {
    /// In and out.
    pub channels: [usize; 2],
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub groups: usize,
}

/// The linear layers of encoders, decoders and classifiers.
pub const LINEARS: [Shape; 9] = [
    linear(1, 768, 768),
    linear(1, 1152, 6912),
    linear(1, 4096, 4096),
    linear(8, 1024, 1024),
    linear(64, 1024, 1024),
    linear(128, 768, 3072),
    linear(128, 3072, 768),
    linear(512, 1024, 1024),
    linear(256, 4096, 4096),
];

/// The convolutions of ResNet and MobileNet.
pub const CONVS: [Shape; 8] = [
    conv([64, 64], 56, [3, 1, 1], 1),
    conv([128, 128], 28, [3, 1, 1], 1),
    conv([256, 256], 14, [3, 1, 1], 1),
    conv([512, 512], 7, [3, 1, 1], 1),
    conv([64, 256], 56, [1, 1, 0], 1),
    conv([1024, 256], 14, [1, 1, 0], 1),
    conv([3, 64], 224, [7, 2, 3], 1),
    conv([144, 144], 56, [3, 1, 1], 144),
];

const fn linear(m: usize, k: usize, n: usize) -> Shape {
    Shape::Linear(Linear { m, k, n })
}

const fn conv(
    channels: [usize; 2],
    size: usize,
    [kernel, stride, padding]: [usize; 3],
    groups: usize,
) -> Shape {
    Shape::Conv(Conv { channels, size, kernel, stride, padding, groups })
}

impl Shape {
    pub fn input(&self) -> Vec<usize> {
        match *self {
            Self::Linear(Linear { m, k, .. }) => vec![m, k],
            Self::Conv(Conv { channels, size, .. }) => vec![1, channels[0], size, size],
        }
    }

    pub fn weight(&self) -> Vec<usize> {
        match *self {
            Self::Linear(Linear { k, n, .. }) => vec![k, n],
            Self::Conv(Conv { channels: [inputs, outputs], kernel, groups, .. }) => {
                vec![outputs, inputs / groups, kernel, kernel]
            }
        }
    }

    /// The number of inputs that each output sums up.
    pub fn summed(&self) -> usize {
        match self {
            Self::Linear(Linear { k, .. }) => *k,
            Self::Conv(_) => self.weight()[1..].iter().product(),
        }
    }

    /// The number of biases.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Linear(Linear { n, .. }) => *n,
            Self::Conv(Conv { channels, .. }) => channels[1],
        }
    }

    /// The name of its ONNX model.
    pub fn model(&self) -> String {
        match *self {
            Self::Linear(Linear { k, n, .. }) => format!("linear_{k}_{n}"),
            Self::Conv(Conv { channels: [inputs, outputs], size, kernel, stride, padding, groups }) => {
                format!("conv_{inputs}_{outputs}_{size}_{kernel}_{stride}_{padding}_{groups}")
            }
        }
    }

    /// True if it is part of a quick look.
    pub fn is_small(&self) -> bool {
        match self {
            Self::Linear(Linear { m, k, n }) => m * k * n < 100_000_000,
            Self::Conv(Conv { size, .. }) => *size < 20,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Linear(Linear { m, k, n }) => write!(f, "linear m={m} k={k} n={n}"),
            Self::Conv(Conv { channels: [inputs, outputs], size, kernel, stride, groups, .. }) => {
                write!(f, "conv {inputs} -> {outputs}, {size} x {size}, kernel {kernel}, stride {stride}")?;
                if groups > 1 { write!(f, ", {groups} groups") } else { Ok(()) }
            }
        }
    }
}
