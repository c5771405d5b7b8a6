//! The INT8 form of a layer. Written once, for every kind of layer.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::ops::Device;

use super::layer::{Bias, FloatLayer};
use super::sizes::Sizes;
use super::weight::{Int8Weight, WeightParam, groups};
use burn_int8_kernels::NotFinite;

use crate::config::LayerScheme;
use crate::error::Int8Error;
use crate::nn::record::SavedWeight;

/// A layer in INT8: what a layer of Burn's becomes, and a module of its own.
///
/// `burn_int8::nn::QLinear<B>` is `QLayer<burn::nn::Linear<B>>`, and so on; each has the `forward` of its layer. Weights are
/// `i8` with one `f32` scale per output channel, the bias is float. On an autodiff backend it is frozen and lets the
/// gradient through to its input.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, nn, tensor::{Distribution, Tensor}};
/// use burn_int8::{LayerScheme, nn::QLinear};
///
/// let device = Default::default();
/// let linear = nn::LinearConfig::new(16, 8).init::<NdArray>(&device);
/// let int8 = QLinear::from_float(&linear, &LayerScheme::default())?;
///
/// let x = Tensor::<_, 2>::random([4, 16], Distribution::Default, &device);
/// let error = (linear.forward(x.clone()) - int8.forward(x)).abs().max().into_scalar();
/// assert!(error < 0.02);
/// # Ok::<(), burn_int8::Int8Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct QLayer<L: FloatLayer> {
    pub(super) weight: Int8Weight<L::Backend>,
    pub(super) bias: Option<Bias<L::Backend>>,
    /// The options of the float layer that it was.
    pub(super) options: L::Options,
}

impl<L: FloatLayer> QLayer<L> {
    /// Quantizes a float layer, one scale per output channel.
    ///
    /// # Errors
    ///
    /// [`Int8Error::NonFiniteWeight`], with an empty path, if a weight is NaN or infinite.
    pub fn from_float(float: &L, scheme: &LayerScheme) -> Result<Self, Int8Error> {
        let non_finite = |NotFinite { channel }| Int8Error::NonFiniteWeight { path: String::new(), channel };
        Self::quantized(float, *scheme).map_err(non_finite)
    }

    /// [`from_float`](Self::from_float) with the kernels' own error.
    pub(crate) fn quantized(float: &L, scheme: LayerScheme) -> Result<Self, NotFinite> {
        Self::quantized_seen(float, scheme, &[])
    }

    /// [`quantized`](Self::quantized), given the largest magnitude that was seen of each input.
    pub(crate) fn quantized_seen(float: &L, scheme: LayerScheme, inputs: &[f32]) -> Result<Self, NotFinite> {
        let weight = float.weight().quantize_seen(L::layout(&float.options()), scheme, inputs)?;
        Ok(Self::with_weight(float, weight))
    }

    /// The layer of these integers, with the bias and the options of `float`.
    pub(crate) fn with_weight(float: &L, weight: Int8Weight<L::Backend>) -> Self {
        // Not `clone`: a parameter that has not been read yet would draw its initial values again.
        let bias = float.bias().map(|bias| freeze(Param::initialized(bias.id, bias.val())));
        Self { weight, bias, options: float.options() }
    }

    /// A layer with the sizes and options of `float`, all weights zero.
    pub(super) fn zeros(float: &L) -> Self {
        let (options, device) = (float.options(), float.weight().lazy_device());
        let layout = L::layout(&options);
        let bias = float.bias().map(|_| Param::from_tensor(Tensor::zeros([layout.channels()], &device)));
        let weight = Int8Weight::zeros(layout, LayerScheme::default(), &device);
        Self { weight, bias: bias.map(freeze), options }
    }

    /// The layer that was saved.
    ///
    /// # Panics
    ///
    /// If it has other sizes than these, naming both.
    pub(super) fn load(
        weight: SavedWeight,
        bias: Option<Bias<L::Backend>>,
        options: L::Options,
        sizes: &Sizes,
        device: &Device<L::Backend>,
    ) -> Self {
        let bias_length = bias.as_ref().map(|bias| bias.dims()[0]);
        let saved = Sizes { shape: weight.shape.clone(), groups: weight.groups, bias: bias_length };
        saved.assert_fit(sizes, L::KIND);
        let bias = bias.map(|bias| freeze(bias.map(|bias| bias.to_device(device))));
        Self { weight: Int8Weight::from_saved(weight, L::layout(&options), device), bias, options }
    }

    /// The float layer that the integers stand for.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, nn};
    /// use burn_int8::{LayerScheme, nn::QLinear};
    ///
    /// let linear = nn::LinearConfig::new(4, 3).init::<NdArray>(&Default::default());
    /// let int8 = QLinear::from_float(&linear, &LayerScheme::default())?;
    /// let error = (linear.weight.val() - int8.dequantize().weight.val()).abs().max().into_scalar();
    /// assert!(error < 0.5 / 127.0);
    /// # Ok::<(), burn_int8::Int8Error>(())
    /// ```
    pub fn dequantize(&self) -> L {
        L::new(&self.options, L::Weight::dequantized(&self.weight), self.bias.clone())
    }

    /// A float layer with the sizes and options of this one, to load a float record into; allocates nothing.
    pub(super) fn float_shell(&self) -> L {
        L::empty(&self.options, self.bias.is_some(), &self.weight.device)
    }

    /// The integers, row-major, in the shape of the float layer's weight. Where the scheme rotates or smooths inputs, they stand for
    /// the weight that these are multiplied with; [`dequantize`](Self::dequantize) takes that back.
    pub fn integers(&self) -> Vec<i8> {
        self.weight.weights.to_integers()
    }

    /// The step of each output channel, of a table each row: `weight = scale * integer`, of the weight that
    /// [`integers`](Self::integers) stand for.
    pub fn scales(&self) -> Vec<f32> {
        self.weight.weights.scales()
    }

    /// The scheme that it was quantized with.
    pub fn scheme(&self) -> LayerScheme {
        self.weight.scheme
    }

    /// Says whether both layers use the same copy of the weights in memory, as tied layers do.
    pub fn shares_weights(&self, other: &Self) -> bool {
        self.weight.weights.is_shared_with(&other.weight.weights)
    }

    /// Keeps only one copy of the weights if those of `other` are the same numbers.
    pub(crate) fn share_weights(&mut self, other: &Self) {
        self.weight.weights.share(&other.weight.weights);
    }

    pub(super) fn bias(&self) -> Option<Tensor<L::Backend, 1>> {
        self.bias.as_ref().map(|bias| bias.val())
    }

    pub(super) fn sizes(&self) -> Sizes {
        let layout = self.weight.weights.layout();
        let bias = self.bias.as_ref().map(|_| layout.channels());
        Sizes { shape: layout.shape(), groups: Some(groups(&layout)), bias }
    }
}

/// An INT8 layer has no gradients of its own.
pub(super) fn freeze<B: Backend>(bias: Bias<B>) -> Bias<B> {
    bias.map(|bias| bias.detach().set_require_grad(false))
}
