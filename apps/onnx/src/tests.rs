use burn_int8::Distortion;
use burn_int8::prelude::*;

use crate::error::Shortfall;
use crate::measure::{Measured, difference, quantized, reloaded};
use crate::models::{Ddddocr, DdddocrLstm, Nsnet2, OnnxModel, PpocrDet, Scheme, SileroVad};
use crate::reference::Reference;
use crate::{Float, Int8};

/// The answers in float.
fn float<M: OnnxModel>(reference: &Reference) -> Vec<f32> {
    M::answers(&M::load::<Float>(&Default::default()), reference)
}

/// A float model answers as in ONNX Runtime, and on both backends with the same bits.
fn float_is_right<M: OnnxModel>() -> Vec<f32> {
    let reference = Reference::read().unwrap();
    let answers = float::<M>(&reference);
    let largest = difference(&M::sample(&answers), &M::expected(&reference));
    assert!(largest < M::FLOAT_DIFFERENCE, "{largest:e}");
    assert_eq!(M::answers(&M::load::<Int8>(&Default::default()), &reference), answers);
    answers
}

/// An INT8 model is near float, no INT8 weight is read as floats, and the model is the same after it was saved and reloaded.
fn int8_is_near<M: OnnxModel>(float: &[f32]) -> Vec<Report> {
    let reference = Reference::read().unwrap();
    let check = |scheme: &Scheme| {
        let (model, _) = quantized::<M, Int8>(&(scheme.config)()).unwrap();
        let answers = M::answers(&model, &reference);
        let cosine = Distortion::between(float, &answers).unwrap().cosine();
        assert!(cosine > scheme.least_cosine, "{}: {cosine}", scheme.name);
        let report = model.int8_report();
        assert_eq!(report.layers.iter().map(|layer| layer.float_reads).sum::<usize>(), 0, "{report}");
        let (model, _) = reloaded::<M, Int8>(model).unwrap();
        assert_eq!(M::answers(&model, &reference), answers);
        report
    };
    M::SCHEMES.iter().map(check).collect()
}

#[test]
fn silero_vad() {
    let float = float_is_right::<SileroVad>();
    assert_eq!(SileroVad::decisions(&float).iter().sum::<usize>(), 53);
    let reports = int8_is_near::<SileroVad>(&float);
    // Twelve convolutions, and two products for each rate of samples.
    assert_eq!(reports.iter().map(Report::int8_layers).collect::<Vec<_>>(), [16, 4]);
}

#[test]
fn nsnet2() {
    let float = float_is_right::<Nsnet2>();
    let reports = int8_is_near::<Nsnet2>(&float);
    // Four layers, and six products for each of two GRUs.
    assert_eq!(reports[0].int8_layers(), 16);
    assert!(reports[0].bytes_after() * 39 < reports[0].bytes_before() * 10, "{}", reports[0]);
}

/// Four words are read as ONNX Runtime reads them, in INT8, too.
#[test]
fn ddddocr() {
    let float = float_is_right::<Ddddocr>();
    let reference = Reference::read().unwrap();
    assert_eq!(Ddddocr::decisions(&float), reference.classes);
    assert_eq!(int8_is_near::<Ddddocr>(&float)[0].int8_layers(), 38);
    let (int8, _) = quantized::<Ddddocr, Int8>(&Int8Config::new()).unwrap();
    assert_eq!(Ddddocr::decisions(&Ddddocr::answers(&int8, &reference)), reference.classes);
}

#[test]
fn lstm_of_ddddocr() {
    let float = float_is_right::<DdddocrLstm>();
    // Two directions, and eight products for each.
    assert_eq!(int8_is_near::<DdddocrLstm>(&float)[0].int8_layers(), 16);
}

#[test]
fn ppocr_det() {
    let float = float_is_right::<PpocrDet>();
    let text: usize = PpocrDet::decisions(&float).iter().sum();
    assert!((6_000..8_000).contains(&text), "{text} of 45056 pixels are text");
    assert_eq!(int8_is_near::<PpocrDet>(&float)[0].int8_layers(), 64);
}

/// As [`Measured`] of a model that is just good enough.
fn measured() -> Measured {
    let scheme = Scheme { name: "s", config: Int8Config::new, least_cosine: 0.5, other_decisions: 0.25 };
    Measured {
        name: "m",
        parts: "",
        scheme,
        float_difference: [0.5, 0.5],
        distortion: Distortion::Finite { sqnr_db: 1.0, cosine: 0.5 },
        same_decisions: [3, 4],
        report: Vec::<burn_int8::nn::Linear<Float>>::new().int8_report(),
        file_bytes: [4, 1],
        seconds: [1.0; 2],
    }
}

#[test]
fn a_model_that_is_worse_than_it_may_be_is_an_error() {
    assert_eq!(measured().check(), Ok(()));
    for found in [0.6, f32::NAN] {
        let error = Measured { float_difference: [found, 0.5], ..measured() }.check().unwrap_err();
        assert!(matches!(error, Shortfall::Float { model: "m", .. }), "{error}");
    }
    for distortion in [Distortion::Infinite, Distortion::Finite { sqnr_db: 1.0, cosine: 0.49 }] {
        let error = Measured { distortion, ..measured() }.check().unwrap_err();
        assert!(matches!(error, Shortfall::Int8 { model: "m", scheme: "s", .. }), "{error}");
    }
    let error = Measured { same_decisions: [2, 4], ..measured() }.check().unwrap_err();
    assert_eq!(error, Shortfall::Decisions { model: "m", scheme: "s", others: 2, all: 4 });
}

#[test]
fn the_largest_difference_is_found_and_is_nan_if_any_is() {
    assert_eq!(difference(&[1.0, 2.0, -1.0], &[1.0, 1.5, 1.0]), 2.0);
    assert!(difference(&[1.0, f32::NAN, 5.0], &[1.0, 1.0, 1.0]).is_nan());
}
