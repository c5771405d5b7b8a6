//! The drop-in layer: one of Burn's until it is swapped for its INT8 form. Written once, for every kind of layer.

use burn::module::{
    AutodiffModule, Content, Devices, DisplaySettings, HasAutodiffModule, Module, ModuleDisplay,
    ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::layer::{FloatLayer, LayerParts};
use super::observe::ObservedLayer;
use super::qlayer::QLayer;
use super::sizes::{Sizes, load_float};
use super::weight::WeightParam;
use crate::cast::as_type;
use crate::nn::record::{LayerRecord, SavedLayer};
use crate::nn::walk::{LayerVisitor, QuantizeMapper, Swapped};

/// A layer of Burn's that can become INT8 in place.
///
/// `burn_int8::nn::Linear<B>` is `DropIn<burn::nn::Linear<B>>`, and so on. It has the constructors and the `forward`
/// of Burn's layer and is that layer until a swapper passes through the model. A layer that one already has becomes one
/// with `into()`.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, nn};
/// use burn_int8::{nn::Linear, prelude::*};
///
/// let burns = nn::LinearConfig::new(8, 4).init::<NdArray>(&Default::default());
/// let layer: Linear<NdArray> = burns.into();
/// assert!(layer.as_float().is_some());
///
/// let (layer, _) = layer.quantize(&Int8Config::new())?;
/// assert!(layer.is_int8());
/// # Ok::<(), Int8Error>(())
/// ```
#[allow(clippy::large_enum_variant, reason = "Burn's layers are as large, which the lint does not see")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DropIn<L: FloatLayer> {
    /// The layer as it was trained.
    Float(L),
    /// The layer as it was quantized.
    Int8(QLayer<L>),
    /// The float layer while [`Quantize::sensitivity`](crate::Quantize::sensitivity) looks at it. Nobody else has one.
    #[doc(hidden)]
    Observed(Box<ObservedLayer<L>>),
}

impl<L: FloatLayer> DropIn<L> {
    /// Says whether it has been quantized.
    pub fn is_int8(&self) -> bool {
        self.as_int8().is_some()
    }

    /// Burn's layer, while it is float.
    pub fn as_float(&self) -> Option<&L> {
        match self {
            Self::Float(layer) => Some(layer),
            Self::Int8(_) => None,
            Self::Observed(layer) => Some(&layer.float),
        }
    }

    /// The same, to change it.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, module::Param, tensor::Tensor};
    /// use burn_int8::nn::LinearConfig;
    ///
    /// let device = Default::default();
    /// let mut layer = LinearConfig::new(2, 2).init::<NdArray>(&device);
    /// if let Some(linear) = layer.as_float_mut() {
    ///     linear.weight = Param::from_tensor(Tensor::from_floats([[0.0, 1.0], [1.0, 0.0]], &device));
    /// }
    /// assert_eq!(layer.into_float().weight.dims(), [2, 2]);
    /// ```
    pub fn as_float_mut(&mut self) -> Option<&mut L> {
        // A layer that is changed is no longer the one whose INT8 forms are tried.
        if let Self::Observed(layer) = self {
            *self = Self::Float(layer.float.clone());
        }
        match self {
            Self::Float(layer) => Some(layer),
            Self::Int8(_) | Self::Observed(_) => None,
        }
    }

    /// Burn's layer: this one while it is float, else what the integers stand for.
    pub fn into_float(self) -> L {
        match self {
            Self::Float(layer) => layer,
            Self::Int8(layer) => layer.dequantize(),
            Self::Observed(layer) => layer.float,
        }
    }

    /// The INT8 layer, once it is quantized.
    pub fn as_int8(&self) -> Option<&QLayer<L>> {
        match self {
            Self::Float(_) | Self::Observed(_) => None,
            Self::Int8(layer) => Some(layer),
        }
    }
}

impl<L: FloatLayer> From<L> for DropIn<L> {
    fn from(layer: L) -> Self {
        Self::Float(layer)
    }
}

/// Evaluates the same expression for any form; an observed layer is its float layer.
macro_rules! either {
    ($self:expr, $layer:ident => $expression:expr) => {
        match $self {
            Self::Float($layer) => $expression,
            Self::Int8($layer) => $expression,
            Self::Observed(observed) => {
                let $layer = &observed.float;
                $expression
            }
        }
    };
    ($self:expr, $layer:ident => in $wrapper:ident $expression:expr) => {
        match $self {
            Self::Float($layer) => $wrapper::Float($expression),
            Self::Int8($layer) => $wrapper::Int8($expression),
            Self::Observed(observed) => {
                let moved = observed.moved(|$layer| $expression, |$layer| $expression);
                $wrapper::Observed(Box::new(moved))
            }
        }
    };
}

impl<B: Backend, L: FloatLayer<Backend = B>> Module<B> for DropIn<L> {
    type Record = LayerRecord<L>;

    fn collect_devices(&self, devices: Devices<B>) -> Devices<B> {
        either!(self, layer => layer.collect_devices(devices))
    }

    fn fork(self, device: &B::Device) -> Self {
        either!(self, layer => in Self layer.fork(device))
    }

    fn to_device(self, device: &B::Device) -> Self {
        either!(self, layer => in Self layer.to_device(device))
    }

    fn num_params(&self) -> usize {
        either!(self, layer => Module::num_params(layer))
    }

    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        match (self, as_type::<V, LayerVisitor>(visitor)) {
            (Self::Float(layer), Some(visitor)) => visitor.float(layer),
            (Self::Observed(layer), Some(visitor)) => visitor.float(&layer.float),
            _ => either!(self, layer => layer.visit(visitor)),
        }
    }

    fn map<M: ModuleMapper<B>>(self, mapper: &mut M) -> Self {
        match (self, as_type::<M, QuantizeMapper>(mapper)) {
            (Self::Int8(layer), _) => Self::Int8(layer.map(mapper)),
            (float, None) => Self::Float(float.into_float().map(mapper)),
            (float, Some(mapper)) => match mapper.swap(float.into_float()) {
                Swapped::Float(layer) => Self::Float(layer),
                Swapped::Int8(layer) => Self::Int8(layer),
                Swapped::Observed(layer) => Self::Observed(layer),
            },
        }
    }

    /// Either kind of record loads into either form: the layer becomes what was saved.
    fn load_record(self, record: Self::Record) -> Self {
        match (self, record.0) {
            (Self::Int8(layer), SavedLayer::Float(record)) => {
                Self::Float(load_float(layer.float_shell(), record))
            }
            (Self::Int8(layer), saved) => Self::Int8(layer.load_record(LayerRecord(saved))),
            (float, SavedLayer::Float(record)) => Self::Float(load_float(float.into_float(), record)),
            (float, SavedLayer::Int8 { weight, bias }) => {
                let layer = float.into_float();
                let (sizes, device) = (Sizes::of(&layer), layer.weight().lazy_device());
                Self::Int8(QLayer::load(weight, bias, layer.options(), &sizes, &device))
            }
        }
    }

    fn into_record(self) -> Self::Record {
        match self {
            Self::Int8(layer) => layer.into_record(),
            float => LayerRecord::float(float.into_float()),
        }
    }
}

#[allow(private_bounds, reason = "the parts of a layer are sealed")]
impl<B, L> AutodiffModule<B> for DropIn<L>
where
    B: AutodiffBackend,
    L: FloatLayer<Backend = B> + LayerParts<B> + AutodiffModule<B>,
    L::InnerModule: FloatLayer<Backend = B::InnerBackend>
        + LayerParts<B::InnerBackend, Options = <L as LayerParts<B>>::Options>,
{
    type InnerModule = DropIn<L::InnerModule>;

    fn valid(&self) -> Self::InnerModule {
        match self {
            Self::Float(layer) => DropIn::Float(layer.valid()),
            Self::Int8(layer) => DropIn::Int8(layer.valid()),
            Self::Observed(layer) => {
                let layer = layer.as_ref().clone();
                DropIn::Observed(Box::new(layer.moved(|float| float.valid(), |int8| int8.valid())))
            }
        }
    }

    fn from_inner(inner: Self::InnerModule) -> Self {
        match inner {
            DropIn::Float(layer) => Self::Float(L::from_inner(layer)),
            DropIn::Int8(layer) => Self::Int8(QLayer::from_inner(layer)),
            DropIn::Observed(layer) => {
                Self::Observed(Box::new(layer.moved(L::from_inner, QLayer::from_inner)))
            }
        }
    }
}

#[allow(private_bounds, reason = "the parts of a layer are sealed")]
impl<B, L> HasAutodiffModule<B> for DropIn<L>
where
    B: AutodiffBackend,
    L: FloatLayer<Backend = B::InnerBackend> + LayerParts<B::InnerBackend> + HasAutodiffModule<B>,
    L::TrainModule: FloatLayer<Backend = B> + LayerParts<B>,
    DropIn<L::TrainModule>: AutodiffModule<B, InnerModule = Self>,
{
    type TrainModule = DropIn<L::TrainModule>;
}

impl<L: FloatLayer> ModuleDisplayDefault for DropIn<L> {
    fn content(&self, content: Content) -> Option<Content> {
        either!(self, layer => layer.content(content))
    }

    fn num_params(&self) -> usize {
        either!(self, layer => ModuleDisplayDefault::num_params(layer))
    }
}

impl<L: FloatLayer> ModuleDisplay for DropIn<L> {
    fn format(&self, settings: DisplaySettings) -> String {
        either!(self, layer => layer.format(settings))
    }
}

impl<L: FloatLayer> std::fmt::Display for DropIn<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format(DisplaySettings::default()))
    }
}
