//! The weight of a layer: a float parameter of any rank, or integers with an identity and a scheme.

use burn::module::{Initializer, Param, ParamId};
use burn::prelude::*;
use burn::record::PrecisionSettings;
use burn::tensor::DType;
use burn::tensor::backend::AutodiffBackend;

use crate::config::{LayerScheme, Rotation, Smoothing};
use crate::nn::record::{FloatItem, SavedWeight};
use crate::nn::smoothing::shifts;
use crate::ops::{Weights, address, with_floats};
use burn_int8_kernels::{InputTransform, NotFinite, QTensor, WeightLayout};

/// Integers, one scale for each output channel, and the scheme that they were made by.
#[derive(Clone, Debug)]
pub(crate) struct Int8Weight<B: Backend> {
    pub(crate) id: ParamId,
    pub(crate) weights: Weights<B>,
    pub(crate) scheme: LayerScheme,
    pub(crate) sqnr_db: Option<f32>,
    pub(crate) device: B::Device,
}

impl<B: Backend> Int8Weight<B> {
    /// The INT8 form of a float weight, given the largest magnitude that was seen of each input, if anybody has looked.
    pub(crate) fn of_tensor<const D: usize>(
        weight: Tensor<B, D>,
        id: ParamId,
        layout: WeightLayout,
        scheme: LayerScheme,
        inputs: &[f32],
    ) -> Result<Self, NotFinite> {
        let mut scheme = scheme.for_layer(&layout);
        let shifts = match scheme.smoothing {
            Smoothing::Percent(percent) if inputs.len() == layout.inputs() => {
                let shifts = with_floats(weight.clone(), |w| shifts(inputs, w, &layout, percent));
                Some(shifts).filter(|shifts| shifts.iter().any(|shift| *shift > 0))
            }
            _ => None,
        };
        if shifts.is_none() {
            scheme = scheme.with_smoothing(Smoothing::None);
        }
        let transform = with_shifts(scheme.block_rotation(&layout).into(), shifts.as_deref());
        let device = weight.device();
        let (weights, error) = Weights::quantize(weight, layout, scheme, transform)?;
        Ok(Self { id, weights, scheme, sqnr_db: error.sqnr_db(), device })
    }

    /// All zeros, to load a record into.
    pub(crate) fn zeros(layout: WeightLayout, scheme: LayerScheme, device: &B::Device) -> Self {
        let scheme = scheme.for_layer(&layout).with_rotation(Rotation::None);
        let tensor = QTensor::new(vec![0; layout.len()], vec![1.0; layout.channels()], layout);
        let weights = Weights::from_qtensor(&tensor.expect("zeros fit every layout"), device);
        Self { id: ParamId::new(), weights, scheme, sqnr_db: None, device: device.clone() }
    }

    /// The weight that was saved.
    ///
    /// # Panics
    ///
    /// If it does not fit `layout`.
    pub(crate) fn from_saved(saved: SavedWeight, layout: WeightLayout, device: &B::Device) -> Self {
        let SavedWeight { id, kind, integers, scales, scheme, shifts, sqnr_db, .. } = saved;
        let scheme = scheme.for_layer(&layout);
        let transform = with_shifts(scheme.block_rotation(&layout).into(), shifts.as_deref());
        let tensor = QTensor::new(integers, scales, layout)
            .and_then(|tensor| tensor.with_transform(transform))
            .unwrap_or_else(|error| panic!("{kind}: the record does not fit the layer: {error}"));
        let weights = Weights::from_qtensor(&tensor, device).with_mode(scheme.mode);
        Self { id, weights, scheme, sqnr_db, device: device.clone() }
    }

    /// The form that a recorder writes, as the weight of a layer of this kind.
    pub(crate) fn into_saved(self, kind: &'static str) -> SavedWeight {
        let Self { id, scheme, sqnr_db, .. } = self;
        let layout = self.weights.layout();
        let (integers, scales) = (self.weights.to_integers(), self.weights.scales());
        let (shape, groups) = (layout.shape(), Some(groups(&layout)));
        let shifts = self.weights.transform().shifts();
        SavedWeight { id, kind, groups, integers, shape, scales, scheme, shifts, sqnr_db }
    }

    /// The bytes that a file needs: one a weight, four a scale, one a shift.
    pub(crate) fn saved_bytes(&self) -> usize {
        let layout = self.weights.layout();
        let shifts = self.weights.transform().factors().map_or(0, <[f32]>::len);
        layout.len() + layout.channels() * size_of::<f32>() + shifts
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

/// The transform with the factors of a smoothed layer.
fn with_shifts(transform: InputTransform, shifts: Option<&[u8]>) -> InputTransform {
    match shifts {
        Some(shifts) => transform.with_shifts(shifts),
        None => transform,
    }
}

/// Says whether the weight is saved transposed. The answer comes from its loading transformation, which does not initialise it.
pub(super) fn is_transposed<B: Backend, const D: usize>(weight: &Param<Tensor<B, D>>) -> bool {
    let mut shape = [1; D];
    shape[D - 1] = 2;
    let probe = Tensor::zeros(shape, &weight.lazy_device());
    weight.clone().transform_for_load(probe, weight.id).dims() != shape
}

/// The first output channel of a weight with a value that is NaN or infinite.
pub(crate) fn non_finite_channel<B: Backend, const D: usize>(
    weight: Tensor<B, D>,
    layout: &WeightLayout,
) -> Option<usize> {
    with_floats(weight, |w| {
        // A loop that never ends early becomes vectors; few weights are ever looked at one by one.
        if w.iter().fold(true, |all, w| all & w.is_finite()) {
            return None;
        }
        let broken = w.iter().enumerate().filter(|(_, w)| !w.is_finite());
        broken.map(|(index, _)| layout.channel_of(index)).min()
    })
}

/// The groups of a convolution; another layer is one.
pub(super) fn groups(layout: &WeightLayout) -> usize {
    if let WeightLayout::Conv(spec) = layout { spec.groups } else { 1 }
}

/// A float weight: the parameters of all ranks, seen as one.
pub(crate) trait WeightParam<B: Backend>: Module<B> {
    /// The number of its axes.
    const RANK: usize;

    /// Its identity, by which tied layers are recognised.
    fn id(&self) -> ParamId;

    /// The device where the values are or will be.
    fn lazy_device(&self) -> B::Device;

    /// The shape that it has.
    fn shape(&self) -> Vec<usize>;

    /// The float type of the values, which it reads.
    fn dtype(&self) -> DType;

    /// A number that tells its memory from others: none if it has no values yet, or nobody can see where they are.
    fn copy(&self) -> Option<usize>;

    /// Its INT8 form, for inputs that were not seen.
    fn quantize(&self, layout: WeightLayout, scheme: LayerScheme) -> Result<Int8Weight<B>, NotFinite> {
        self.quantize_seen(layout, scheme, &[])
    }

    /// Its INT8 form, given the largest magnitude that was seen of each input.
    fn quantize_seen(
        &self,
        layout: WeightLayout,
        scheme: LayerScheme,
        inputs: &[f32],
    ) -> Result<Int8Weight<B>, NotFinite>;

    /// The first output channel with a value that is NaN or infinite.
    fn non_finite_channel(&self, layout: &WeightLayout) -> Option<usize>;

    /// Zeros, made when they are read.
    fn zeros(layout: &WeightLayout, device: &B::Device) -> Self;

    /// The floats that the integers stand for, computed when they are read.
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

    fn dtype(&self) -> DType {
        self.val().dtype()
    }

    fn copy(&self) -> Option<usize> {
        self.is_initialized().then(|| address(self.val())).flatten()
    }

    fn quantize_seen(
        &self,
        layout: WeightLayout,
        scheme: LayerScheme,
        inputs: &[f32],
    ) -> Result<Int8Weight<B>, NotFinite> {
        Int8Weight::of_tensor(self.val(), self.id, layout, scheme, inputs)
    }

    fn non_finite_channel(&self, layout: &WeightLayout) -> Option<usize> {
        non_finite_channel(self.val(), layout)
    }

    fn zeros(layout: &WeightLayout, device: &B::Device) -> Self {
        Initializer::Zeros.init(layout.shape(), device)
    }

    fn dequantized(int8: &Int8Weight<B>) -> Self {
        let Int8Weight { id, ref weights, ref device, .. } = *int8;
        let shape = Shape::from(weights.layout().shape());
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
