//! A float model runs on the inputs of a user, and each layer adds up the error that INT8 would make.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn_int8_kernels::WeightLayout;

use super::inspect::{FoundState, LayerCollector};
use super::plan::{Plan, PlannedLayer, Rules};
use super::sensitivity::{InputRange, LayerSensitivity, SchemeError, Sensitivity};
use super::swap::PlanRule;
use crate::config::{Int8Config, LayerScheme, QuantMode, Rotation, Smoothing};
use crate::distortion::Distortion;
use crate::error::Int8Error;
use crate::nn::observe::Observation;
use crate::nn::walk::{Decision, QuantizeMapper};

pub(super) fn sensitivity<B: Backend, M: Module<B>>(
    model: &M,
    config: &Int8Config,
    run: impl FnOnce(&M),
) -> Result<Sensitivity, Int8Error> {
    let plan = Plan::new(&Rules::new(config, None)?, LayerCollector::weights_of(model))?;
    let observed = Observed::new(model, &plan, alternatives);
    run(&observed.model);
    observed.sensitivity(&plan)
}

/// A copy of a model, which shares its tensors, with the layers of a plan observed.
pub(super) struct Observed<M> {
    pub(super) model: M,
    /// The observations with the index of their layer in the plan.
    observations: Vec<(usize, Observation)>,
}

impl<M> Observed<M> {
    /// `schemes` says what is tried on a layer, given its scheme.
    pub(super) fn new<B: Backend>(
        model: &M,
        plan: &Plan,
        schemes: impl Fn(LayerScheme, &PlannedLayer) -> Vec<LayerScheme>,
    ) -> Self
    where
        M: Module<B>,
    {
        model.visit(&mut ReadParameters);
        let mut observations = Vec::new();
        let rule = PlanRule::new(plan, |index, scheme| {
            let layer = &plan.layers[index];
            let observation = Observation::new(schemes(scheme, layer), layer.inputs.clone(), layer.layout());
            observations.push((index, observation.clone()));
            Decision::Observe(observation)
        });
        Self { model: model.clone().map(&mut QuantizeMapper::following(rule)), observations }
    }

    /// The indices in the plan of the layers that are observed.
    pub(super) fn layers(&self) -> Vec<usize> {
        self.observations.iter().map(|(index, _)| *index).collect()
    }

    /// The sums up to now.
    ///
    /// # Errors
    ///
    /// [`Int8Error::NothingObserved`].
    pub(super) fn sensitivity(&self, plan: &Plan) -> Result<Sensitivity, Int8Error> {
        let layers =
            self.observations.iter().map(|(index, observation)| row(&plan.layers[*index], observation));
        let layers: Vec<_> = layers.collect();
        if layers.iter().all(|layer| layer.outputs == 0) {
            let layers = layers.into_iter().map(|layer| layer.path).collect();
            return Err(Int8Error::NothingObserved { layers });
        }
        Ok(Sensitivity { layers })
    }

    /// Puts the largest magnitudes that were seen into the plan.
    ///
    /// # Errors
    ///
    /// [`Int8Error::NothingObserved`].
    pub(super) fn put_inputs(&self, plan: &mut Plan) -> Result<(), Int8Error> {
        let mut seen = false;
        for (index, observation) in &self.observations {
            let statistics = observation.statistics();
            seen |= statistics.calls > 0;
            plan.layers[*index].inputs = statistics.input.channels.into();
        }
        let path = |index: &usize| plan.layers[*index].found.info.path.clone();
        let layers = || self.observations.iter().map(|(index, _)| path(index)).collect();
        if seen { Ok(()) } else { Err(Int8Error::NothingObserved { layers: layers() }) }
    }
}

/// No scheme: the inputs alone are of interest.
pub(super) fn no_scheme(_: LayerScheme, _: &PlannedLayer) -> Vec<LayerScheme> {
    Vec::new()
}

/// The schemes that are tried on a layer: that of the configuration, then others from the fastest to the most accurate. It is
/// smoothed where inputs were seen before.
pub(super) fn alternatives(scheme: LayerScheme, layer: &PlannedLayer) -> Vec<LayerScheme> {
    let FoundState::Float { layout, .. } = &layer.found.state else { return Vec::new() };
    let rotation = |rotation| scheme.with_rotation(rotation);
    let weight_only = rotation(Rotation::Auto).with_mode(QuantMode::WeightOnly);
    let smoothed = rotation(Rotation::Auto).with_smoothing(Smoothing::Percent(50));
    let unsmoothed = [scheme, rotation(Rotation::None), rotation(Rotation::Auto)];
    let smoothed = (!layer.inputs.is_empty()).then_some(smoothed);
    distinct(unsmoothed.into_iter().chain(smoothed).chain([weight_only]), layout)
}

/// The schemes as they are for a layer of this layout, each once.
pub(super) fn distinct(
    schemes: impl Iterator<Item = LayerScheme>,
    layout: &WeightLayout,
) -> Vec<LayerScheme> {
    let mut distinct = Vec::new();
    for scheme in schemes.map(|scheme| scheme.for_layer(layout)) {
        if !distinct.contains(&scheme) {
            distinct.push(scheme);
        }
    }
    distinct
}

fn row(layer: &PlannedLayer, observation: &Observation) -> LayerSensitivity {
    let (info, statistics) = (&layer.found.info, observation.statistics());
    let outputs = statistics.errors.first().map_or(0, |sums| sums.values);
    let errors = statistics.errors.iter().map(|sums| sums.distortion());
    let int8 = observation.schemes.iter().map(|scheme| Some(*scheme)).zip(errors);
    let float = (None, (outputs > 0).then_some(Distortion::Zero));
    let schemes = int8.chain([float]);
    LayerSensitivity {
        path: info.path.clone(),
        kind: info.kind.into(),
        shape: info.shape.clone(),
        calls: statistics.calls,
        outputs,
        input: InputRange::new(&statistics.input),
        schemes: schemes.map(|(scheme, distortion)| SchemeError { scheme, distortion }).collect(),
    }
}

/// Reads every parameter, so that a copy of the model has the same: Burn draws the values of a parameter when it is first read.
struct ReadParameters;

impl<B: Backend> ModuleVisitor<B> for ReadParameters {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        param.val();
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<B, D, Int>>) {
        param.val();
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<B, D, Bool>>) {
        param.val();
    }
}
