//! INT8 layers are frozen and let gradients through. (That the drop-in layer trains as Burn's own: `seeded`.)

use burn::backend::{Autodiff, NdArray};
use burn::module::{AutodiffModule, Module};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::prelude::*;
use burn_int8::nn::Linear;
use burn_int8::prelude::*;

use crate::support::models::{Net, StockNet, floats, tensor};

type Train = Autodiff<NdArray>;

/// `upstream · dequantized weightᵀ` at the input, nothing at the layer's own parameters, through any depth.
#[test]
fn an_int8_layer_is_frozen_and_lets_gradients_through() {
    for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
        let layer: Linear<Train> = crate::support::models::burns_linear::<Train>(6, 4, true, 3).into();
        let config = Int8Config::new().with_mode(activations);
        let (layer, _) = layer.quantize(&config).expect("a float layer");
        let x = tensor::<Train, 2>([5, 6], 1).require_grad();
        let upstream = tensor::<Train, 2>([5, 4], 2);
        // Not a leaf: the gradient must pass on to what came before.
        let output = layer.forward(x.clone() * 2.0);
        let int8 = layer.as_int8().expect("it was quantized");
        let inner = layer.valid();
        assert_eq!(floats(output.clone()), floats(inner.forward(x.clone().inner() * 2.0)));

        let gradients = (output * upstream.clone()).sum().backward();
        let got = x.grad(&gradients).expect("a gradient of the input");
        let weight = int8.dequantize().weight.val().inner();
        let expected = upstream.inner().matmul(weight.transpose()) * 2.0;
        let (got, expected) = (floats(got), floats(expected));
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5, "{got} against {expected}"); // sums of 4 products below 2
        }
        assert_eq!(GradientsParams::from_grads(gradients, &layer).len(), 0);
    }
}

/// A frozen INT8 layer stays what it is while the layers around it learn.
#[test]
fn float_layers_learn_around_int8_ones() {
    let config = Int8Config::new().with_include(vec!["blocks".into()]);
    let (model, _) = Net::<Train>::new(1).quantize(&config).expect("float layers");
    let before = model.blocks[0].fc1.as_int8().expect("INT8").integers();
    let head = floats(model.head.as_float().expect("float").weight.val());
    let x = tensor::<Train, 2>([4, 8], 1);
    let loss = model.forward(x).powf_scalar(2.0).mean();
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let model = AdamConfig::new().init().step(1e-2, model, gradients);
    assert_eq!(model.blocks[0].fc1.as_int8().expect("INT8 still").integers(), before);
    assert_ne!(floats(model.head.as_float().expect("float").weight.val()), head);
    assert_ne!(
        floats(model.input.as_float().expect("float").weight.val()),
        floats(StockNet::<NdArray>::new(1).input.weight.val()),
        "the layer below the INT8 ones learns, too"
    );
}

/// From the autodiff backend to the inner one and back, float or INT8.
#[test]
fn valid_and_train_keep_the_form() {
    let float = Net::<Train>::new(1);
    assert!(!float.valid().head.is_int8());
    let (int8, _) = float.quantize(&Int8Config::new()).expect("float layers");
    let x = tensor::<NdArray, 2>([4, 8], 1);
    let valid = int8.valid();
    let expected = floats(valid.forward(x.clone()));
    let again: Net<Train> = valid.train::<Train>();
    assert!(again.head.is_int8());
    assert_eq!(floats(again.forward(Tensor::from_inner(x))), expected);
}
