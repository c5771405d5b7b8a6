//! Folding a BatchNorm into the layer before it. The arithmetic is written once, the layers are rows of a table.

use burn::module::{Module, Param, ParamId, RunningState};
use burn::nn::{self, BatchNorm, conv};
use burn::prelude::*;

use crate::error::Int8Error;
use crate::nn::drop_in::DropIn;
use crate::nn::layer::FloatLayer;
use crate::nn::walk::{FloatParameter, ParameterState};

/// The layer that computes `norm(layer(x))` as inference does it, so that the norm can be left out.
///
/// A trained BatchNorm multiplies each channel by a number and adds another one: the layer before it can do that with its
/// own weight and bias. That leaves less to compute and to save. With
/// `factor = gamma / sqrt(running_var + epsilon)`, per output channel:
///
/// - `weight' = weight * factor`
/// - `bias' = (bias - running_mean) * factor + beta`; a layer without bias gets one
///
/// The layer may be any that is [`FoldBatchNorm`], and the norm must be what sees its output next: nobody but the model's code knows
/// that, as the order of fields is not the order of calls. Fold a trained model before quantizing it. Parameters keep their identity,
/// their layout in files, and whether they learn.
///
/// A model of Burn's layers on [`Int8`](crate::Int8) can keep its norms: on the CPU the backend computes a norm in one pass with the
/// INT8 layer whose output it is called with.
///
/// # Shapes
///
/// The norm has one channel for each output channel of the layer. BatchNorm's channels are axis 1, so that a linear layer
/// can be folded only where its output is `[batch, features]`.
///
/// # Saving
///
/// Load the file of a folded model into a model that is folded, too: one that is made with the norm and without bias has no
/// place for the bias, and Burn's own layers drop it silently.
///
/// # Errors
///
/// - [`Int8Error::ChannelMismatch`] if the numbers of channels differ
/// - [`Int8Error::FoldAfterQuantize`] if the layer is INT8 already
///
/// # Example
///
/// ```
/// use burn::backend::NdArray;
/// use burn::nn::{BatchNormConfig, conv::Conv2dConfig};
/// use burn::tensor::{Distribution, Tensor};
/// use burn_int8::fold_batch_norm;
///
/// let device = Default::default();
/// let conv = Conv2dConfig::new([3, 8], [3, 3]).with_bias(false).init::<NdArray>(&device);
/// let norm = BatchNormConfig::new(8).init(&device);
/// let folded = fold_batch_norm(&conv, &norm)?;
///
/// let x = Tensor::random([2, 3, 10, 10], Distribution::Default, &device);
/// let expected = norm.forward(conv.forward(x.clone()));
/// let error = (folded.forward(x) - expected).abs().max().into_scalar();
/// assert!(error < 1e-5);
/// # Ok::<(), burn_int8::Int8Error>(())
/// ```
pub fn fold_batch_norm<B: Backend, L: FoldBatchNorm<B>>(
    layer: &L,
    norm: &BatchNorm<B>,
) -> Result<L, Int8Error> {
    layer.folded(norm)
}

/// A layer that can take in the BatchNorm behind it: see [`fold_batch_norm`].
///
/// This crate implements it for Burn's linear, convolution and transposed convolution layers, and for the drop-in layers
/// while they are float; nobody else can, and a model's code never names it.
#[allow(private_bounds, reason = "sealed: nobody can implement what they can't name")]
pub trait FoldBatchNorm<B: Backend>: FoldNorm<B> {}

impl<B: Backend, L: FoldNorm<B>> FoldBatchNorm<B> for L {}

/// The folding itself.
pub(crate) trait FoldNorm<B: Backend>: Sized {
    /// The layer that [`fold_batch_norm`] returns, or its error.
    fn folded(&self, norm: &BatchNorm<B>) -> Result<Self, Int8Error>;
}

impl<B: Backend, L: FloatLayer<Backend = B> + FoldNorm<B>> FoldNorm<B> for DropIn<L> {
    fn folded(&self, norm: &BatchNorm<B>) -> Result<Self, Int8Error> {
        let float = self.as_float().ok_or(Int8Error::FoldAfterQuantize)?;
        Ok(Self::Float(float.folded(norm)?))
    }
}

/// The axis on which a weight has its output channels.
enum Outputs {
    /// `[out, ..]`
    First,
    /// `[in, out / groups, ..]`: the rows of group `g` are the inputs of the `g`-th share of the outputs.
    Second { groups: usize },
}

macro_rules! fold_into {
    ($($layer:ty: $outputs:expr;)*) => {$(
        impl<B: Backend> FoldNorm<B> for $layer {
            fn folded(&self, norm: &BatchNorm<B>) -> Result<Self, Int8Error> {
                let outputs: fn(&Self) -> Outputs = $outputs;
                let (weight, bias) = fold(&self.weight, self.bias.as_ref(), outputs(self), norm)?;
                let mut layer = self.clone();
                (layer.weight, layer.bias) = (weight, Some(bias));
                Ok(layer)
            }
        }
    )*};
}

fold_into! {
    nn::Linear<B>: |_| Outputs::Second { groups: 1 };
    conv::Conv1d<B>: |_| Outputs::First;
    conv::Conv2d<B>: |_| Outputs::First;
    conv::Conv3d<B>: |_| Outputs::First;
    conv::ConvTranspose1d<B>: |layer| Outputs::Second { groups: layer.groups };
    conv::ConvTranspose2d<B>: |layer| Outputs::Second { groups: layer.groups };
    conv::ConvTranspose3d<B>: |layer| Outputs::Second { groups: layer.groups };
}

type Folded<B, const D: usize> = (Param<Tensor<B, D>>, Param<Tensor<B, 1>>);

fn fold<B: Backend, const D: usize>(
    weight: &Param<Tensor<B, D>>,
    bias: Option<&Param<Tensor<B, 1>>>,
    outputs: Outputs,
    norm: &BatchNorm<B>,
) -> Result<Folded<B, D>, Int8Error> {
    if matches!(weight.state(), ParameterState::Int8(_)) {
        return Err(Int8Error::FoldAfterQuantize);
    }
    // This comes first: a clone of a parameter that was never read would draw other initial values.
    let value = weight.val();
    let channels = outputs.channels(value.dims());
    let factor = norm.gamma.val() / (settled(&norm.running_var) + norm.epsilon).sqrt();
    let [of_norm] = factor.dims();
    if channels != of_norm {
        return Err(Int8Error::ChannelMismatch { layer: channels, norm: of_norm });
    }
    let old_bias = bias.map(|bias| bias.val()).unwrap_or_else(|| factor.zeros_like());
    let new_bias = (old_bias - settled(&norm.running_mean)) * factor.clone() + norm.beta.val();
    let new_weight = value.clone() * outputs.align(factor, value.dims());
    let new_bias = match bias {
        Some(bias) => replaced(bias, new_bias),
        None => Param::initialized(ParamId::new(), leaf(new_bias, value.is_require_grad())),
    };
    Ok((replaced(weight, new_weight), new_bias))
}

impl Outputs {
    fn channels<const D: usize>(&self, weight: [usize; D]) -> usize {
        match self {
            Self::First => weight[0],
            Self::Second { groups } => groups * weight[1],
        }
    }

    /// One number per output channel in a shape that a weight can be multiplied by.
    fn align<B: Backend, const D: usize>(&self, factor: Tensor<B, 1>, weight: [usize; D]) -> Tensor<B, D> {
        let mut shape = [1; D];
        shape[0] = weight[0];
        match *self {
            Self::First => factor.reshape(shape),
            Self::Second { groups } => {
                shape[1] = weight[1];
                // Every input of a group has the factors of the group's outputs.
                factor.reshape([groups, 1, weight[1]]).repeat_dim(1, weight[0] / groups).reshape(shape)
            }
        }
    }
}

/// The value that inference will read: the last update of a training step waits until someone asks for it.
fn settled<B: Backend>(state: &RunningState<Tensor<B, 1>>) -> Tensor<B, 1> {
    state.clone().into_record().val()
}

/// The parameter with another value, of the same identity and layout in files.
fn replaced<B: Backend, const D: usize>(
    param: &Param<Tensor<B, D>>,
    value: Tensor<B, D>,
) -> Param<Tensor<B, D>> {
    param.clone().map(|old| leaf(value, old.is_require_grad()))
}

/// A value that learns as if it had never been computed from others.
fn leaf<B: Backend, const D: usize>(value: Tensor<B, D>, learns: bool) -> Tensor<B, D> {
    value.detach().set_require_grad(learns)
}
