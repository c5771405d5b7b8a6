//! One layer and its input, the same numbers for every peer.

use burn::backend::NdArray;
use burn::module::Param;
use burn::nn;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::prelude::*;
use burn::tensor::Distribution;

use crate::shape::{Conv, Shape};

/// The numbers, row-major.
pub struct Task {
    pub shape: Shape,
    pub x: Vec<f32>,
    pub weight: Vec<f32>,
    bias: Vec<f32>,
    /// The output of the layer without bias in f32, which answers are compared with.
    product: Vec<f32>,
}

impl Task {
    pub fn new(shape: Shape) -> Self {
        NdArray::<f32>::seed(&Default::default(), 1);
        let x = normal(shape.input().iter().product(), 1.0);
        let weight = normal(shape.weight().iter().product(), (shape.summed() as f64).sqrt().recip());
        let bias = normal(shape.outputs(), 0.1);
        let mut task = Self { shape, x, weight, bias, product: Vec::new() };
        task.product = match shape {
            Shape::Linear(_) => {
                let layer = nn::Linear { bias: None, ..task.linear::<NdArray>() };
                values(layer.forward(task.input::<NdArray, 2>()))
            }
            Shape::Conv(conv) => {
                let layer = Conv2d { bias: None, ..task.conv::<NdArray>(conv) };
                values(layer.forward(task.input::<NdArray, 4>()))
            }
        };
        task
    }

    pub fn input<B: Backend, const D: usize>(&self) -> Tensor<B, D> {
        tensor(&self.x, self.shape.input())
    }

    pub fn linear<B: Backend>(&self) -> nn::Linear<B> {
        nn::Linear { weight: self.weight(), bias: Some(self.bias()) }
    }

    pub fn conv<B: Backend>(&self, conv: Conv) -> Conv2d<B> {
        let Conv { channels, kernel, stride, padding, groups, .. } = conv;
        let layer = Conv2dConfig::new(channels, [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .with_groups(groups)
            .init(&Default::default());
        Conv2d { weight: self.weight(), bias: Some(self.bias()), ..layer }
    }

    fn weight<B: Backend, const D: usize>(&self) -> Param<Tensor<B, D>> {
        Param::from_tensor(tensor(&self.weight, self.shape.weight()))
    }

    fn bias<B: Backend>(&self) -> Param<Tensor<B, 1>> {
        Param::from_tensor(tensor(&self.bias, vec![self.bias.len()]))
    }

    /// The error of a layer's output.
    pub fn error(&self, output: &[f32]) -> f64 {
        let repeated = match self.shape {
            Shape::Linear(_) => 1,
            Shape::Conv(_) => self.product.len() / self.bias.len(), // of the one image
        };
        let bias = self.bias.iter().flat_map(|bias| std::iter::repeat_n(bias, repeated)).cycle();
        let expected: Vec<f32> = self.product.iter().zip(bias).map(|(p, b)| p + b).collect();
        relative_rms(output, &expected)
    }

    /// The error of a layer's output where the layer has no bias.
    pub fn error_without_bias(&self, output: &[f32]) -> f64 {
        relative_rms(output, &self.product)
    }
}

/// Root mean square of the differences, relative to that of the expected values; infinite if there is nothing to compare.
pub fn relative_rms<T: Copy + Into<f64>>(output: &[T], expected: &[T]) -> f64 {
    if output.len() != expected.len() {
        return f64::INFINITY;
    }
    let (mut noise, mut signal) = (0.0, 0.0);
    for (&y, &e) in output.iter().zip(expected) {
        let (y, e): (f64, f64) = (y.into(), e.into());
        noise += (y - e) * (y - e);
        signal += e * e;
    }
    (noise / signal).sqrt()
}

/// The values of a tensor, row-major.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

fn normal(len: usize, deviation: f64) -> Vec<f32> {
    let distribution = Distribution::Normal(0.0, deviation);
    values(Tensor::<NdArray, 1>::random([len], distribution, &Default::default()))
}

fn tensor<B: Backend, const D: usize>(values: &[f32], shape: Vec<usize>) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Default::default())
}
