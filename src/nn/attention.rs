//! `MultiHeadAttention`, as in [`burn::nn::attention`], with layers that can become INT8; attention alone.

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Initializer, Module, ModuleDisplay};
use burn::nn::{self, Dropout, DropoutConfig, Gelu};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::{quiet_softmax, softmax};

use super::linear::{Linear, LinearConfig};
use crate::ops::{self, AttentionOp, fuses};

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
    /// Says whether a head's weights may add up to less than 1.
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
    /// The layer from the input to the queries.
    pub query: Linear<B>,
    /// The layer from the input to the keys.
    pub key: Linear<B>,
    /// The layer from the input to the values.
    pub value: Linear<B>,
    /// The layer from all heads to the output.
    pub output: Linear<B>,
    /// Dropout of the scores, in training.
    pub dropout: Dropout,
    /// This is not used; it is here because Burn's layer has one.
    pub activation: Gelu,
    /// The size of each linear layer.
    pub d_model: usize,
    /// The number of heads.
    pub n_heads: usize,
    /// The size of a head's queries and keys.
    pub d_k: usize,
    /// The score of a key that is masked.
    pub min_float: f64,
    /// Says whether a head's weights may add up to less than 1.
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
    /// Takes queries, keys and values from one tensor `[batch_size, seq_length, d_model]`.
    pub fn self_attn(tensor: Tensor<B, 3>) -> Self {
        Self::masked(tensor, None, None)
    }

    /// Takes queries, keys and values from one tensor, with the masks that there are.
    pub(super) fn masked(
        query: Tensor<B, 3>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
        mask_attn: Option<Tensor<B, 3, Bool>>,
    ) -> Self {
        Self { query, key_value: None, mask_pad, mask_attn }
    }

    /// Takes queries from a tensor `[batch_size, seq_length_1, d_model]`, keys and values from two tensors
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

    /// Says whether nothing must be stretched along an axis to fit the rest, but for masks along samples and queries.
    fn is_plain(&self) -> bool {
        let ([batch, queries, _], pad) = (self.query.dims(), self.mask_pad.as_ref().map(|mask| mask.dims()));
        let keys = match &self.key_value {
            None => queries,
            Some([key, value]) if key.dims()[..2] == value.dims()[..2] && key.dims()[0] == batch => {
                key.dims()[1]
            }
            Some(_) => return false,
        };
        let attn = self.mask_attn.as_ref().map(|mask| mask.dims());
        let masks = [pad.map(|[samples, keys]| [samples, 1, keys]), attn];
        masks.into_iter().flatten().all(|mask| mask_fits(mask, [batch, queries, keys]))
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
    /// Applies the module to queries, keys and values, which may be one tensor. A caller that does not need the weights uses
    /// [`context`](Self::context), which is faster in INT8.
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
        let [query, key, value] =
            self.project(input.query, input.key_value).map(|x| self.heads(x).swap_dims(1, 2));
        let scores = query.matmul(key.transpose()).div_scalar((self.d_k as f32).sqrt());
        let mut scores = self.dropout.forward(scores);
        let mask_pad = input.mask_pad.map(|mask| mask.unsqueeze_dim::<3>(1));
        let masks = [mask_pad, input.mask_attn].map(|mask| mask.map(|mask| mask.unsqueeze_dim::<4>(1)));
        for mask in masks.into_iter().flatten() {
            scores = scores.mask_fill(mask, self.min_float);
        }
        let weights = if self.quiet_softmax { quiet_softmax(scores, 3) } else { softmax(scores, 3) };
        let context = weights.clone().matmul(value).swap_dims(1, 2).reshape(shape);
        MhaOutput { context: self.output.forward(context), weights }
    }

    /// The context alone, `forward(input).context`. Where all four layers are INT8, on the CPU, [`attention`] computes it without
    /// the intermediate tensors of Burn's operations; queries, keys and values of one tensor are quantized once.
    ///
    /// # Shapes and panics
    ///
    /// The same as those of [`forward`](Self::forward).
    pub fn context(&self, input: MhaInput<B>) -> Tensor<B, 3> {
        if !self.is_int8() || !fuses::<B>(&input.query.device()) || !input.is_plain() {
            return self.forward(input).context;
        }
        let shape = input.query.dims();
        let mask_pad = input.mask_pad.map(|mask| mask.unsqueeze_dim::<3>(1));
        let mask = match (mask_pad, input.mask_attn) {
            (Some(pad), Some(attn)) => {
                let (a, b) = (pad.dims(), attn.dims());
                let both: [usize; 3] =
                    std::array::from_fn(|axis| if a[axis] == 1 { b[axis] } else { a[axis] });
                Some(pad.expand(both).bool_or(attn.expand(both)))
            }
            (pad, attn) => pad.or(attn),
        };
        let mask = mask.map(|mask| (mask, self.min_float.max(f32::MIN.into()) as f32));
        let tensors = self.project(input.query, input.key_value).map(|x| self.heads(x));
        let scale = (self.d_k as f32).sqrt().recip();
        let context = ops::attention(tensors, AttentionOp { scale, mask, quiet_softmax: self.quiet_softmax });
        self.output.forward(context.reshape(shape))
    }

    /// Says whether all its layers are INT8.
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

    fn heads(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, rows, _] = x.dims();
        x.reshape([batch, rows, self.n_heads, self.d_k])
    }
}

/// The score of a masked key: its exponential is 0 beside any other's.
const MASKED: f32 = f32::MIN;

/// Attention without a module: `softmax(query · keyᵀ * scale) · value`, head by head.
///
/// Several neighbouring heads of queries may share one of keys and values (grouped-query attention). On the CPU it is one pass,
/// with sums in `f32`, over tensors that are read where they are if they are contiguous and `f32`; elsewhere, and in training,
/// it is made of Burn's operations, the softmax in `f32`. A query for which all keys are masked gets the mean of all values;
/// where there are no keys, zeros.
///
/// # Shapes
///
/// - query: `[batch_size, queries, heads, width]`
/// - key and value: `[batch_size, keys, kv_heads, width]`
/// - mask: `[batch_size or 1, queries or 1, keys]`, true for a key that the query does not see
/// - output: `[batch_size, queries, heads, width]`
///
/// # Panics
///
/// If a shape does not fit, or `heads` is not a multiple of `kv_heads`.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, tensor::Tensor};
/// use burn_int8::nn::attention::attention;
///
/// let device = Default::default();
/// let query = Tensor::<NdArray, 4>::ones([1, 2, 8, 16], &device);
/// let key = Tensor::ones([1, 5, 2, 16], &device);
/// let output = attention(query, key.clone(), key, None, 0.25);
/// assert_eq!(output.dims(), [1, 2, 8, 16]);
/// ```
pub fn attention<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: Option<Tensor<B, 3, Bool>>,
    scale: f64,
) -> Tensor<B, 4> {
    let tensors = [query, key, value];
    assert_fit(&tensors, mask.as_ref());
    let ([batch, queries, heads, width], keys) = (tensors[0].dims(), tensors[1].dims()[1]);
    let (device, dtype) = (tensors[0].device(), tensors[0].dtype());
    if batch * queries * width * keys == 0 {
        return Tensor::zeros([batch, queries, heads, width], (&device, dtype));
    }
    if fuses::<B>(&device) {
        let mask = mask.map(|mask| (mask, MASKED));
        return ops::attention(tensors, AttentionOp { scale: scale as f32, mask, quiet_softmax: false });
    }
    let [query, key, value] = tensors.map(|x| x.swap_dims(1, 2));
    let kv_heads = key.dims()[1];
    // The queries that share a head of keys below each other: one product of matrices for all of them.
    let query = query.reshape([batch, kv_heads, heads / kv_heads * queries, width]) * scale;
    let scores = query.matmul(key.transpose()).cast(DType::F32);
    let scores = match mask {
        Some(mask) => {
            let ([samples, _, keys], sharing) = (mask.dims(), heads / kv_heads);
            let mask = mask.unsqueeze_dim::<4>(1).expand([samples, sharing, queries, keys]);
            scores.mask_fill(mask.reshape([samples, 1, sharing * queries, keys]), MASKED)
        }
        None => scores,
    };
    let weights = softmax(scores, 3).cast(dtype);
    weights.matmul(value).reshape([batch, heads, queries, width]).swap_dims(1, 2)
}

fn assert_fit<B: Backend>([query, key, value]: &[Tensor<B, 4>; 3], mask: Option<&Tensor<B, 3, Bool>>) {
    let (q, k, v) = (query.dims(), key.dims(), value.dims());
    let fits = k == v && [q[0], q[3]] == [k[0], k[3]] && k[2] > 0 && q[2].is_multiple_of(k[2]);
    assert!(fits, "attention: queries {q:?}, keys {k:?} and values {v:?} do not belong together");
    if let Some(found) = mask.map(|mask| mask.dims()) {
        let needed = [q[0], q[1], k[1]];
        assert!(mask_fits(found, needed), "attention: a mask of shape {found:?} does not fit {needed:?}");
    }
}

/// A mask may be one for all samples or queries.
fn mask_fits(found: [usize; 3], needed: [usize; 3]) -> bool {
    found[2] == needed[2] && found.iter().zip(&needed).all(|(found, needed)| [1, *needed].contains(found))
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
