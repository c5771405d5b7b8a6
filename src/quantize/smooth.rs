//! Smooths the inputs of layers by what was seen of them.

use burn::module::Module;
use burn::prelude::*;

use super::inspect::{FoundState, LayerCollector};
use super::observe::{Observed, distinct, no_scheme};
use super::plan::{Plan, PlannedLayer, Rules};
use super::report::Report;
use super::swap::carry_out;
use crate::config::{Int8Config, LayerScheme, Smoothing};
use crate::error::{Int8Error, QuantizeError};

pub(super) fn quantize_smoothed<B: Backend, M: Module<B>>(
    model: M,
    config: &Int8Config,
    smoothing: Smoothing,
    run: impl FnMut(&M),
) -> Result<(M, Report), QuantizeError<M>> {
    match smoothed_plan(&model, config, smoothing, run) {
        Ok(plan) => Ok(carry_out(model, &plan)),
        Err(error) => Err(QuantizeError::new(error, model)),
    }
}

/// The plan of `config`, with what was seen of each input, and the smoothing of each layer.
fn smoothed_plan<B: Backend, M: Module<B>>(
    model: &M,
    config: &Int8Config,
    smoothing: Smoothing,
    mut run: impl FnMut(&M),
) -> Result<Plan, Int8Error> {
    let mut plan = Plan::new(&Rules::new(config, None)?, LayerCollector::weights_of(model))?;
    let observed = Observed::new(model, &plan, no_scheme);
    run(&observed.model);
    observed.put_inputs(&mut plan)?;
    if smoothing != Smoothing::Auto {
        let decisions = plan.layers.iter_mut().flat_map(|layer| &mut layer.decision);
        decisions.for_each(|scheme| *scheme = scheme.with_smoothing(smoothing));
        return Ok(plan);
    }
    let observed = Observed::new(model, &plan, strengths);
    run(&observed.model);
    let sensitivity = observed.sensitivity(&plan)?;
    for (index, layer) in observed.layers().into_iter().zip(sensitivity.layers) {
        let known = layer.schemes.iter().filter_map(|way| Some((way.scheme?, way.distortion?.sqnr_db())));
        // The first of equals is kept: it is the weakest.
        let best = known.reduce(|best, way| if way.1 > best.1 { way } else { best });
        if let Some((scheme, _)) = best {
            plan.layers[index].decision = Ok(scheme);
        }
    }
    Ok(plan)
}

/// The strengths that are tried on a layer, from none; a convolution has no other.
fn strengths(scheme: LayerScheme, layer: &PlannedLayer) -> Vec<LayerScheme> {
    let FoundState::Float { layout, .. } = &layer.found.state else { return Vec::new() };
    let strengths = [25, 50, 75].map(Smoothing::Percent);
    let strengths = [Smoothing::None].into_iter().chain(strengths);
    distinct(strengths.map(|strength| scheme.with_smoothing(strength)), layout)
}
