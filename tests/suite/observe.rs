//! What `sensitivity` says about each layer, against what its INT8 forms compute.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::{Autodiff, Flex, NdArray};
use burn::module::{AutodiffModule, Module};
use burn::nn::activation::ActivationConfig;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn_int8::nn::{DropIn, Embedding, FloatLayer, Linear, LinearConfig, QLinear};
use burn_int8::prelude::*;
use burn_int8::{Distortion, InputRange, SchemeError};

use crate::support::conv_case::one_of_each;
use crate::support::models::{
    Hostile, LAYERS, Net, burns_embedding, burns_linear, floats, on_every_backend, tensor, values,
};

/// Sums of a few hundred `f64`, in another order.
const SUMS: f64 = 1e-12;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= SUMS * a.abs().max(b.abs()).max(1.0)
}

/// SQNR and cosine, written down once more.
fn by_hand(float: &[f32], int8: &[f32]) -> (f64, f64) {
    assert_eq!(float.len(), int8.len());
    let sum = |f: fn(f64, f64) -> f64| -> f64 {
        float.iter().zip(int8).map(|(&a, &b)| f(f64::from(a), f64::from(b))).sum()
    };
    let (signal, noise) = (sum(|a, _| a * a), sum(|a, b| (b - a).powi(2)));
    (10.0 * (signal / noise).log10(), sum(|a, b| a * b) / (signal * sum(|_, b| b * b)).sqrt())
}

#[track_caller]
fn assert_error(error: &SchemeError, float: &[f32], int8: &[f32]) {
    let (sqnr_db, cosine) = by_hand(float, int8);
    let distortion = error.distortion.expect("it was seen");
    assert!(close(distortion.sqnr_db(), sqnr_db), "{distortion:?}, by hand {sqnr_db}");
    assert!(close(distortion.cosine(), cosine), "{distortion:?}, by hand {cosine}");
}

/// The range of five rows of 32 values.
fn assert_range(range: InputRange, x: &[f32]) {
    assert_eq!((range.values, range.non_finite), (5 * 32, 0));
    let [min, max] = [f32::min, f32::max].map(|f| x.iter().copied().reduce(f).expect("values"));
    assert_eq!((range.min, range.max, range.absmax()), (min, max, min.abs().max(max)));
    let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
    assert!(close(range.rms, (squares / 160.0).sqrt()));
    assert!(close(range.crest_factor().expect("not zero"), f64::from(range.absmax()) / range.rms));
    let mut channels: Vec<f32> =
        (0..32).map(|c| x.iter().skip(c).step_by(32).fold(0f32, |a, x| a.max(x.abs()))).collect();
    channels.sort_by(f32::total_cmp);
    let ratio = f64::from(channels[31]) / f64::from(channels[16]);
    assert_eq!(range.channel_ratio, Some(ratio));
}

/// The errors of a layer are those of the layers that its schemes make, on all inputs of all calls.
fn a_layer_by_hand<B: Backend>() {
    let burns = burns_linear::<B>(32, 5, true, 3);
    let layer: Linear<B> = burns.clone().into();
    let inputs = [tensor::<B, 2>([3, 32], 1) * 4.0, tensor::<B, 2>([2, 32], 2)];
    let mut seen = Vec::new();
    let sensitivity = layer.sensitivity(&Int8Config::new(), |layer| {
        seen.extend(inputs.clone().map(|x| floats(layer.forward(x))).concat());
    });
    let sensitivity = sensitivity.expect("it was called");
    let row = &sensitivity.layers[0];
    assert_eq!((row.path.as_str(), row.kind.as_str(), &row.shape[..]), ("", "Linear", &[32, 5][..]));
    assert_eq!((row.calls, row.outputs), (2, 5 * 5));

    assert_range(
        row.input.expect("floats"),
        &inputs.iter().flat_map(|x| floats(x.clone())).collect::<Vec<_>>(),
    );
    let float = inputs.clone().map(|x| floats(layer.forward(x))).concat();
    assert_eq!(seen, float, "what the closure sees is the float model");
    let schemes: Vec<_> = row.schemes.iter().filter_map(|error| error.scheme).collect();
    let configured = QLinear::from_float(&burns, &LayerScheme::default()).expect("finite weights").scheme();
    assert_ne!(configured.rotation, Rotation::None);
    let unrotated = configured.with_rotation(Rotation::None);
    let weight_only = unrotated.with_mode(QuantMode::WeightOnly);
    let expected = [configured, unrotated.with_codes(InputCodes::Auto), weight_only];
    assert_eq!(schemes, expected);
    for error in &row.schemes[..3] {
        let int8 = QLinear::from_float(&burns, &error.scheme.expect("INT8")).expect("finite weights");
        let int8 = inputs.clone().map(|x| floats(int8.forward(x))).concat();
        assert_error(error, &float, &int8);
    }
    let left_float = &row.schemes[3..];
    assert!(left_float.len() == 1 && left_float[0].scheme.is_none());
    assert_eq!(left_float[0].distortion, Some(Distortion::Zero));
}

on_every_backend! { a_layer_by_hand }

/// Quantizes the layer alone with each scheme that was tried, and computes the errors.
fn assert_each_scheme<L: FloatLayer>(
    layer: DropIn<L>,
    config: &Int8Config,
    run: impl Fn(&DropIn<L>) -> Vec<f32>,
) where
    DropIn<L>: Module<L::Backend>,
{
    let sensitivity = layer.sensitivity(config, |layer| drop(run(layer))).expect("it was called");
    let (row, float) = (&sensitivity.layers[0], run(&layer));
    assert_eq!(row.outputs, float.len() as u64);
    assert!(row.schemes.len() >= 2, "the configuration's scheme and float: {row:?}");
    for error in &row.schemes {
        let Some(scheme) = error.scheme else { continue };
        let (int8, report) = layer.clone().quantize_with(config, move |_| Some(scheme)).expect("float");
        assert_eq!(report.layers[0].scheme, Some(scheme), "it is the scheme of such a layer");
        assert_error(error, &float, &run(&int8));
    }
}

const CONFIGS: [fn() -> Int8Config; 3] =
    [Int8Config::new, Int8Config::keras, || Int8Config::new().with_range(QuantRange::Full)];

/// Each of the ways to call a linear layer and a table.
#[test]
fn each_scheme_is_what_quantizing_gives() {
    type B = NdArray;
    for config in CONFIGS.map(|config| config()) {
        let x = tensor::<B, 3>([2, 5, 64], 1);
        let linear: Linear<B> = burns_linear(64, 7, true, 3).into();
        assert_each_scheme(linear.clone(), &config, |layer| floats(layer.forward(x.clone())));
        let gelu = ActivationConfig::Gelu.init(&Default::default());
        let activated = |model: &Linear<B>| drop(model.forward_activated(x.clone(), &gelu));
        let plain = |model: &Linear<B>| drop(model.forward(x.clone()));
        let sensitivity = |run: &dyn Fn(&Linear<B>)| linear.sensitivity(&config, run).expect("a call");
        assert_eq!(sensitivity(&activated), sensitivity(&plain), "the error is that of the product");
        let each = |model: &Linear<B>| drop(Linear::forward_each([model, model], x.clone()));
        let twice = |model: &Linear<B>| (plain(model), plain(model)).0;
        assert_eq!(sensitivity(&each), sensitivity(&twice));

        let table: Embedding<B> = burns_embedding(20, 16, 3).into();
        let tokens = Tensor::<B, 2, Int>::from_data([[1, 2, 19], [0, 7, 7]], &Default::default());
        let look_up = |table: &Embedding<B>| floats(table.forward(tokens.clone()));
        let logits = |table: &Embedding<B>| floats(table.logits(tensor::<B, 2>([3, 16], 2)));
        assert_each_scheme(table.clone(), &config, look_up);
        assert_each_scheme(table.clone(), &config, logits);
        assert_each_scheme(table.clone(), &config, |table| [look_up(table), logits(table)].concat());
        let looked_up = table.sensitivity(&config, |table| drop(look_up(table))).expect("a call");
        assert_eq!(looked_up.layers[0].input, None, "indices have no range");
    }
}

/// Each kind of convolution, whose channels are not on the last axis.
#[test]
fn each_scheme_of_convolutions() {
    for (config, case) in CONFIGS.into_iter().flat_map(|config| one_of_each().map(|case| (config(), case))) {
        crate::with_conv!(NdArray, case, layer, RANK => {
            let x: Tensor<NdArray, RANK> = tensor(case.shape(3), 7);
            let layer = DropIn::from(layer);
            assert_each_scheme(layer.clone(), &config, |layer| floats(layer.forward(x.clone())));
            let sensitivity = layer.sensitivity(&config, |layer| drop(layer.forward(x.clone())));
            let input = sensitivity.expect("a call").layers[0].input.expect("floats");
            let channels = (0..case.channels[0]).map(|c| {
                let channel = floats(x.clone().narrow(1, c, 1));
                channel.into_iter().fold(0f32, |max, x| max.max(x.abs()))
            });
            let mut channels: Vec<_> = channels.collect();
            channels.sort_by(f32::total_cmp);
            let ratio = f64::from(channels[channels.len() - 1]) / f64::from(channels[channels.len() / 2]);
            assert_eq!(input.channel_ratio, Some(ratio));
        });
    }
}

/// The layer with outliers in its input is the first of the table, and its range says why.
#[test]
fn a_hostile_layer_is_found() {
    let model = Hostile::<NdArray>::new();
    let config = Int8Config::keras();
    let sensitivity =
        model.sensitivity(&config, |model| drop(model.forward(Hostile::inputs()))).expect("calls");
    let paths: Vec<_> = sensitivity.layers.iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(paths, ["first", "second", "third"], "in the order of the model");
    let worst = sensitivity.by_harm()[0];
    assert_eq!(worst.path, "second");
    let sqnr_db = |layer: &str| sensitivity.layer(layer).unwrap().distortion().unwrap().sqnr_db();
    assert!(sqnr_db("second") < 10.0 && sqnr_db("first") > 30.0 && sqnr_db("third") > 30.0, "{sensitivity}");
    let ratio = |layer: &str| sensitivity.layer(layer).unwrap().input.unwrap().channel_ratio.unwrap();
    assert!(ratio("second") > 100.0 && ratio("third") < 10.0, "{sensitivity}");
    let text = sensitivity.to_string();
    assert!(text.lines().nth(1).expect("a first row").starts_with("second "), "{text}");
}

/// Layers that the patterns leave float are not listed; those that no input reaches are, as the last.
#[test]
fn layers_that_are_not_seen() {
    let model = Net::<NdArray>::new(1);
    let config = Int8Config::new().with_exclude(vec!["head".into()]);
    let run = |model: &Net<NdArray>| drop(model.blocks[1].fc1.forward(tensor::<_, 2>([4, 16], 1)));
    let sensitivity = model.sensitivity(&config, run).expect("one was called");
    let paths: Vec<_> = sensitivity.layers.iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(paths, LAYERS[..6]);
    let order = sensitivity.by_harm();
    assert_eq!((order[0].path.as_str(), order[1].path.as_str()), ("blocks.1.fc1", "input"));
    let unseen = sensitivity.layer("gate").expect("it is listed");
    assert_eq!((unseen.calls, unseen.outputs, unseen.input, unseen.distortion()), (0, 0, None, None));
    assert!(unseen.schemes.iter().all(|scheme| scheme.distortion.is_none()));
    assert_eq!(sensitivity.to_string().matches("not seen").count(), 5, "{sensitivity}");
}

/// Nothing is seen: the closure does not run the model, runs another, or has no inputs.
#[test]
fn an_empty_run_is_an_error() {
    let model = Net::<NdArray>::new(1);
    let nothing = model.sensitivity(&Int8Config::new(), |_| {});
    let another = model.sensitivity(&Int8Config::new(), |_| drop(model.forward(tensor([4, 8], 1))));
    for error in [nothing, another].map(|result| result.expect_err("nothing was seen")) {
        assert!(
            matches!(&error, Int8Error::NothingObserved { layers } if layers[..] == LAYERS.map(String::from)),
            "{error:?}"
        );
        assert!(error.to_string().contains("the model that the closure is given"), "{error}");
    }
    let model = Net::<Flex>::new(1); // `NdArray` can't multiply nothing
    let run = |model: &Net<_>| drop(model.input.forward(Tensor::<_, 2>::zeros([0, 8], &Default::default())));
    let error = model.sensitivity(&Int8Config::new(), run).expect_err("no rows");
    assert!(matches!(&error, Int8Error::NothingObserved { .. }), "{error:?}");
    let nothing = Int8Config::new().with_exclude(vec!["*".into()]);
    let error = model.sensitivity(&nothing, |_| panic!("it is not called")).expect_err("nothing is left");
    assert!(matches!(error, Int8Error::NothingToQuantize { .. }), "{error:?}");
}

/// A NaN or an infinity makes the error of its layer infinite, whatever the other inputs are; it comes first, and is counted.
#[test]
fn inputs_that_are_not_finite() {
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let model = (Hostile::<NdArray>::new(), burns_linear::<NdArray>(4, 3, true, 1).into());
        let mut x = values(8, 1);
        x[5] = broken;
        let sensitivity =
            model.sensitivity(&Int8Config::keras(), |(hostile, layer): &(Hostile<_>, Linear<_>)| {
                hostile.forward(Hostile::inputs());
                layer.forward(tensor::<_, 2>([6, 4], 1));
                layer.forward(Tensor::<_, 2>::from_data(
                    TensorData::new(x.clone(), [2, 4]),
                    &Default::default(),
                ));
            });
        let sensitivity = sensitivity.expect("calls");
        let worst = sensitivity.by_harm()[0];
        assert_eq!((worst.path.as_str(), worst.distortion()), ("1", Some(Distortion::Infinite)));
        let input = worst.input.expect("floats");
        assert_eq!((input.values, input.non_finite), (31, 1));
        assert!(input.absmax().is_finite() && input.rms.is_finite() && input.channel_ratio.is_some());
        assert!(sensitivity.to_string().contains("1 inputs are NaN or infinite"), "{sensitivity}");
        let json = serde_json::to_string(&sensitivity).expect("data");
        let read: Sensitivity = serde_json::from_str(&json).expect("its own text");
        assert_eq!((&read.by_harm()[0].schemes, read.to_string()), (&worst.schemes, sensitivity.to_string()));
    }
}

/// Outputs that float has as zeros and INT8 has not.
#[test]
fn a_signal_of_zeros() {
    assert_eq!(Distortion::between(&[0.0, 0.0], &[0.0, 0.0]), Some(Distortion::Zero));
    assert_eq!(Distortion::between(&[0.0, 0.0], &[0.0, 1e-9]), Some(Distortion::Infinite));
    let lost = Distortion::between(&[3.0, 4.0], &[0.0, 0.0]).expect("values");
    assert_eq!((lost.sqnr_db(), lost.cosine()), (0.0, 0.0));
    let worst = Distortion::Infinite;
    assert!(worst.sqnr_db() < -1e300 && worst.cosine() < -1e300 && Distortion::Zero.sqnr_db() > 1e300);
}

#[test]
fn a_closure_that_panics_leaves_the_model() {
    let model = Net::<NdArray>::new(1);
    let x = || tensor([4, 8], 1);
    let expected = floats(model.forward(x()));
    let run = |model: &Net<NdArray>| {
        model.forward(x());
        panic!("the closure's own");
    };
    let panicked = catch_unwind(AssertUnwindSafe(|| model.sensitivity(&Int8Config::new(), run)));
    assert_eq!(panicked.expect_err("a panic").downcast_ref(), Some(&"the closure's own"));
    assert_eq!(floats(model.forward(x())), expected);
    let run = |model: &Net<NdArray>| drop(model.forward(x()));
    assert_eq!(model.sensitivity(&Int8Config::new(), run).expect("calls").layers[0].calls, 1);
    assert_eq!(model.quantize(&Int8Config::new()).expect("it is float").1.int8_layers(), LAYERS.len());
}

/// What a program may do with the model that it is given: clone it, share it among threads, save it, change or quantize a copy.
#[test]
fn the_observed_model_is_a_model() {
    type B = NdArray;
    let model = Net::<B>::new(1);
    let (x, device) = (tensor::<B, 2>([4, 8], 1), Default::default());
    let expected = floats(model.forward(x.clone()));
    let record = |model: Net<B>| {
        let recorder = burn::record::BinBytesRecorder::<burn::record::FullPrecisionSettings>::default();
        burn::record::Recorder::record(&recorder, model.into_record(), ()).expect("a record")
    };
    let sensitivity = model.sensitivity(&Int8Config::new(), |observed| {
        assert!(!observed.head.is_int8() && observed.head.as_float().is_some());
        assert_eq!(format!("{observed}"), format!("{model}"));
        assert_eq!((observed.num_params(), observed.devices()), (model.num_params(), model.devices()));
        assert_eq!(record(observed.clone()), record(model.clone()));
        let copies = [observed.clone(), observed.clone().to_device(&device), observed.clone().fork(&device)];
        std::thread::scope(|scope| {
            for copy in copies {
                let (x, expected) = (tensor::<B, 2>([4, 8], 1), expected.clone());
                scope.spawn(move || assert_eq!(floats(copy.forward(x)), expected));
            }
        });
        let (int8, _) = observed.clone().quantize(&Int8Config::new()).expect("float layers");
        assert!(int8.head.is_int8());
        let mut changed = observed.clone();
        *changed.head.as_float_mut().expect("float") = burns_linear(16, 5, true, 9);
        changed.head.forward(tensor::<B, 2>([4, 16], 1));
        observed.clone().load_record(model.clone().into_record()).forward(x.clone());
    });
    let sensitivity = sensitivity.expect("calls");
    assert!(sensitivity.layers.iter().all(|layer| layer.calls == 3), "three copies: {sensitivity:?}");
}

/// Parameters that were never read are drawn once: the closure sees the numbers that the model has afterwards.
#[test]
fn parameters_are_drawn_before_the_copy() {
    let device = Default::default();
    let layer = || LinearConfig::new(16, 16).init::<NdArray>(&device);
    let model = (layer(), burn::nn::LinearConfig::new(16, 4).init(&device));
    let x = || tensor::<NdArray, 2>([3, 16], 1);
    let run =
        |(ours, burns): &(Linear<NdArray>, burn::nn::Linear<_>)| floats(burns.forward(ours.forward(x())));
    let mut seen = Vec::new();
    model.sensitivity(&Int8Config::new(), |model| seen = run(model)).expect("a call");
    assert_eq!(seen, run(&model));
}

/// In training the observed layers are not part of the graph, and the float ones are.
#[test]
fn gradients_are_those_of_the_float_model() {
    type Train = Autodiff<NdArray>;
    let model = Net::<Train>::new(1);
    let x = || tensor::<Train, 2>([4, 8], 1);
    let gradient = |model: &Net<Train>| {
        let gradients =
            GradientsParams::from_grads(model.forward(x()).powf_scalar(2.0).mean().backward(), model);
        let weight = model.input.as_float().expect("float").weight.id;
        (gradients.len(), floats(gradients.get::<NdArray, 2>(weight).expect("a gradient")))
    };
    let expected = gradient(&model);
    let sensitivity =
        model.sensitivity(&Int8Config::new(), |observed| assert_eq!(gradient(observed), expected));
    let sensitivity = sensitivity.expect("calls");
    let run = |observed: &Net<Train>| drop(observed.valid().forward(x().inner()));
    let valid = model.sensitivity(&Int8Config::new(), run).expect("the inner model is observed, too");
    assert_eq!(valid, sensitivity);
    let run = |observed: &Net<NdArray>| drop(observed.forward(x().inner()));
    assert_eq!(model.valid().sensitivity(&Int8Config::new(), run).expect("calls"), sensitivity);
}
