//! `model.quantize_on_load`: float weights that are loaded and swapped layer by layer.

use std::collections::{HashMap, HashSet};

use burn::backend::NdArray;
use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn_int8::nn::{Linear, LinearConfig, LinearLayout};
use burn_int8::prelude::*;

use crate::support::models::{LAYERS, Net, burns_linear, floats, on_every_backend, tensor};

/// Parameters by path; as a visitor it takes them from a model, as a mapper it gives them to one.
#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    values: HashMap<String, TensorData>,
    /// The paths in the order in which they were asked for.
    asked: Vec<String>,
}

impl Parameters {
    fn of<B: Backend>(model: &impl Module<B>) -> Self {
        let mut parameters = Self::default();
        model.visit(&mut parameters);
        parameters
    }
}

impl<B: Backend> ModuleVisitor<B> for Parameters {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.values.insert(self.path.join("."), param.transform_for_save().val().into_data());
    }
}

impl<B: Backend> ModuleMapper<B> for Parameters {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let path = self.path.join(".");
        let values = self.values.get(&path).cloned();
        self.asked.push(path);
        match values {
            Some(values) => {
                let (id, tensor) = (param.id, Tensor::from_data(values, &param.lazy_device()));
                param.transform_for_load(tensor, id)
            }
            None => param,
        }
    }
}

fn config() -> Int8Config {
    Int8Config::new()
}

/// The same integers as if the float model had been quantized as a whole.
fn loading_is_quantizing<B: Backend>() {
    for layout in [LinearLayout::Row, LinearLayout::Col] {
        let mut source = Parameters::of(&Net::<B>::new(1));
        let expected = Net::<B>::new(1).quantize(&config()).expect("float layers");
        if matches!(layout, LinearLayout::Col) {
            source = Parameters::of(&Net::<B>::fresh_with(layout));
        }
        let mut float = Net::<B>::fresh_with(layout).map(&mut source);
        let (model, report) =
            Net::<B>::fresh_with(layout).quantize_on_load(&config(), &mut source).expect("float layers");
        assert!(report.layers.iter().all(|layer| layer.action == Action::Quantized));
        if matches!(layout, LinearLayout::Row) {
            assert_eq!(report, expected.1);
            float = Net::new(1);
        }
        let (expected, _) = float.quantize(&config()).expect("float layers");
        let x = tensor::<B, 2>([6, 8], 9);
        assert_eq!(floats(model.forward(x.clone())), floats(expected.forward(x)));
    }
}

/// Parameters come in the order of the model, each once.
#[test]
fn a_loader_is_asked_once_for_each_parameter() {
    let mut source = Parameters::of(&Net::<NdArray>::new(1));
    let without_head = config().with_exclude(vec!["head".into()]);
    let (model, report) =
        Net::<NdArray>::fresh().quantize_on_load(&without_head, &mut source).expect("float layers");
    let asked: HashSet<_> = source.asked.iter().collect();
    assert_eq!(asked.len(), source.asked.len());
    assert_eq!(asked, source.values.keys().collect());
    assert_eq!(source.asked[..3], ["input.weight", "input.bias", "blocks.0.fc1.weight"]);
    assert_eq!(
        source.asked[source.asked.len() - 4..],
        ["norm.beta", "gate.weight", "head.weight", "head.bias"]
    );
    assert_eq!(report.layer("head").expect("listed").reason, "excluded by `head`");
    let head = &model.head.as_float().expect("a float layer").weight;
    assert_eq!(head.val().into_data(), source.values["head.weight"]);
}

/// Weights that a file does not have are not made up.
#[test]
fn a_layer_without_weights_stays_float() {
    let mut source = Parameters::of(&Net::<NdArray>::new(1));
    source.values.remove("gate.weight");
    let (model, report) =
        Net::<NdArray>::fresh().quantize_on_load(&config(), &mut source).expect("float layers");
    let gate = model.gate.as_ref().and_then(Linear::as_float).expect("a float layer");
    assert!(!gate.weight.is_initialized());
    let layer = report.layer("gate").expect("listed");
    assert_eq!((layer.action, layer.reason.as_str()), (Action::LeftFloat, "no weights were loaded"));
    assert_eq!(report.int8_layers(), LAYERS.len() - 1);
}

/// Work is proportional to the number of layers: a loader is led through the model once.
#[test]
fn loading_is_linear() {
    #[derive(Default)]
    struct Calls {
        modules: usize,
        parameters: usize,
    }
    impl<B: Backend> ModuleMapper<B> for Calls {
        fn enter_module(&mut self, _: &str, _: &str) {
            self.modules += 1;
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            self.parameters += 1;
            let (id, tensor) = (param.id, Tensor::ones(param.lazy_shape(), &param.lazy_device()));
            param.transform_for_load(tensor, id)
        }
    }
    for layers in [200, 400] {
        let init = |_| LinearConfig::new(2, 2).init(&Default::default());
        let model: Vec<Linear<NdArray>> = (0..layers).map(init).collect();
        let mut calls = Calls::default();
        let (_, report) = model.quantize_on_load(&config(), &mut calls).expect("float layers");
        assert_eq!(report.int8_layers(), layers);
        assert_eq!((calls.modules, calls.parameters), (3 * layers, 2 * layers));
    }
}

/// A rule decides about a model that is loaded, too.
#[test]
fn loading_with_a_rule() {
    let mut source = Parameters::of(&Net::<NdArray>::new(1));
    let rule = |layer: &LayerInfo| (layer.path != "head").then(LayerScheme::default);
    let (model, report) =
        Net::<NdArray>::fresh().quantize_on_load_with(&config(), rule, &mut source).expect("float layers");
    assert!(!model.head.is_int8() && model.input.is_int8());
    assert_eq!(report.layer("head").expect("listed").skipped, Some(SkipReason::ByRule));
}

/// Tied layers share one copy of what was loaded.
#[test]
fn tied_layers_are_tied_when_loaded() {
    let layer: Linear<NdArray> = LinearConfig::new(8, 4).init(&Default::default());
    let mut source = Parameters::of(&vec![layer.clone(), layer.clone()]);
    let weight = source.values["0.weight"].clone();
    source.values.insert("1.weight".into(), weight);
    let (model, _) =
        vec![layer.clone(), layer].quantize_on_load(&config(), &mut source).expect("float layers");
    let [a, b] = [0, 1].map(|i| model[i].as_int8().expect("INT8"));
    assert!(a.shares_weights(b));
}

#[test]
fn a_layer_that_has_weights_needs_no_loader() {
    let (_, report) =
        Net::<NdArray>::new(1).quantize_on_load(&config(), &mut Parameters::default()).expect("float layers");
    assert_eq!(report, Net::<NdArray>::new(1).quantize(&config()).expect("float layers").1);
}

#[test]
fn a_weight_that_is_not_finite_names_its_layer() {
    let mut source = Parameters::of(&Net::<NdArray>::new(1));
    let mut broken: Vec<f32> = source.values["blocks.1.fc2.weight"].to_vec().expect("f32");
    broken[3 * 16 + 9] = f32::INFINITY;
    source.values.insert("blocks.1.fc2.weight".into(), TensorData::new(broken, [24, 16]));
    let error = Net::<NdArray>::fresh().quantize_on_load(&config(), &mut source).expect_err("infinity");
    let (error, model) = error.into_parts();
    assert_eq!(error, Int8Error::NonFiniteWeight { path: "blocks.1.fc2".into(), channel: 9 });
    assert_eq!(model.int8_report().int8_layers(), 4);
    assert!(!source.asked.contains(&"head.weight".into()), "nothing more is read");
}

#[test]
fn nothing_is_read_for_a_configuration_that_fits_no_layer() {
    let mut source = Parameters::of(&Net::<NdArray>::new(1));
    let misspelt = config().with_include(vec!["haed".into()]);
    let error =
        Net::<NdArray>::fresh().quantize_on_load(&misspelt, &mut source).expect_err("a misspelt name");
    assert!(matches!(error.error(), Int8Error::UnmatchedPattern { .. }));
    assert_eq!(source.asked.len(), 0);
    let int8 = Net::<NdArray>::new(1).quantize(&config()).expect("float layers").0;
    let error = int8.quantize_on_load(&config(), &mut source).expect_err("INT8 already");
    assert!(matches!(error.error(), Int8Error::AlreadyInt8 { .. }));
    assert_eq!(source.asked.len(), 0);
}

#[test]
fn a_model_that_is_a_layer() {
    let mut source = Parameters::of(&burns_linear::<NdArray>(8, 4, true, 3));
    let layer: Linear<NdArray> = LinearConfig::new(8, 4).init(&Default::default());
    let (layer, _) = layer.quantize_on_load(&config(), &mut source).expect("a float layer");
    let (expected, _) =
        Linear::from(burns_linear::<NdArray>(8, 4, true, 3)).quantize(&config()).expect("a float layer");
    let x = tensor::<NdArray, 2>([2, 8], 1);
    assert_eq!(floats(layer.forward(x.clone())), floats(expected.forward(x)));
}

/// PackedWeights for kernels on the host in whole blocks of columns, on a device in whole words.
fn the_report_counts_memory<B: Backend>() {
    let layer = burns_linear::<B>(30, 17, true, 1);
    let model: Vec<Linear<B>> = vec![layer.clone().into(), layer.into(), burns_linear(6, 5, false, 2).into()];
    let before = model.int8_report();
    let shared = before.bytes_before() - before.memory_bytes();
    let (_, report) = model.quantize(&config()).expect("float layers");
    let memory: Vec<_> = report.layers.iter().map(|layer| layer.memory_bytes).collect();
    let scales_and_bias = 4 * 17 + 4 * 17;
    let on_host = report.layers[0].kernel.as_deref() == Some(burn_int8::cpu_kernel());
    let expected = if on_host {
        [32 * (32 + 4) + scales_and_bias, 0, 16 * (8 + 4) + 4 * 5] // and a sum for each column
    } else {
        [32 * 20 + scales_and_bias, 0, 8 * 8 + 4 * 5]
    };
    assert_eq!(memory, expected, "tied layers are counted once");
    // Where the host can't look, it counts the float layer twice.
    assert_eq!(shared, if on_host { 4 * (30 * 17 + 17) } else { 0 });
    assert_eq!(report.memory_bytes(), expected.iter().sum::<usize>());
    assert!(report.to_string().lines().last().expect("a line").starts_with("in memory"), "{report}");
}

on_every_backend!(loading_is_quantizing the_report_counts_memory);

/// A loader that knows nothing of INT8 changes nothing: not the bias alone, which would make a mixture of two models.
#[test]
fn a_loader_passes_by_what_is_int8() {
    let (model, _) = Net::<NdArray>::new(1).quantize(&config()).expect("float layers");
    let mut other = Parameters::of(&Net::<NdArray>::new(2));
    let loaded = model.clone().map(&mut other);
    assert_eq!(other.asked, ["norm.gamma", "norm.beta"]);
    let bias = |model: &Net<NdArray>| {
        model.head.as_int8().expect("INT8").dequantize().bias.map(|bias| floats(bias.val()))
    };
    assert_eq!(bias(&loaded), bias(&model));
}
