//! The INT8 weight of a layer with its identity and its scheme: what all INT8 layers have in common.

use burn::module::ParamId;
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use crate::backend::Weights;
use crate::error::Int8Error;
use crate::kernel::Form;
use crate::record::WeightState;
use crate::scheme::LayerScheme;

/// A matrix `[k, n]`: integers, one scale for each of `n` output channels, and how they came to be.
#[derive(Clone, Debug)]
pub(crate) struct Int8Weight<B: Backend> {
    pub(crate) id: ParamId,
    pub(crate) weights: Weights<B>,
    pub(crate) scheme: LayerScheme,
    pub(crate) sqnr_db: Option<f32>,
    pub(crate) device: B::Device,
}

impl<B: Backend> Int8Weight<B> {
    /// Quantizes `weight`.
    pub(crate) fn quantize(
        id: ParamId,
        weight: Tensor<B, 2>,
        form: Form,
        scheme: LayerScheme,
    ) -> Result<Self, Int8Error> {
        let device = weight.device();
        let (weights, fidelity) = Weights::quantize(weight, form, scheme)
            .map_err(|error| Int8Error::NonFiniteWeight { path: String::new(), channel: error.channel })?;
        Ok(Self { id, weights, scheme, sqnr_db: fidelity.sqnr_db(), device })
    }

    /// All zeros, to load a record into.
    pub(crate) fn zeros(form: Form, scheme: LayerScheme, device: &B::Device) -> Self {
        let (integers, scales) = (vec![0; form.len()], vec![1.0; form.channels()]);
        let weights = Weights::from_integers(&integers, &scales, form, device);
        Self { id: ParamId::new(), weights, scheme, sqnr_db: None, device: device.clone() }
    }

    pub(crate) fn from_state(state: WeightState, device: &B::Device) -> Self {
        let WeightState { id, integers, shape, scales, scheme, sqnr_db } = state;
        let form = Form::Linear(shape);
        let weights = Weights::from_integers(&integers, &scales, form, device);
        Self { id, weights, scheme, sqnr_db, device: device.clone() }
    }

    pub(crate) fn into_state(self) -> WeightState {
        let Self { id, scheme, sqnr_db, .. } = self;
        let Form::Linear(shape) = self.weights.form() else { unreachable!() };
        let (integers, scales) = (self.weights.to_integers(), self.weights.scales());
        WeightState { id, integers, shape, scales, scheme, sqnr_db }
    }

    pub(crate) fn dequantize(&self) -> Tensor<B, 2> {
        self.weights.dequantize(&self.device)
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
