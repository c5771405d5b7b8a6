//! `PositionWiseFeedForward`.

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Initializer, Module, ModuleDisplay};
use burn::nn::activation::{Activation, ActivationConfig};
use burn::nn::{self, Dropout, DropoutConfig};
use burn::prelude::*;

use crate::nn::linear::{Linear, LinearConfig};

/// Configuration to create a [`PositionWiseFeedForward`] layer using [`init`](PositionWiseFeedForwardConfig::init); the same
/// as [`burn::nn::transformer::PositionWiseFeedForwardConfig`].
#[derive(Config, Debug)]
pub struct PositionWiseFeedForwardConfig {
    /// The size of the input and output features.
    pub d_model: usize,
    /// The size of the hidden inner features.
    pub d_ff: usize,
    /// The dropout rate.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// The type of function used to initialize neural network parameters.
    #[config(default = "nn::transformer::PositionWiseFeedForwardConfig::new(1, 1).initializer")]
    pub initializer: Initializer,
    /// The activation function between the two linear layers.
    #[config(default = "ActivationConfig::Gelu")]
    pub activation: ActivationConfig,
}

impl PositionWiseFeedForwardConfig {
    /// Initialize a new [`PositionWiseFeedForward`] module.
    pub fn init<B: Backend>(&self, device: &B::Device) -> PositionWiseFeedForward<B> {
        let linear =
            |from, to| LinearConfig::new(from, to).with_initializer(self.initializer.clone()).init(device);
        PositionWiseFeedForward {
            linear_inner: linear(self.d_model, self.d_ff),
            linear_outer: linear(self.d_ff, self.d_model),
            dropout: DropoutConfig::new(self.dropout).init(),
            activation: self.activation.init(device),
        }
    }
}

/// Applies the position-wise feed-forward network of [Attention Is All You Need](https://arxiv.org/abs/1706.03762).
///
/// Burn's [`PositionWiseFeedForward`](burn::nn::transformer::PositionWiseFeedForward) with drop-in layers: the same numbers
/// and the same record while it is float.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, tensor::Tensor};
/// use burn_int8::nn::transformer::PositionWiseFeedForwardConfig;
/// use burn_int8::prelude::*;
///
/// let device = Default::default();
/// let feed_forward = PositionWiseFeedForwardConfig::new(16, 64).init::<NdArray>(&device);
/// let (feed_forward, _) = feed_forward.quantize(&Int8Config::new())?;
/// assert_eq!(feed_forward.forward(Tensor::<_, 3>::ones([2, 5, 16], &device)).dims(), [2, 5, 16]);
/// # Ok::<(), Int8Error>(())
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct PositionWiseFeedForward<B: Backend> {
    /// The layer from `d_model` features to `d_ff`.
    pub linear_inner: Linear<B>,
    /// The layer from `d_ff` features to `d_model`.
    pub linear_outer: Linear<B>,
    /// Dropout between the layers, in training.
    pub dropout: Dropout,
    /// The activation between the two layers. As in Burn's, parameters of its own, which only PReLU and SwiGLU have, are not part of the module:
    /// they are neither saved nor quantized nor counted.
    #[module(skip)]
    pub activation: Activation<B>,
}

impl<B: Backend> PositionWiseFeedForward<B> {
    /// Applies the module to the last axis of the input.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_model]`
    /// - output: `[..., d_model]`
    ///
    /// # Panics
    ///
    /// If the last axis of the input is not `d_model`.
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let x = self.linear_inner.forward_activated(input, &self.activation);
        self.linear_outer.forward(self.dropout.forward(x))
    }

    /// Says whether both its layers are INT8.
    pub fn is_int8(&self) -> bool {
        self.linear_inner.is_int8() && self.linear_outer.is_int8()
    }
}

impl<B: Backend> ModuleDisplay for PositionWiseFeedForward<B> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_model, d_ff] = self.linear_inner.sizes();
        content.add("d_model", &d_model).add("d_ff", &d_ff).add("prob", &self.dropout.prob).optional()
    }
}
