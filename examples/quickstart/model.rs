//! The minimal model of Keras' INT8 guide, on Burn: 10 inputs, 32 hidden units, 1 output.

use burn::module::AutodiffModule;
use burn::nn::loss::{MseLoss, Reduction};
use burn::nn::{self, Initializer, Relu};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::backend::AutodiffBackend;
use burn_int8::nn::{Linear, LinearConfig}; // the only line that differs from a model without INT8

/// Dense(32, relu), then Dense(1).
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    pub hidden: Linear<B>,
    pub activation: Relu,
    pub target: Linear<B>,
}

impl<B: Backend> Mlp<B> {
    pub fn new(device: &B::Device) -> Self {
        Self {
            hidden: LinearConfig::new(10, 32).init(device),
            activation: Relu::new(),
            target: LinearConfig::new(32, 1).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.target.forward(self.activation.forward(self.hidden.forward(x)))
    }

    /// A model with Keras' initial weights, Glorot uniform and no bias: for the comparison with Keras' figures.
    pub fn keras(device: &B::Device) -> Self {
        let dense = |d_input, d_output| {
            let glorot = Initializer::XavierUniform { gain: 1.0 };
            let mut layer = nn::LinearConfig::new(d_input, d_output).with_initializer(glorot).init(device);
            layer.bias = Some(Initializer::Zeros.init([d_output], device));
            Linear::from(layer)
        };
        Self { hidden: dense(10, 32), activation: Relu::new(), target: dense(32, 1) }
    }
}

/// One epoch of Adam on 256 random rows in batches of 32, as in the guide.
pub fn train<B: AutodiffBackend>(mut model: Mlp<B>, device: &B::Device) -> Mlp<B::InnerBackend> {
    let mut optimizer = AdamConfig::new().init();
    for _ in 0..256 / 32 {
        let x = Tensor::random([32, 10], Distribution::Uniform(0.0, 1.0), device);
        let y = Tensor::random([32, 1], Distribution::Uniform(0.0, 1.0), device);
        let loss = MseLoss::new().forward(model.forward(x), y, Reduction::Mean);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-3, model, gradients);
    }
    model.valid()
}

/// 32 rows that the model has not seen.
pub fn evaluation_rows<B: Backend>(device: &B::Device) -> Tensor<B, 2> {
    Tensor::random([32, 10], Distribution::Uniform(0.0, 1.0), device)
}

/// Mean squared difference.
pub fn mse<B: Backend>(a: Tensor<B, 2>, b: Tensor<B, 2>) -> f64 {
    (a - b).powf_scalar(2.0).mean().into_scalar().elem()
}
