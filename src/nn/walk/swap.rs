//! The mapper that the layers of this crate recognise: it swaps those that a rule says.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{ModuleMapper, Param, ParamId};
use burn::prelude::*;
use burn_int8_kernels::{NotFinite, WeightLayout};

use super::parameter::{
    FloatParameter, ParameterState, observe_parameter, quantize_parameter, shape_of_product, shared_with,
};
use super::path::{BurnsParameter, ModulePath};
use crate::config::LayerScheme;
use crate::error::Int8Error;
use crate::nn::layer::FloatLayer;
use crate::nn::observe::{Observation, ObservedLayer};
use crate::nn::qlayer::QLayer;
use crate::nn::record::{PARAMETER, layout_of};
use crate::nn::weight::{Int8Weight, WeightParam};
use crate::outcome::{LayerInfo, LayerOutcome, SkipReason};

/// Someone who decides which layers are swapped.
pub(crate) trait LayerRule {
    /// Decides about a float layer; called once for each, in the order of the model.
    fn decide(&mut self, layer: &LayerInfo) -> Decision;

    /// Says whether a layer of Burn's became INT8 while it was loaded; called once for each that is INT8.
    fn was_loaded(&mut self, _layer: &LayerInfo) -> bool {
        false
    }
}

/// The decision about a float layer.
pub(crate) enum Decision {
    /// It is quantized like this.
    Quantize(HowToQuantize),
    /// It gets these integers, an [`Int8Weight`] of its backend that was made of its own weight.
    Take(Box<dyn Any>),
    /// It is Burn's own, and became INT8 while it was loaded.
    Loaded,
    /// It stays as it is.
    Skip(SkipReason),
    /// It stays float and is observed.
    Observe(Observation),
}

/// The way in which a layer is quantized, and what is known of it.
pub(crate) struct HowToQuantize {
    pub(crate) scheme: LayerScheme,
    /// The largest magnitude that was seen of each of its inputs; empty if nobody has looked.
    pub(crate) inputs: Arc<[f32]>,
    /// The layout of its weight, if more is known than a parameter of a layer of Burn's tells.
    pub(crate) layout: Option<WeightLayout>,
}

/// A scheme for a layer of which nothing else is known.
impl From<LayerScheme> for HowToQuantize {
    fn from(scheme: LayerScheme) -> Self {
        Self { scheme, inputs: Arc::default(), layout: None }
    }
}

/// A layer after the mapper has passed.
#[allow(clippy::large_enum_variant, reason = "Burn's layers are as large, which the lint does not see")]
pub(crate) enum Swapped<L: FloatLayer> {
    Float(L),
    Int8(QLayer<L>),
    Observed(Box<ObservedLayer<L>>),
}

/// The [`ModuleMapper`] behind [`Quantize::quantize`](crate::Quantize::quantize).
///
/// [`Quantize::quantize`](crate::Quantize::quantize) checks everything before it changes anything. Used directly, the mapper
/// decides layer by layer, goes on where a layer can't be quantized, and writes down what it did: look at
/// [`outcomes`](Self::outcomes) or [`error`](Self::error) afterwards.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, module::Module};
/// use burn_int8::{QuantizeMapper, nn::LinearConfig, prelude::*};
///
/// let layer = LinearConfig::new(4, 4).init::<NdArray>(&Default::default());
/// let mut mapper = QuantizeMapper::new(&Int8Config::new())?;
/// let layer = layer.map(&mut mapper);
/// assert!(layer.is_int8());
/// assert_eq!(mapper.outcomes()[0].result, Ok(layer.as_int8().unwrap().scheme()));
/// assert_eq!(mapper.error(), None);
/// # Ok::<(), Int8Error>(())
/// ```
pub struct QuantizeMapper {
    rule: Box<dyn LayerRule>,
    path: ModulePath,
    outcomes: Vec<LayerOutcome>,
    /// INT8 layers by the identity of their weight and by their type, so that tied layers go on sharing one copy.
    seen: HashMap<(ParamId, TypeId), Box<dyn Any>>,
}

impl QuantizeMapper {
    /// Follows a rule.
    pub(crate) fn following(rule: impl LayerRule + 'static) -> Self {
        Self { rule: Box::new(rule), path: ModulePath::default(), outcomes: Vec::new(), seen: HashMap::new() }
    }

    /// The outcome for each layer that it met, in order: also of those that can't be swapped, because they are INT8 already
    /// or Burn's own.
    pub fn outcomes(&self) -> &[LayerOutcome] {
        &self.outcomes
    }

    /// The first error: a layer that should have been quantized and stayed float, because its weights are not finite.
    pub fn error(&self) -> Option<Int8Error> {
        self.outcomes.iter().find_map(LayerOutcome::error)
    }

    /// Decides about the float layer at the current path. A layer that is observed has no outcome yet.
    pub(crate) fn swap<L: FloatLayer>(&mut self, float: L) -> Swapped<L> {
        let shape = L::layout(&float.options()).shape();
        let layer = LayerInfo { path: self.path.module(), kind: L::KIND, shape };
        let int8 = match self.rule.decide(&layer) {
            Decision::Quantize(how) => QLayer::quantized_seen(&float, how.scheme, &how.inputs)
                .map_err(|NotFinite { channel }| SkipReason::NonFiniteWeight { channel }),
            // A weight of another backend would be none of this layer's.
            Decision::Take(weight) => match weight.downcast::<Int8Weight<L::Backend>>() {
                Ok(weight) => Ok(QLayer::with_weight(&float, *weight)),
                Err(_) => Err(SkipReason::NoWeights),
            },
            Decision::Skip(reason) => Err(reason),
            Decision::Loaded => Err(SkipReason::AlreadyInt8),
            Decision::Observe(observation) => {
                return Swapped::Observed(Box::new(ObservedLayer::new(float, observation)));
            }
        };
        let result = int8.as_ref().map(QLayer::scheme).map_err(Clone::clone);
        self.outcomes.push(LayerOutcome { layer, result });
        match int8 {
            Ok(int8) => Swapped::Int8(self.tie(float.weight().id(), int8)),
            Err(_) => Swapped::Float(float),
        }
    }

    /// Decides about the weight of a layer of Burn's, on a backend where it can be INT8; it has this layout as far as it tells.
    fn swap_parameter<B: Backend, const D: usize>(
        &mut self,
        param: Param<Tensor<B, D>>,
        layer: LayerInfo,
        layout: WeightLayout,
    ) -> Param<Tensor<B, D>> {
        let known = |known: Option<WeightLayout>| {
            known.filter(|known| known.shape() == layer.shape).unwrap_or(layout)
        };
        let (param, result) = match self.rule.decide(&layer) {
            Decision::Quantize(how) => {
                let layout = known(how.layout);
                let (param, result) = quantize_parameter(param, layer.kind, layout, how.scheme, &how.inputs);
                (if result.is_ok() { self.tie_parameter(param) } else { param }, result)
            }
            Decision::Skip(reason) => (param, Err(reason)),
            Decision::Take(_) | Decision::Loaded => (param, Err(SkipReason::NoWeights)),
            Decision::Observe(observation) => {
                let layout = known(observation.layout);
                return observe_parameter(param, layer.kind, layout, &observation);
            }
        };
        self.outcomes.push(LayerOutcome { layer, result });
        param
    }

    /// Passes by a layer that is INT8.
    pub(crate) fn pass_int8(&mut self, kind: &'static str, shape: Vec<usize>) {
        self.pass(self.path.module(), kind, shape, SkipReason::AlreadyInt8);
    }

    fn pass(&mut self, path: String, kind: &'static str, shape: Vec<usize>, reason: SkipReason) {
        self.outcomes.push(LayerOutcome { layer: LayerInfo { path, kind, shape }, result: Err(reason) });
    }

    /// [`tie`](Self::tie) for the weight of a layer of Burn's.
    fn tie_parameter<B: Backend, const D: usize>(
        &mut self,
        param: Param<Tensor<B, D>>,
    ) -> Param<Tensor<B, D>> {
        let id = (param.id, TypeId::of::<Tensor<B, D>>());
        match self.seen.get(&id).and_then(|other| other.downcast_ref::<Tensor<B, D>>()) {
            Some(other) => shared_with(param, other),
            None => {
                self.seen.insert(id, Box::new(param.val()));
                param
            }
        }
    }

    /// Lets layers with the same weight share its memory. An identity alone is no proof: clones may have parted since.
    fn tie<L: FloatLayer>(&mut self, id: ParamId, mut layer: QLayer<L>) -> QLayer<L> {
        let id = (id, TypeId::of::<L>());
        match self.seen.get(&id).and_then(|other| other.downcast_ref::<QLayer<L>>()) {
            Some(other) => layer.share_weights(other),
            None => drop(self.seen.insert(id, Box::new(layer.clone()))),
        }
        layer
    }
}

impl std::fmt::Debug for QuantizeMapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuantizeMapper").field("outcomes", &self.outcomes).finish_non_exhaustive()
    }
}

impl<B: Backend> ModuleMapper<B> for QuantizeMapper {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    /// A parameter of a module that is not ours: the weight of a layer of Burn's own, or one that a product may read, is written down,
    /// and becomes INT8 where its backend allows that.
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (layer, reason) = match self.path.burns_parameter() {
            Some(BurnsParameter::Weight { path, kind, reason }) => {
                (LayerInfo { path, kind, shape: param.shape_in(kind) }, reason)
            }
            Some(BurnsParameter::Bias { .. }) => return param,
            None => match shape_of_product(&param) {
                Some(shape) => {
                    (LayerInfo { path: self.path.module(), kind: PARAMETER, shape }, SkipReason::NoProduct)
                }
                None => return param,
            },
        };
        match (param.state(), layout_of(layer.kind, &layer.shape, 1)) {
            (ParameterState::Float, Some(layout)) => self.swap_parameter(param, layer, layout),
            (ParameterState::Int8(facts), _) => {
                let loaded = self.rule.was_loaded(&layer);
                let result = if loaded { Ok(facts.scheme) } else { Err(SkipReason::AlreadyInt8) };
                self.outcomes.push(LayerOutcome { layer, result });
                if loaded { self.tie_parameter(param) } else { param }
            }
            _ => {
                self.outcomes.push(LayerOutcome { layer, result: Err(reason) });
                param
            }
        }
    }
}
