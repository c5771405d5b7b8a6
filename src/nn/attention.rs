//! `MultiHeadAttention`, as in [`burn::nn::attention`], with layers that can become INT8.

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Initializer, Module, ModuleDisplay};
use burn::nn::{self, Dropout, DropoutConfig, Gelu};
use burn::prelude::*;
use burn::tensor::activation::{quiet_softmax, softmax};

use super::linear::{Linear, LinearConfig};
use crate::backend::{self, fuses};

/// Configuration to create a [`MultiHeadAttention`] layer using [`init`](MultiHeadAttentionConfig::init); the same as
/// [`burn::nn::attention::MultiHeadAttentionConfig`].
#[derive(Config, Debug)]
pub struct MultiHeadAttentionConfig {
    /// The size of each linear layer.
    pub d_model: usize,
    /// The number of heads.
    pub n_heads: usize,
    /// The dropout rate.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// The score of a key that is masked. A value too low might result in NaN.
    #[config(default = -1.0e4)]
    pub min_float: f64,
    /// Whether a head's weights may add up to less than 1.
    #[config(default = false)]
    pub quiet_softmax: bool,
    /// The type of function used to initialize neural network parameters.
    #[config(default = "nn::attention::MultiHeadAttentionConfig::new(1, 1).initializer")]
    pub initializer: Initializer,
}

impl MultiHeadAttentionConfig {
    /// Initialize a new [`MultiHeadAttention`] module.
    pub fn init<B: Backend>(&self, device: &B::Device) -> MultiHeadAttention<B> {
        let linear = || {
            LinearConfig::new(self.d_model, self.d_model)
                .with_initializer(self.initializer.clone())
                .init(device)
        };
        MultiHeadAttention {
            query: linear(),
            key: linear(),
            value: linear(),
            output: linear(),
            dropout: DropoutConfig::new(self.dropout).init(),
            activation: Gelu::new(),
            d_model: self.d_model,
            n_heads: self.n_heads,
            d_k: self.d_model / self.n_heads,
            min_float: self.min_float,
            quiet_softmax: self.quiet_softmax,
        }
    }
}

/// The multihead attention module as described in [Attention Is All You Need](https://arxiv.org/abs/1706.03762).
///
/// Burn's [`MultiHeadAttention`](burn::nn::attention::MultiHeadAttention) with drop-in layers: the same numbers and the same
/// record while it is float. It has no `forward_cache`.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, tensor::Tensor};
/// use burn_int8::nn::attention::{MhaInput, MultiHeadAttentionConfig};
/// use burn_int8::prelude::*;
///
/// let device = Default::default();
/// let attention = MultiHeadAttentionConfig::new(16, 4).init::<NdArray>(&device);
/// let (attention, report) = attention.quantize(&Int8Config::new())?;
/// assert_eq!(report.int8_layers(), 4);
/// let output = attention.forward(MhaInput::self_attn(Tensor::ones([2, 5, 16], &device)));
/// assert_eq!((output.context.dims(), output.weights.dims()), ([2, 5, 16], [2, 4, 5, 5]));
/// # Ok::<(), Int8Error>(())
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct MultiHeadAttention<B: Backend> {
    /// From the input to the queries.
    pub query: Linear<B>,
    /// From the input to the keys.
    pub key: Linear<B>,
    /// From the input to the values.
    pub value: Linear<B>,
    /// From all heads to the output.
    pub output: Linear<B>,
    /// Of the scores, in training.
    pub dropout: Dropout,
    /// Not used: Burn's has one.
    pub activation: Gelu,
    /// The size of each linear layer.
    pub d_model: usize,
    /// The number of heads.
    pub n_heads: usize,
    /// The size of a head's queries and keys.
    pub d_k: usize,
    /// The score of a key that is masked.
    pub min_float: f64,
    /// Whether a head's weights may add up to less than 1.
    pub quiet_softmax: bool,
}

/// The input of [`MultiHeadAttention::forward`].
#[derive(Clone, Debug)]
pub struct MhaInput<B: Backend> {
    query: Tensor<B, 3>,
    /// Keys and values, unless they come from the tensor of the queries.
    key_value: Option<[Tensor<B, 3>; 2]>,
    mask_pad: Option<Tensor<B, 2, Bool>>,
    mask_attn: Option<Tensor<B, 3, Bool>>,
}

impl<B: Backend> MhaInput<B> {
    /// Queries, keys and values from one tensor `[batch_size, seq_length, d_model]`.
    pub fn self_attn(tensor: Tensor<B, 3>) -> Self {
        Self { query: tensor, key_value: None, mask_pad: None, mask_attn: None }
    }

    /// Queries from a tensor `[batch_size, seq_length_1, d_model]`, keys and values from two tensors
    /// `[batch_size, seq_length_2, d_model]`.
    pub fn new(query: Tensor<B, 3>, key: Tensor<B, 3>, value: Tensor<B, 3>) -> Self {
        Self { key_value: Some([key, value]), ..Self::self_attn(query) }
    }

    /// Register the padding mask `[batch_size, seq_length_2]`: true for a key that no query sees.
    pub fn mask_pad(mut self, mask_pad: Tensor<B, 2, Bool>) -> Self {
        self.mask_pad = Some(mask_pad);
        self
    }

    /// Register the attention mask `[batch_size, seq_length_1, seq_length_2]`: true for a key that the query does not see.
    pub fn mask_attn(mut self, mask_attn: Tensor<B, 3, Bool>) -> Self {
        self.mask_attn = Some(mask_attn);
        self
    }
}

/// The output of [`MultiHeadAttention::forward`].
#[derive(Clone, Debug)]
pub struct MhaOutput<B: Backend> {
    /// The attention weights `[batch_size, n_heads, seq_length_1, seq_length_2]`.
    pub weights: Tensor<B, 4>,
    /// The context `[batch_size, seq_length_1, d_model]`.
    pub context: Tensor<B, 3>,
}

impl<B: Backend> MultiHeadAttention<B> {
    /// Applies the module to queries, keys and values, which may be one tensor.
    ///
    /// # Shapes
    ///
    /// - query: `[batch_size, seq_length_1, d_model]`
    /// - key and value: `[batch_size, seq_length_2, d_model]`
    /// - output: `[batch_size, seq_length_1, d_model]`
    ///
    /// # Panics
    ///
    /// If a shape does not fit.
    pub fn forward(&self, input: MhaInput<B>) -> MhaOutput<B> {
        let shape = input.query.dims();
        let [query, key, value] = self.project(input.query, input.key_value).map(|x| self.split(x));
        let scores = query.matmul(key.transpose()).div_scalar((self.d_k as f32).sqrt());
        let mut scores = self.dropout.forward(scores);
        let mask_pad = input.mask_pad.map(|mask| mask.unsqueeze_dim::<3>(1));
        let hidden = [mask_pad, input.mask_attn].map(|mask| mask.map(|mask| mask.unsqueeze_dim::<4>(1)));
        for hidden in hidden.into_iter().flatten() {
            scores = scores.mask_fill(hidden, self.min_float);
        }
        let weights = if self.quiet_softmax { quiet_softmax(scores, 3) } else { softmax(scores, 3) };
        let context = weights.clone().matmul(value).swap_dims(1, 2).reshape(shape);
        MhaOutput { context: self.output.forward(context), weights }
    }

    /// The context alone, `forward(input).context`. Where the layers are INT8, on the CPU, it is computed without the
    /// intermediate tensors of Burn's operations, its sums in an order of their own.
    ///
    /// # Shapes and panics
    ///
    /// As [`forward`](Self::forward).
    pub fn context(&self, input: MhaInput<B>) -> Tensor<B, 3> {
        if !self.is_int8() || !fuses::<B>(&input.query.device()) {
            return self.forward(input).context;
        }
        let MhaInput { query, key_value, mask_pad, mask_attn } = input;
        let mask_pad = mask_pad.map(|mask| mask.unsqueeze_dim::<3>(1));
        let hidden = match (mask_pad, mask_attn) {
            (Some(pad), Some(attn)) => Some(pad.expand(attn.dims()).bool_or(attn)),
            (pad, attn) => pad.or(attn),
        };
        let hidden = hidden.map(|hidden| (hidden, self.min_float as f32));
        let (projected, heads) = (self.project(query, key_value), self.n_heads);
        let d_model = projected[0].dims()[2];
        assert!(
            d_model == heads * self.d_k,
            "MultiHeadAttention: {d_model} features are not {heads} heads of {}",
            self.d_k
        );
        assert_fit(&projected, hidden.as_ref().map(|(hidden, _)| hidden));
        self.output.forward(backend::attention(projected, heads, hidden, self.quiet_softmax))
    }

    /// Whether all its layers are INT8.
    pub fn is_int8(&self) -> bool {
        [&self.query, &self.key, &self.value, &self.output].iter().all(|linear| linear.is_int8())
    }

    fn project(&self, query: Tensor<B, 3>, key_value: Option<[Tensor<B, 3>; 2]>) -> [Tensor<B, 3>; 3] {
        match key_value {
            None => Linear::forward_each([&self.query, &self.key, &self.value], query),
            Some([key, value]) => {
                [self.query.forward(query), self.key.forward(key), self.value.forward(value)]
            }
        }
    }

    fn split(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, rows, _] = x.dims();
        x.reshape([batch, rows, self.n_heads, self.d_k]).swap_dims(1, 2)
    }
}

fn assert_fit<B: Backend>([query, key, value]: &[Tensor<B, 3>; 3], hidden: Option<&Tensor<B, 3, Bool>>) {
    let ([batch, queries, _], [_, keys, _]) = (query.dims(), key.dims());
    let (fits, key, value) = (key.dims()[0] == batch && key.dims() == value.dims(), key.dims(), value.dims());
    assert!(
        fits,
        "MultiHeadAttention: queries {:?}, keys {key:?} and values {value:?} do not belong together",
        query.dims(),
    );
    if let Some(found) = hidden.map(|hidden| hidden.dims()) {
        let needed = [batch, queries, keys];
        let fits =
            found[2] == keys && found.iter().zip(&needed).all(|(found, needed)| [1, *needed].contains(found));
        assert!(fits, "MultiHeadAttention: a mask of shape {found:?} does not fit {needed:?}");
    }
}

impl<B: Backend> ModuleDisplay for MultiHeadAttention<B> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("d_model", &self.d_model)
            .add("n_heads", &self.n_heads)
            .add("d_k", &self.d_k)
            .add("dropout", &self.dropout.prob)
            .add("min_float", &self.min_float)
            .add("quiet_softmax", &self.quiet_softmax)
            .optional()
    }
}
