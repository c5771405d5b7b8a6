//! Autodiff around `Int8<B>`: training as on `B`, and INT8 layers that are frozen.

use burn::backend::{Autodiff, NdArray};
use burn::module::AutodiffModule;
use burn::optim::{GradientsParams, Optimizer, SgdConfig};
use burn::prelude::*;
use burn_int8::prelude::*;

use super::B;
use crate::support::models::{Net, StockNet, floats, tensor};

type Ad = Autodiff<B>;

/// The outputs of a model that was trained for some steps.
fn trained<B: burn::tensor::backend::AutodiffBackend>() -> (StockNet<B>, Vec<f32>) {
    let (mut model, x) = (StockNet::<B>::new(1), tensor::<B, 2>([6, 8], 9));
    let mut optimizer = SgdConfig::new().init();
    for _ in 0..3 {
        let loss = model.forward(x.clone()).powf_scalar(2.0).mean();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-3, model, grads);
    }
    let output = floats(model.forward(x));
    (model, output)
}

#[test]
fn a_float_model_trains_as_without() {
    assert_eq!(trained::<Ad>().1, trained::<Autodiff<NdArray>>().1);
}

#[test]
fn a_trained_model_becomes_int8() {
    let (model, _) = trained::<Ad>();
    let (int8, report) = model.valid().quantize(&Int8Config::new()).expect("float layers");
    assert_eq!(report.int8_layers(), 7);
    let float = model.valid().forward(tensor([6, 8], 9));
    let error = (float.clone() - int8.forward(tensor([6, 8], 9))).powf_scalar(2.0).sum()
        / float.powf_scalar(2.0).sum();
    let error: f32 = error.into_scalar();
    assert!(error < 1e-2, "{error}"); // 20 dB; 25 were measured
}

/// Gradients reach the input and the layers that are float; the weights in INT8 stay as they are.
#[test]
fn int8_layers_are_frozen() {
    let config = Int8Config::new().with_exclude(vec!["head".into()]);
    let (int8, _) = StockNet::<Ad>::new(1).valid().quantize(&config).expect("float layers");
    let (ours, _) = Net::<Ad>::new(1).valid().quantize(&config).expect("float layers");
    let before = [&int8.input, &int8.head].map(|layer| floats(layer.weight.val()));
    let model: StockNet<Ad> = int8.train(); // a clone would forget which parameters have gradients
    let ours: Net<Ad> = ours.train();

    let x = || tensor::<Ad, 2>([6, 8], 9).require_grad();
    let (a, b) = (x(), x());
    let grads = model.forward(a.clone()).powf_scalar(2.0).mean().backward();
    let expected = ours.forward(b.clone()).powf_scalar(2.0).mean().backward();
    let (grad, expected) = (a.grad(&grads).expect("a gradient"), b.grad(&expected).expect("a gradient"));
    let largest: f32 = expected.clone().abs().max().into_scalar();
    let error: f32 = (grad - expected).abs().max().into_scalar();
    // The products of the gradient are float in both, in another order.
    assert!(error <= largest * 1e-5, "{error} of {largest}");

    let grads = GradientsParams::from_grads(grads, &model);
    let model = SgdConfig::new().init().step(1e-3, model, grads);
    let after = model.valid();
    assert_eq!(after.int8_report().int8_layers(), 6);
    let after = [&after.input, &after.head].map(|layer| floats(layer.weight.val()));
    assert!(after[0] == before[0], "the weight in INT8");
    assert!(after[1] != before[1], "the float one");
}
