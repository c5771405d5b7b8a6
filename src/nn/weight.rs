//! The weight of a layer: a float parameter of any rank, or integers with an identity and a scheme.

use burn::module::{Initializer, Param, ParamId};
use burn::prelude::*;
use burn::record::PrecisionSettings;
use burn::tensor::backend::AutodiffBackend;

use crate::config::LayerScheme;
use crate::nn::record::{FloatItem, SavedWeight};
use crate::ops::{Weights, with_floats};
use burn_int8_kernels::{NotFinite, WeightLayout};

/// Integers, one scale for each output channel, and how they came to be.
#[derive(Clone, Debug)]
pub(crate) struct Int8Weight<B: Backend> {
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

    /// The weight that was saved; it must fit `form`.
    pub(crate) fn from_saved(saved: SavedWeight, form: WeightLayout, device: &B::Device) -> Self {
        let SavedWeight { id, integers, scales, scheme, sqnr_db, .. } = saved;
        let weights = Weights::from_integers(&integers, &scales, form, device);
        Self { id, weights, scheme, sqnr_db, device: device.clone() }
    }

    /// What a recorder writes of it, as the weight of a layer of this kind.
    pub(crate) fn into_saved(self, kind: &'static str) -> SavedWeight {
        let Self { id, scheme, sqnr_db, .. } = self;
        let form = self.weights.form();
        let (integers, scales) = (self.weights.to_integers(), self.weights.scales());
        let (shape, groups) = (form.shape(), Some(groups(&form)));
        SavedWeight { id, kind, groups, integers, shape, scales, scheme, sqnr_db }
    }

    /// Bytes as saved: one a weight, four a scale.
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

/// The groups of a convolution; another layer is one.
pub(super) fn groups(form: &WeightLayout) -> usize {
    if let WeightLayout::Conv(filter) = form { filter.groups } else { 1 }
}

/// A float weight: the parameters of all ranks, seen as one.
pub(crate) trait WeightParam<B: Backend>: Module<B> {
    /// The number of its axes.
    const RANK: usize;

    /// Its identity, by which tied layers are recognised.
    fn id(&self) -> ParamId;

    /// Where it is or will be.
    fn lazy_device(&self) -> B::Device;

    /// The shape that it has.
    fn shape(&self) -> Vec<usize>;

    /// Its INT8 form.
    fn quantize(&self, form: WeightLayout, scheme: LayerScheme) -> Result<Int8Weight<B>, NotFinite>;

    /// The first output channel with a value that is NaN or infinite.
    fn non_finite_channel(&self, form: &WeightLayout) -> Option<usize>;

    /// Zeros, made when they are read.
    fn zeros(form: &WeightLayout, device: &B::Device) -> Self;

    /// What the integers stand for, computed when it is read.
    fn dequantized(int8: &Int8Weight<B>) -> Self;

    /// The item that a recorder writes for it.
    fn into_item<S: PrecisionSettings>(self) -> FloatItem;

    /// The parameter of an item that was checked for its rank.
    fn from_item<S: PrecisionSettings>(item: FloatItem, device: &B::Device) -> Self;
}

impl<B: Backend, const D: usize> WeightParam<B> for Param<Tensor<B, D>> {
    const RANK: usize = D;

    fn id(&self) -> ParamId {
        self.id
    }

    fn lazy_device(&self) -> B::Device {
        Param::lazy_device(self)
    }

    fn shape(&self) -> Vec<usize> {
        self.lazy_shape().to_vec()
    }

    fn quantize(&self, form: WeightLayout, scheme: LayerScheme) -> Result<Int8Weight<B>, NotFinite> {
        let (weights, fidelity) = Weights::quantize(self.val(), form, scheme)?;
        let (sqnr_db, device) = (fidelity.sqnr_db(), self.val().device());
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

    fn into_item<S: PrecisionSettings>(self) -> FloatItem {
        FloatItem::new::<B, S, D>(self)
    }

    fn from_item<S: PrecisionSettings>(item: FloatItem, device: &B::Device) -> Self {
        item.into_param::<B, S, D>(device)
    }
}
