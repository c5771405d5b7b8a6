//! Rotated layers: on every backend the integers of the kernels, and nearer to the float layer.

use burn::backend::{Autodiff, NdArray};
use burn::module::Module;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn_int8::nn::{Embedding, Linear, LinearConfig, QEmbedding, QLinear};
use burn_int8::prelude::*;
use burn_int8_kernels::{BlockRotation, InputTransform, quantize_rows};

use crate::support::models::{burns_embedding, burns_linear, floats, on_every_backend, tensor, values};

/// A rotation, and otherwise what Keras computes.
fn rotated(block: usize) -> LayerScheme {
    LayerScheme::keras().with_rotation(Rotation::Block(block))
}

fn transform(block: usize) -> InputTransform {
    BlockRotation::new(block).expect("a power of two").into()
}

/// The outputs are those of the integers in naive loops, for rotated rows.
fn check_rotated<B: Backend>() {
    for (block, [m, k, n]) in
        [(2, [3, 6, 4]), (4, [1, 12, 5]), (8, [4, 40, 3]), (64, [5, 192, 7]), (256, [2, 512, 9])]
    {
        let float = burns_linear::<B>(k, n, false, 7);
        let int8 = QLinear::from_float(&float, &rotated(block)).expect("finite weights");
        assert_eq!(int8.scheme().rotation, Rotation::Block(block));
        let (w, w_scales) = (int8.integers(), int8.scales());
        let x = values(m * k, 5);
        let (q, scales) = quantize_rows(&transform(block).apply(&x, k), k, QuantRange::Symmetric);
        let input = Tensor::<B, 2>::from_data(TensorData::new(x, [m, k]), &Default::default());
        for (at, y) in floats(int8.forward(input)).into_iter().enumerate() {
            let (i, j) = (at / n, at % n);
            let sum: i64 = (0..k).map(|t| i64::from(q[i * k + t]) * i64::from(w[t * n + j])).sum();
            assert_eq!(y, sum as f32 * (scales[i] * w_scales[j]), "block {block} at {at}");
        }
    }
}

/// A looked-up row is rotated back, and the head multiplies rotated rows.
fn check_table<B: Backend>() {
    let table = burns_embedding::<B>(11, 48, 3);
    let int8 = QEmbedding::from_float(&table, &rotated(16)).expect("finite weights");
    let indices = || Tensor::<B, 2, Int>::from_data([[10, 0, 3], [3, 3, 7]], &Default::default());
    let (float, looked_up) = (table.forward(indices()), floats(int8.forward(indices())));
    for (float, y) in floats(float).into_iter().zip(&looked_up) {
        // Half a step of a rotated row, whose largest value is at most four times that of the row.
        assert!((float - y).abs() <= 4.0 * 4.0 * 0.5 / 127.0, "{y}, float {float}");
    }
    // The float table that the integers stand for has the same rows.
    let restored = floats(int8.dequantize().forward(indices()));
    let close = restored.iter().zip(&looked_up).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close, "{restored:?} are not {looked_up:?}");
    let x = tensor::<B, 2>([3, 48], 8);
    let exact = x.clone().matmul(table.weight.val().transpose());
    let error = (int8.logits(x) - exact).abs().max().into_scalar().elem::<f32>();
    assert!(error < 48.0 / 127.0, "{error}");
}

on_every_backend!(check_rotated check_table);

/// A layer whose input has one large channel, as those of language models do.
fn outlier() -> (burn::nn::Linear<NdArray>, Tensor<NdArray, 2>) {
    let float = burns_linear::<NdArray>(256, 32, true, 3);
    let mut x = values(8 * 256, 5);
    x.chunks_mut(256).for_each(|row| row[17] = 60.0);
    (float, Tensor::from_data(TensorData::new(x, [8, 256]), &Default::default()))
}

fn error(float: &burn::nn::Linear<NdArray>, x: &Tensor<NdArray, 2>, scheme: LayerScheme) -> f32 {
    let int8 = QLinear::from_float(float, &scheme).expect("finite weights");
    (int8.forward(x.clone()) - float.forward(x.clone())).powf_scalar(2.0).mean().into_scalar().sqrt()
}

#[test]
fn a_rotation_makes_a_large_channel_harmless() {
    let (float, x) = outlier();
    let (plain, rotated) = (error(&float, &x, LayerScheme::keras()), error(&float, &x, rotated(256)));
    assert!(rotated < plain * 0.6, "{rotated} is not much better than {plain}");
    assert!(error(&float, &x, LayerScheme::default()) < plain * 0.6, "nor is the default");
}

#[test]
fn the_kind_of_layer_decides() {
    let rotation = |k: usize, scheme: LayerScheme| {
        let linear = burns_linear::<NdArray>(k, 2, false, 1);
        QLinear::from_float(&linear, &scheme).expect("finite weights").scheme().rotation
    };
    let auto = LayerScheme::default();
    let blocks = [8, 15, 16, 80, 384, 512, 576, 1152].map(|k| rotation(k, auto));
    let block = Rotation::Block;
    assert_eq!(blocks[..3], [Rotation::None, Rotation::None, block(16)]);
    assert_eq!(blocks[3..], [block(16), block(64), block(64), block(64), block(64)]);
    assert_eq!(rotation(384, auto.with_mode(QuantMode::WeightOnly)), Rotation::None);
    assert_eq!(rotation(384, LayerScheme::keras()), Rotation::None);
    assert_eq!([384, 12, 7].map(|k| rotation(k, rotated(100))), [block(64), block(4), Rotation::None]);
    assert_eq!(rotation(384, rotated(0)), Rotation::None);
}

#[test]
fn a_record_has_the_rotation() {
    let device = Default::default();
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    let x = tensor::<NdArray, 2>([3, 64], 1);
    for scheme in [rotated(16), LayerScheme::default(), rotated(64).with_mode(QuantMode::WeightOnly)] {
        let int8 = QLinear::from_float(&burns_linear::<NdArray>(64, 5, true, 2), &scheme).expect("finite");
        let saved = Linear::Int8(int8.clone()).into_record();
        let bytes = Recorder::<NdArray>::record(&recorder, saved, ()).expect("in memory");
        let record = recorder.load(bytes, &device).expect("its own bytes");
        let loaded = LinearConfig::new(64, 5).init::<NdArray>(&device).load_record(record);
        assert_eq!(loaded.as_int8().map(QLinear::scheme), Some(int8.scheme()));
        assert_eq!(floats(loaded.forward(x.clone())), floats(int8.forward(x.clone())));
    }
}

/// The gradient is that of the float layer which the integers stand for: with the rotation taken back.
#[test]
fn gradients_are_those_of_the_layer_without_rotation() {
    type Train = Autodiff<NdArray>;
    let int8 = QLinear::from_float(&burns_linear::<Train>(64, 5, true, 2), &rotated(64)).expect("finite");
    let x = tensor::<Train, 2>([3, 64], 1).require_grad();
    let gradient = |y: Tensor<Train, 2>| {
        let gradients = (y.clone() * y.detach()).sum().backward();
        floats(x.grad(&gradients).expect("a gradient"))
    };
    let (got, expected) = (gradient(int8.forward(x.clone())), int8.dequantize().forward(x.clone()));
    // Both outputs differ by the rounding of activations, which the gradient has as a factor.
    let expected = gradient(expected);
    let largest = expected.iter().fold(0f32, |largest, g| largest.max(g.abs()));
    assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.05 * largest), "{got:?} {expected:?}");
}

#[test]
fn layers_of_one_rotation_share_a_pass_and_others_do_not_mix() {
    let layer = |block, n| -> Linear<NdArray> {
        let float = burns_linear::<NdArray>(64, n, true, n);
        Linear::Int8(QLinear::from_float(&float, &rotated(block)).expect("finite weights"))
    };
    let (a, b, c) = (layer(64, 5), layer(64, 3), layer(16, 4));
    let x = tensor::<NdArray, 2>([3, 64], 1);
    let [together, with] = Linear::forward_each([&a, &b], x.clone());
    assert_eq!(floats(together), floats(a.forward(x.clone())));
    assert_eq!(floats(with), floats(b.forward(x.clone())));
    let [apart, other] = Linear::forward_each([&a, &c], x.clone());
    assert_eq!(floats(apart), floats(a.forward(x.clone())));
    assert_eq!(floats(other), floats(c.forward(x)));
}

#[test]
fn tied_tables_share_their_rotated_copy() {
    let embedding = Embedding::from(burns_embedding::<NdArray>(20, 32, 3));
    let both = vec![embedding.clone(), embedding];
    let (both, _) = both.quantize(&Int8Config::new()).expect("float tables");
    let [a, b] = [0, 1].map(|i: usize| Embedding::as_int8(&both[i]).expect("INT8"));
    assert!(a.shares_weights(b));
    assert_eq!(a.scheme().rotation, Rotation::Block(16));
}
