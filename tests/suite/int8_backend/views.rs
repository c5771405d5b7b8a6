//! INT8 weights that something else than a layer reads.

use burn::module::Module;
use burn::nn;
use burn::prelude::*;
use burn::tensor::DType;
use burn_int8::prelude::*;

use super::B;
use crate::support::models::{burns_linear, floats, tensor};

fn int8() -> nn::Linear<B> {
    burns_linear::<B>(4, 6, true, 1).quantize(&Int8Config::keras()).expect("a float layer").0
}

/// The floats that the weight stands for.
fn weight() -> Vec<f32> {
    let (layer, _) = burn_int8::nn::Linear::from(burns_linear::<B>(4, 6, true, 1))
        .quantize(&Int8Config::keras())
        .expect("a float layer");
    floats(layer.as_int8().expect("INT8").dequantize().weight.val())
}

fn reads(layer: &nn::Linear<B>) -> usize {
    layer.int8_report().layers[0].float_reads
}

#[test]
fn any_operation_sees_the_floats() {
    let (layer, w) = (int8(), weight());
    let weight = || layer.weight.val();
    assert_eq!(floats(weight()), w);
    assert_eq!(reads(&layer), 1);
    assert_eq!(weight().dims(), [4, 6]);
    assert_eq!(reads(&layer), 1, "its shape is no number");
    let transposed: Vec<_> = (0..24).map(|i| w[i % 4 * 6 + i / 4]).collect();
    assert_eq!(floats(weight().transpose()), transposed);
    assert_eq!(floats(weight().transpose().transpose()), w);
    assert_eq!(floats(weight().permute([1, 0]).unsqueeze::<4>()), transposed);
    assert_eq!(floats(weight().reshape([24])), w);
    assert_eq!(floats(weight().slice([1..3, 2..5])), [&w[8..11], &w[14..17]].concat());
    assert_eq!(floats(weight() + weight()), w.iter().map(|w| w + w).collect::<Vec<_>>());
    let assigned = weight().slice_assign([0..1, 0..6], Tensor::zeros([1, 6], &Default::default()));
    assert_eq!(floats(assigned), [vec![0.0; 6], w[6..].to_vec()].concat());
    assert_eq!(floats(weight()), w, "what was assigned is another tensor");
    assert_eq!(floats(Tensor::cat(vec![weight(), weight()], 0)), [w.clone(), w.clone()].concat());
    assert_eq!(weight().cast(DType::F64).dtype(), DType::F64);
    assert!(reads(&layer) > 8);
}

/// Products whose scales are not those of their outputs read floats, and give what floats give.
#[test]
fn products_that_are_none_of_the_layer() {
    let (layer, w) = (int8(), weight());
    let w = Tensor::<B, 2>::from_data(TensorData::new(w, [4, 6]), &Default::default());
    let x = tensor::<B, 2>([3, 6], 2);
    assert_eq!(
        floats(x.clone().matmul(layer.weight.val().transpose())),
        floats(x.clone().matmul(w.clone().transpose()))
    );
    let left = tensor::<B, 2>([6, 2], 2);
    assert_eq!(floats(layer.weight.val().matmul(left.clone())), floats(w.matmul(left)));
    assert_eq!(reads(&layer), 2);
}

#[test]
fn a_layer_on_another_device_or_forked() {
    let (layer, x) = (int8(), tensor::<B, 2>([3, 4], 2));
    let expected = floats(layer.forward(x.clone()));
    let moved = layer.clone().to_device(&Default::default());
    assert_eq!((moved.int8_report().int8_layers(), floats(moved.forward(x.clone()))), (1, expected.clone()));
    let forked = layer.fork(&Default::default());
    assert_eq!((forked.int8_report().int8_layers(), floats(forked.forward(x))), (1, expected));
}

/// Tied parameters share their integers.
#[test]
fn tied_layers() {
    #[derive(Module, Debug)]
    struct Tied<B: Backend> {
        first: nn::Linear<B>,
        second: nn::Linear<B>,
    }
    let first = burns_linear::<B>(64, 64, false, 1);
    let (model, report) =
        Tied { second: first.clone(), first }.quantize(&Int8Config::new()).expect("float layers");
    assert_eq!(report.layers[1].memory_bytes, 0, "{report}");
    let x = tensor::<B, 2>([2, 64], 3);
    assert_eq!(floats(model.first.forward(x.clone())), floats(model.second.forward(x)));
}

/// The model that was cloned before stays float.
#[test]
fn a_clone_stays_float() {
    let float = burns_linear::<B>(4, 6, true, 1);
    let clone = float.clone();
    let (int8, _) = float.quantize(&Int8Config::new()).expect("a float layer");
    assert_eq!((int8.int8_report().int8_layers(), clone.int8_report().int8_layers()), (1, 0));
}
