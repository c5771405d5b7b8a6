//! The drop-in `Linear`.

use burn::config::Config;
use burn::module::{Initializer, Param, ParamId};
use burn::nn;
use burn::prelude::*;
use burn::record::PrecisionSettings;
use serde::{Deserialize, Serialize};

use super::layer::FloatLayer;
use super::qlinear::{QLinear, QLinearState};
use super::quantizable::Quantizable;
use crate::backend::with_floats;
use crate::record::{FloatItem, Int8Precision, LayerRecord, WeightItem};

/// Applies a linear transformation to the input tensor: `O = IW + b`.
///
/// Burn's [`burn::nn::Linear`], until it is quantized: then a [`QLinear`].
pub type Linear<B> = Quantizable<nn::Linear<B>>;

/// Configuration to create a [`Linear`] layer using [`init`](LinearConfig::init); the same as [`burn::nn::LinearConfig`].
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, tensor::Tensor};
/// use burn_int8::nn::LinearConfig;
///
/// let device = Default::default();
/// let linear = LinearConfig::new(4, 2).with_bias(false).init::<NdArray>(&device);
/// assert_eq!(linear.forward(Tensor::<_, 3>::ones([5, 3, 4], &device)).dims(), [5, 3, 2]);
/// ```
#[derive(Config, Debug)]
pub struct LinearConfig {
    /// The size of the input features.
    pub d_input: usize,
    /// The size of the output features.
    pub d_output: usize,
    /// If a bias should be applied during the linear transformation.
    #[config(default = true)]
    pub bias: bool,
    /// The type of function used to initialize neural network parameters.
    #[config(default = "nn::LinearConfig::new(1, 1).initializer")]
    pub initializer: Initializer,
    /// The layout in which the linear parameters are stored.
    #[config(default = "nn::LinearLayout::Row")]
    pub layout: nn::LinearLayout,
}

impl LinearConfig {
    /// Initialize a new [`Linear`] module.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Linear<B> {
        nn::LinearConfig::new(self.d_input, self.d_output)
            .with_bias(self.bias)
            .with_initializer(self.initializer.clone())
            .with_layout(self.layout)
            .init(device)
            .into()
    }
}

impl<B: Backend> Quantizable<nn::Linear<B>> {
    /// Applies the layer to the last axis of the input.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_input]`
    /// - output: `[..., d_output]`
    ///
    /// # Panics
    ///
    /// If the last axis of the input is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Float(linear) => linear.forward(input),
            Self::Int8(linear) => linear.forward(input),
        }
    }
}

/// What recorders write for a linear layer: the fields of Burn's own.
#[derive(Clone, Serialize, Deserialize)]
pub struct LinearItem {
    weight: WeightItem<2>,
    bias: Option<FloatItem<1>>,
}

impl<B: Backend> FloatLayer for nn::Linear<B> {
    type Backend = B;
    type Int8 = QLinear<B>;
    type Item = LinearItem;
    const KIND: &'static str = "Linear";

    fn weight_shape(&self) -> Vec<usize> {
        let [d_input, d_output] = shape(self);
        vec![d_input, d_output]
    }

    fn weight_id(&self) -> ParamId {
        self.weight.id
    }

    fn non_finite_channel(&self) -> Option<usize> {
        let [_, d_output] = shape(self);
        with_floats(self.weight.val(), |w| {
            w.iter().enumerate().filter(|(_, w)| !w.is_finite()).map(|(i, _)| i % d_output).min()
        })
    }

    fn assert_fits(&self, record: &Self::Record) {
        let mut layer = Sizes::of(self);
        if is_transposed(&self.weight) {
            layer.shape.reverse(); // as it is saved
        }
        let shape = record.weight.shape().dims();
        Sizes { shape, bias: record.bias.as_ref().map(|bias| bias.dims()[0]) }.assert_fit(&layer);
    }

    fn load_int8(self, state: QLinearState<B>) -> QLinear<B> {
        let layout = layout(&self);
        QLinear::load(state, &Sizes::of(&self), layout, &self.weight.lazy_device())
    }

    fn record_to_item<S: PrecisionSettings>(record: LayerRecord<Self>) -> LinearItem {
        match record {
            LayerRecord::Float(record) => LinearItem {
                weight: WeightItem::Float(FloatItem::new::<B, S>(record.weight)),
                bias: record.bias.map(FloatItem::new::<B, S>),
            },
            LayerRecord::Int8(state) => LinearItem {
                weight: WeightItem::Int8(state.weight),
                bias: state.bias.map(FloatItem::new::<B, Int8Precision>),
            },
        }
    }

    fn item_to_record<S: PrecisionSettings>(item: LinearItem, device: &B::Device) -> LayerRecord<Self> {
        match item.weight {
            WeightItem::Float(weight) => LayerRecord::Float(nn::LinearRecord {
                weight: weight.into_param::<B, S>(device),
                bias: item.bias.map(|bias| bias.into_param::<B, S>(device)),
            }),
            WeightItem::Int8(weight) => LayerRecord::Int8(QLinearState {
                weight,
                bias: item.bias.map(|bias| bias.into_param::<B, Int8Precision>(device)),
            }),
        }
    }
}

/// `[d_input, d_output]`, without initialising the weight.
fn shape<B: Backend>(linear: &nn::Linear<B>) -> [usize; 2] {
    let mut shape: [usize; 2] = linear.weight.lazy_shape().dims();
    // Until it is initialised, a transposed weight has the shape that it is saved in.
    if !linear.weight.is_initialized() && is_transposed(&linear.weight) {
        shape.reverse();
    }
    shape
}

/// Whether the weight is saved transposed. Asks its loading transformation, which does not initialise it.
fn is_transposed<B: Backend>(weight: &Param<Tensor<B, 2>>) -> bool {
    let probe = Tensor::zeros([1, 2], &weight.lazy_device());
    weight.clone().transform_for_load(probe, weight.id).dims() == [2, 1]
}

pub(super) fn layout<B: Backend>(linear: &nn::Linear<B>) -> nn::LinearLayout {
    if is_transposed(&linear.weight) { nn::LinearLayout::Col } else { nn::LinearLayout::Row }
}

/// What a record must have in common with the layer that it is loaded into.
#[derive(PartialEq)]
pub(super) struct Sizes {
    pub(super) shape: [usize; 2],
    /// The length of the bias.
    pub(super) bias: Option<usize>,
}

impl Sizes {
    fn of<B: Backend>(linear: &nn::Linear<B>) -> Self {
        let bias = linear.bias.as_ref().map(|bias| bias.lazy_shape()[0]);
        Self { shape: shape(linear), bias }
    }

    /// Panics unless this record fits `layer`.
    pub(super) fn assert_fit(&self, layer: &Self) {
        assert!(
            self == layer,
            "Linear: the record holds {self}, but the layer is {layer}; load it into a model of the same configuration",
        );
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.shape)?;
        match self.bias {
            Some(n) => write!(f, " with a bias of {n}"),
            None => write!(f, " without bias"),
        }
    }
}
