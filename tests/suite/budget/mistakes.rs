//! What a search refuses: numbers that are not finite, closures that go wrong, budgets without sense.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::support::models::LAYERS;

/// A NaN or an infinite error is over every budget, whether float or INT8 has it.
#[test]
fn numbers_that_are_not_finite() {
    let config = Int8Config::keras();
    let is_float = |model: &Hostile<B>| !model.first.is_int8();
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let run = |broken_float: bool| {
            move |model: &Hostile<B>| {
                let mut values = floats(outputs(model));
                values[3] = if is_float(model) == broken_float { broken } else { values[3] };
                values
            }
        };
        for budget in [Budget::sqnr_db(-1e300), Budget::cosine(-1.0)] {
            let error =
                Hostile::new().quantize_within(&config, &budget, run(true)).expect_err("float is broken");
            assert_eq!(*error.error(), BudgetError::FloatNotFinite);
        }
        for budget in [Budget::sqnr_db(-1e300), Budget::cosine(-1.0)] {
            let error =
                Hostile::new().quantize_within(&config, &budget, run(false)).expect_err("INT8 is broken");
            let (search, model) = not_met(error);
            assert!(search.attempts.iter().all(|a| a.measured == Measured::Outputs(Distortion::Infinite)));
            assert!(is_float(&model));
        }
        let run = |broken_float: bool| {
            move |model: &Hostile<B>| {
                outputs(model);
                if is_float(model) == broken_float { f64::from(broken) } else { 1.0 }
            }
        };
        let budget = Budget::increase(f64::MAX); // the largest that there is
        let error = Hostile::new().quantize_within(&config, &budget, run(true)).expect_err("float is broken");
        assert_eq!(*error.error(), BudgetError::FloatNotFinite);
        let (search, _) =
            not_met(Hostile::new().quantize_within(&config, &budget, run(false)).expect_err("broken"));
        assert_eq!(best(&search).measured, Measured::Loss { loss: None, float: 1.0 });
    }
    let inputs = || Tensor::<B, 2>::from_floats([[f32::NAN; 32]], &Default::default());
    let run = |model: &Hostile<B>| model.forward(inputs());
    let error = Hostile::new().quantize_within(&config, &Budget::sqnr_db(1.0), run).expect_err("NaN inputs");
    assert_eq!(*error.error(), BudgetError::FloatNotFinite);
}

/// A closure that does not do what it should.
#[test]
fn closures_that_go_wrong() {
    let config = Int8Config::keras();
    let model = Hostile::<B>::new();
    let other = model.clone();
    let run = |_: &Hostile<B>| outputs(&other);
    let error = model.quantize_within(&config, &Budget::sqnr_db(1.0), run).expect_err("another model runs");
    assert!(matches!(error.error(), BudgetError::Int8(Int8Error::NothingObserved { .. })), "{error}");
    let model = error.into_model();

    let run = |model: &Hostile<B>| vec![1.0; outputs(model).dims()[0] - usize::from(model.first.is_int8())];
    let error = model.quantize_within(&config, &Budget::sqnr_db(1.0), run).expect_err("fewer values");
    assert_eq!(*error.error(), BudgetError::OtherOutputs { float: 16, int8: 15 });
    let run = |model: &Hostile<B>| {
        outputs(model);
        Vec::<Tensor<B, 2>>::new()
    };
    let error =
        error.into_model().quantize_within(&config, &Budget::sqnr_db(1.0), run).expect_err("no values");
    assert_eq!(*error.error(), BudgetError::NoOutputs);

    let model = error.into_model();
    let copy = model.clone();
    let run = |model: &Hostile<B>| match model.first.is_int8() {
        true => panic!("the closure's own"),
        false => outputs(model),
    };
    let within = AssertUnwindSafe(|| copy.quantize_within(&config, &Budget::sqnr_db(1.0), run));
    assert_eq!(catch_unwind(within).expect_err("a panic").downcast_ref(), Some(&"the closure's own"));
    let expected = floats(outputs(&Hostile::<B>::new()));
    assert_eq!(floats(outputs(&model)), expected, "the model that was cloned is as it was");
}

#[test]
fn budgets_without_sense() {
    let unused = |_: &Hostile<B>| -> Vec<f32> { panic!("nothing is run") };
    let budget = || Budget::<Vec<f32>>::sqnr_db(20.0);
    for (budget, why) in [
        (Budget::sqnr_db(f64::NAN), "a number, not NaN"),
        (Budget::sqnr_db(f64::INFINITY), "a number, not inf"),
        (Budget::cosine(1.5), "between -1 and 1, not 1.5"),
        (Budget::cosine(f64::NAN), "between -1 and 1, not NaN"),
        (budget().with_evaluations(2), "2 evaluations are too few"),
        (budget().with_float_share(-0.1), "between 0 and 1, not -0.1"),
        (budget().with_float_share(f64::NAN), "between 0 and 1, not NaN"),
    ] {
        let error =
            Hostile::new().quantize_within(&Int8Config::new(), &budget, unused).expect_err("no sense");
        assert!(
            matches!(error.error(), BudgetError::InvalidBudget { reason } if reason.contains(why)),
            "{error}"
        );
    }
    for increase in [-0.1, f64::NAN, f64::INFINITY] {
        let unused = |_: &Hostile<B>| -> f64 { panic!("nothing is run") };
        let error = Hostile::new().quantize_within(&Int8Config::new(), &Budget::increase(increase), unused);
        assert!(error.expect_err("no sense").to_string().contains("0 or more"));
    }
    let config = Int8Config::new().with_exclude(vec!["**.nothing".into()]);
    let error =
        Net::<B>::new(1).quantize_within(&config, &Budget::sqnr_db(1.0), net_outputs).expect_err("a pattern");
    assert!(
        matches!(error.error(), BudgetError::Int8(Int8Error::UnmatchedPattern { layers, .. }) if layers[..] == LAYERS.map(String::from))
    );
}
