//! Searches that come from files.

use burn_int8::Bound;
use serde_json::{Value, json};

use super::*;

/// The parts of a search as JSON, after `change`.
fn read(change: impl FnOnce(&mut Value)) -> Result<BudgetSearch, String> {
    let budget = Budget::sqnr_db(30.0);
    let within = Hostile::<B>::new().quantize_within(&Int8Config::keras(), &budget, outputs);
    let mut json = serde_json::to_value(within.expect("it can be kept").1.search).expect("data");
    change(&mut json);
    serde_json::from_value(json).map_err(|error| error.to_string())
}

/// A file may say what it likes: it is refused, or what is asked of it has an answer.
#[test]
fn searches_that_nobody_has_made() {
    let search = read(|_| ()).expect("its own text");
    assert!(search.best().is_some());
    for change in [("attempts", json!([])), ("best", json!(1_000_000))] {
        let search = read(|json| json[change.0] = change.1).expect("legal data");
        assert_eq!(search.best(), None);
        let text = BudgetError::NotMet(Box::new(search.clone())).to_string();
        assert!(text.contains("choices were tried, and none has") && !text.contains("the best"), "{text}");
        assert!(search.to_string().ends_with("an SQNR of at least 30 dB"), "{search}");
    }
    for share in [-0.01, 1.01, 1e300] {
        let error = read(|json| json["attempts"][0]["float_share"] = json!(share)).expect_err("no share");
        assert!(
            error.contains(&format!("a share of float weights is between 0 and 1, not {share}")),
            "{error}"
        );
    }
    let smoothed = |percent: u8| {
        read(|json| {
            let scheme = &mut json["sensitivity"]["layers"][0]["schemes"][0]["scheme"];
            scheme["smoothing"] = json!({ "Percent": percent });
        })
    };
    let text = smoothed(100).expect("the strongest").sensitivity.to_string();
    assert!(text.contains("smoothed by 100 %"), "{text}");
    let error = smoothed(101).expect_err("no strength");
    assert!(error.contains("a smoothing is of at most 100 %, not 101 %"), "{error}");
    for (bound, why) in [
        (json!({ "RelativeIncrease": -0.5 }), "an increase of the loss is 0 or more, not -0.5"),
        (json!({ "Increase": -1.0 }), "an increase of the loss is 0 or more, not -1"),
        (json!({ "Cosine": 1.5 }), "a cosine is between -1 and 1, not 1.5"),
        (json!({ "RelativeIncrease": null }), "expected f64"),
    ] {
        let error = read(|json| json["bound"] = bound).expect_err("no bound");
        assert!(error.contains(why), "{error}");
    }
    let doubled = read(|json| json["bound"] = json!({ "RelativeIncrease": 2.0 })).expect("a bound");
    assert_eq!(doubled.bound, Bound::RelativeIncrease(2.0));
}

/// Other formats than JSON have a NaN.
#[test]
fn a_nan_in_a_file_is_refused() {
    let read = |search: &BudgetSearch| {
        let bytes = rmp_serde::to_vec_named(search).expect("data");
        rmp_serde::from_slice::<BudgetSearch>(&bytes).map_err(|error| error.to_string())
    };
    let search = read(&self::read(|_| ()).expect("its own text")).expect("its own bytes");
    let mut broken = search.clone();
    broken.attempts[0].float_share = f64::NAN;
    assert!(read(&broken).expect_err("no share").contains("between 0 and 1, not NaN"));
    for bound in [Bound::RelativeIncrease(f64::NAN), Bound::SqnrDb(f64::NAN), Bound::Cosine(f64::NAN)] {
        let mut broken = search.clone();
        broken.bound = bound;
        assert!(read(&broken).expect_err("no bound").contains("NaN"));
    }
}
