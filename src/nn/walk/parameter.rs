//! A float parameter that no layer of this crate has told about: what it is, and its INT8 form where the backend has one.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use burn_int8_kernels::{NotFinite, WeightLayout};

use super::facts::{FloatBytes, Int8Facts};
use crate::backend::{Weight, stock_backend};
use crate::config::LayerScheme;
use crate::nn::observe::Observation;
use crate::nn::record::{PARAMETER, saved_kind};
use crate::nn::weight::{WeightParam, is_transposed};
use crate::outcome::SkipReason;

/// A float parameter, for walkers, who do not know its backend.
pub(crate) trait FloatParameter {
    /// The shape of its value, for a layer of this kind.
    fn shape_in(&self, kind: &str) -> Vec<usize>;

    /// Its size.
    fn bytes(&self) -> FloatBytes;

    /// A number that tells its memory from others, where that can be seen.
    fn copy(&self) -> Option<usize>;

    /// Its state as the weight of a layer of Burn's.
    fn state(&self) -> ParameterState;

    /// The first output channel with a value that is NaN or infinite.
    fn non_finite_channel(&self, layout: &WeightLayout) -> Option<usize>;
}

/// The state of a parameter that is the weight of a layer of Burn's.
pub(crate) enum ParameterState {
    /// Its backend has no INT8 parameters.
    Fixed,
    /// It can become INT8.
    Float,
    /// It is.
    Int8(Int8Facts),
}

impl<B: Backend, const D: usize> FloatParameter for Param<Tensor<B, D>> {
    /// Until it is initialised, a transposed weight has the shape that it is saved in.
    fn shape_in(&self, kind: &str) -> Vec<usize> {
        let mut shape = self.lazy_shape().to_vec();
        if kind == "Linear" && D == 2 && !self.is_initialized() && is_transposed(self) {
            shape.reverse();
        }
        shape
    }

    fn bytes(&self) -> FloatBytes {
        FloatBytes::of(self)
    }

    fn copy(&self) -> Option<usize> {
        WeightParam::copy(self)
    }

    fn state(&self) -> ParameterState {
        match stock_backend::<B>(&self.lazy_device()) {
            None => ParameterState::Fixed,
            Some(_) if !self.is_initialized() => ParameterState::Float,
            Some(backend) => match backend.facts(&self.val().into_primitive()) {
                Some(facts) => ParameterState::Int8(facts),
                None => ParameterState::Float,
            },
        }
    }

    fn non_finite_channel(&self, layout: &WeightLayout) -> Option<usize> {
        match stock_backend::<B>(&self.lazy_device()) {
            Some(backend) => backend.non_finite_channel(self.val().into_primitive(), layout),
            None => WeightParam::non_finite_channel(self, layout),
        }
    }
}

/// The shape of a parameter of the model's own if a product may read it, and it can be INT8 or is.
pub(crate) fn shape_of_product(parameter: &dyn FloatParameter) -> Option<Vec<usize>> {
    let shape = parameter.shape_in(PARAMETER);
    let is_matrix = shape.len() == 2 && shape.iter().all(|size| *size > 1);
    (is_matrix && !matches!(parameter.state(), ParameterState::Fixed)).then_some(shape)
}

/// The parameter in INT8, frozen, and its scheme, or as it was, and why, given the largest magnitude that was seen of each input.
/// Recorders write it as integers.
pub(crate) fn quantize_parameter<B: Backend, const D: usize>(
    param: Param<Tensor<B, D>>,
    kind: &'static str,
    layout: WeightLayout,
    scheme: LayerScheme,
    inputs: &[f32],
) -> (Param<Tensor<B, D>>, Result<LayerScheme, SkipReason>) {
    let Some(backend) = stock_backend::<B>(&param.lazy_device()) else {
        return (param, Err(SkipReason::BurnsLayer { kind: kind.into() }));
    };
    let weight = Weight { id: param.id, kind: saved_kind(kind), layout };
    match backend.quantize(param.val().into_primitive(), weight, scheme, inputs) {
        Ok((tensor, scheme)) => {
            let value = Tensor::from_primitive(TensorPrimitive::Float(tensor));
            (replaced(param, value), Ok(scheme))
        }
        Err(NotFinite { channel }) => (param, Err(SkipReason::NonFiniteWeight { channel })),
    }
}

/// The parameter as one that stays float and is observed.
pub(crate) fn observe_parameter<B: Backend, const D: usize>(
    param: Param<Tensor<B, D>>,
    kind: &'static str,
    layout: WeightLayout,
    observation: &Observation,
) -> Param<Tensor<B, D>> {
    let Some(backend) = stock_backend::<B>(&param.lazy_device()) else { return param };
    let weight = Weight { id: param.id, kind: saved_kind(kind), layout };
    let observed = |value: Tensor<B, D>| {
        let observed = backend.observed(value.into_primitive(), weight, observation);
        Tensor::from_primitive(TensorPrimitive::Float(observed))
    };
    param.map(observed)
}

/// The parameter with the memory of `other` if that holds the same integers.
pub(crate) fn shared_with<B: Backend, const D: usize>(
    param: Param<Tensor<B, D>>,
    other: &Tensor<B, D>,
) -> Param<Tensor<B, D>> {
    let primitives = (param.val().into_primitive(), other.clone().into_primitive());
    match stock_backend::<B>(&param.lazy_device()) {
        Some(backend) if backend.are_equal(&primitives.0, &primitives.1) => param.map(|_| other.clone()),
        _ => param,
    }
}

/// The parameter with the same identity and the way in which it is loaded, but frozen, and saved as what it is.
fn replaced<B: Backend, const D: usize>(
    param: Param<Tensor<B, D>>,
    value: Tensor<B, D>,
) -> Param<Tensor<B, D>> {
    let (id, _, as_loaded) = param.consume();
    let as_saved = as_loaded.clone();
    Param::initialized(id, value)
        .no_grad()
        .load_mapper(move |value| as_loaded.on_load(value))
        .save_mapper(move |value| saved(as_saved.on_save(value)))
}

/// The tensor that a recorder writes.
fn saved<B: Backend, const D: usize>(value: Tensor<B, D>) -> Tensor<B, D> {
    let Some(backend) = stock_backend::<B>(&value.device()) else { return value };
    match backend.saved(value.into_primitive()) {
        Ok(int8) => Tensor::from_primitive(TensorPrimitive::QFloat(int8)),
        Err(float) => Tensor::from_primitive(float),
    }
}
