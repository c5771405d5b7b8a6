//! Quantizing the parameters of Burn's own layers, for callers who know of their backend only that it is one.

use burn::module::ParamId;
use burn::prelude::*;
use burn::tensor::ops::{FloatTensor, QuantizedTensor};
use burn::tensor::{TensorMetadata, TensorPrimitive};
use burn_int8_kernels::{NotFinite, WeightLayout};

use super::int8::{Int8, NAME};
use super::observed::ObservedWeight;
use super::quantized::Int8QTensor;
use super::tensor::Int8Tensor;
use super::weight::{StockWeight, WeightView};
use crate::config::LayerScheme;
use crate::nn::observe::Observation;
use crate::nn::walk::Int8Facts;
use crate::nn::weight::{Int8Weight, non_finite_channel};

/// The weight of a layer of Burn's, but for its values.
#[derive(Clone, Copy)]
pub(crate) struct Weight {
    pub(crate) id: ParamId,
    /// The kind of its layer, such as `Linear`.
    pub(crate) kind: &'static str,
    pub(crate) layout: WeightLayout,
}

/// A backend whose parameters can be INT8.
pub(crate) trait StockBackend<B: Backend>: Send {
    /// The facts about a parameter that is INT8; none if it is float.
    fn facts(&self, tensor: &TensorPrimitive<B>) -> Option<Int8Facts>;

    /// The INT8 form of a float parameter, and its scheme, given the largest magnitude that was seen of each input.
    fn quantize(
        &self,
        tensor: TensorPrimitive<B>,
        weight: Weight,
        scheme: LayerScheme,
        inputs: &[f32],
    ) -> Result<(FloatTensor<B>, LayerScheme), NotFinite>;

    /// A float parameter as one that is observed.
    fn observed(
        &self,
        tensor: TensorPrimitive<B>,
        weight: Weight,
        observation: &Observation,
    ) -> FloatTensor<B>;

    /// The first output channel of a float parameter with a value that is NaN or infinite.
    fn non_finite_channel(&self, tensor: TensorPrimitive<B>, layout: &WeightLayout) -> Option<usize>;

    /// Says whether two INT8 parameters hold the same integers, perhaps in two copies.
    fn are_equal(&self, one: &TensorPrimitive<B>, other: &TensorPrimitive<B>) -> bool;

    /// The parameter as Burn's recorders are to write it: an INT8 one as what they call quantized.
    fn saved(&self, tensor: TensorPrimitive<B>) -> Result<QuantizedTensor<B>, TensorPrimitive<B>>;
}

/// The question to a backend whether its parameters can be INT8. It travels as the input of a method of Burn's that hands its
/// input on, and [`Int8`] alone recognises it.
pub(super) struct Question<B: Backend>(pub(super) Option<Box<dyn StockBackend<B>>>);

/// The way to the INT8 parameters of `B`, if it is [`Int8`] of some backend.
pub(crate) fn stock_backend<B: Backend>(device: &B::Device) -> Option<Box<dyn StockBackend<B>>> {
    if !B::name(device).starts_with(NAME) {
        return None;
    }
    B::memory_persistent_allocations(device, Question(None), |question: Question<B>| question.0)
}

/// The answer of [`Int8`].
pub(super) struct Answer;

impl<B: Backend> StockBackend<Int8<B>> for Answer {
    fn facts(&self, tensor: &TensorPrimitive<Int8<B>>) -> Option<Int8Facts> {
        let weight = &weight_of(tensor)?.weight;
        let (memory_bytes, copy) = weight.memory();
        Some(weight.read(|int8| Int8Facts {
            kind: weight.kind,
            shape: int8.weights.layout().shape(),
            scheme: int8.scheme,
            sqnr_db: int8.sqnr_db,
            kernel: int8.weights.kernel(),
            float_bytes: int8.weights.layout().len() * size_of::<f32>(),
            int8_bytes: int8.saved_bytes(),
            memory_bytes,
            copy,
            float_reads: weight.float_reads(),
        }))
    }

    fn quantize(
        &self,
        tensor: TensorPrimitive<Int8<B>>,
        weight: Weight,
        scheme: LayerScheme,
        inputs: &[f32],
    ) -> Result<(FloatTensor<Int8<B>>, LayerScheme), NotFinite> {
        let tensor = tensor.tensor();
        let dtype = tensor.dtype();
        let int8 = int8_weight(&tensor.into_float(), weight, scheme, inputs)?;
        let made = int8.scheme;
        Ok((Int8Tensor::weight(WeightView::new(StockWeight::new(weight.kind, dtype, scheme, int8))), made))
    }

    fn observed(
        &self,
        tensor: TensorPrimitive<Int8<B>>,
        weight: Weight,
        observation: &Observation,
    ) -> FloatTensor<Int8<B>> {
        let float = tensor.tensor().into_float();
        let int8 = |scheme| int8_weight(&float, weight, scheme, &observation.inputs).ok();
        let Weight { kind, layout, .. } = weight;
        Int8Tensor::observed(ObservedWeight::new(float.clone(), kind, layout, observation, int8))
    }

    fn non_finite_channel(&self, tensor: TensorPrimitive<Int8<B>>, layout: &WeightLayout) -> Option<usize> {
        // Of the inner backend: its kernels know how the values lie in memory.
        let tensor = TensorPrimitive::Float(tensor.tensor().into_float());
        non_finite_channel(Tensor::<B, 1>::from_primitive(tensor), layout)
    }

    fn are_equal(&self, one: &TensorPrimitive<Int8<B>>, other: &TensorPrimitive<Int8<B>>) -> bool {
        match (weight_of(one), weight_of(other)) {
            (Some(one), Some(other)) if one.swapped == other.swapped => one.weight.equals(&other.weight),
            _ => false,
        }
    }

    fn saved(
        &self,
        tensor: TensorPrimitive<Int8<B>>,
    ) -> Result<QuantizedTensor<Int8<B>>, TensorPrimitive<Int8<B>>> {
        match tensor {
            TensorPrimitive::Float(tensor) if tensor.as_weight().is_some() => Ok(Int8QTensor::Float(tensor)),
            TensorPrimitive::QFloat(tensor) => Ok(tensor),
            float => Err(float),
        }
    }
}

fn int8_weight<B: Backend>(
    float: &FloatTensor<B>,
    weight: Weight,
    scheme: LayerScheme,
    inputs: &[f32],
) -> Result<Int8Weight<B>, NotFinite> {
    // The rank is that of a tensor for the type system only: the layout has the true one.
    let tensor = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(float.clone()));
    Int8Weight::of_tensor(tensor, weight.id, weight.layout, scheme, inputs)
}

fn weight_of<B: Backend>(tensor: &TensorPrimitive<Int8<B>>) -> Option<&WeightView<B>> {
    match tensor {
        TensorPrimitive::Float(tensor) | TensorPrimitive::QFloat(Int8QTensor::Float(tensor)) => {
            tensor.as_weight()
        }
        TensorPrimitive::QFloat(Int8QTensor::Burns(_)) => None,
    }
}
