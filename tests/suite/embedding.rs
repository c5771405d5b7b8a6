//! INT8 tables: looked up, and multiplied with as an output head.

use burn::backend::{Autodiff, NdArray};
use burn::module::{AutodiffModule, Module};
use burn::nn;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::DType;
use burn_int8::nn::{Embedding, EmbeddingConfig, QEmbedding};
use burn_int8::prelude::*;
use proptest::prelude::*;

use crate::support::conv_case::quantize;
use crate::support::models::{burns_embedding, floats, on_every_backend, tensor, values};

fn burns<B: Backend>(entries: usize, width: usize) -> nn::Embedding<B> {
    burns_embedding(entries, width, 3)
}

fn int8<B: Backend>(entries: usize, width: usize, activations: QuantMode) -> QEmbedding<B> {
    let scheme = LayerScheme::keras().with_mode(activations);
    QEmbedding::from_float(&burns(entries, width), &scheme).expect("finite weights")
}

fn tokens<B: Backend, const M: usize, const N: usize>(tokens: [[i64; N]; M]) -> Tensor<B, 2, Int> {
    Tensor::from_data(tokens, &Default::default())
}

const BOTH: [QuantMode; 2] = [QuantMode::Dynamic, QuantMode::WeightOnly];

/// `scale * integer` of the rows asked for, in either scheme and range.
fn lookup<B: Backend>() {
    let table = burns::<B>(11, 5);
    for range in [QuantRange::Symmetric, QuantRange::Full] {
        for activations in BOTH {
            let scheme = LayerScheme::keras().with_range(range).with_mode(activations);
            let int8 = QEmbedding::from_float(&table, &scheme).expect("finite weights");
            let (q, scales) = (int8.integers(), int8.scales());
            assert_eq!(scales.len(), 11);
            let indices = [[10, 0, 3], [3, 3, 7]];
            let expected: Vec<f32> = indices
                .iter()
                .flatten()
                .flat_map(|&i| {
                    let i = i as usize;
                    q[i * 5..][..5].iter().map(|&q| f32::from(q) * scales[i]).collect::<Vec<_>>()
                })
                .collect();
            let y = int8.forward(tokens(indices));
            assert_eq!((y.dims(), floats(y)), ([2, 3, 5], expected));
            // One row a scale: each is as near as its own largest value allows.
            let (float, y) = (floats(table.forward(tokens(indices))), floats(int8.forward(tokens(indices))));
            for (float, y) in float.iter().zip(&y) {
                assert!((float - y).abs() <= 1.001 / 127.0, "{y}, float {float}");
            }
        }
    }
    assert_eq!(
        floats(Embedding::from(table.clone()).forward(tokens([[1, 2]]))),
        floats(table.forward(tokens([[1, 2]])))
    );
}

#[test]
#[should_panic(expected = "index 11 is outside the vocabulary of 11 entries")]
fn an_index_beyond_the_table() {
    int8::<NdArray>(11, 5, QuantMode::Dynamic).forward(tokens([[0, 11]]));
}

#[test]
#[should_panic(expected = "index -1 is outside the vocabulary of 11 entries")]
fn an_index_below_zero() {
    int8::<NdArray>(11, 5, QuantMode::Dynamic).forward(tokens([[-1, 0]]));
}

/// Slices and transposes of indices, and none at all.
#[test]
fn views_and_empty_batches() {
    let int8 = int8::<NdArray>(11, 5, QuantMode::Dynamic);
    let all = tokens::<NdArray, 3, 4>([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 1]]);
    let transposed = floats(int8.forward(all.clone().transpose()));
    assert_eq!(transposed, floats(int8.forward(tokens([[1, 5, 9], [2, 6, 10], [3, 7, 0], [4, 8, 1]]))));
    let sliced = floats(int8.forward(all.clone().slice([1..3, 1..3])));
    assert_eq!(sliced, floats(int8.forward(tokens([[6, 7], [10, 0]]))));
    assert_eq!(int8.forward(all.slice([0..0, 0..4])).dims(), [0, 4, 5]);
    assert_eq!(int8.logits(Tensor::<NdArray, 2>::zeros([0, 5], &Default::default())).dims(), [0, 11]);
}

/// `x · tableᵀ` of the integers, in naive loops.
fn check_logits<B: Backend>(rows: usize, entries: usize, width: usize) {
    let x = values(rows * width, 8);
    let input = || Tensor::<B, 2>::from_data(TensorData::new(x.clone(), [rows, width]), &Default::default());
    for activations in BOTH {
        let int8 = int8::<B>(entries, width, activations);
        let (q, scales) = (int8.integers(), int8.scales());
        let got = floats(int8.logits(input()));
        for (i, got) in got.iter().enumerate() {
            let (x, q) = (&x[i / entries * width..][..width], &q[i % entries * width..][..width]);
            let scale = scales[i % entries];
            if activations == QuantMode::Dynamic {
                let (x, step) = quantize(x, QuantRange::Symmetric);
                let sum: i64 = x.iter().zip(q).map(|(x, &q)| x * i64::from(q)).sum();
                assert_eq!(*got, sum as f32 * (step * scale), "{rows} x {entries} x {width}");
            } else {
                let sum: f64 = x.iter().zip(q).map(|(&x, &q)| f64::from(x) * f64::from(q)).sum();
                // Half an ulp (6e-8) of a partial sum below `width * 127`, `width` times.
                let bound = 6e-8 * 127.0 * (width * width) as f64 * f64::from(scale);
                assert!((f64::from(*got) - sum * f64::from(scale)).abs() <= bound + 1e-6);
            }
        }
    }
}

fn logits<B: Backend>() {
    for [rows, entries, width] in [[1, 1, 1], [3, 7, 5], [2, 130, 70], [9, 33, 64]] {
        check_logits::<B>(rows, entries, width);
    }
}

on_every_backend! { lookup logits }

/// Every rank, as one batch of rows; float and INT8; the type of the input.
#[test]
fn logits_of_every_rank_and_type() {
    let float: Embedding<NdArray> = burns(7, 6).into();
    let (int8, _) = float.clone().quantize(&Int8Config::new()).expect("a float layer");
    for layer in [float, int8] {
        let rows = floats(layer.logits(tensor::<NdArray, 2>([8, 6], 1)));
        assert_eq!(floats(layer.logits(tensor::<NdArray, 1>([6], 1))), rows[..7]);
        let y = layer.logits(tensor::<NdArray, 4>([2, 2, 2, 6], 1));
        assert_eq!((y.dims(), floats(y)), ([2, 2, 2, 7], rows.clone()));
        if layer.is_int8() {
            let y = layer.logits(tensor::<NdArray, 2>([8, 6], 1).cast(DType::F64));
            assert_eq!((y.dtype(), floats(y)), (DType::F64, rows));
        }
    }
    let (table, x) = (burns::<NdArray>(7, 6), tensor::<NdArray, 2>([8, 6], 1));
    let expected = x.clone().matmul(table.weight.val().transpose());
    assert_eq!(floats(Embedding::from(table).logits(x)), floats(expected));
}

#[test]
#[should_panic(
    expected = "Embedding: the last axis of an input of shape [2, 7] must be 6, as the table is [11, 6]"
)]
fn a_wrong_width_is_named_with_both_shapes_while_float() {
    Embedding::from(burns::<NdArray>(11, 6)).logits(tensor::<NdArray, 2>([2, 7], 1));
}

#[test]
#[should_panic(
    expected = "QEmbedding: the last axis of an input of shape [2, 7] must be 6, as the table is [11, 6]"
)]
fn a_wrong_width_is_named_with_both_shapes() {
    int8::<NdArray>(11, 6, QuantMode::Dynamic).logits(tensor::<NdArray, 2>([2, 7], 1));
}

#[test]
fn a_row_that_is_not_finite_harms_no_other() {
    let int8 = int8::<NdArray>(7, 6, QuantMode::Dynamic);
    let x = tensor::<NdArray, 2>([3, 6], 1);
    let expected = floats(int8.logits(x.clone()));
    let x = x.slice_assign([1..2, 2..3], Tensor::full([1, 1], f32::NAN, &Default::default()));
    let got = floats(int8.logits(x));
    assert_eq!((&got[..7], &got[14..]), (&expected[..7], &expected[14..]));
    assert!(got[7..14].iter().all(|y| y.is_nan()));
}

/// Straight through to the input of the head; nothing at the table, nor through a lookup.
#[test]
fn gradients() {
    type Train = Autodiff<NdArray>;
    for activations in BOTH {
        let int8 = int8::<Train>(7, 6, activations);
        let x = tensor::<Train, 2>([4, 6], 1).require_grad();
        let upstream = tensor::<Train, 2>([4, 7], 2);
        let lookup = int8.forward(tokens([[1, 2]])).sum();
        let loss = (int8.logits(x.clone() * 2.0) * upstream.clone()).sum() + lookup;
        let gradients = loss.backward();
        let got = floats(x.grad(&gradients).expect("a gradient of the input"));
        let expected = floats(upstream.matmul(int8.dequantize().weight.val()) * 2.0);
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5, "{got}, not {expected}"); // sums of 7 products below 2
        }
        assert_eq!(GradientsParams::from_grads(gradients, &int8).len(), 0);
        let valid = int8.valid();
        let y = floats(valid.logits(tensor::<NdArray, 2>([4, 6], 1)));
        assert_eq!(floats(valid.train::<Train>().logits(tensor::<Train, 2>([4, 6], 1))), y);
        assert_eq!(floats(int8.logits(tensor::<Train, 2>([4, 6], 1))), y);
    }
}

/// A float table has the gradients of both of its uses.
#[test]
fn a_float_table_trains_through_its_head() {
    type Train = Autodiff<NdArray>;
    let table: Embedding<Train> = burns(7, 6).into();
    let gradients = table.logits(tensor::<Train, 2>([4, 6], 1)).sum().backward();
    assert_eq!(GradientsParams::from_grads(gradients, &table).len(), 1);
}

#[test]
fn configuration_and_display_are_burns() {
    let (ours, burns) = (EmbeddingConfig::new(100, 10), nn::EmbeddingConfig::new(100, 10));
    let json = serde_json::to_string(&ours).expect("plain data");
    assert_eq!(json, serde_json::to_string(&burns).expect("plain data"));
    let read: EmbeddingConfig = serde_json::from_str(&json).expect("the same data");
    let device = Default::default();
    assert_eq!(
        format!("{}", read.init::<NdArray>(&device)),
        "Embedding {n_embedding: 100, d_model: 10, params: 1000}"
    );
    let int8 = read.init_int8::<NdArray>(&device);
    assert_eq!(
        format!("{int8}"),
        "QEmbedding {n_embedding: 100, d_model: 10, activations: Dynamic, params: 1000}"
    );
    assert_eq!(Module::<NdArray>::num_params(&int8), 1000);
    assert_eq!(floats(int8.forward(tokens([[99]]))), [0.0; 10]);
}

/// The row is the channel.
#[test]
fn a_row_with_an_infinity_is_named() {
    let mut table = burns::<NdArray>(7, 6);
    let infinity = Tensor::full([1, 1], f32::INFINITY, &Default::default());
    table.weight = table.weight.map(|w| w.slice_assign([4..5, 1..2], infinity));
    let error = Embedding::from(table).quantize(&Int8Config::new()).expect_err("an infinity");
    assert_eq!(error.error(), &Int8Error::NonFiniteWeight { path: String::new(), channel: 4 });
}

proptest! {
    #[test]
    fn any_table(rows in 1usize..6, entries in 1usize..90, width in 1usize..90) {
        check_logits::<NdArray>(rows, entries, width);
    }
}
