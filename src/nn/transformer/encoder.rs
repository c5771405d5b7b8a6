//! `TransformerEncoder`.

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Initializer, Module, ModuleDisplay};
use burn::nn::activation::ActivationConfig;
use burn::nn::{self, Dropout, DropoutConfig};
use burn::prelude::*;

use super::feed_forward::{PositionWiseFeedForward, PositionWiseFeedForwardConfig};
use crate::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use crate::nn::norm::{LayerNorm, LayerNormConfig};
use crate::ops::fuses;

/// Configuration to create a [`TransformerEncoder`] using [`init`](TransformerEncoderConfig::init); the same as
/// [`burn::nn::transformer::TransformerEncoderConfig`].
#[derive(Config, Debug)]
pub struct TransformerEncoderConfig {
    /// The size of the model.
    pub d_model: usize,
    /// The size of the position-wise feed-forward network.
    pub d_ff: usize,
    /// The number of attention heads.
    pub n_heads: usize,
    /// The number of layers.
    pub n_layers: usize,
    /// The dropout rate.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// Layer norm will be applied first instead of after the other modules.
    #[config(default = false)]
    pub norm_first: bool,
    /// Says whether a head's weights may add up to less than 1.
    #[config(default = false)]
    pub quiet_softmax: bool,
    /// The type of function used to initialize neural network parameters.
    #[config(default = "nn::transformer::TransformerEncoderConfig::new(1, 1, 1, 1).initializer")]
    pub initializer: Initializer,
    /// The activation function used in the position-wise feed-forward network.
    #[config(default = "ActivationConfig::Gelu")]
    pub activation: ActivationConfig,
    /// The epsilon value for layer normalization.
    #[config(default = 1e-5)]
    pub layer_norm_eps: f64,
}

impl TransformerEncoderConfig {
    /// Initialize a new [`TransformerEncoder`] module.
    pub fn init<B: Backend>(&self, device: &B::Device) -> TransformerEncoder<B> {
        TransformerEncoder {
            layers: (0..self.n_layers).map(|_| TransformerEncoderLayer::new(self, device)).collect(),
            d_model: self.d_model,
            d_ff: self.d_ff,
            n_heads: self.n_heads,
            n_layers: self.n_layers,
            dropout: self.dropout,
            norm_first: self.norm_first,
            quiet_softmax: self.quiet_softmax,
        }
    }
}

/// The transformer encoder of [Attention Is All You Need](https://arxiv.org/abs/1706.03762).
///
/// Burn's [`TransformerEncoder`](burn::nn::transformer::TransformerEncoder) with drop-in layers: the same numbers and the same
/// record while it is float. In INT8, on the CPU, it computes attention, norms and GELU in passes of its own between the
/// integer products. It has no `forward_autoregressive_inference`.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, tensor::Tensor};
/// use burn_int8::nn::transformer::{TransformerEncoderConfig, TransformerEncoderInput};
/// use burn_int8::prelude::*;
///
/// let device = Default::default();
/// let encoder = TransformerEncoderConfig::new(16, 64, 4, 2).init::<NdArray>(&device);
/// let (encoder, report) = encoder.quantize(&Int8Config::new())?;
/// assert_eq!(report.int8_layers(), 2 * 6);
/// let input = TransformerEncoderInput::new(Tensor::ones([2, 5, 16], &device));
/// assert_eq!(encoder.forward(input).dims(), [2, 5, 16]);
/// # Ok::<(), Int8Error>(())
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct TransformerEncoder<B: Backend> {
    /// The layers, applied one after the other.
    pub layers: Vec<TransformerEncoderLayer<B>>,
    /// The size of the model.
    pub d_model: usize,
    /// The size of the position-wise feed-forward network.
    pub d_ff: usize,
    /// The number of attention heads.
    pub n_heads: usize,
    /// The number of layers.
    pub n_layers: usize,
    /// The dropout rate.
    pub dropout: f64,
    /// Says whether layer norm is applied first instead of after the other modules.
    pub norm_first: bool,
    /// Says whether a head's weights may add up to less than 1.
    pub quiet_softmax: bool,
}

impl<B: Backend> ModuleDisplay for TransformerEncoder<B> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("d_model", &self.d_model)
            .add("d_ff", &self.d_ff)
            .add("n_heads", &self.n_heads)
            .add("n_layers", &self.n_layers)
            .add("dropout", &self.dropout)
            .add("norm_first", &self.norm_first)
            .add("quiet_softmax", &self.quiet_softmax)
            .optional()
    }
}

/// The input of [`TransformerEncoder::forward`].
#[derive(Clone, Debug)]
pub struct TransformerEncoderInput<B: Backend> {
    tensor: Tensor<B, 3>,
    mask_pad: Option<Tensor<B, 2, Bool>>,
    mask_attn: Option<Tensor<B, 3, Bool>>,
}

impl<B: Backend> TransformerEncoderInput<B> {
    /// Takes a tensor `[batch_size, seq_length, d_model]`.
    pub fn new(tensor: Tensor<B, 3>) -> Self {
        Self { tensor, mask_pad: None, mask_attn: None }
    }

    /// Register the padding mask `[batch_size, seq_length]`: true for padding.
    pub fn mask_pad(mut self, mask_pad: Tensor<B, 2, Bool>) -> Self {
        self.mask_pad = Some(mask_pad);
        self
    }

    /// Register the attention mask `[batch_size, seq_length, seq_length]`: true for a position that another does not see.
    pub fn mask_attn(mut self, mask_attn: Tensor<B, 3, Bool>) -> Self {
        self.mask_attn = Some(mask_attn);
        self
    }
}

impl<B: Backend> TransformerEncoder<B> {
    /// Applies all layers.
    ///
    /// # Shapes
    ///
    /// - tensor: `[batch_size, seq_length, d_model]`
    /// - output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    ///
    /// If a shape does not fit.
    pub fn forward(&self, input: TransformerEncoderInput<B>) -> Tensor<B, 3> {
        let TransformerEncoderInput { tensor, mask_pad, mask_attn } = input;
        self.layers.iter().fold(tensor, |x, layer| layer.forward(x, mask_pad.clone(), mask_attn.clone()))
    }
}

/// One layer of a [`TransformerEncoder`].
#[derive(Module, Debug)]
pub struct TransformerEncoderLayer<B: Backend> {
    /// Self-attention.
    pub mha: MultiHeadAttention<B>,
    /// The feed-forward network.
    pub pwff: PositionWiseFeedForward<B>,
    /// The norm of the attention if norms come after, else of the feed-forward network.
    pub norm_1: LayerNorm<B>,
    /// The norm of the feed-forward network if norms come after, else of the attention.
    pub norm_2: LayerNorm<B>,
    /// Dropout of the output of a part before it is added to the input, in training.
    pub dropout: Dropout,
    /// Says whether norms come before the parts instead of after them.
    pub norm_first: bool,
}

impl<B: Backend> TransformerEncoderLayer<B> {
    /// Initialize a new module.
    pub fn new(config: &TransformerEncoderConfig, device: &B::Device) -> Self {
        let norm = || LayerNormConfig::new(config.d_model).with_epsilon(config.layer_norm_eps).init(device);
        Self {
            mha: MultiHeadAttentionConfig::new(config.d_model, config.n_heads)
                .with_initializer(config.initializer.clone())
                .with_dropout(config.dropout)
                .with_quiet_softmax(config.quiet_softmax)
                .init(device),
            norm_1: norm(),
            norm_2: norm(),
            pwff: PositionWiseFeedForwardConfig::new(config.d_model, config.d_ff)
                .with_initializer(config.initializer.clone())
                .with_dropout(config.dropout)
                .with_activation(config.activation.clone())
                .init(device),
            dropout: DropoutConfig::new(config.dropout).init(),
            norm_first: config.norm_first,
        }
    }

    /// Applies the layer, with the masks of [`TransformerEncoderInput`].
    ///
    /// # Shapes
    ///
    /// - input: `[batch_size, seq_length, d_model]`
    /// - output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    ///
    /// If a shape does not fit.
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
        mask_attn: Option<Tensor<B, 3, Bool>>,
    ) -> Tensor<B, 3> {
        let attend = |x| self.dropout.forward(self.mha.context(MhaInput::masked(x, mask_pad, mask_attn)));
        let feed_forward = |x| self.dropout.forward(self.pwff.forward(x));
        if self.norm_first {
            let y = attend(self.norm(&self.norm_2, input.clone(), None));
            let x = input + y;
            let y = feed_forward(self.norm(&self.norm_1, x.clone(), None));
            x + y
        } else {
            let y = attend(input.clone());
            let x = self.norm(&self.norm_1, input, Some(y));
            let y = feed_forward(x.clone());
            self.norm(&self.norm_2, x, Some(y))
        }
    }

    /// The norm of `x`, or of `x + y`.
    fn norm(&self, norm: &LayerNorm<B>, x: Tensor<B, 3>, y: Option<Tensor<B, 3>>) -> Tensor<B, 3> {
        if !(self.mha.is_int8() && self.pwff.is_int8() && fuses::<B>(&x.device())) {
            return norm.forward(match y {
                Some(y) => x + y,
                None => x,
            });
        }
        norm.fused(x, y)
    }
}
