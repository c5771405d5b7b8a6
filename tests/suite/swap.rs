//! `model.quantize`: which layers, what the report says, what goes wrong and what becomes of the model then.

use burn::backend::NdArray;
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn;
use burn::prelude::*;
use burn_int8::nn::{Linear, LinearConfig, QLinear};
use burn_int8::prelude::*;
use burn_int8::{LayerReport, QuantizeMapper};

use crate::support::models::{LAYERS, Net, StockNet, burns_linear, floats, tensor};

type B = NdArray;

fn config() -> Int8Config {
    Int8Config::new()
}

fn names(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| pattern.to_string()).collect()
}

/// The paths of the layers with this action.
fn with_action(report: &Report, action: Action) -> Vec<&str> {
    let layers = report.layers.iter().filter(|layer| layer.action == action);
    layers.map(|layer| layer.path.as_str()).collect()
}

fn output(model: &Net<B>) -> Vec<f32> {
    floats(model.forward(tensor([6, 8], 9)))
}

#[test]
fn every_layer_of_a_model_is_swapped() {
    let model = Net::<B>::new(1);
    let float = output(&model);
    let (model, report) = model.quantize(&config()).expect("float layers");
    assert_eq!(with_action(&report, Action::Quantized), LAYERS);
    let int8 = output(&model);
    assert_ne!(float, int8);
    let (mut error, mut signal) = (0.0, 0.0);
    for (a, b) in float.iter().zip(&int8) {
        error += (a - b).powi(2);
        signal += a.powi(2);
    }
    assert!(error / signal < 1e-3, "{error} of {signal}"); // 30 dB: seven layers of about 40 dB each
}

#[test]
fn include_and_exclude() {
    let swapped = |config: Int8Config| {
        let (model, report) = Net::<B>::new(1).quantize(&config).expect("float layers");
        let names = with_action(&report, Action::Quantized).iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(model.head.is_int8(), names.contains(&"head".to_string()));
        names
    };
    assert_eq!(swapped(config().with_exclude(names(&["head", "blocks.*.fc2"]))), {
        ["input", "blocks.0.fc1", "blocks.1.fc1", "gate"]
    });
    assert_eq!(swapped(config().with_include(names(&["blocks"]))), LAYERS[1..5]);
    assert_eq!(
        swapped(config().with_include(names(&["blocks", "head"])).with_exclude(names(&["**.fc1"]))),
        ["blocks.0.fc2", "blocks.1.fc2", "head"]
    );
}

#[test]
fn a_rule_decides_layer_by_layer() {
    let rule = |layer: &LayerInfo| match layer.path.as_str() {
        "head" => None,
        _ if layer.shape == [16, 24] => Some(LayerScheme::keras().with_mode(QuantMode::WeightOnly)),
        _ => Some(LayerScheme::keras().with_range(QuantRange::Full)),
    };
    let (model, report) = Net::<B>::new(1).quantize_with(&config(), rule).expect("float layers");
    let scheme = |layer: &Linear<B>| layer.as_int8().map(QLinear::scheme);
    assert_eq!(scheme(&model.head), None);
    assert_eq!(scheme(&model.input), Some(LayerScheme::keras().with_range(QuantRange::Full)));
    assert_eq!(scheme(&model.blocks[0].fc1).map(|s| s.mode), Some(QuantMode::WeightOnly));
    let head = report.layer("head").expect("listed");
    assert_eq!((head.scheme, &head.skipped), (None, &Some(SkipReason::ByRule)));
    assert_eq!(head.reason, "left by the rule");
    let input = report.layer("input").expect("listed");
    assert_eq!((input.scheme, &input.skipped), (scheme(&model.input), &None));
    assert_eq!(report.layer("input").expect("listed").reason, "dynamic activations, full range");
    assert_eq!(report.layer("blocks.1.fc1").expect("listed").reason, "weight-only");
}

/// A rule may count or ask somebody: it is asked once about each layer, in order.
#[test]
fn a_rule_is_asked_once() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let rule = {
        let asked = asked.clone();
        move |layer: &LayerInfo| {
            asked.lock().expect("one thread").push(layer.path.clone());
            (layer.path != "head").then(LayerScheme::default)
        }
    };
    Net::<B>::new(1).quantize_with(&config().with_exclude(names(&["gate"])), rule).expect("float layers");
    let expected: Vec<_> = LAYERS.into_iter().filter(|path| *path != "gate").collect();
    assert_eq!(*asked.lock().expect("one thread"), expected);
}

/// Used directly, the mapper skips nothing silently: neither broken weights nor what it can't or must not swap.
#[test]
fn the_mapper_says_what_it_skipped() {
    let mut broken = StockNet::<B>::new(1);
    let nan = Tensor::full([1, 1], f32::NAN, &Default::default());
    let weight = broken.blocks[0].fc1.weight.val().slice_assign([3..4, 9..10], nan);
    broken.blocks[0].fc1.weight = Param::from_tensor(weight);
    let stock = broken.head.clone();
    let model: Net<B> = broken.into();
    let int8 = QLinear::from_float(&burns_linear(4, 3, true, 1), &LayerScheme::default()).expect("finite");
    let mut mapper = QuantizeMapper::new(&config().with_exclude(names(&["0.gate"]))).expect("patterns");
    let (model, _, _) = (model, stock, int8).map(&mut mapper);
    assert!(!model.blocks[0].fc1.is_int8() && model.head.is_int8());
    let skipped = mapper.outcomes().iter().filter_map(|outcome| {
        outcome.result.as_ref().err().map(|reason| (outcome.layer.path.as_str(), reason.clone()))
    });
    let skipped: Vec<_> = skipped.collect();
    assert_eq!(
        skipped,
        [
            ("0.blocks.0.fc1", SkipReason::NonFiniteWeight { channel: 9 }),
            ("0.gate", SkipReason::Excluded { pattern: "0.gate".into() }),
            ("1", SkipReason::BurnsLayer { kind: "Linear".into() }),
            ("2", SkipReason::AlreadyInt8),
        ]
    );
    assert_eq!(mapper.outcomes().len(), LAYERS.len() + 2);
    let error = Int8Error::NonFiniteWeight { path: "0.blocks.0.fc1".into(), channel: 9 };
    assert_eq!(mapper.error(), Some(error));
}

#[test]
fn the_mapper_alone_does_the_same() {
    let expected = Net::<B>::new(1).quantize(&config()).expect("float layers").0;
    let model = Net::<B>::new(1).map(&mut QuantizeMapper::new(&config()).expect("no patterns"));
    assert_eq!(output(&model), output(&expected));
    assert_eq!(model.int8_report().int8_layers(), LAYERS.len());
}

/// Layers that are INT8 already are left as they are; if nothing else is left to do, that is an error.
#[test]
fn quantizing_twice() {
    let (model, _) =
        Net::<B>::new(1).quantize(&config().with_include(names(&["head"]))).expect("float layers");
    let (model, report) = model.quantize(&config().with_range(QuantRange::Full)).expect("float layers");
    assert_eq!(with_action(&report, Action::AlreadyInt8), ["head"]);
    assert_eq!(with_action(&report, Action::Quantized), LAYERS[..6]);
    assert_eq!(model.head.as_int8().expect("INT8").scheme().range, QuantRange::Symmetric);

    let before = output(&model);
    let (error, model) = model.quantize(&config()).expect_err("nothing left").into_parts();
    assert_eq!(error, Int8Error::AlreadyInt8 { layers: names(&LAYERS) });
    assert!(error.to_string().starts_with("the model is INT8 already: `input`, `blocks.0.fc1`"), "{error}");
    assert_eq!(output(&model), before);
}

/// Each error names what is wrong and gives back the model as it was.
#[test]
fn errors_give_the_model_back() {
    let check = |model: Net<B>, config: Int8Config, expected: Int8Error| {
        let before = output(&model);
        let (error, model) = model.quantize(&config).expect_err("an error").into_parts();
        assert_eq!(error, expected);
        let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(output(&model)), bits(before));
        assert_eq!(model.int8_report().int8_layers(), 0);
    };
    let pattern = |text: &str| config().with_exclude(names(&[text]));
    check(
        Net::new(1),
        pattern("haed"),
        Int8Error::UnmatchedPattern { pattern: "haed".into(), layers: names(&LAYERS) },
    );
    check(
        Net::new(1),
        pattern("a["),
        Int8Error::InvalidPattern { pattern: "a[".into(), reason: "invalid range pattern".into() },
    );
    check(
        Net::new(1),
        pattern("**"),
        Int8Error::NothingToQuantize { left: names(&LAYERS), stock: Vec::new() },
    );

    let mut broken = StockNet::<B>::new(1);
    let weight = broken.blocks[1].fc2.weight.val();
    let weight = weight.slice_assign([3..4, 9..10], Tensor::full([1, 1], f32::NAN, &Default::default()));
    broken.blocks[1].fc2.weight = Param::from_tensor(weight);
    let model: Net<B> = broken.into();
    check(model.clone(), config(), Int8Error::NonFiniteWeight { path: "blocks.1.fc2".into(), channel: 9 });
    // Left out, it harms nobody.
    let (_, report) = model.quantize(&pattern("blocks.1.fc2")).expect("the other layers are fine");
    assert_eq!(report.layer("blocks.1.fc2").expect("listed").reason, "excluded by `blocks.1.fc2`");
}

#[test]
fn error_messages_say_what_to_do() {
    let error =
        Net::<B>::new(1).quantize(&config().with_include(names(&["encoder"]))).expect_err("no such layer");
    assert_eq!(
        error.to_string(),
        "pattern `encoder` matches no layer; the model's layers are `input`, `blocks.0.fc1`, `blocks.0.fc2`, \
         `blocks.1.fc1`, `blocks.1.fc2`, `gate`, `head`"
    );
    assert!(format!("{error:?}").starts_with("UnmatchedPattern"));
    let says = |error: QuantizeError<_>, text: &str| assert!(error.to_string().contains(text), "{error}");
    let net = |config: Int8Config| Net::<B>::new(1).quantize(&config).expect_err("nothing fits");
    says(net(config().with_include(names(&["*fc1"]))), "a `*` stays within one name");
    says(
        net(config().with_exclude(names(&["**"]))),
        "include, exclude, products or the rule leave every layer float: `input`",
    );
    let error = StockNet::<B>::new(1).quantize(&config()).expect_err("Burn's own layers");
    assert!(error.to_string().contains("are Burn's own, which can't be swapped: `input`"), "{error}");
    assert!(error.to_string().contains("use the layers of `burn_int8::nn`"), "{error}");
    let layer: Linear<B> = burns_linear(4, 3, true, 1).into();
    let alone = layer.quantize(&config().with_include(names(&["fc"]))).expect_err("it has no name");
    assert!(
        alone.to_string().ends_with("the model's layers are the model itself, which has no path"),
        "{alone}"
    );
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Int8Error>());
    assert_eq!(source, Some(error.error()));
}

#[derive(Module, Debug)]
struct Mixed<B: Backend> {
    ours: Linear<B>,
    attention: nn::attention::MultiHeadAttention<B>,
    gate: nn::SwiGlu<B>,
    conv: nn::conv::Conv2d<B>,
    int8: QLinear<B>,
}

/// Burn's own layers can't be swapped: they are listed, with what to do.
#[test]
fn stock_layers_are_listed() {
    let device = Default::default();
    let model = Mixed::<B> {
        ours: burns_linear(4, 4, true, 1).into(),
        attention: nn::attention::MultiHeadAttentionConfig::new(4, 2).init(&device),
        gate: nn::SwiGluConfig::new(4, 4).init(&device),
        conv: nn::conv::Conv2dConfig::new([1, 2], [3, 3]).init(&device),
        int8: QLinear::from_float(&burns_linear(4, 3, true, 1), &LayerScheme::default()).expect("finite"),
    };
    let (_, report) = model.quantize(&config()).expect("one float layer");
    assert_eq!(with_action(&report, Action::Quantized), ["ours"]);
    assert_eq!(with_action(&report, Action::AlreadyInt8), ["int8"]);
    let left = with_action(&report, Action::LeftFloat);
    let attention = ["attention.query", "attention.key", "attention.value", "attention.output"];
    assert_eq!(left, [&attention[..], &["gate.linear_inner", "gate.linear_outer", "conv"]].concat());
    let layer = report.layer("attention.key").expect("listed");
    let reason = "part of MultiHeadAttention: use the backend Int8 around yours; or, if that is Burn's, \
                  burn_int8::nn::attention::MultiHeadAttention, and if yours, burn_int8::nn::Linear in it";
    assert_eq!(layer.reason, reason);
    let reason = &report.layer("gate.linear_inner").expect("listed").reason;
    let remedy =
        "part of SwiGlu: use the backend Int8 around yours, or write that module with burn_int8::nn::Linear";
    assert_eq!(reason, remedy);
    assert_eq!(layer.bytes_before, 4 * (4 * 4 + 4));
    assert_eq!((layer.kind.as_str(), layer.shape.as_slice()), ("Linear", &[4, 4][..]));
    assert_eq!(report.layer("conv").expect("listed").kind, "Conv2d");
}

#[test]
fn the_report_counts_bytes_and_noise() {
    let (model, report) =
        Net::<B>::new(1).quantize(&config().with_exclude(names(&["gate"]))).expect("float layers");
    let layer: &LayerReport = report.layer("blocks.0.fc1").expect("listed");
    assert_eq!(layer.bytes_before, 4 * (16 * 24 + 24));
    assert_eq!(layer.bytes_after, 16 * 24 + 4 * 24 + 4 * 24);
    assert_eq!(layer.kernel.as_deref(), Some(burn_int8::cpu_kernel()));
    assert!((40.0..60.0).contains(&layer.sqnr_db.expect("noise")), "{layer:?}");
    assert_eq!(report.other_bytes, 4 * 2 * 16);
    assert_eq!(report.bytes_before(), 4 * model.num_params());
    assert_eq!(report.int8_layers(), 6);

    let json = serde_json::to_string(&report).expect("plain data");
    assert_eq!(serde_json::from_str::<Report>(&json).expect("the same data"), report);

    let table = report.to_string();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 1 + LAYERS.len() + 3);
    assert!(lines[0].starts_with("layer") && lines[6].contains("excluded by `gate`"), "{table}");
    assert!(lines[8].starts_with("other parameters") && lines[9].starts_with("total"), "{table}");
    let column = lines[0].find("weight").expect("a header");
    assert!(
        lines[1..8].iter().all(|line| line[column..].starts_with(|c: char| c.is_ascii_digit())),
        "{table}"
    );
}

/// A report of a float model tells what there is to quantize.
#[test]
fn a_report_before_the_swap() {
    let report = Net::<B>::new(1).int8_report();
    assert_eq!(with_action(&report, Action::LeftFloat), LAYERS);
    assert!(report.layers.iter().all(|layer| layer.reason == "not quantized" && layer.kernel.is_none()));
    assert_eq!(report.bytes_before(), report.bytes_after());
}

/// Counting reads shapes only: the weights of a fresh model are not made for a report.
#[test]
fn a_report_initialises_nothing() {
    let layer = LinearConfig::new(8, 4).init::<B>(&Default::default());
    assert_eq!(layer.int8_report().bytes_before(), 4 * (8 * 4 + 4));
    let float = layer.as_float().expect("a float layer");
    assert!(!float.weight.is_initialized() && !float.bias.as_ref().expect("a bias").is_initialized());
}

/// Layers with one weight go on sharing one copy, and clones that have parted do not.
#[test]
fn tied_weights_stay_tied() {
    let layer = burns_linear::<B>(300, 200, true, 1);
    let mut parted = layer.clone();
    parted.weight = parted.weight.map(|weight| weight * 2.0);
    let model: Vec<Linear<B>> = vec![layer.clone().into(), layer.into(), parted.into()];
    let (model, _) = model.quantize(&config()).expect("float layers");
    let x = tensor::<B, 2>([2, 300], 1);
    let [first, second, third] = [0, 1, 2].map(|i| floats(model[i].forward(x.clone())));
    assert_eq!(first, second);
    assert_ne!(first, third);
    let int8 = |i: usize| model[i].as_int8().expect("INT8");
    assert!(int8(0).shares_weights(int8(1)));
    assert!(!int8(0).shares_weights(int8(2)));
}

/// Anybody's visitor sees the same names, and the values that the integers stand for.
#[test]
fn visitors_see_float_parameters() {
    #[derive(Default)]
    struct Names(Vec<String>, Vec<(String, Vec<f32>)>);
    impl ModuleVisitor<B> for Names {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.into());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.1.push((self.0.join("."), floats(param.val())));
        }
    }
    let seen = |model: &Net<B>| {
        let mut names = Names::default();
        model.visit(&mut names);
        names.1
    };
    let model = Net::<B>::new(1);
    let float = seen(&model);
    let int8 = seen(&model.quantize(&Int8Config::keras()).expect("float layers").0);
    assert_eq!(float.len(), int8.len());
    for ((float_name, float), (int8_name, int8)) in float.iter().zip(&int8) {
        assert_eq!(float_name, int8_name);
        for (a, b) in float.iter().zip(int8) {
            assert!((a - b).abs() <= 0.5001 / 127.0, "{float_name}: {a} against {b}");
        }
    }
}

/// Other mappers still reach what is float.
#[test]
fn devices_and_other_mappers() {
    let (model, _) = Net::<B>::new(1).quantize(&config()).expect("float layers");
    let device = Default::default();
    let expected = output(&model);
    assert_eq!(model.devices(), vec![device]);
    assert_eq!(output(&model.clone().to_device(&device)), expected);
    assert_eq!(output(&model.clone().fork(&device)), expected);
    assert_eq!(output(&model.no_grad()), expected);
}

/// Shapes at the edge of sense.
#[test]
fn smallest_layers() {
    let device = Default::default();
    let (layer, report) =
        LinearConfig::new(1, 1).init::<B>(&device).quantize(&config()).expect("a float layer");
    assert_eq!(layer.forward(Tensor::<B, 1>::ones([1], &device)).dims(), [1]);
    assert_eq!(report.layers[0].path, "");
    assert!(report.to_string().contains("(model)"));
    let zeros = nn::Linear::<B> { weight: Param::from_tensor(Tensor::zeros([3, 2], &device)), bias: None };
    let (layer, report) = Linear::from(zeros).quantize(&config()).expect("a float layer");
    assert_eq!(floats(layer.forward(tensor::<B, 2>([2, 3], 1))), [0.0; 4]);
    assert_eq!(report.layers[0].sqnr_db, None);
}
