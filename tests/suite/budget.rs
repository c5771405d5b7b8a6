//! Quantizing within a budget: the least sacrifice is found, and what can't be kept is an error that hands the model back.

mod files;
mod mistakes;

use std::cell::Cell;

use burn::backend::NdArray;
use burn::prelude::*;
use burn_int8::nn::Linear;
use burn_int8::prelude::*;
use burn_int8::{Attempt, BudgetReport, BudgetSearch, Distortion, LayerChange, Measured, SchemeError};

use crate::support::models::{Hostile, Net, burns_linear, floats, on_every_backend, tensor};

type B = NdArray;

fn outputs<B: Backend>(model: &Hostile<B>) -> Tensor<B, 2> {
    model.forward(Hostile::inputs())
}

fn net_outputs(model: &Net<B>) -> Tensor<B, 2> {
    model.forward(tensor([16, 8], 4))
}

fn sqnr_db(float: &[f32], int8: &[f32]) -> f64 {
    Distortion::between(float, int8).expect("values").sqnr_db()
}

fn not_met<M>(error: QuantizeError<M, BudgetError>) -> (BudgetSearch, M) {
    match error.into_parts() {
        (BudgetError::NotMet(search), model) => (*search, model),
        (error, _) => panic!("{error:?}"),
    }
}

fn best(search: &BudgetSearch) -> &Attempt {
    search.best().expect("each search has tried something")
}

fn changes(changes: &[LayerChange]) -> Vec<(&str, Option<QuantMode>)> {
    changes.iter().map(|change| (change.path.as_str(), change.scheme.map(|scheme| scheme.mode))).collect()
}

/// The one layer with outliers is given up, as far as it takes, and no other.
fn the_hostile_layer_alone<B: Backend>() {
    let model = Hostile::<B>::new();
    let float = floats(outputs(&model));
    let runs = Cell::new(0);
    let run = |model: &Hostile<B>| {
        runs.set(runs.get() + 1);
        outputs(model)
    };
    let (int8, BudgetReport { report, search, .. }) =
        model.quantize_within(&Int8Config::keras(), &Budget::sqnr_db(30.0), run).expect("it can be kept");
    let best = best(&search);
    assert_eq!(changes(&best.changes), [("second", Some(QuantMode::WeightOnly))], "{search}");
    assert_eq!((report.int8_layers(), best.float_share, search.is_complete), (3, 0.0, true));
    let scheme = |layer: usize| report.layers[layer].scheme;
    assert_eq!([scheme(0), scheme(2)], [Some(LayerScheme::keras()); 2]);
    assert_eq!(scheme(1), best.changes[0].scheme);
    assert_eq!(runs.get(), 2 + search.attempts.len(), "two of the float model, and each other run is told");
    let measured = Distortion::between(&float, &floats(outputs(&int8))).expect("values");
    assert_eq!(best.measured, Measured::Outputs(measured), "what was carried out is what was measured");
    assert!(best.within && measured.sqnr_db() >= 30.0);
    assert!(!search.attempts[0].within && search.attempts[0].changes.is_empty(), "{search}");
    assert_eq!(search.sensitivity.by_harm()[0].path, "second");
}

on_every_backend! { the_hostile_layer_alone }

/// Where nothing has to be given up, the model is what `quantize` makes.
#[test]
fn a_budget_that_is_kept_at_once() {
    let (expected, report) = Net::<B>::new(1).quantize(&Int8Config::new()).expect("float layers");
    let cosine = Budget::cosine(0.5);
    let (int8, within) =
        Net::<B>::new(1).quantize_within(&Int8Config::new(), &cosine, net_outputs).expect("kept");
    assert_eq!(floats(net_outputs(&int8)), floats(net_outputs(&expected)));
    assert_eq!(within.report, report);
    assert_eq!((within.search.attempts.len(), within.search.best), (1, 0));
    let text = within.to_string();
    assert!(
        text.contains("every layer as configured") && text.contains("a cosine of at least 0.5"),
        "{text}"
    );
}

/// A single layer, whose error is that of the model: each bound is kept by the first of its schemes that is good enough.
#[test]
fn the_least_rung_that_does() {
    let layer = || -> Linear<B> { burns_linear(64, 8, true, 3).into() };
    let x = {
        let mut x = tensor::<B, 2>([16, 64], 1);
        x = x.clone().slice_assign([0..16, 5..6], x.slice([0..16, 5..6]) * 30.0);
        x
    };
    let run = |layer: &Linear<B>| layer.forward(x.clone());
    let config = Int8Config::keras();
    let any = Budget::sqnr_db(-100.0);
    let (_, report) = layer().quantize_within(&config, &any, run).expect("it is kept at once");
    let rungs = rungs(&report.search.sensitivity, "");
    let schemes: Vec<_> = rungs.iter().filter_map(|error| error.scheme).collect();
    let rotations = schemes.iter().filter(|scheme| scheme.rotation != Rotation::None);
    assert!(schemes.len() >= 3 && rungs.len() == schemes.len() + 1 && rotations.count() > 0, "{rungs:?}");
    let reached: Vec<_> = rungs.iter().map(|error| error.distortion.expect("seen").sqnr_db()).collect();
    for (scheme, reached) in schemes.iter().zip(&reached) {
        let budget = Budget::sqnr_db(reached - 1e-6);
        let (_, report) = layer().quantize_within(&config, &budget, run).expect("it can be kept");
        assert_eq!(report.report.layers[0].scheme, Some(*scheme), "{}", report.search);
    }
    // Only float would do, and a model without an INT8 layer is none.
    let last = schemes.len() - 1;
    let budget = Budget::sqnr_db(reached[last] + 0.5);
    let (search, layer) = not_met(layer().quantize_within(&config, &budget, run).expect_err("INT8 can't"));
    assert_eq!(best(&search).changes[0].scheme, Some(schemes[last]));
    assert!(!layer.is_int8() && search.is_complete);
}

/// The ways to treat a layer of which each is better than all that are cheaper.
fn rungs(sensitivity: &Sensitivity, path: &str) -> Vec<SchemeError> {
    let mut rungs: Vec<SchemeError> = Vec::new();
    let sqnr_db = |way: &SchemeError| way.distortion.expect("it was seen").sqnr_db();
    for way in &sensitivity.layer(path).expect("it is listed").schemes {
        if rungs.last().is_none_or(|last| sqnr_db(way) > sqnr_db(last)) {
            rungs.push(*way);
        }
    }
    rungs
}

/// The best choice with this layer one rung lower was tried, and was over the budget.
fn assert_cheaper_is_over(search: &BudgetSearch, change: &LayerChange) {
    let rungs = rungs(&search.sensitivity, &change.path);
    let at = rungs.iter().position(|rung| rung.scheme == change.scheme).expect("a rung");
    let mut cheaper = best(search).changes.clone();
    let place = cheaper.iter().position(|other| other == change).expect("one of the changes");
    match at - 1 {
        0 => drop(cheaper.remove(place)),
        below => cheaper[place].scheme = rungs[below].scheme,
    }
    let tried = search.attempts.iter().find(|attempt| attempt.changes == cheaper);
    assert!(tried.is_some_and(|attempt| !attempt.within), "{}: {search}", change.path);
}

/// Whatever the bound: the result is within it, and nothing of it could be given back.
#[test]
fn nothing_is_sacrificed_in_vain() {
    let config = Int8Config::keras();
    let mut sacrificed = Vec::new();
    for least in [20.0, 40.0, 41.0, 42.0, 44.0, 46.0, 48.0] {
        let model = Net::<B>::new(1);
        let float = floats(net_outputs(&model));
        let budget = Budget::sqnr_db(least).with_evaluations(200);
        let (int8, BudgetReport { search, report, .. }) =
            model.quantize_within(&config, &budget, net_outputs).expect("it can be kept");
        assert!(sqnr_db(&float, &floats(net_outputs(&int8))) >= least && search.is_complete, "{search}");
        let best = best(&search);
        sacrificed.push(best.changes.len());
        assert_eq!(report.int8_layers(), 7 - best.changes.iter().filter(|c| c.scheme.is_none()).count());
        for change in &best.changes {
            if change.scheme.is_none() {
                let skipped = &report.layer(&change.path).expect("it is listed").skipped;
                assert_eq!(*skipped, Some(SkipReason::OverBudget));
            }
            assert_cheaper_is_over(&search, change);
        }
    }
    assert_eq!(sacrificed[0], 0);
    assert!(sacrificed[1] > 0 && sacrificed[6] > sacrificed[1], "{sacrificed:?}");
}

/// A budget that no INT8 model keeps: the error has the nearest that was found, and the model as it was.
#[test]
fn a_budget_nobody_can_meet() {
    let model = Hostile::<B>::new();
    let float = floats(outputs(&model));
    let config = Int8Config::keras();
    let error = model.quantize_within(&config, &Budget::sqnr_db(300.0), outputs).expect_err("no model can");
    let text = error.to_string();
    assert!(
        text.contains("an SQNR of at least 300 dB") && text.contains("let more weights stay float"),
        "{text}"
    );
    assert!(std::error::Error::source(&error).is_some());
    let (search, model) = not_met(error);
    assert_eq!(floats(outputs(&model)), float);
    let layers = [&model.first, &model.second, &model.third];
    assert!(layers.into_iter().all(|layer| !layer.is_int8()));
    let best = best(&search);
    let Measured::Outputs(measured) = best.measured else { panic!("{search}") };
    assert!(search.is_complete && !best.within && search.attempts.iter().all(|attempt| !attempt.within));
    assert!(measured.sqnr_db() > 40.0 && measured.sqnr_db() < f64::INFINITY, "{search}");
    // The rule of the best makes the model that was measured.
    let (int8, _) = model.quantize_with(&config, best.rule(&config)).expect("float layers");
    assert_eq!(sqnr_db(&float, &floats(outputs(&int8))), measured.sqnr_db());
    let json = serde_json::to_string(&search).expect("data");
    let read: BudgetSearch = serde_json::from_str(&json).expect("its own text");
    assert_eq!((read.to_string(), read.best), (search.to_string(), search.best));
}

/// A share of float weights: the worst layers that fit into it are left float, and never all.
#[test]
fn no_more_weights_are_float_than_the_share() {
    let weights = |share: f64| (share * f64::from(32 * 32 + 32 * 32 + 32 * 8)).round();
    for (share, expected) in [
        (0.0, [0.0; 2]),
        (0.12, [0.0, 256.0]),
        (0.5, [0.0, 256.0]),
        (0.6, [0.0, 1280.0]),
        (1.0, [0.0, 1280.0]),
    ] {
        let budget = Budget::sqnr_db(300.0).with_float_share(share);
        let error = Hostile::<B>::new().quantize_within(&Int8Config::keras(), &budget, outputs);
        let (search, _) = not_met(error.expect_err("no model can"));
        let shares: Vec<_> = search.attempts.iter().map(|attempt| weights(attempt.float_share)).collect();
        assert_eq!(shares, expected, "{search}");
    }
    // `second` alone may stay float, which is more than this bound needs.
    let budget = Budget::sqnr_db(30.0).with_float_share(0.5);
    let (_, report) =
        Hostile::<B>::new().quantize_within(&Int8Config::keras(), &budget, outputs).expect("kept");
    assert_eq!(best(&report.search).float_share, 0.0, "{}", report.search);
}

/// The weights of tied layers are counted once: one that is left float leaves all of them float.
#[test]
fn weights_of_tied_layers_are_one_share() {
    let layer = burns_linear::<B>(32, 32, true, 1);
    let run = |model: &Vec<Linear<B>>| model.iter().fold(tensor([4, 32], 2), |x, layer| layer.forward(x));
    for (share, expected) in [(1.0, 1.0), (0.9, 0.0)] {
        let model: Vec<Linear<B>> = vec![layer.clone().into(), layer.clone().into()];
        let budget = Budget::sqnr_db(300.0).with_float_share(share);
        let (search, _) =
            not_met(model.quantize_within(&Int8Config::keras(), &budget, run).expect_err("no model can"));
        assert_eq!(search.sensitivity.layers.len(), 2, "each has inputs of its own");
        let shares = search.attempts.iter().map(|attempt| attempt.float_share);
        assert_eq!(shares.reduce(f64::max), Some(expected), "{search}");
    }
}

/// However few the runs, there are no more, and the answer is the best so far.
#[test]
fn evaluations_are_counted() {
    let config = Int8Config::keras();
    let mut met = Vec::new();
    for evaluations in 3..15 {
        let runs = Cell::new(0);
        let run = |model: &Net<B>| {
            runs.set(runs.get() + 1);
            net_outputs(model)
        };
        let budget = Budget::sqnr_db(42.0).with_evaluations(evaluations);
        let search = match Net::<B>::new(1).quantize_within(&config, &budget, run) {
            Ok((_, report)) => report.search,
            Err(error) => {
                assert!(error.to_string().contains("allow more evaluations"), "{error}");
                not_met(error).0
            }
        };
        assert_eq!(runs.get(), 2 + search.attempts.len());
        assert!(runs.get() <= evaluations && (search.is_complete || runs.get() == evaluations), "{search}");
        assert_eq!(search.to_string().contains("used up"), !search.is_complete);
        met.push(best(&search).within);
    }
    assert!(!met[0] && met[1..].iter().all(|met| *met), "the second choice gives up most: {met:?}");
}

/// A loss of which less is better, with a bound in its own unit or as a share of float's.
#[test]
fn losses() {
    let model = Hostile::<B>::new;
    let target = outputs(&model()) * 1.1;
    let loss = |model: &Hostile<B>| {
        let error = outputs(model) - target.clone();
        f64::from(error.powf_scalar(2.0).mean().into_scalar())
    };
    let float = loss(&model());
    let config = Int8Config::keras();
    for budget in [Budget::increase(0.02 * float), Budget::relative_increase(0.02)] {
        let (int8, report) = model().quantize_within(&config, &budget, loss).expect("it can be kept");
        assert_eq!(changes(&best(&report.search).changes), [("second", Some(QuantMode::WeightOnly))]);
        assert_eq!(best(&report.search).measured, Measured::Loss { loss: Some(loss(&int8)), float });
        assert!(loss(&int8) <= 1.02 * float);
    }
    // Of a negative loss a share is one of its magnitude.
    let negative = |model: &Hostile<B>| loss(model) - 2.0 * float;
    let (int8, _) =
        model().quantize_within(&config, &Budget::relative_increase(0.02), negative).expect("kept");
    assert!(loss(&int8) <= 1.02 * float);
    assert!(
        model().quantize_within(&config, &Budget::increase(-0.0), |_| 1.0).is_err(),
        "the model is not run"
    );
}
