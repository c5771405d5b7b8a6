//! Reports, and models with every kind of layer.

use burn::backend::{Autodiff, NdArray};
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::nn;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn_int8::nn::{
    Conv1d, Conv2d, Conv2dConfig, ConvTranspose1d, DropIn, Embedding, FloatLayer, Linear, LinearConfig,
};
use burn_int8::prelude::*;

use crate::support::conv_case::{
    Case, Pad, conv, conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d, conv3d,
    one_of_each, transposed,
};
use crate::support::models::{burns_embedding, burns_linear, floats};

type B = NdArray;

/// A model with a table that it uses twice, and convolutions of two kinds.
#[derive(Module, Debug)]
struct Sequence<B: Backend> {
    tokens: Embedding<B>,
    mix: Conv1d<B>,
    spread: ConvTranspose1d<B>,
    out: Linear<B>,
}

impl<B: Backend> Sequence<B> {
    fn new() -> Self {
        let pad = Pad::Same;
        Self {
            tokens: burns_embedding(20, 8, 1).into(),
            mix: conv1d(&Case { groups: 2, pad, ..conv(1, [8, 6], [1, 1, 3], [1, 1, 5]) }).into(),
            spread: conv_transpose1d(&transposed(1, [6, 8], [1, 1, 2], [1, 1, 5])).into(),
            out: burns_linear(8, 8, true, 2).into(),
        }
    }

    fn forward(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let x = self.tokens.forward(tokens).swap_dims(1, 2);
        let x = self.spread.forward(self.mix.forward(x)).swap_dims(1, 2);
        self.tokens.logits(self.out.forward(x))
    }
}

fn some_tokens<B: Backend>() -> Tensor<B, 2, Int> {
    Tensor::from_data([[1, 2, 3, 4, 5], [19, 0, 7, 7, 2]], &Default::default())
}

#[test]
fn a_model_of_many_kinds() {
    let model = Sequence::<B>::new();
    let float = floats(model.forward(some_tokens()));
    let (model, report) = model.quantize(&Int8Config::new()).expect("float layers");
    let rows: Vec<_> =
        report.layers.iter().map(|row| (row.path.as_str(), row.kind.as_str(), &row.shape[..])).collect();
    assert_eq!(
        rows,
        [
            ("tokens", "Embedding", &[20, 8][..]),
            ("mix", "Conv1d", &[6, 4, 3]),
            ("spread", "ConvTranspose1d", &[6, 8, 2]),
            ("out", "Linear", &[8, 8]),
        ]
    );
    let bytes: Vec<_> = report.layers.iter().map(|row| (row.bytes_before, row.bytes_after)).collect();
    assert_eq!(bytes, [(640, 160 + 80), (312, 72 + 24 + 24), (416, 96 + 32 + 32), (288, 64 + 32 + 32)]);
    assert!(report.layers.iter().all(|row| row.sqnr_db.is_some_and(|db| db > 40.0)), "{report}");
    let int8 = floats(model.forward(some_tokens()));
    let error: f32 = float.iter().zip(&int8).map(|(a, b)| (a - b).powi(2)).sum();
    let signal: f32 = float.iter().map(|a| a.powi(2)).sum();
    assert!(error > 0.0 && error / signal < 1e-3, "{error} of {signal}"); // 30 dB: five layers of about 40 dB each
}

/// INT8 layers in a model that trains stay as they are, and `valid` answers the same.
#[test]
fn a_model_of_many_kinds_on_autodiff() {
    type Train = Autodiff<NdArray>;
    let config = Int8Config::new().with_exclude(vec!["mix".into()]);
    let (model, _) = Sequence::<Train>::new().quantize(&config).expect("float layers");
    let loss = model.forward(some_tokens()).powf_scalar(2.0).mean();
    let gradients = burn::optim::GradientsParams::from_grads(loss.backward(), &model);
    assert_eq!(gradients.len(), 2, "weight and bias of the one float layer");
    let expected = floats(model.forward(some_tokens()));
    assert_eq!(floats(model.valid().forward(some_tokens())), expected);
    assert_eq!(floats(model.valid().train::<Train>().forward(some_tokens())), expected);
}

/// Layers with one weight go on sharing one copy, of every kind.
#[test]
fn tied_layers_stay_tied() {
    let table = burns_embedding::<B>(20, 8, 1);
    let filter = conv2d::<B>(&conv(2, [3, 4], [1, 3, 3], [1, 6, 6]));
    let model: (Vec<Embedding<B>>, Vec<Conv2d<B>>) =
        (vec![table.clone().into(), table.into()], vec![filter.clone().into(), filter.into()]);
    let ((tables, filters), _) = model.quantize(&Int8Config::new()).expect("float layers");
    fn shared<L: FloatLayer>(layers: &[DropIn<L>]) -> bool {
        let [a, b] = [0, 1].map(|i| layers[i].as_int8().expect("INT8"));
        a.shares_weights(b)
    }
    assert!(shared(&tables) && shared(&filters));
}

/// A file has the weight of tied layers once for each of them, memory has it once, float or INT8.
#[test]
fn bytes_of_tied_layers() {
    let table = burns_embedding::<B>(100, 64, 1);
    let mut parted = table.clone();
    parted.weight = parted.weight.map(|weight| weight + 1.0);
    let norm = nn::LayerNormConfig::new(64).init::<B>(&Default::default());
    norm.gamma.val(); // makes the values, which a clone has then
    norm.beta.as_ref().expect("a bias").val();
    let tables: Vec<Embedding<B>> = vec![table.clone().into(), table.into(), parted.into()];
    let model = (tables, vec![norm.clone(), norm]);
    let weight = 4 * 100 * 64;
    let rows = |report: &Report| report.layers.iter().map(|layer| layer.memory_bytes).collect::<Vec<_>>();
    let before = model.int8_report();
    assert_eq!(rows(&before), [weight, 0, weight], "clones that have parted are two");
    assert_eq!(before.memory_bytes(), 2 * weight + 4 * 128);
    assert_eq!((before.bytes_before(), before.bytes_after()), (3 * weight + 8 * 128, 3 * weight + 8 * 128));
    let saved = |model: (Vec<Embedding<B>>, Vec<nn::LayerNorm<B>>)| {
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
        Recorder::<B>::record(&recorder, model.into_record(), ()).expect("in memory").len()
    };
    const NAMES: usize = 4000;
    assert!((before.bytes_after()..before.bytes_after() + NAMES).contains(&saved(model.clone())));
    let (model, report) = model.quantize(&Int8Config::new()).expect("float layers");
    assert!(rows(&report)[1] == 0 && rows(&report)[0] == rows(&report)[2], "{report}");
    assert_eq!(report.bytes_after(), 3 * 100 * (64 + 4) + 8 * 128);
    assert!((report.bytes_after()..report.bytes_after() + NAMES).contains(&saved(model)));
}

#[derive(Module, Debug)]
struct Stock<B: Backend> {
    ours: Linear<B>,
    table: nn::Embedding<B>,
    linear: nn::Linear<B>,
    a: nn::conv::Conv1d<B>,
    b: nn::conv::Conv2d<B>,
    c: nn::conv::Conv3d<B>,
    d: nn::conv::ConvTranspose1d<B>,
    e: nn::conv::ConvTranspose2d<B>,
    f: nn::conv::ConvTranspose3d<B>,
}

/// Burn's own layers are listed, each with the name of what to use instead.
#[test]
fn remedies_name_the_right_paths() {
    let [a, b, c, d, e, f] = one_of_each();
    let model = Stock::<B> {
        ours: burns_linear(4, 4, true, 1).into(),
        table: burns_embedding(4, 3, 1),
        linear: burns_linear(4, 4, true, 1),
        a: conv1d(&a),
        b: conv2d(&b),
        c: conv3d(&c),
        d: conv_transpose1d(&d),
        e: conv_transpose2d(&e),
        f: conv_transpose3d(&f),
    };
    let (_, report) = model.quantize(&Int8Config::new()).expect("one float layer");
    let reasons: Vec<_> = report.layers[1..].iter().map(|layer| layer.reason.as_str()).collect();
    let remedy = |module, kind| {
        format!(
            "burn::{module}::{kind} can't be swapped: use burn_int8::nn::{kind}, or the backend Int8 around yours"
        )
    };
    let mut expected = vec![remedy("nn", "Embedding"), remedy("nn", "Linear")];
    let kinds = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"];
    expected.extend(kinds.map(|kind| remedy("nn::conv", kind)));
    assert_eq!(reasons, expected);
}

/// Visitors of anybody's see the parameter that the integers stand for, in its own shape; devices are told.
#[test]
fn visitors_and_devices() {
    #[derive(Default)]
    struct Shapes(Vec<Vec<usize>>);
    impl ModuleVisitor<B> for Shapes {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            assert_eq!(param.val().shape(), param.lazy_shape());
            self.0.push(param.lazy_shape().to_vec());
        }
    }
    let shapes = |model: &Sequence<B>| {
        let mut shapes = Shapes::default();
        model.visit(&mut shapes);
        shapes.0
    };
    let float = Sequence::<B>::new();
    let expected = (shapes(&float), float.num_params());
    let (model, _) = float.quantize(&Int8Config::new()).expect("float layers");
    assert_eq!((shapes(&model), model.num_params()), expected);
    let (device, y) = (Default::default(), floats(model.forward(some_tokens())));
    assert_eq!(model.devices(), [device]);
    assert_eq!(floats(model.clone().to_device(&device).forward(some_tokens())), y);
    assert_eq!(floats(model.fork(&device).no_grad().forward(some_tokens())), y);
}

/// Files of full precision hold `f32`, whatever a backend computes with; memory holds what it computes with.
#[test]
fn a_report_of_doubles() {
    type Double = NdArray<f64>;
    let model: (Linear<Double>, nn::Linear<Double>) =
        (LinearConfig::new(8, 4).init(&Default::default()), burns_linear(2, 2, true, 1));
    let report = model.int8_report();
    assert_eq!(report.bytes_before(), 4 * (8 * 4 + 4 + 2 * 2 + 2));
    assert_eq!(report.memory_bytes(), 2 * report.bytes_before());
    let (_, report) = model.quantize(&Int8Config::new()).expect("a float layer");
    assert_eq!(report.layers[0].bytes_before, 4 * (8 * 4 + 4));
}

/// The feature that would make a model fast that is not.
#[cfg(not(feature = "flex"))]
#[test]
fn a_report_names_the_feature_that_is_off() {
    let layer = Conv2dConfig::new([3, 4], [3, 3]).init::<burn::backend::Flex>(&Default::default());
    let (_, report) = layer.quantize(&Int8Config::new()).expect("a float layer");
    let kernel = report.layers[0].kernel.as_deref().expect("INT8");
    assert_eq!(kernel, "tensor operations (burn-int8's feature `flex` has kernels)");
}

/// A report reads shapes only: no weight of a fresh model is made for it, whatever its kind.
#[test]
fn a_report_initialises_nothing() {
    let device = Default::default();
    let layer = Conv2dConfig::new([3, 4], [3, 3]).init::<B>(&device);
    assert_eq!(layer.int8_report().layers[0].shape, [4, 3, 3, 3]);
    assert!(!layer.as_float().expect("float").weight.is_initialized());
}

/// A file may say what it likes: what is shown is a number, and a scheme that no layer has is refused.
#[test]
fn reports_that_nobody_has_made() {
    let (_, report) = Sequence::<B>::new().quantize(&Int8Config::new()).expect("float layers");
    let mut json = serde_json::to_value(&report).expect("data");
    for bytes in ["bytes_before", "bytes_after", "memory_bytes"] {
        for layer in 0..2 {
            json["layers"][layer][bytes] = usize::MAX.into();
        }
    }
    let huge: Report = serde_json::from_value(json.clone()).expect("legal data");
    assert_eq!([huge.bytes_before(), huge.bytes_after(), huge.memory_bytes()], [usize::MAX; 3]);
    assert!(huge.to_string().contains("18,446,744,073,709,551,615"), "{huge}");
    json["layers"][0]["scheme"]["smoothing"] = serde_json::json!({ "Percent": 200 });
    let error = serde_json::from_value::<Report>(json).expect_err("no strength").to_string();
    assert!(error.contains("a smoothing is of at most 100 %, not 200 %"), "{error}");
}
