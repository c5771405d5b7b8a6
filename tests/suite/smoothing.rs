//! Layers whose inputs were seen: smoothed, saved, and never worse than asked.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::{Flex, NdArray};
use burn::module::Module;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn_int8::nn::{Linear, LinearConfig, QLinear};
use burn_int8::prelude::*;

use crate::support::models::{burns_linear, floats, on_every_backend, values};

const ROWS: usize = 16;
const INPUTS: usize = 64;

/// Rows in which every eighth input is thirty times as large as the others.
fn hostile<B: Backend>() -> Tensor<B, 2> {
    let large = |i: usize| if i % 8 == 3 { 30.0 } else { 1.0 };
    let x = values(ROWS * INPUTS, 5).into_iter().enumerate().map(|(i, x)| x * large(i));
    Tensor::from_data(TensorData::new(x.collect::<Vec<_>>(), [ROWS, INPUTS]), &Default::default())
}

fn layer<B: Backend>() -> Linear<B> {
    burns_linear::<B>(INPUTS, 24, true, 3).into()
}

fn smoothed<B: Backend>(smoothing: Smoothing, x: Tensor<B, 2>) -> Linear<B> {
    let run = |model: &Linear<B>| drop(model.forward(x.clone()));
    layer().quantize_smoothed(&Int8Config::keras(), smoothing, run).expect("a layer that is seen").0
}

fn scheme<B: Backend>(layer: &Linear<B>) -> LayerScheme {
    layer.as_int8().map(QLinear::scheme).expect("INT8")
}

/// The mean square of the difference from the float layer.
fn error<B: Backend>(int8: &Linear<B>, x: Tensor<B, 2>) -> f32 {
    let difference = int8.forward(x.clone()) - layer().forward(x);
    difference.powf_scalar(2.0).mean().into_scalar().elem()
}

/// A smoothed layer is the layer that its integers stand for, but for the rounding of its inputs, and nearer to float.
fn check_smoothed<B: Backend>() {
    let (plain, _) = layer::<B>().quantize(&Int8Config::keras()).expect("a float layer");
    let int8 = smoothed::<B>(Smoothing::Percent(50), hostile());
    assert_eq!(scheme(&int8), LayerScheme::keras().with_smoothing(Smoothing::Percent(50)));
    let (plain, better) = (error(&plain, hostile()), error(&int8, hostile()));
    assert!(better < plain / 4.0, "{better} is not much better than {plain}");
    let restored = int8.as_int8().expect("INT8").dequantize();
    let [a, b] = [int8.forward(hostile()), restored.forward(hostile())].map(floats);
    // 64 inputs of at most 30, each rounded by half a step of what it became, times weights below 1.
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 64.0 * 30.0 * 0.5 / 127.0), "{a:?} {b:?}");
}

on_every_backend!(check_smoothed the_report_counts_factors);

#[test]
fn every_backend_makes_the_same_of_it() {
    let smoothing = Smoothing::Percent(75);
    let kernels = floats(smoothed::<NdArray>(smoothing, hostile()).forward(hostile()));
    assert_eq!(kernels, floats(smoothed::<Flex>(smoothing, hostile()).forward(hostile())));
}

#[test]
fn the_strength_is_chosen_by_the_error() {
    let chosen = scheme(&smoothed::<NdArray>(Smoothing::Auto, hostile())).smoothing;
    let errors = [0, 25, 50, 75].map(|percent| {
        let strength = if percent == 0 { Smoothing::None } else { Smoothing::Percent(percent) };
        (strength, error(&smoothed::<NdArray>(strength, hostile()), hostile()))
    });
    let best = errors.iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("four strengths");
    assert_eq!(chosen, best.0, "{errors:?}");
    assert_ne!(chosen, Smoothing::None);
}

#[test]
fn a_record_has_the_factors() {
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    let device = Default::default();
    let config = Int8Config::new(); // rotated, too
    let run = |model: &Linear<NdArray>| drop(model.forward(hostile()));
    let (int8, _) =
        layer().quantize_smoothed(&config, Smoothing::Percent(50), run).expect("a layer that is seen");
    assert_eq!(scheme(&int8).rotation, Rotation::Block(64));
    let bytes = Recorder::<NdArray>::record(&recorder, int8.clone().into_record(), ()).expect("in memory");
    let record = recorder.load(bytes, &device).expect("its own bytes");
    let loaded = LinearConfig::new(INPUTS, 24).init::<NdArray>(&device).load_record(record);
    assert_eq!(scheme(&loaded), scheme(&int8));
    assert_eq!(floats(loaded.forward(hostile())), floats(int8.forward(hostile())));
}

#[test]
fn a_closure_that_shows_nothing_or_panics_costs_nothing() {
    let error = layer::<NdArray>()
        .quantize_smoothed(&Int8Config::new(), Smoothing::Auto, |_| ())
        .expect_err("nothing was seen");
    assert!(matches!(error.error(), Int8Error::NothingObserved { .. }), "{error}");
    assert!(!error.into_model().is_int8());
    let model = layer::<NdArray>();
    let panics = |_: &Linear<NdArray>| panic!("out of data");
    let end = catch_unwind(AssertUnwindSafe(|| {
        model.clone().quantize_smoothed(&Int8Config::new(), Smoothing::Percent(50), panics)
    }));
    assert!(end.is_err());
    assert_eq!(floats(model.forward(hostile())), floats(layer::<NdArray>().forward(hostile())));
}

#[test]
fn inputs_that_are_not_finite_do_not_decide() {
    let mut x = floats(hostile::<NdArray>());
    x[3] = f32::NAN;
    x[INPUTS + 11] = f32::INFINITY;
    let broken = Tensor::from_data(TensorData::new(x, [ROWS, INPUTS]), &Default::default());
    let int8 = smoothed::<NdArray>(Smoothing::Percent(50), broken);
    assert!(error(&int8, hostile()) < 1.0);
    let zeros =
        smoothed::<NdArray>(Smoothing::Percent(50), Tensor::zeros([ROWS, INPUTS], &Default::default()));
    assert_eq!(scheme(&zeros).smoothing, Smoothing::None, "zeros say nothing");
}

/// A strength above the strongest is the strongest.
#[test]
fn no_strength_is_above_a_hundred_percent() {
    let [strongest, more] =
        [100, 255].map(|percent| smoothed::<NdArray>(Smoothing::Percent(percent), hostile()));
    assert_eq!(scheme(&more), scheme(&strongest));
    assert_eq!(scheme(&more).smoothing, Smoothing::Percent(100));
    assert_eq!(floats(more.forward(hostile())), floats(strongest.forward(hostile())));
}

/// The factors of the inputs are in memory beside the weights, and in a file a byte each.
fn the_report_counts_factors<B: Backend>() {
    let (_, plain) = layer::<B>().quantize(&Int8Config::keras()).expect("a float layer");
    let run = |model: &Linear<B>| drop(model.forward(hostile()));
    let (int8, smoothed) = layer::<B>()
        .quantize_smoothed(&Int8Config::keras(), Smoothing::Percent(50), run)
        .expect("a layer that is seen");
    assert_eq!(smoothed.memory_bytes(), plain.memory_bytes() + 4 * INPUTS);
    assert_eq!(smoothed.bytes_after(), plain.bytes_after() + INPUTS);
    assert_eq!(int8.int8_report().memory_bytes(), smoothed.memory_bytes());
}
