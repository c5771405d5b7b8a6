//! `LayerNorm`, as in [`burn::nn::norm`], for the modules here that compute it in one pass with what comes before it.

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Initializer, Module, ModuleDisplay, Param};
use burn::prelude::*;
use burn::tensor::TensorPrimitive;

use crate::ops;

/// Configuration to create a [`LayerNorm`] layer using [`init`](LayerNormConfig::init); the same as
/// [`burn::nn::LayerNormConfig`].
#[derive(Config, Debug)]
pub struct LayerNormConfig {
    /// The size of the input features.
    pub d_model: usize,
    /// A value required for numerical stability.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// If a bias (beta) should be applied during the normalization.
    #[config(default = true)]
    pub bias: bool,
}

impl LayerNormConfig {
    /// Initialize a new [`LayerNorm`] module.
    pub fn init<B: Backend>(&self, device: &B::Device) -> LayerNorm<B> {
        LayerNorm {
            gamma: Initializer::Ones.init([self.d_model], device),
            beta: self.bias.then(|| Initializer::Zeros.init([self.d_model], device)),
            epsilon: self.epsilon,
        }
    }
}

/// Applies Layer Normalization over an input tensor: `Y = norm(X) * γ + β`.
///
/// Burn's [`LayerNorm`](burn::nn::LayerNorm), with the same numbers and the same record; it always stays
/// float. It is a part of [`TransformerEncoder`](super::transformer::TransformerEncoder), which adds and normalizes in one pass.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, tensor::Tensor};
/// use burn_int8::nn::norm::LayerNormConfig;
///
/// let device = Default::default();
/// let norm = LayerNormConfig::new(4).init::<NdArray>(&device);
/// assert_eq!(norm.forward(Tensor::<_, 2>::ones([2, 4], &device)).dims(), [2, 4]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct LayerNorm<B: Backend> {
    /// The learnable weight (scale).
    pub gamma: Param<Tensor<B, 1>>,
    /// The learnable bias (optional).
    pub beta: Option<Param<Tensor<B, 1>>>,
    /// A value required for numerical stability.
    epsilon: f64,
}

impl<B: Backend> LayerNorm<B> {
    /// Normalizes the last axis of the input.
    ///
    /// # Shapes
    ///
    /// - input: `[..., any, d_model]`
    /// - output: `[..., any, d_model]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let beta = self.beta.as_ref().map(|beta| beta.val().into_primitive().tensor());
        let gamma = self.gamma.val().into_primitive().tensor();
        let output = B::layer_norm(input.into_primitive().tensor(), gamma, beta, self.epsilon);
        Tensor::from_primitive(TensorPrimitive::Float(output))
    }

    /// `forward(input + residual)` in one pass, where [`ops::fuses`] says that there is one.
    ///
    /// # Panics
    ///
    /// If a shape does not fit.
    pub(super) fn fused<const D: usize>(
        &self,
        input: Tensor<B, D>,
        residual: Option<Tensor<B, D>>,
    ) -> Tensor<B, D> {
        let (shape, [width]) = (input.dims(), self.gamma.dims());
        let fits = shape[D - 1] == width && residual.as_ref().is_none_or(|residual| residual.dims() == shape);
        assert!(fits, "LayerNorm: an input of shape {shape:?} does not fit {width} features");
        let beta = self.beta.as_ref().map(|beta| beta.val());
        ops::layer_norm(input, residual, self.gamma.val(), beta, self.epsilon as f32)
    }
}

impl<B: Backend> ModuleDisplay for LayerNorm<B> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_model] = self.gamma.shape().dims();
        content
            .add("d_model", &d_model)
            .add("epsilon", &self.epsilon)
            .add("bias", &self.beta.is_some())
            .optional()
    }
}
