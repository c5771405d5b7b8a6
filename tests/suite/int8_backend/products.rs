//! Parameters of a model's own that products read.

use burn::backend::NdArray;
use burn::module::{Module, ModuleMapper, Param};
use burn::nn;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn_int8::QuantizeMapper;
use burn_int8::prelude::*;

use super::B;
use crate::support::models::{burns_linear, floats, tensor};

/// A model as burn-onnx generates one: products of parameters beside layers, and parameters that are no products.
#[derive(Module, Debug)]
struct Generated<B: Backend> {
    constant1: Param<Tensor<B, 2>>,
    linear: nn::Linear<B>,
    part: Part<B>,
    /// One row: nothing to gain.
    row: Param<Tensor<B, 2>>,
}

#[derive(Module, Debug)]
struct Part<B: Backend> {
    /// Called as the weight of a layer is.
    weight: Param<Tensor<B, 2>>,
    factors: Param<Tensor<B, 2>>,
}

impl<B: Backend> Generated<B> {
    fn new(seed: usize) -> Self {
        let param = |shape, seed| Param::from_tensor(tensor(shape, seed));
        Self {
            constant1: param([16, 64], seed),
            linear: burns_linear(64, 64, true, seed + 1),
            part: Part { weight: param([64, 8], seed + 2), factors: param([4, 8], seed + 3) },
            row: param([1, 8], seed + 4),
        }
    }

    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let x = self.linear.forward(x.matmul(self.constant1.val()));
        let x = x.unsqueeze::<3>().matmul(self.part.weight.val().unsqueeze()).squeeze_dim::<2>(0);
        x * self.part.factors.val() + self.row.val()
    }

    /// The same with layers in the place of the products.
    fn of_layers(self, config: &Int8Config, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let layer = |weight| nn::Linear { weight, bias: None };
        let layers = [layer(self.constant1), self.linear, layer(self.part.weight)];
        let layers = layers.map(|layer| layer.quantize(config).expect("a float layer").0);
        layers.iter().fold(x, |x, layer| layer.forward(x)) * self.part.factors.val() + self.row.val()
    }
}

fn input<B: Backend>() -> Tensor<B, 2> {
    tensor([4, 16], 9)
}

fn named() -> Int8Config {
    Int8Config::new().with_products(vec!["constant*".into(), "part.weight".into()])
}

/// The paths of the layers that are INT8.
fn int8(report: &Report) -> Vec<&str> {
    report.layers.iter().filter(|layer| layer.scheme.is_some()).map(|layer| layer.path.as_str()).collect()
}

const ALL: [&str; 3] = ["constant1", "linear", "part.weight"];

#[test]
fn nothing_is_named() {
    let (model, report) = Generated::<B>::new(1).quantize(&Int8Config::new()).expect("a float layer");
    assert_eq!(int8(&report), ["linear"]);
    let rows: Vec<_> = report.layers.iter().map(|layer| (layer.path.as_str(), layer.kind.as_str())).collect();
    let parameter = |path| (path, "Parameter");
    let listed = ["constant1", "part.weight", "part.factors"].map(parameter);
    assert_eq!(rows, [listed[0], ("linear", "Linear"), listed[1], listed[2]]);
    let row = report.layer("constant1").expect("listed");
    assert_eq!(row.skipped, Some(SkipReason::NoProduct));
    assert!(row.reason.contains("name it in `Int8Config::products`"), "{}", row.reason);
    assert_eq!((row.bytes_before, row.bytes_after), (16 * 64 * 4, 16 * 64 * 4));
    assert_eq!(floats(model.part.factors.val()), floats(Generated::<B>::new(1).part.factors.val()));
    // A plain backend has no INT8 parameters, and nothing to say about them.
    let report = Generated::<NdArray>::new(1).int8_report();
    assert_eq!(report.layers.len(), 1);
}

#[test]
fn named_parameters_are_linear_layers() {
    let (model, report) = Generated::<B>::new(1).quantize(&named()).expect("float weights");
    assert_eq!(int8(&report), ALL);
    assert_eq!(report.layer("part.weight").expect("listed").kind, "Parameter");
    let expected = floats(Generated::<B>::new(1).of_layers(&Int8Config::new(), input()));
    assert_ne!(floats(Generated::<B>::new(1).forward(input())), expected, "it is INT8");
    assert_eq!(floats(model.forward(input())), expected);
    assert!(model.int8_report().layers.iter().all(|layer| layer.float_reads == 0));

    let mut mapper = QuantizeMapper::new(&named()).expect("patterns");
    let mapped = Generated::<B>::new(1).map(&mut mapper);
    assert_eq!(mapper.outcomes().iter().filter(|outcome| outcome.result.is_ok()).count(), 3);
    assert_eq!(floats(mapped.forward(input())), expected);
}

#[test]
fn in_a_file() {
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::new();
    let (model, _) = Generated::<B>::new(1).quantize(&named()).expect("float weights");
    let expected = floats(model.forward(input()));
    let bytes = Recorder::<B>::record(&recorder, model.into_record(), ()).expect("in memory");
    let record = recorder.load(bytes, &Default::default()).expect("its own bytes");
    let loaded = Generated::<B>::new(2).load_record(record);
    assert_eq!(floats(loaded.forward(input())), expected);
    assert_eq!(int8(&loaded.int8_report()), ALL);
    let error = loaded.quantize(&named()).expect_err("all that is named is INT8");
    assert!(matches!(error.error(), Int8Error::AlreadyInt8 { layers } if *layers == ALL), "{error}");
}

/// Gives each parameter the values of a model, in its order.
struct Load(Vec<Vec<f32>>);

impl ModuleMapper<B> for Load {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, device) = (param.id, param.lazy_device());
        let data = TensorData::new(self.0.remove(0), param.lazy_shape());
        param.transform_for_load(Tensor::from_data(data, &device), id)
    }
}

#[test]
fn while_it_is_loaded() {
    let Generated { constant1, linear, part, row } = Generated::<B>::new(1);
    let bias = linear.bias.expect("it has one");
    let mut values = vec![floats(constant1.val()), floats(linear.weight.val()), floats(bias.val())];
    values.extend([part.weight, part.factors, row].map(|param| floats(param.val())));
    let (model, report) =
        Generated::<B>::new(2).quantize_on_load(&named(), &mut Load(values)).expect("float weights");
    assert_eq!(int8(&report), ALL);
    let expected = floats(Generated::<B>::new(1).of_layers(&Int8Config::new(), input()));
    assert_eq!(floats(model.forward(input())), expected);
}

/// The other patterns and the rule decide about what is named, and are not asked about anything else.
#[test]
fn other_patterns_decide_too() {
    let config = named().with_exclude(vec!["part".into()]);
    let (_, report) = Generated::<B>::new(1).quantize(&config).expect("float weights");
    assert_eq!(int8(&report), ["constant1", "linear"]);
    let skipped = |path| report.layer(path).expect("listed").skipped.clone();
    assert_eq!(skipped("part.weight"), Some(SkipReason::Excluded { pattern: "part".into() }));
    assert_eq!(skipped("part.factors"), Some(SkipReason::NoProduct));
    let rule = |layer: &LayerInfo| {
        assert_ne!(layer.path, "part.factors", "it is not named");
        (layer.kind == "Parameter").then(LayerScheme::default)
    };
    let (_, report) = Generated::<B>::new(1).quantize_with(&named(), rule).expect("float weights");
    assert_eq!(int8(&report), ["constant1", "part.weight"]);
}

#[test]
fn a_pattern_that_names_no_parameter() {
    let products = |pattern: &str| Int8Config::new().with_products(vec![pattern.into()]);
    for pattern in ["linear", "row", "constants"] {
        let error = Generated::<B>::new(1).quantize(&products(pattern)).expect_err("no such parameter");
        let parameters = ["constant1", "part.weight", "part.factors"].map(String::from).into();
        assert_eq!(*error.error(), Int8Error::UnmatchedProduct { pattern: pattern.into(), parameters });
    }
    let error = Generated::<NdArray>::new(1).quantize(&products("constant1")).expect_err("no such backend");
    assert!(error.to_string().contains("on the backend `Int8`"), "{error}");
}

/// A parameter that something else than a product reads stands for its floats, and the report counts that.
#[test]
fn named_by_mistake() {
    let config = Int8Config::new().with_products(vec!["part.factors".into()]);
    let (model, _) = Generated::<B>::new(1).quantize(&config).expect("float weights");
    let floats_of = floats(model.part.factors.val());
    let largest =
        floats_of.iter().zip(floats(Generated::<B>::new(1).part.factors.val())).map(|(a, b)| (a - b).abs());
    assert!(largest.fold(0.0, f32::max) < 0.01); // one step of 1 / 127
    model.forward(input());
    assert_eq!(model.int8_report().layer("part.factors").expect("listed").float_reads, 2);
}
