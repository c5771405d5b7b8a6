//! Burn's own layers, observed at work: what this crate's layers tell of themselves on the inner backend.

use burn::module::{Module, Param};
use burn::nn;
use burn::prelude::*;
use burn_int8::nn::{Embedding, Linear};
use burn_int8::prelude::*;
use burn_int8::{BudgetReport, Int8, SchemeError};

use super::B;
use crate::support::conv_case::one_of_each;
use crate::support::models::{
    Hostile, Net, StockNet, burns_embedding, burns_linear, floats, on_every_backend, tensor,
};
use crate::with_conv;

const CONFIGS: [fn() -> Int8Config; 3] =
    [Int8Config::new, Int8Config::keras, || Int8Config::new().with_mode(QuantMode::WeightOnly)];

fn linear_layers<B: Backend>() {
    let x = || tensor::<B, 2>([6, 8], 9);
    for config in CONFIGS {
        let expected = Net::<B>::new(1).sensitivity(&config(), |model| drop(model.forward(x())));
        let model = StockNet::<Int8<B>>::new(1);
        let run = |model: &StockNet<Int8<B>>| floats(model.forward(tensor([6, 8], 9)));
        let mut seen = Vec::new();
        let sensitivity = model.sensitivity(&config(), |model| seen = run(model));
        assert_eq!(
            seen,
            floats(StockNet::<B>::new(1).forward(x())),
            "what the closure sees is the float model"
        );
        assert!(sensitivity.expect("it was called") == expected.expect("it was called"));
        assert_eq!(run(&model), seen, "the model itself stays as it is");
    }
}

/// Weight-only outputs are float sums, which a device adds in another order where Burn pads the image itself.
const FLOAT_SUMS_DB: f64 = 0.01;

/// The same error of the same scheme, but for the rounding of float sums.
fn is_same(one: &SchemeError, other: &SchemeError) -> bool {
    let [one_db, other_db] =
        [one, other].map(|error| error.distortion.map(|distortion| distortion.sqnr_db()));
    let is_near = |(one, other): (f64, f64)| one == other || (one - other).abs() <= FLOAT_SUMS_DB;
    one.scheme == other.scheme && (one_db == other_db || one_db.zip(other_db).is_some_and(is_near))
}

fn convolutions<B: Backend>() {
    for (case, config) in
        one_of_each().into_iter().flat_map(|case| CONFIGS.map(|config| (case.clone(), config())))
    {
        with_conv!(Int8<B>, case, layer, RANK => {
            let x = tensor::<Int8<B>, RANK>(case.shape(2), 5);
            let ours = burn_int8::nn::DropIn::from(layer.clone());
            let ours = ours.sensitivity(&config, |layer| drop(layer.forward(x.clone()))).expect("it was called");
            let burns = layer.sensitivity(&config, |layer| drop(layer.forward(x.clone()))).expect("it was called");
            let [ours, burns] = [ours, burns].map(|sensitivity| sensitivity.layers[0].clone());
            // What Burn puts around an image is an input, too: a zero.
            let absmax = |row: &burn_int8::LayerSensitivity| row.input.map(|input| input.absmax());
            assert_eq!(absmax(&burns), absmax(&ours), "{case:?}");
            assert_eq!((burns.calls, burns.outputs), (1, ours.outputs), "{case:?}");
            let are_same = burns.schemes.len() == ours.schemes.len()
                && burns.schemes.iter().zip(&ours.schemes).all(|(burns, ours)| is_same(burns, ours));
            assert!(are_same, "{case:?}, {config}: {:?}, {:?}", burns.schemes, ours.schemes);
        });
    }
}

on_every_backend! { linear_layers convolutions smoothed within_a_budget }

/// A table that is looked up and multiplied, through views of it.
#[test]
fn a_tied_table() {
    let indices = || Tensor::<B, 2, Int>::from_ints([[0, 10, 3], [3, 7, 1]], &Default::default());
    let x = || tensor::<B, 3>([2, 3, 16], 2);
    let ours: Embedding<B> = burns_embedding(11, 16, 1).into();
    let ours = ours.sensitivity(&Int8Config::new(), |table| {
        table.forward(indices());
        table.logits(x());
    });
    let burns = burns_embedding::<B>(11, 16, 1);
    let burns = burns.sensitivity(&Int8Config::new(), |table| {
        table.forward(indices());
        x().matmul(table.weight.val().transpose().unsqueeze());
    });
    assert!(burns.expect("it was called") == ours.expect("it was called"));
}

/// Gates multiply views of their weights.
#[test]
fn recurrent_modules() {
    let device = Default::default();
    let x = tensor::<B, 3>([2, 4, 8], 3);
    let gru = nn::GruConfig::new(8, 16, true).init::<B>(&device);
    let seen = gru.sensitivity(&Int8Config::new(), |gru| drop(gru.forward(x.clone(), None)));
    let lstm = nn::LstmConfig::new(8, 16, true).init::<B>(&device);
    let also = lstm.sensitivity(&Int8Config::new(), |lstm| drop(lstm.forward(x.clone(), None)));
    for (sensitivity, layers) in [(seen, 6), (also, 8)] {
        let sensitivity = sensitivity.expect("it was called");
        assert_eq!(sensitivity.layers.len(), layers);
        for layer in &sensitivity.layers {
            assert_eq!((layer.calls, layer.outputs), (4, 4 * 2 * 16), "{}", layer.path);
            assert!(layer.distortion().expect("it was seen").sqnr_db() > 25.0, "{}", layer.path);
        }
    }
}

/// What no integers would compute is not seen: the error names the layers.
#[test]
fn weights_that_no_layer_reads() {
    let layer = burns_linear::<B>(8, 4, false, 1);
    let error = layer.sensitivity(&Int8Config::new(), |layer| {
        let weight = layer.weight.val();
        let x = tensor::<B, 2>([4, 4], 2);
        x.matmul(weight.clone().transpose()); // its scales are not those of the outputs
        weight.exp();
    });
    assert!(matches!(error, Err(Int8Error::NothingObserved { layers }) if layers == [""]));
}

/// A parameter that a product reads.
#[test]
fn a_product() {
    let param: Vec<Param<Tensor<B, 2>>> = vec![Param::from_tensor(tensor([16, 4], 1))];
    let config = Int8Config::new().with_products(vec!["0".into()]);
    let burns = param.sensitivity(&config, |param| drop(tensor::<B, 2>([3, 16], 2).matmul(param[0].val())));
    let ours: Linear<B> = burns_linear(16, 4, false, 1).into();
    let ours = ours.sensitivity(&Int8Config::new(), |layer| drop(layer.forward(tensor::<B, 2>([3, 16], 2))));
    let [burns, ours] =
        [burns, ours].map(|sensitivity| sensitivity.expect("it was called").layers[0].clone());
    assert_eq!((burns.path.as_str(), burns.kind.as_str()), ("0", "Parameter"));
    assert_eq!((burns.schemes, burns.input), (ours.schemes, ours.input));
}

/// A model whose second layer has outliers, of Burn's layers.
#[derive(Module, Debug)]
struct StockHostile<B: Backend> {
    first: nn::Linear<B>,
    second: nn::Linear<B>,
    third: nn::Linear<B>,
}

impl<B: Backend> StockHostile<B> {
    fn new() -> Self {
        let Hostile { first, second, third } = Hostile::new();
        Self { first: first.into_float(), second: second.into_float(), third: third.into_float() }
    }

    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.third.forward(self.second.forward(self.first.forward(x)))
    }
}

fn smoothed<B: Backend>() {
    /// Rows in which every eighth input is thirty times as large as the others.
    fn hostile<B: Backend>() -> Tensor<B, 2> {
        let scale: Vec<_> = (0..64).map(|i| if i % 8 == 3 { 30.0 } else { 1.0 }).collect();
        tensor([16, 64], 5) * Tensor::<B, 1>::from_floats(&scale[..], &Default::default()).unsqueeze()
    }
    for smoothing in [Smoothing::Percent(50), Smoothing::Auto] {
        let layer: Linear<B> = burns_linear(64, 24, true, 3).into();
        let run = |layer: &Linear<B>| drop(layer.forward(hostile()));
        let (ours, _) = layer.quantize_smoothed(&Int8Config::keras(), smoothing, run).expect("it was called");
        let layer = burns_linear::<Int8<B>>(64, 24, true, 3);
        let run = |layer: &nn::Linear<Int8<B>>| drop(layer.forward(hostile()));
        let (burns, report) =
            layer.quantize_smoothed(&Int8Config::keras(), smoothing, run).expect("it was called");
        assert_ne!(report.layers[0].scheme.expect("INT8").smoothing, Smoothing::None);
        assert_eq!(floats(burns.forward(hostile())), floats(ours.forward(hostile())));
    }
}

fn within_a_budget<B: Backend>() {
    let budget = Budget::sqnr_db(30.0);
    let run = |model: &Hostile<B>| model.forward(Hostile::inputs());
    let (ours, BudgetReport { search: expected, .. }) =
        Hostile::new().quantize_within(&Int8Config::keras(), &budget, run).expect("it can be kept");
    let budget = Budget::sqnr_db(30.0);
    let run = |model: &StockHostile<Int8<B>>| model.forward(Hostile::inputs());
    let (burns, BudgetReport { search, .. }) =
        StockHostile::new().quantize_within(&Int8Config::keras(), &budget, run).expect("it can be kept");
    assert!(search == expected, "{search}");
    assert_eq!(floats(burns.forward(Hostile::inputs())), floats(ours.forward(Hostile::inputs())));
}
