//! Burn's modules that are made of layers, and what a report says of them.

use burn::module::Module;
use burn::nn;
use burn::prelude::*;
use burn_int8::prelude::*;
use burn_int8::without_fusion;

use super::B;
use crate::support::models::{Net, StockNet, floats, tensor};

/// The cosine of the angle between two tensors.
fn cosine<const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> f64 {
    let pairs = floats(a).into_iter().zip(floats(b)).map(|(a, b)| (f64::from(a), f64::from(b)));
    let [ab, aa, bb] = pairs.fold([0.0; 3], |[ab, aa, bb], (a, b)| [ab + a * b, aa + a * a, bb + b * b]);
    ab / (aa * bb).sqrt()
}

/// Random weights of these sizes stay this near to float.
const NEAR: f64 = 0.999;

fn quantized<M: Module<B>>(model: &M, layers: usize) -> M {
    let (int8, report) = model.clone().quantize(&Int8Config::new()).expect("float layers");
    assert_eq!(report.int8_layers(), layers, "{report}");
    int8
}

#[test]
fn a_model_gives_the_bits_of_its_twin() {
    let stock = StockNet::<B>::new(1);
    let x = tensor::<B, 2>([6, 8], 9);
    let float = Net::from(stock.clone());
    let (ours, expected) = float.quantize(&Int8Config::new()).expect("float layers");
    let (stock, report) = stock.quantize(&Int8Config::new()).expect("float layers");
    // Norms between the layers are rounded in another order.
    let near = floats(stock.forward(x.clone())).into_iter().zip(floats(ours.forward(x)));
    near.for_each(|(burns, ours)| assert!((burns - ours).abs() < 1e-5, "{burns} and {ours}"));
    for (burns, ours) in report.layers.iter().zip(&expected.layers) {
        let facts = |layer: &burn_int8::LayerReport| {
            let sizes = [layer.bytes_before, layer.bytes_after, layer.memory_bytes];
            (layer.path.clone(), layer.kind.clone(), layer.action, layer.scheme, sizes, layer.sqnr_db)
        };
        assert_eq!(facts(burns), facts(ours));
    }
    assert_eq!(report.bytes_after(), expected.bytes_after());
}

#[test]
fn recurrent_nets() {
    let (device, x) = (Default::default(), tensor::<B, 3>([2, 7, 32], 3));
    let lstm = nn::LstmConfig::new(32, 48, true).init::<B>(&device);
    let (float, _) = lstm.forward(x.clone(), None);
    let int8 = quantized(&lstm, 8);
    assert!(cosine(float, int8.forward(x.clone(), None).0) > NEAR);
    assert!(int8.int8_report().layers.iter().all(|layer| layer.float_reads == 0));

    let lstm = nn::BiLstmConfig::new(32, 48, true).init::<B>(&device);
    let (float, _) = lstm.forward(x.clone(), None);
    assert!(cosine(float, quantized(&lstm, 16).forward(x.clone(), None).0) > NEAR);

    // A GRU multiplies by the weights itself.
    for reset_after in [true, false] {
        let gru = nn::GruConfig::new(32, 48, true).with_reset_after(reset_after).init::<B>(&device);
        let float = gru.forward(x.clone(), None);
        let int8 = quantized(&gru, 6);
        assert!(cosine(float, int8.forward(x.clone(), None)) > NEAR);
        assert!(
            int8.int8_report().layers.iter().all(|layer| layer.float_reads == 0),
            "{}",
            int8.int8_report()
        );
    }
}

#[test]
fn transformers() {
    let (device, x) = (Default::default(), tensor::<B, 3>([2, 5, 32], 3));
    let config = nn::transformer::TransformerEncoderConfig::new(32, 64, 4, 2).with_dropout(0.0);
    let encoder = config.init::<B>(&device);
    let input = || nn::transformer::TransformerEncoderInput::new(x.clone());
    let float = encoder.forward(input());
    let int8 = quantized(&encoder, 12);
    assert!(cosine(float, int8.forward(input())) > NEAR);

    // Step by step, with the caches of the autoregressive forward.
    let mut cache = int8.new_autoregressive_cache();
    let whole = int8.forward_autoregressive_inference(input(), &mut cache);
    assert!(cosine(encoder.forward(input()), whole) > NEAR);

    let config = nn::transformer::TransformerDecoderConfig::new(32, 64, 4, 2).with_dropout(0.0);
    let decoder = config.init::<B>(&device);
    let input = || nn::transformer::TransformerDecoderInput::new(x.clone(), x.clone());
    let float = decoder.forward(input());
    assert!(cosine(float, quantized(&decoder, 20).forward(input())) > NEAR);
}

/// The kernels between the layers differ from Burn by roundings of `f32`, which the integers after them may make a step of.
#[test]
fn fused_and_not() {
    let (device, x) = (Default::default(), tensor::<B, 3>([2, 5, 32], 3));
    let config = nn::transformer::TransformerEncoderConfig::new(32, 64, 4, 2).with_dropout(0.0);
    let int8 = quantized(&config.init::<B>(&device), 12);
    let mask = Tensor::<B, 2, Bool>::from_data([[false, false, false, true, true], [false; 5]], &device);
    let input = || nn::transformer::TransformerEncoderInput::new(x.clone()).mask_pad(mask.clone());
    let (fused, plain) = (int8.forward(input()), without_fusion(|| int8.forward(input())));
    assert!(cosine(fused, plain) > 0.99999);
    let gru = quantized(&nn::GruConfig::new(32, 48, true).init::<B>(&device), 6);
    let (fused, plain) = (gru.forward(x.clone(), None), without_fusion(|| gru.forward(x.clone(), None)));
    assert!(cosine(fused, plain) > 0.99999);
}

#[test]
fn feed_forward_nets() {
    let (device, x) = (Default::default(), tensor::<B, 3>([2, 5, 32], 3));
    let swiglu = nn::SwiGluConfig::new(32, 48).with_bias(true).init::<B>(&device);
    assert!(cosine(swiglu.forward(x.clone()), quantized(&swiglu, 2).forward(x.clone())) > NEAR);
    let net =
        nn::transformer::PositionWiseFeedForwardConfig::new(32, 48).with_dropout(0.0).init::<B>(&device);
    assert!(cosine(net.forward(x.clone()), quantized(&net, 2).forward(x.clone())) > NEAR);
}

/// A type of a user's own that is called as one of Burn's, but whose weight is no such weight.
#[test]
fn a_namesake_stays_float() {
    #[derive(Module, Debug)]
    struct Linear<B: Backend> {
        weight: burn::module::Param<Tensor<B, 1>>,
    }
    #[derive(Module, Debug)]
    struct Model<B: Backend> {
        own: Linear<B>,
        burns: nn::Linear<B>,
    }
    let model = Model::<B> {
        own: Linear { weight: burn::module::Param::from_tensor(tensor([4], 1)) },
        burns: crate::support::models::burns_linear(4, 4, true, 1),
    };
    let (_, report) = model.quantize(&Int8Config::new()).expect("one float layer");
    assert_eq!(report.int8_layers(), 1);
    assert_eq!(report.layer("own").map(|layer| layer.action), Some(Action::LeftFloat));
}

#[test]
fn what_cannot_be_done_is_an_error() {
    let model = StockNet::<B>::new(1);
    let mut broken = model.clone();
    broken.blocks[1].fc2.weight = broken.blocks[1].fc2.weight.clone().map(|w| w * f32::INFINITY);
    let error = broken.quantize(&Int8Config::new()).expect_err("infinite weights");
    assert!(error.to_string().contains("blocks.1.fc2"), "{error}");
    let config = Int8Config::new().with_exclude(vec!["nothing".into()]);
    let error = model.clone().quantize(&config).expect_err("a pattern that matches nothing");
    assert!(error.to_string().contains("nothing"), "{error}");
    let (int8, _) = model.quantize(&Int8Config::new()).expect("float layers");
    let error = int8.quantize(&Int8Config::new()).expect_err("a model that is INT8");
    assert!(matches!(error.error(), Int8Error::AlreadyInt8 { layers } if layers.len() == 7), "{error}");
}

#[test]
fn patterns_and_rules() {
    let config = Int8Config::new().with_exclude(vec!["head".into()]);
    let rule = |layer: &LayerInfo| (layer.path != "gate").then(LayerScheme::keras);
    let (model, report) = StockNet::<B>::new(1).quantize_with(&config, rule).expect("float layers");
    let skipped = |path| report.layer(path).and_then(|layer| layer.skipped.clone());
    assert_eq!(skipped("head"), Some(SkipReason::Excluded { pattern: "head".into() }));
    assert_eq!(skipped("gate"), Some(SkipReason::ByRule));
    assert_eq!(report.layer("input").and_then(|layer| layer.scheme), Some(LayerScheme::keras()));
    assert_eq!(model.int8_report().int8_layers(), 5);
}
