//! The INT8 layer against the float layer that it stands for.

use burn::backend::{Flex, NdArray};
use burn::module::Module;
use burn::prelude::*;
use burn::tensor::DType;
use burn_int8::nn::{LinearConfig, LinearLayout, QLinear};
use burn_int8::prelude::*;
use proptest::prelude::*;

use crate::support::models::{burns_linear, floats, on_every_backend, tensor, values};

/// The error that rounding one operand to 8 bits may add to a dot product of `k` values below 1: `k` errors of half a step (1/254),
/// for inputs and for weights.
fn rounding(k: usize) -> f32 {
    k as f32 * 2.0 * 0.5 / 127.0
}

fn int8<B: Backend>(k: usize, n: usize, activations: QuantMode) -> (burn::nn::Linear<B>, QLinear<B>) {
    let float = burns_linear::<B>(k, n, true, 7);
    let scheme = LayerScheme::keras().with_mode(activations);
    let int8 = QLinear::from_float(&float, &scheme).expect("finite weights");
    (float, int8)
}

fn max_difference<B: Backend, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let pairs = floats(a).into_iter().zip(floats(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The outputs are near to those of Burn's layer; the integers do not depend on how the rows are arranged.
macro_rules! ranks_on {
    ($backend:ty: $($shape:expr),*) => {
        for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
            let (float, int8) = int8::<$backend>(6, 5, activations);
            let rows = floats(int8.forward(tensor::<$backend, 2>([24, 6], 1)));
            $({
                let x = tensor::<$backend, _>($shape, 1);
                let y = int8.forward(x.clone());
                assert!(max_difference(float.forward(x), y.clone()) < rounding(6));
                let y = floats(y);
                assert_eq!(y, rows[..y.len()]);
            })*
        }
    };
}

/// Burn's `NdArray` ends at six.
fn six_ranks<B: Backend>() {
    ranks_on!(B: [6], [24, 6], [4, 6, 6], [2, 3, 4, 6], [2, 3, 2, 2, 6], [2, 3, 2, 1, 2, 6]);
}

#[test]
fn eight_ranks() {
    ranks_on!(Flex: [1, 2, 3, 2, 1, 2, 6], [1, 2, 1, 3, 2, 1, 2, 6]);
}

/// The layout of a tensor in memory, transposed, sliced, expanded or permuted, changes nothing.
fn views<B: Backend>() {
    let device = Default::default();
    for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
        let (_, int8) = int8::<B>(6, 5, activations);
        let check = |view: Tensor<B, 3>| {
            let copy = Tensor::<B, 3>::from_data(view.to_data(), &device);
            assert_eq!(floats(int8.forward(view)), floats(int8.forward(copy)));
        };
        check(tensor::<B, 3>([3, 6, 4], 1).swap_dims(1, 2));
        check(tensor::<B, 3>([6, 3, 4], 1).permute([2, 1, 0]));
        check(tensor::<B, 3>([5, 7, 9], 1).slice([1..4, 2..6, 3..9]));
        check(tensor::<B, 3>([1, 1, 6], 1).expand([3, 4, 6]));
        check(tensor::<B, 3>([2, 3, 1], 1).expand([2, 3, 6]));
        check(tensor::<B, 3>([2, 3, 6], 1).flip([0, 2]));
    }
}

on_every_backend! { six_ranks views }

#[test]
fn empty_batches_give_empty_outputs() {
    for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
        let (_, int8) = int8::<NdArray>(6, 5, activations);
        let device = Default::default();
        assert_eq!(int8.forward(Tensor::<NdArray, 2>::zeros([0, 6], &device)).dims(), [0, 5]);
        assert_eq!(int8.forward(Tensor::<NdArray, 3>::zeros([2, 0, 6], &device)).dims(), [2, 0, 5]);
    }
}

#[test]
#[should_panic(expected = "an input of shape [2, 7] must be 6, as the weight is [6, 5]")]
fn a_wrong_input_is_named_with_both_shapes() {
    let (_, int8) = int8::<NdArray>(6, 5, QuantMode::Dynamic);
    int8.forward(tensor::<NdArray, 2>([2, 7], 1));
}

/// The output has the type of the input. Half types round input and output to 8 or 11 bits.
#[test]
fn float_types() {
    const BF16: f32 = 1.0 / 128.0;
    const F16: f32 = 1.0 / 1024.0;
    fn check<B: Backend>(dtype: DType, precision: f32) {
        for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
            let (float, int8) = int8::<B>(6, 5, activations);
            let x = tensor::<B, 2>([3, 6], 1).cast(dtype);
            let y = int8.forward(x.clone());
            assert_eq!(y.dtype(), dtype);
            let error = max_difference(float.forward(x.cast(DType::F32)), y.cast(DType::F32));
            assert!(error < rounding(6) + 6.0 * precision, "{dtype:?} {activations:?}: {error}");
        }
    }
    check::<NdArray>(DType::F64, 0.0);
    check::<Flex>(DType::F64, 0.0);
    check::<Flex>(DType::F16, F16);
    check::<Flex>(DType::BF16, BF16);
    // The doubles are made by a cast: which float type `NdArray<f64>` makes by default is up to who uses the device first in the process.
    let float = burns_linear::<NdArray>(6, 5, true, 7);
    let as_f64 = burn::nn::Linear {
        weight: float.weight.map(|weight| weight.cast(DType::F64)),
        bias: float.bias.map(|bias| bias.map(|bias| bias.cast(DType::F64))),
    };
    let int8 = QLinear::from_float(&as_f64, &LayerScheme::default()).expect("finite weights");
    let x = tensor::<NdArray, 2>([3, 6], 1).cast(DType::F64);
    assert!(max_difference(as_f64.forward(x.clone()), int8.forward(x)) < rounding(6));
}

/// A layer kept transposed has the same integers, and saves and loads as Burn's does (see `records`).
#[test]
fn column_layout() {
    let device = Default::default();
    let row = LinearConfig::new(6, 5).init::<NdArray>(&device);
    let column = LinearConfig::new(6, 5).with_layout(LinearLayout::Col).init::<NdArray>(&device);
    assert_eq!(format!("{row}"), format!("{column}"));
    let x = tensor::<NdArray, 2>([4, 6], 1);
    let float = column.forward(x.clone());
    let (int8, report) = column.quantize(&Int8Config::new()).expect("a float layer");
    assert_eq!(report.layers[0].shape, [6, 5]);
    assert!(max_difference(float, int8.forward(x)) < rounding(6));
}

/// Parameters draw their initial values when they are first read: the INT8 layer must not draw its own.
#[test]
fn a_layer_that_was_never_read() {
    let float = burn::nn::LinearConfig::new(16, 8).init::<NdArray>(&Default::default());
    let int8 = QLinear::from_float(&float, &LayerScheme::default()).expect("finite weights");
    let bias = |layer: &burn::nn::Linear<NdArray>| floats(layer.bias.as_ref().expect("a bias").val());
    assert_eq!(bias(&float), bias(&int8.dequantize()));
    let x = tensor::<NdArray, 2>([4, 16], 1);
    assert!(max_difference(float.forward(x.clone()), int8.forward(x)) < rounding(16));
}

#[test]
fn a_fresh_int8_layer_is_zero() {
    let layer = LinearConfig::new(3, 2).init_int8::<NdArray>(&Default::default());
    assert_eq!(floats(layer.forward(tensor::<NdArray, 2>([4, 3], 1))), [0.0; 8]);
    assert_eq!((layer.integers(), layer.scales()), (vec![0; 6], vec![1.0; 2]));
}

#[test]
fn display_and_parameter_count() {
    let layer = LinearConfig::new(10, 32).init::<NdArray>(&Default::default());
    assert_eq!(layer.num_params(), 352);
    assert_eq!(format!("{layer}"), "Linear {d_input: 10, d_output: 32, bias: true, params: 352}");
    let (layer, _) = layer.quantize(&Int8Config::new()).expect("a float layer");
    assert_eq!(layer.num_params(), 352);
    assert_eq!(
        format!("{layer}"),
        "QLinear {d_input: 10, d_output: 32, bias: true, activations: Dynamic, params: 352}"
    );
    // Containers that count through a visitor see the weights, too.
    assert_eq!(Module::<NdArray>::num_params(&Some(layer)), 352);
}

/// Many threads on one model, large enough to use several themselves.
#[test]
fn threads_share_a_model() {
    let (_, int8) = int8::<NdArray>(512, 600, QuantMode::Dynamic);
    let x = tensor::<NdArray, 2>([32, 512], 1);
    let expected = floats(int8.forward(x.clone()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(floats(int8.forward(x.clone())), expected);
                }
            });
        }
    });
    use rayon::prelude::*;
    (0..32).into_par_iter().for_each(|_| assert_eq!(floats(int8.forward(x.clone())), expected));
}

/// The output of a row does not depend on the rows around it.
#[test]
fn a_row_is_the_same_alone_and_in_a_batch() {
    let (_, int8) = int8::<NdArray>(70, 90, QuantMode::Dynamic);
    let batch = floats(int8.forward(tensor::<NdArray, 2>([60, 70], 1)));
    for row in [0, 1, 47, 48, 59] {
        let x = TensorData::new(values(60 * 70, 1)[row * 70..][..70].to_vec(), [70]);
        let alone = floats(int8.forward(Tensor::<NdArray, 1>::from_data(x, &Default::default())));
        assert_eq!(alone, batch[row * 90..][..90]);
    }
}

proptest! {
    /// Against the float layer with the dequantized weights, the only errors left are those of the activations: half a
    /// step of the row each, times the weight.
    #[test]
    fn only_the_activations_round(
        m in 1usize..5, k in 1usize..80, n in 1usize..40, seed in 0usize..1000, magnitude in -20i32..20,
    ) {
        let float = burns_linear::<NdArray>(k, n, true, seed);
        let int8 = QLinear::from_float(&float, &LayerScheme::keras()).expect("finite weights");
        let x = tensor::<NdArray, 2>([m, k], seed + 5) * 2f32.powi(magnitude);
        let expected = floats(int8.dequantize().forward(x.clone()));
        let got = floats(int8.forward(x.clone()));
        let (x, w) = (floats(x), floats(int8.dequantize().weight.val()));
        for (at, (got, expected)) in got.into_iter().zip(expected).enumerate() {
            let (i, j) = (at / n, at % n);
            let absmax = x[i * k..][..k].iter().fold(0f32, |max, v| max.max(v.abs()));
            let weights: f32 = (0..k).map(|t| w[t * n + j].abs()).sum();
            // 0.5 plus a little: `x * 127 / absmax` itself is rounded before the integer is; the float sum rounds, too.
            let bound = 0.5001 * absmax / 127.0 * weights + 1e-6 * (absmax * weights + 1.0);
            prop_assert!((got - expected).abs() <= bound, "{got} against {expected}, bound {bound}");
        }
    }

    /// Integers are what the scheme says: the nearest of `weight / scale`, the largest of a channel at the end of the range.
    #[test]
    fn weights_are_the_nearest_integers(
        k in 1usize..40, n in 1usize..20, seed in 0usize..1000, full in any::<bool>(),
    ) {
        let range = if full { QuantRange::Full } else { QuantRange::Symmetric };
        let float = burns_linear::<NdArray>(k, n, false, seed);
        let int8 = QLinear::from_float(&float, &LayerScheme::keras().with_range(range)).expect("finite");
        let (w, q, scales) = (floats(float.weight.val()), int8.integers(), int8.scales());
        for j in 0..n {
            let absmax = (0..k).fold(0f32, |max, i| max.max(w[i * n + j].abs()));
            let top = if full { 128.0 } else { 127.0 };
            prop_assert_eq!(scales[j], if absmax == 0.0 { 1.0 } else { absmax / top });
            for i in 0..k {
                let (exact, q) = (w[i * n + j] / scales[j], f32::from(q[i * n + j]));
                let bound = if full && exact > 127.0 { 1.0 } else { 0.5001 };
                prop_assert!((exact - q).abs() <= bound);
            }
        }
    }
}
