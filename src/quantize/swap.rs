//! Carries out a plan on a model whose weights are there.

use std::collections::{HashMap, VecDeque};

use burn::module::Module;
use burn::prelude::*;

use super::inspect::{FoundState, LayerCollector};
use super::plan::{Plan, Rules};
use super::report::Report;
use crate::config::{Int8Config, LayerScheme};
use crate::error::{Int8Error, QuantizeError};
use crate::nn::walk::{Decision, LayerRule, QuantizeMapper};
use crate::outcome::{LayerInfo, SkipReason};

pub(super) fn quantize<B: Backend, M: Module<B>>(
    model: M,
    rules: Result<Rules, Int8Error>,
) -> Result<(M, Report), QuantizeError<M>> {
    let plan = match rules.and_then(|rules| Plan::new(&rules, LayerCollector::weights_of(&model))) {
        Ok(plan) => plan,
        Err(error) => return Err(QuantizeError::new(error, model)),
    };
    Ok(carry_out(model, &plan))
}

/// The model as `plan` has it, and the report.
pub(super) fn carry_out<B: Backend, M: Module<B>>(model: M, plan: &Plan) -> (M, Report) {
    let (model, mapper) = map(model, plan);
    let report = Report::of_swap(plan, mapper.outcomes(), &LayerCollector::shapes_of(&model));
    (model, report)
}

/// The model as `plan` has it, and the mapper that has passed through it.
pub(super) fn map<B: Backend, M: Module<B>>(model: M, plan: &Plan) -> (M, QuantizeMapper) {
    let quantize = |index: usize, scheme| Decision::Quantize(plan.layers[index].how_to_quantize(scheme));
    let mut mapper = QuantizeMapper::following(PlanRule::new(plan, quantize));
    (model.map(&mut mapper), mapper)
}

impl QuantizeMapper {
    /// A mapper that follows `config`.
    ///
    /// # Errors
    ///
    /// [`Int8Error::InvalidPattern`].
    pub fn new(config: &Int8Config) -> Result<Self, Int8Error> {
        Rules::new(config, None).map(Self::following)
    }
}

/// Rules decide about each layer when it is met: what a mapper follows that nobody has made a plan for.
impl LayerRule for Rules {
    fn decide(&mut self, layer: &LayerInfo) -> Decision {
        match Rules::decide(self, layer) {
            Ok(scheme) => Decision::Quantize(scheme.into()),
            Err(reason) => Decision::Skip(reason),
        }
    }
}

/// The decisions of a plan by the path of their layer; where several layers have one path, in the order of the model.
pub(super) struct PlanRule {
    decisions: HashMap<String, VecDeque<Decision>>,
}

impl PlanRule {
    /// Follows `plan`; `swap` says how the layer with an index gets its integers.
    pub(super) fn new(plan: &Plan, mut swap: impl FnMut(usize, LayerScheme) -> Decision) -> Self {
        let mut decisions = HashMap::<String, VecDeque<Decision>>::new();
        for (index, layer) in plan.layers.iter().enumerate() {
            let FoundState::Float { .. } = layer.found.state else { continue };
            let decision = match &layer.decision {
                Ok(scheme) => swap(index, *scheme),
                Err(reason) => Decision::Skip(reason.clone()),
            };
            decisions.entry(layer.found.info.path.clone()).or_default().push_back(decision);
        }
        Self { decisions }
    }
}

impl LayerRule for PlanRule {
    fn decide(&mut self, layer: &LayerInfo) -> Decision {
        let planned = self.decisions.get_mut(&layer.path).and_then(VecDeque::pop_front);
        // A module that hides a layer from visitors and shows it to mappers has not been asked about it.
        planned.unwrap_or(Decision::Skip(SkipReason::NotAsked))
    }

    fn was_loaded(&mut self, layer: &LayerInfo) -> bool {
        let Some(planned) = self.decisions.get_mut(&layer.path) else { return false };
        let was_loaded = matches!(planned.front(), Some(Decision::Loaded));
        if was_loaded {
            planned.pop_front();
        }
        was_loaded
    }
}
