//! The weight of a layer: a float parameter of any rank, or integers with an identity and a scheme.

use burn::module::{Initializer, Param, ParamId};
use burn::prelude::*;
use burn::record::PrecisionSettings;
use burn::tensor::DType;
use burn::tensor::backend::AutodiffBackend;

use crate::config::LayerScheme;
use crate::error::Int8Error;
use crate::nn::record::{FloatItem, WeightItem, WeightState};
use crate::ops::{Weights, with_floats};
use burn_int8_kernels::WeightLayout;

/// Integers, one scale for each output channel, and the scheme that they were made by.
#[derive(Clone, Debug)]
pub struct Int8Weight<B: Backend> {
    pub(crate) id: ParamId,
    pub(crate) weights: Weights<B>,
    pub(crate) scheme: LayerScheme,
    pub(crate) sqnr_db: Option<f32>,
    pub(crate) device: B::Device,
}

impl<B: Backend> Int8Weight<B> {
    /// All zeros, to load a record into.
    pub(crate) fn zeros(form: WeightLayout, scheme: LayerScheme, device: &B::Device) -> Self {
        let (integers, scales) = (vec![0; form.len()], vec![1.0; form.channels()]);
        let weights = Weights::from_integers(&integers, &scales, form, device);
        Self { id: ParamId::new(), weights, scheme, sqnr_db: None, device: device.clone() }
    }

    /// Takes over the numbers of a record that fits `form`.
    pub(crate) fn from_state(state: WeightState, form: WeightLayout, device: &B::Device) -> Self {
        let WeightState { id, integers, scales, scheme, sqnr_db, .. } = state;
        let weights = Weights::from_integers(&integers, &scales, form, device);
        Self { id, weights, scheme, sqnr_db, device: device.clone() }
    }

    pub(crate) fn into_state(self) -> WeightState {
        let Self { id, scheme, sqnr_db, .. } = self;
        let shape = self.weights.form().shape();
        let (integers, scales) = (self.weights.to_integers(), self.weights.scales());
        WeightState { id, integers, shape, scales, scheme, sqnr_db }
    }

    /// The bytes that a file needs: one a weight, four a scale.
    pub(crate) fn saved_bytes(&self) -> usize {
        let form = self.weights.form();
        form.len() + form.channels() * size_of::<f32>()
    }

    pub(crate) fn to_device(&self, device: &B::Device) -> Self {
        let Self { id, scheme, sqnr_db, .. } = *self;
        Self { id, weights: self.weights.to_device(device), scheme, sqnr_db, device: device.clone() }
    }
}

impl<B: AutodiffBackend> Int8Weight<B> {
    pub(crate) fn inner(&self) -> Int8Weight<B::InnerBackend> {
        let Self { id, scheme, sqnr_db, .. } = *self;
        Int8Weight { id, weights: self.weights.inner(), scheme, sqnr_db, device: self.device.clone() }
    }

    pub(crate) fn from_inner(inner: Int8Weight<B::InnerBackend>) -> Self {
        let Int8Weight { id, weights, scheme, sqnr_db, device } = inner;
        Self { id, weights: Weights::from_inner(weights), scheme, sqnr_db, device }
    }
}

/// A float weight: the parameters of all ranks, seen as one.
pub trait WeightParam<B: Backend>: Module<B> {
    /// The type that recorders write for the weight, float or INT8.
    type Item;

    /// Its identity, by which tied layers are recognised.
    fn id(&self) -> ParamId;

    /// The device where the values are or will be.
    fn lazy_device(&self) -> B::Device;

    /// Says whether it has values yet; reading them makes some.
    fn is_initialized(&self) -> bool;

    /// The shape that it has.
    fn shape(&self) -> Vec<usize>;

    /// The float type of the values, which it reads.
    fn dtype(&self) -> DType;

    /// Its INT8 form.
    fn quantize(&self, form: WeightLayout, scheme: LayerScheme) -> Result<Int8Weight<B>, Int8Error>;

    /// The first output channel with a value that is NaN or infinite.
    fn non_finite_channel(&self, form: &WeightLayout) -> Option<usize>;

    /// Zeros, made when they are read.
    fn zeros(form: &WeightLayout, device: &B::Device) -> Self;

    /// The floats that the integers stand for, computed when they are read.
    fn dequantized(int8: &Int8Weight<B>) -> Self;

    /// The item that a recorder writes for integers.
    fn int8_item(state: WeightState) -> Self::Item;

    /// The item that a recorder writes for float values.
    fn into_item<S: PrecisionSettings>(self) -> Self::Item;

    /// Takes the item that a recorder read; integers are given back.
    fn from_item<S: PrecisionSettings>(item: Self::Item, device: &B::Device) -> Result<Self, WeightState>;
}

impl<B: Backend, const D: usize> WeightParam<B> for Param<Tensor<B, D>> {
    type Item = WeightItem<D>;

    fn id(&self) -> ParamId {
        self.id
    }

    fn lazy_device(&self) -> B::Device {
        Param::lazy_device(self)
    }

    fn is_initialized(&self) -> bool {
        Param::is_initialized(self)
    }

    fn shape(&self) -> Vec<usize> {
        self.lazy_shape().to_vec()
    }

    fn dtype(&self) -> DType {
        self.val().dtype()
    }

    fn quantize(&self, form: WeightLayout, scheme: LayerScheme) -> Result<Int8Weight<B>, Int8Error> {
        let (weights, error) = Weights::quantize(self.val(), form, scheme)
            .map_err(|error| Int8Error::NonFiniteWeight { path: String::new(), channel: error.channel })?;
        let (sqnr_db, device) = (error.sqnr_db(), self.val().device());
        Ok(Int8Weight { id: self.id, weights, scheme, sqnr_db, device })
    }

    fn non_finite_channel(&self, form: &WeightLayout) -> Option<usize> {
        with_floats(self.val(), |w| {
            let broken = w.iter().enumerate().filter(|(_, w)| !w.is_finite());
            broken.map(|(index, _)| form.channel_of(index)).min()
        })
    }

    fn zeros(form: &WeightLayout, device: &B::Device) -> Self {
        Initializer::Zeros.init(form.shape(), device)
    }

    fn dequantized(int8: &Int8Weight<B>) -> Self {
        let Int8Weight { id, ref weights, ref device, .. } = *int8;
        let shape = Shape::from(weights.form().shape());
        let weights = weights.clone();
        Param::uninitialized(id, move |device, _| weights.dequantize(device), device.clone(), false, shape)
    }

    fn int8_item(state: WeightState) -> WeightItem<D> {
        WeightItem::Int8(state)
    }

    fn into_item<S: PrecisionSettings>(self) -> WeightItem<D> {
        WeightItem::Float(FloatItem::new::<B, S>(self))
    }

    fn from_item<S: PrecisionSettings>(item: WeightItem<D>, device: &B::Device) -> Result<Self, WeightState> {
        match item {
            WeightItem::Float(item) => Ok(item.into_param::<B, S>(device)),
            WeightItem::Int8(state) => Err(state),
        }
    }
}
