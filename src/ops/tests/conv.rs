//! Convolutions through plain tensor operations, against the kernels and against loops.

use super::*;
use crate::ops::op::ConvOp;
use burn_int8_kernels::ConvSpec;
use burn_int8_kernels::conv::{self, ConvGeometry, ConvInput};

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

/// Samples whose products with the integers overflow `f32`, although the outputs do not, beside ordinary ones.
#[test]
fn large_samples_do_not_overflow_where_only_weights_are_integers() {
    let scheme = LayerScheme::default().with_mode(QuantMode::WeightOnly);
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
