//! The portable path against the kernels: the same integers, so the same floats.

use burn::backend::NdArray;
use burn::prelude::*;
use burn::tensor::DType;

use crate::config::{InputCodes, LayerScheme, QuantMode, QuantRange};
use crate::ops::op::{ConvOp, LinearOp};
use crate::ops::portable;
use crate::ops::portable::weights::{Capabilities, DeviceWeights};
use burn_int8_kernels::conv::{self, ConvGeometry, ConvInput};
use burn_int8_kernels::gemm::{self, Product};
use burn_int8_kernels::{
    BlockRotation, ConvSpec, InputTransform, Kernel, PackedWeights, QTensor, Rounding, WeightLayout,
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

/// The outputs of the kernels and of plain tensor operations for two samples.
fn both_conv(
    spec: ConvSpec,
    input: [usize; 3],
    padding: [[usize; 2]; 3],
    scheme: LayerScheme,
) -> [Vec<f32>; 2] {
    let device = Default::default();
    let form = WeightLayout::Conv(spec);
    let geometry = spec.geometry(input, padding).expect("an output");
    let (weights, _) = PackedWeights::quantize(&values(form.len(), 1), &form, scheme.range).unwrap();
    let [depth, height, width] = input;
    let shape = [2, spec.channels[0], depth, height, width];
    let len: usize = shape.iter().product();
    let (x, bias) = (mixed(len, len / 2, 2), values(spec.channels[1], 3));
    let images = ConvInput { values: &x, batch: 2, geometry: &geometry, weights: &weights };
    let expected = match scheme.mode {
        QuantMode::Auto | QuantMode::Dynamic => {
            conv::dynamic(Kernel::detect(), &images, scheme.inputs(), Some(&bias))
        }
        QuantMode::WeightOnly => conv::weight_only(Kernel::detect(), &images, Some(&bias)),
    };
    let x = Tensor::<NdArray, 5>::from_data(TensorData::new(x, shape), &device);
    let bias = Tensor::from_data(TensorData::new(bias, [spec.channels[1]]), &device);
    let op = ConvOp { geometry, scheme, bias: Some(bias) };
    let got = portable::conv::conv(&on_device(&weights, &form), x, op);
    let [depth, height, width] = geometry.output();
    assert_eq!(got.dims(), [2, spec.channels[1], depth, height, width]);
    [expected, got.into_data().to_vec().unwrap()]
}

/// Strides, dilations, groups and paddings of both kinds of convolution; one with more inputs than `f32` sums exactly.
#[test]
fn convolutions_are_identical() {
    let plain = ConvSpec {
        axes: 3,
        channels: [6, 4],
        groups: 1,
        kernel: [1, 3, 2],
        stride: [1; 3],
        dilation: [1; 3],
        transposed: false,
    };
    let filters = [
        plain,
        ConvSpec { groups: 2, stride: [1, 2, 3], ..plain },
        ConvSpec { channels: [6, 12], groups: 6, dilation: [1, 2, 1], ..plain },
        ConvSpec { kernel: [2, 3, 3], stride: [2, 1, 2], dilation: [1, 2, 2], ..plain },
        ConvSpec { channels: [130, 2], kernel: [1, 3, 3], ..plain },
        ConvSpec { channels: [1100, 2], kernel: [1, 1, 1], ..plain },
        ConvSpec { channels: [6, 4], kernel: [1, 1, 1], stride: [2, 3, 4], ..plain },
    ];
    for spec in filters {
        for transposed in [false, true] {
            let spec = ConvSpec { transposed, ..spec };
            for (input, padding) in [([3, 6, 7], [[0; 2]; 3]), ([2, 5, 5], [[0, 0], [1, 2], [2, 0]])] {
                for (range, codes) in CODES {
                    let scheme = LayerScheme::default().with_range(range).with_codes(codes);
                    let [expected, got] = both_conv(spec, input, padding, scheme);
                    assert_eq!(got, expected, "{spec:?} on {input:?}, {padding:?}");
                }
                let scheme = LayerScheme::default().with_mode(QuantMode::WeightOnly);
                let [expected, got] = both_conv(spec, input, padding, scheme);
                let k = WeightLayout::Conv(spec).inputs() as f32;
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 6e-8 * k * k + 1e-6; // as `weight_only_agree`
                assert!(got.iter().zip(&expected).all(close), "{spec:?} on {input:?}");
            }
        }
    }
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

    let spec = ConvSpec {
        axes: 1,
        channels: [8, 1],
        groups: 1,
        kernel: [1, 1, 2],
        stride: [1; 3],
        dilation: [1; 3],
        transposed: false,
    };
    let layout = WeightLayout::Conv(spec);
    let packed = PackedWeights::quantize(&[1e-3; 16], &layout, scheme.range).unwrap().0;
    let geometry = spec.geometry([1, 1, 2], [[0; 2]; 3]).unwrap();
    let samples = TensorData::new([[1e37f32; 16], [0.5; 16]].concat(), [2, 8, 2]);
    let x = Tensor::<NdArray, 3>::from_data(samples, &Default::default());
    let y = portable::conv::conv(&on_device(&packed, &layout), x, ConvOp { geometry, scheme, bias: None });
    let y = y.into_data().to_vec::<f32>().unwrap();
    for (y, expected) in y.iter().zip([1.6e35, 8e-3]) {
        assert!((y / expected - 1.0).abs() < 1e-6, "{y}, not {expected}");
    }
}

/// A convolution of `x` `[channels, input]` with filters of ones, along one axis, in naive loops of `i128`.
fn loops(spec: &ConvSpec, geometry: &ConvGeometry, x: &[f32]) -> Vec<f32> {
    let [input, output] = [geometry.input()[2], geometry.output()[2]];
    let mut sums = vec![0.0; output];
    for (output, sum) in sums.iter_mut().enumerate() {
        for tap in 0..spec.kernel[2] {
            for at in 0..input {
                let [stride, dilation, padding] =
                    [spec.stride[2], spec.dilation[2], geometry.padding()[2]].map(|size| size as i128);
                let (from, to) = if spec.transposed { (at, output) } else { (output, at) };
                if from as i128 * stride + tap as i128 * dilation - padding == to as i128 {
                    *sum += (0..spec.channels[0]).map(|channel| x[channel * input + at]).sum::<f32>();
                }
            }
        }
    }
    sums
}

/// The geometry of an input with zeros in front and behind; of a transposed convolution `padding` is what is cut off on both
/// sides and what is added behind.
fn along_one_axis(spec: &ConvSpec, input: usize, padding: [usize; 2]) -> ConvGeometry {
    let [input, front, behind] = [input, padding[0], padding[1]].map(|size| size as i128);
    let [stride, dilation, kernel] =
        [spec.stride[2], spec.dilation[2], spec.kernel[2]].map(|size| size as i128);
    let reach = (kernel - 1) * dilation + 1;
    let output = if spec.transposed {
        (input - 1) * stride + reach + behind - 2 * front
    } else {
        (input + front + behind - reach) / stride + 1
    };
    let padding = [[0; 2], [0; 2], padding];
    let geometry = spec.geometry([1, 1, input as usize], padding).expect("sizes that memory could have");
    assert_eq!(geometry.output()[2] as i128, output);
    geometry
}

/// Strides, dilations and paddings as large as they can be: no size that is computed from them overflows.
#[test]
fn hostile_geometries_are_computed_as_loops_do() {
    const HUGE: usize = (1 << 42) - 1;
    let spec = ConvSpec {
        axes: 1,
        channels: [2, 1],
        groups: 1,
        kernel: [1, 1, 2],
        stride: [1; 3],
        dilation: [1; 3],
        transposed: false,
    };
    let up = ConvSpec { transposed: true, ..spec };
    let dilated = |spec, dilation| ConvSpec { dilation: [1, 1, dilation], ..spec };
    let strided = |spec, stride| ConvSpec { stride: [1, 1, stride], ..spec };
    let cases = [
        (dilated(spec, HUGE), 1, [0, HUGE + 1]),
        (dilated(spec, HUGE), 1, [HUGE + 1, 0]),
        (dilated(spec, HUGE), 3, [HUGE / 2, HUGE / 2 + 2]),
        (dilated(spec, HUGE / 2), 1, [0, HUGE / 2 + 1]),
        (strided(spec, HUGE), 5, [0, HUGE]),
        (strided(dilated(spec, HUGE), HUGE), 5, [HUGE, HUGE]),
        (ConvSpec { kernel: [1, 1, 9], ..dilated(spec, HUGE / 9) }, 4, [HUGE / 9 * 8, 3]),
        (strided(up, HUGE), 2, [HUGE / 2, 0]),
        (dilated(up, HUGE), 2, [HUGE / 2, 1]),
        (strided(dilated(up, 3), HUGE), 2, [HUGE / 2 - 1, 3]),
    ];
    for (spec, input, padding) in cases {
        let geometry = along_one_axis(&spec, input, padding);
        assert!((1..20).contains(&geometry.output()[2]), "{spec:?}: {geometry:?}");
        let layout = WeightLayout::Conv(spec);
        let device = Default::default();
        let ones = vec![1; layout.len()];
        let tensor = QTensor::new(ones, vec![1.0], layout).unwrap();
        let weights = DeviceWeights::<NdArray>::new(&tensor, Capabilities::default(), &device);
        let x = values(2 * input, 3);
        for mode in [QuantMode::Dynamic, QuantMode::WeightOnly] {
            let scheme = LayerScheme::default().with_mode(mode);
            let tensor = TensorData::new(x.clone(), [1, 2, input]);
            let tensor = Tensor::<NdArray, 3>::from_data(tensor, &device);
            let op = ConvOp { geometry, scheme, bias: None };
            let got = portable::conv::conv(&weights, tensor, op);
            let got = got.into_data().to_vec::<f32>().unwrap();
            for (got, expected) in got.iter().zip(loops(&spec, &geometry, &x)) {
                assert!((got - expected).abs() < 0.1, "{got}, not {expected}: {spec:?} {padding:?} {mode:?}");
            }
        }
    }
}
