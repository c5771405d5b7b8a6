//! The portable path against the kernels: the same integers, so the same floats.

mod conv;

use burn::backend::NdArray;
use burn::prelude::*;
use burn::tensor::DType;

use crate::config::{InputCodes, LayerScheme, QuantMode, QuantRange};
use crate::ops::op::LinearOp;
use crate::ops::portable;
use crate::ops::portable::weights::{Capabilities, DeviceWeights};
use burn_int8_kernels::gemm::{self, Product};
use burn_int8_kernels::{
    BlockRotation, InputTransform, Kernel, PackedWeights, QTensor, Rounding, WeightLayout,
};

/// Values in `-1.0..1.0` with some structure: no two rows or columns alike.
fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// The same, but for every second row of `width`, which has no value below zero.
fn mixed(len: usize, width: usize, seed: usize) -> Vec<f32> {
    let mut x = values(len, seed);
    x.chunks_mut(width.max(1)).step_by(2).for_each(|row| row.iter_mut().for_each(|x| *x = x.abs()));
    x
}

/// The same weights on a device.
fn on_device<B: Backend>(packed: &PackedWeights, layout: &WeightLayout) -> DeviceWeights<B> {
    assert_eq!(packed.layout(), *layout);
    DeviceWeights::new(&packed.to_qtensor(), Capabilities::default(), &Default::default())
}

/// The same matrix on a device.
fn matrix<B: Backend>(packed: &PackedWeights) -> DeviceWeights<B> {
    on_device(packed, &WeightLayout::Linear(packed.shape()))
}

/// The outputs `x · w + bias` of the kernels and of plain tensor operations on `B`.
fn both<B: Backend>(
    x: &[f32],
    packed: &PackedWeights,
    bias: Option<&[f32]>,
    scheme: LayerScheme,
) -> (Vec<f32>, Vec<f32>) {
    let device = Default::default();
    let [k, n] = packed.shape();
    let m = x.len() / k;
    let expected = match scheme.mode {
        QuantMode::Auto | QuantMode::Dynamic => {
            let [out] =
                gemm::dynamic(Kernel::detect(), (x, m), scheme.inputs(), [Product::new(packed, bias)]);
            out
        }
        QuantMode::WeightOnly => gemm::weight_only(Kernel::detect(), (x, m), Product::new(packed, bias)),
    };
    let tensor = Tensor::<B, 2>::from_data(TensorData::new(x.to_vec(), [m, k]), &device);
    let bias = bias.map(|b| Tensor::from_data(TensorData::new(b.to_vec(), [n]), &device));
    let got = portable::linear(&matrix(packed), tensor, LinearOp::new(scheme, bias));
    assert_eq!(got.dims(), [m, n]);
    (expected, got.into_data().to_vec().unwrap())
}

/// The integers of inputs.
const CODES: [(QuantRange, InputCodes); 3] = [
    (QuantRange::Symmetric, InputCodes::Signed),
    (QuantRange::Full, InputCodes::Signed),
    (QuantRange::Full, InputCodes::Auto),
];

fn dynamic_is_identical_on<B: Backend>() {
    for [m, k, n] in [[1, 1, 1], [3, 4, 5], [5, 33, 17], [2, 1023, 9], [2, 1024, 9], [3, 2100, 7]] {
        for (range, codes) in CODES {
            let scheme = LayerScheme::default().with_range(range).with_codes(codes);
            let weights = values(k * n, 1);
            let (packed, _) =
                PackedWeights::quantize(&weights, &WeightLayout::Linear([k, n]), range).unwrap();
            for bias in [None, Some(values(n, 2))] {
                let (expected, got) = both::<B>(&mixed(m * k, k, 3), &packed, bias.as_deref(), scheme);
                assert_eq!(got, expected, "{range:?} {codes:?} m={m} k={k} n={n}");
            }
        }
    }
}

#[test]
fn dynamic_activations_are_identical() {
    dynamic_is_identical_on::<NdArray>();
    #[cfg(feature = "test-suite")]
    dynamic_is_identical_on::<burn::backend::Flex>();
}

/// Ties, extremes, and integers whose sums fill `f32` exactly.
#[test]
fn extreme_integers_are_identical() {
    let scheme = LayerScheme::default().with_range(QuantRange::Full);
    for k in [1024, 1025, 65_800, 131_080] {
        let packed = PackedWeights::from_qtensor(
            &QTensor::new(vec![-128; k * 2], vec![1.0, 0.5], WeightLayout::Linear([k, 2])).unwrap(),
        );
        let mut x: Vec<f32> = (0..k).map(|i| [0.5, 1.5, -2.5, -128.0][i % 4]).collect();
        x[0] = -128.0;
        let (expected, got) = both::<NdArray>(&x, &packed, None, scheme);
        assert_eq!(got, expected, "k={k}");
        for of_all in [-128.0, 255.0] {
            let (expected, got) = both::<NdArray>(&vec![of_all; k], &packed, None, scheme);
            assert_eq!(got, expected, "k={k}");
        }
    }
}

/// Each row stands alone: zeros give zeros, what is not finite gives NaN, the tiny keep their resolution.
#[test]
fn unusual_rows_are_identical() {
    let (k, n) = (6, 3);
    let (packed, _) =
        PackedWeights::quantize(&values(k * n, 1), &WeightLayout::Linear([k, n]), QuantRange::Symmetric)
            .unwrap();
    let mut x = values(6 * k, 2);
    x[..k].fill(0.0);
    x[k + 1] = f32::NAN;
    x[2 * k + 2] = f32::INFINITY;
    x[3 * k..4 * k].iter_mut().for_each(|v| *v *= 1e-36);
    x[4 * k..5 * k].iter_mut().for_each(|v| *v *= 1e30);
    let bits = |v: &[f32]| v.iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect::<Vec<_>>();
    for x in [x.iter().map(|x| x.abs()).collect(), x] {
        let (expected, got) = both::<NdArray>(&x, &packed, None, LayerScheme::default());
        assert_eq!(bits(&got), bits(&expected));
        assert!(got[..n] == [0.0; 3] && got[n..3 * n].iter().all(|y| y.is_nan()));
        assert!(got[3 * n..].iter().all(|y| y.is_finite()));
    }
}

/// Every block, with smoothing and without, also of rows that leave no room for sums.
fn transformed_is_identical_on<B: Backend>() {
    for block in (1..=8).map(|power| 1 << power) {
        let ([m, k, n], rotation) = ([6, 3 * block, 5], BlockRotation::new(block).unwrap());
        let shifts: Vec<u8> = (0..k).map(|i| (i * 5 % 17) as u8).collect();
        for transform in [rotation.into(), InputTransform::from(rotation).with_shifts(&shifts)] {
            let how = (QuantRange::Symmetric, Rounding::KeepSums);
            let (w, layout) = (values(k * n, 1), WeightLayout::Linear([k, n]));
            let (packed, _) = PackedWeights::quantize_transformed(&w, &layout, how, transform).unwrap();
            let mut x = values(m * k, 3);
            for (row, factor) in x.chunks_mut(k).zip([1.0, 0.0, 1e30, 1e-31, f32::NAN, 1e38]) {
                row.iter_mut().for_each(|x| *x *= factor);
            }
            let (expected, got) = both::<B>(&x, &packed, None, LayerScheme::default());
            let bits = |y: &f32| if y.is_nan() { 1 } else { y.to_bits() };
            assert!(got.iter().map(bits).eq(expected.iter().map(bits)), "{block}: {got:?} {expected:?}");
        }
    }
}

#[test]
fn transformed_inputs_are_identical() {
    transformed_is_identical_on::<NdArray>();
    #[cfg(feature = "test-suite")]
    transformed_is_identical_on::<burn::backend::Flex>();
}

/// Float sums have no one order: `k` additions, each off by half an ulp (6e-8) of a partial sum below `k * 127`.
#[test]
fn weight_only_agree() {
    let scheme = LayerScheme::default().with_mode(QuantMode::WeightOnly);
    for [m, k, n] in [[1, 1, 1], [3, 7, 5], [2, 1030, 9]] {
        let (packed, _) =
            PackedWeights::quantize(&values(k * n, 1), &WeightLayout::Linear([k, n]), scheme.range).unwrap();
        let (expected, got) = both::<NdArray>(&values(m * k, 3), &packed, Some(&values(n, 2)), scheme);
        let tolerance = 6e-8 * k as f32 * k as f32;
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() <= tolerance + 1e-6, "{got} against {expected}");
        }
    }
}

#[test]
fn device_weights_give_back_their_integers() {
    for [k, n] in [[0, 3], [1, 1], [5, 3], [8, 0], [9, 70]] {
        let integers: Vec<i8> = (0..k * n).map(|i| (i * 37 % 256) as u8 as i8).collect();
        let scales: Vec<f32> = (1..=n).map(|j| j as f32).collect();
        let packed = PackedWeights::from_qtensor(
            &QTensor::new(integers.clone(), scales.clone(), WeightLayout::Linear([k, n])).unwrap(),
        );
        let weights = matrix::<NdArray>(&packed);
        assert_eq!(weights.shape(), [k, n]);
        let got = (weights.to_integers(&WeightLayout::Linear([k, n])), weights.host_scales());
        assert_eq!(got, (integers, scales));
    }
}

/// The output has the type of the input, and nothing breaks where there is nothing to compute.
#[test]
fn types_and_empty_shapes_are_kept() {
    let device = Default::default();
    let (packed, _) =
        PackedWeights::quantize(&values(12, 1), &WeightLayout::Linear([4, 3]), QuantRange::Symmetric)
            .unwrap();
    let weights = matrix::<NdArray>(&packed);
    let op = || LinearOp::new(LayerScheme::default(), None);
    let x = Tensor::<NdArray, 3>::ones([2, 5, 4], &device).cast(DType::F64);
    let y = portable::linear(&weights, x, op());
    assert_eq!((y.dims(), y.dtype()), ([2, 5, 3], DType::F64));
    let y = portable::linear(&weights, Tensor::<_, 2>::zeros([0, 4], &device), op());
    assert_eq!(y.dims(), [0, 3]);
}

/// A table's rows come out as the floats that they stand for, and its product is that of its transpose.
#[test]
fn tables_are_identical() {
    let device = Default::default();
    for [entries, width] in [[1, 1], [70, 5], [9, 64]] {
        let form = WeightLayout::Table([entries, width]);
        let (packed, _) =
            PackedWeights::quantize(&values(entries * width, 1), &form, QuantRange::Symmetric).unwrap();
        let integers = packed.to_integers();
        let weights = on_device::<NdArray>(&packed, &form);
        assert_eq!(weights.to_integers(&form), integers);
        let picked = [0, entries - 1, entries / 2, 0];
        let rows = packed.rows_of_table(Kernel::detect(), &picked);
        for (row, &entry) in rows.chunks(width).zip(&picked) {
            let integers = &integers[entry * width..][..width];
            let expected: Vec<_> = integers.iter().map(|&q| f32::from(q) * packed.scales()[entry]).collect();
            assert_eq!(row, expected);
        }
        let indices = picked.map(|entry| entry as i64);
        let indices =
            Tensor::<NdArray, 2, Int>::from_data(TensorData::new(indices.to_vec(), [2, 2]), &device);
        assert_eq!(portable::embed(&weights, indices).into_data().to_vec::<f32>().unwrap(), rows);
        let x = values(3 * width, 2);
        let [expected] =
            gemm::dynamic(Kernel::detect(), (&x, 3), QuantRange::Symmetric, [Product::new(&packed, None)]);
        let x = Tensor::<NdArray, 2>::from_data(TensorData::new(x, [3, width]), &device);
        let logits = portable::linear(&weights, x, LinearOp::new(LayerScheme::keras(), None));
        assert_eq!(logits.into_data().to_vec::<f32>().unwrap(), expected);
    }
}

/// Inputs whose products with the integers overflow `f32`, although the outputs do not: near `2^128` beside ordinary ones.
#[test]
fn large_inputs_do_not_overflow_where_only_weights_are_integers() {
    let scheme = LayerScheme::default().with_mode(QuantMode::WeightOnly);
    let layout = WeightLayout::Linear([8, 1]);
    let packed = PackedWeights::quantize(&[1e-3; 8], &layout, scheme.range).unwrap().0;
    let rows = [[1e37; 8], [3e38, -3e38, 3e38, -3e38, 1e38, 0.0, 0.0, 0.0], [0.5; 8]];
    let x = Tensor::<NdArray, 2>::from_data(rows, &Default::default());
    let y = portable::linear(&matrix(&packed), x, LinearOp::new(scheme, None));
    let y = y.into_data().to_vec::<f32>().unwrap();
    for (y, expected) in y.iter().zip([8e34, 1e35, 4e-3]) {
        assert!((y / expected - 1.0).abs() < 1e-6, "{y}, not {expected}");
    }
}
