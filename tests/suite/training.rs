//! INT8 layers are frozen and let gradients through. (That the drop-in layer trains as Burn's own: `seeded`.)

use burn::backend::{Autodiff, Flex, NdArray};
use burn::module::{AutodiffModule, Module, Param};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::prelude::*;
use burn::tensor::DType;
use burn_int8::nn::{Linear, QConv1d, QEmbedding, QLayer, QLinear};
use burn_int8::prelude::*;

use crate::support::models::{Net, StockNet, floats, tensor};

type Train = Autodiff<NdArray>;

/// The gradient is `upstream · dequantized weightᵀ` at the input and nothing at the layer's own parameters, through any depth.
#[test]
fn an_int8_layer_is_frozen_and_lets_gradients_through() {
    for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
        let layer: Linear<Train> = crate::support::models::burns_linear::<Train>(6, 4, true, 3).into();
        let config = Int8Config::new().with_mode(activations);
        let (layer, _) = layer.quantize(&config).expect("a float layer");
        let x = tensor::<Train, 2>([5, 6], 1).require_grad();
        let upstream = tensor::<Train, 2>([5, 4], 2);
        // The input is no leaf: the gradient must pass on to what came before.
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

/// A layer goes from the autodiff backend to the inner one and back, float or INT8.
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

fn linear_of<B: Backend>(weight: Vec<f32>, [inputs, outputs]: [usize; 2]) -> burn::nn::Linear<B> {
    let weight = Tensor::from_data(TensorData::new(weight, [inputs, outputs]), &Default::default());
    burn::nn::Linear { weight: Param::from_tensor(weight), bias: None }
}

/// Inputs whose float products overflow, although the INT8 ones do not: what adds the gradient adds zeros, whatever they are.
#[test]
fn large_inputs_are_the_same_with_and_without_gradients() {
    for mode in [QuantMode::Dynamic, QuantMode::WeightOnly] {
        let scheme = LayerScheme::default().with_mode(mode);
        let float = linear_of::<Train>(vec![2.0, 2.0, -2.0, -2.0], [4, 1]);
        let layer = QLinear::from_float(&float, &scheme).expect("finite weights");
        let x = Tensor::<Train, 2>::full([1, 4], 2e38, &Default::default()).require_grad();
        let y = layer.forward(x.clone());
        assert_eq!(floats(y.clone()), floats(layer.valid().forward(x.clone().inner())), "{mode:?}");
        if mode == QuantMode::Dynamic {
            assert_eq!(floats(y.clone()), [0.0], "{mode:?}");
        }
        let gradients = y.sum().backward();
        let got = floats(x.grad(&gradients).expect("a gradient of the input"));
        assert_eq!(got, floats(layer.dequantize().weight.val()), "{mode:?}");

        let conv =
            burn::nn::conv::Conv1dConfig::new(4, 1, 1).with_bias(false).init::<Train>(&Default::default());
        let weight = Tensor::from_data([[[2.0], [2.0], [-2.0], [-2.0]]], &Default::default());
        let conv = burn::nn::conv::Conv1d { weight: Param::from_tensor(weight), ..conv };
        let layer: QConv1d<Train> = QLayer::from_float(&conv, &scheme).expect("finite weights");
        let x = Tensor::<Train, 3>::full([1, 4, 2], 2e38, &Default::default());
        assert_eq!(floats(layer.forward(x.clone())), floats(layer.valid().forward(x.inner())), "{mode:?}");
    }
}

/// A NaN or an infinity makes its own row NaN and no other.
#[test]
fn rows_that_are_not_finite_stand_alone() {
    let float = crate::support::models::burns_linear::<Train>(6, 4, true, 3);
    let layer = QLinear::from_float(&float, &LayerScheme::default()).expect("finite weights");
    let clean = tensor::<Train, 2>([4, 6], 1);
    let nan = Tensor::<Train, 2>::full([1, 1], f32::NAN, &Default::default());
    let broken = clean.clone().slice_assign([1..2, 2..3], nan.clone());
    let broken = broken.slice_assign([2..3, 0..1], nan.full_like(f32::INFINITY)).require_grad();
    let output = layer.forward(broken.clone());
    let (got, expected) = (floats(output.clone()), floats(layer.forward(clean)));
    assert_eq!((&got[..4], &got[12..]), (&expected[..4], &expected[12..]));
    assert!(got[4..12].iter().all(|y| y.is_nan()), "{got:?}");
    let gradients = output.slice([0..1, 0..4]).sum().backward();
    assert!(floats(broken.grad(&gradients).expect("a gradient")).iter().all(|g| g.is_finite()));
}

/// Inputs of every float type of a backend, in layers whose weights are `f32`.
#[test]
fn gradients_have_the_type_of_the_input() {
    fn check<B: burn::tensor::backend::AutodiffBackend>(dtype: DType, precision: f32) {
        let scheme = LayerScheme::default();
        let linear = QLinear::from_float(&crate::support::models::burns_linear::<B>(6, 4, true, 3), &scheme);
        let table = QEmbedding::from_float(&crate::support::models::burns_embedding::<B>(4, 6, 3), &scheme);
        let conv = burn::nn::conv::Conv1dConfig::new(6, 4, 1).init::<B>(&Default::default());
        let conv = QConv1d::from_float(&conv, &scheme).expect("finite weights");
        let (linear, table) = (linear.expect("finite weights"), table.expect("finite weights"));
        let forwards: [&dyn Fn(Tensor<B, 2>) -> Tensor<B, 2>; 3] =
            [&|x| linear.forward(x), &|x| table.logits(x), &|x| {
                conv.forward(x.reshape([3, 6, 1])).reshape([3, 4])
            }];
        for forward in forwards {
            let run = |dtype| {
                let x = tensor::<B, 2>([3, 6], 1).cast(dtype).detach().require_grad();
                let y = forward(x.clone());
                assert_eq!(y.dtype(), dtype);
                let gradients = (y * tensor::<B, 2>([3, 4], 2).cast(dtype)).sum().backward();
                let gradient = x.grad(&gradients).expect("a gradient of the input");
                assert_eq!(gradient.dtype(), dtype);
                floats(gradient.cast(DType::F32))
            };
            for (got, expected) in run(dtype).iter().zip(run(DType::F32)) {
                assert!((got - expected).abs() <= precision, "{got}, not {expected}: {dtype:?}");
            }
        }
    }
    // Four products below 2, rounded to 8 or 11 bits.
    check::<Autodiff<Flex>>(DType::F16, 8.0 / 1024.0);
    check::<Autodiff<Flex>>(DType::BF16, 8.0 / 128.0);
    check::<Autodiff<Flex>>(DType::F64, 1e-5);
    check::<Autodiff<NdArray>>(DType::F64, 1e-5);
}
