//! Quantizes a model within a budget.

use burn::module::Module;
use burn::prelude::*;

use super::error::BudgetError;
use super::ladder::{Ladder, float_weights, path, weights};
use super::report::{Attempt, BudgetReport, BudgetSearch, LayerChange};
use super::search::{Search, Trial};
use super::{Bound, Budget, FLOAT_RUNS};
use crate::config::Int8Config;
use crate::error::QuantizeError;
use crate::outcome::SkipReason;
use crate::quantize::inspect::LayerCollector;
use crate::quantize::observe::{Observed, alternatives, no_scheme};
use crate::quantize::plan::{Plan, Rules};
use crate::quantize::sensitivity::Sensitivity;
use crate::quantize::swap;

pub(in crate::quantize) fn quantize_within<B: Backend, M: Module<B>, O>(
    model: M,
    config: &Int8Config,
    budget: &Budget<O>,
    run: impl FnMut(&M) -> O,
) -> Result<(M, BudgetReport), QuantizeError<M, BudgetError>> {
    match search(&model, config, budget, run) {
        Ok((plan, search)) => {
            let (model, report) = swap::carry_out(model, &plan);
            Ok((model, BudgetReport { report, search }))
        }
        Err(error) => Err(QuantizeError::new(error, model)),
    }
}

/// The plan of the best choice within the budget.
fn search<B: Backend, M: Module<B>, O>(
    model: &M,
    config: &Int8Config,
    budget: &Budget<O>,
    mut run: impl FnMut(&M) -> O,
) -> Result<(Plan, BudgetSearch), BudgetError> {
    budget.check()?;
    let mut plan = Plan::new(&Rules::new(config, None)?, LayerCollector::weights_of(model))?;
    let observed = Observed::new(model, &plan, no_scheme);
    run(&observed.model);
    observed.put_inputs(&mut plan)?;
    let (float, sensitivity, layers) = {
        let observed = Observed::new(model, &plan, alternatives);
        let float = (budget.read)(run(&observed.model));
        (float, observed.sensitivity(&plan)?, observed.layers())
    };
    float.check()?;
    let copies: Vec<_> = layers.iter().map(|layer| plan.layers[*layer].found.copy).collect();
    let ladders = Ladder::all(&sensitivity, &copies);
    let choose = |plan: &mut Plan, choice: &[usize]| {
        for ((layer, ladder), rung) in layers.iter().zip(&ladders).zip(choice) {
            plan.layers[*layer].decision = ladder.rungs[*rung].scheme.ok_or(SkipReason::OverBudget);
        }
    };
    let mut search = Search::new(budget.evaluations - FLOAT_RUNS, |choice: &[usize]| {
        choose(&mut plan, choice);
        let (int8, _) = swap::map(model.clone(), &plan);
        let measured = float.compare((budget.read)(run(&int8)))?;
        Ok((measured, budget.bound.allows(&measured)))
    });
    let most_float = (budget.float_share * weights(&ladders) as f64) as usize;
    let (best, is_complete) = search.run(&ladders, &path(&ladders, most_float))?;
    let trials = search.trials;
    let found = describe(budget.bound, &trials, best, is_complete, &ladders, sensitivity);
    if best.is_none() {
        return Err(BudgetError::NotMet(Box::new(found)));
    }
    choose(&mut plan, &trials[found.best].choice);
    Ok((plan, found))
}

/// The trials as data. Where none is within the bound, the best is the nearest to it.
fn describe(
    bound: Bound,
    trials: &[Trial],
    best: Option<usize>,
    is_complete: bool,
    ladders: &[Ladder],
    sensitivity: Sensitivity,
) -> BudgetSearch {
    let quality = |&trial: &usize| bound.quality(&trials[trial].measured);
    let nearest = || (0..trials.len()).max_by(|a, b| quality(a).total_cmp(&quality(b))).unwrap_or(0);
    let attempts = trials.iter().map(|trial| {
        let layers = sensitivity.layers.iter().zip(ladders).zip(&trial.choice).filter(|(_, rung)| **rung > 0);
        let change = layers.map(|((layer, ladder), rung)| LayerChange {
            path: layer.path.clone(),
            scheme: ladder.rungs[*rung].scheme,
        });
        Attempt {
            changes: change.collect(),
            float_share: float_weights(ladders, &trial.choice) as f64 / (weights(ladders) as f64).max(1.0),
            measured: trial.measured,
            within: trial.within,
        }
    });
    let attempts = attempts.collect();
    BudgetSearch { bound, attempts, best: best.unwrap_or_else(nearest), is_complete, sensitivity }
}
