//! One layer and its input, the same numbers for every peer.

use std::fmt;

use burn::backend::NdArray;
use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::Distribution;

/// Rows of the input, inputs and outputs of the layer.
#[derive(Clone, Copy)]
pub struct Shape {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

impl Shape {
    pub const ALL: [Self; 9] = [
        Self::new(1, 768, 768),
        Self::new(1, 1152, 6912),
        Self::new(1, 4096, 4096),
        Self::new(8, 1024, 1024),
        Self::new(64, 1024, 1024),
        Self::new(128, 768, 3072),
        Self::new(128, 3072, 768),
        Self::new(512, 1024, 1024),
        Self::new(256, 4096, 4096),
    ];

    const fn new(m: usize, k: usize, n: usize) -> Self {
        Self { m, k, n }
    }

    /// Whether it is part of a quick look.
    pub fn is_small(&self) -> bool {
        self.m * self.k * self.n < 100_000_000
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={} k={} n={}", self.m, self.k, self.n)
    }
}

/// The numbers, row-major.
pub struct Task {
    pub shape: Shape,
    /// `[m, k]`
    pub x: Vec<f32>,
    /// `[k, n]`
    pub weight: Vec<f32>,
    /// `[n]`
    pub bias: Vec<f32>,
    /// `x · weight` in f32: what answers are compared with.
    product: Vec<f32>,
}

impl Task {
    pub fn new(shape: Shape) -> Self {
        let Shape { m, k, n } = shape;
        NdArray::<f32>::seed(&Default::default(), 1);
        let x = normal(m * k, 1.0);
        let weight = normal(k * n, (k as f64).sqrt().recip());
        let bias = normal(n, 0.1);
        let mut task = Self { shape, x, weight, bias, product: Vec::new() };
        let product = task.input::<NdArray>().matmul(task.layer::<NdArray>().weight.val());
        task.product = values(product);
        task
    }

    pub fn input<B: Backend>(&self) -> Tensor<B, 2> {
        tensor(&self.x, [self.shape.m, self.shape.k])
    }

    pub fn layer<B: Backend>(&self) -> Linear<B> {
        let Shape { k, n, .. } = self.shape;
        let weight = Param::from_tensor(tensor(&self.weight, [k, n]));
        Linear { weight, bias: Some(Param::from_tensor(tensor(&self.bias, [n]))) }
    }

    /// The error of a layer's output.
    pub fn error(&self, output: &[f32]) -> f64 {
        let bias = self.bias.iter().cycle();
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

fn tensor<B: Backend, const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Default::default())
}
