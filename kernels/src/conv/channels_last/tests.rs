//! Images with channels last give the bits of the other ways to convolve, which are tested against loops in `i64`.

use super::*;
use crate::conv::tests::{Case, Numbers};
use crate::conv::{self, ConvInput};
use crate::epilogue::ChannelOp;
use crate::range::{InputCodes, QuantRange};
use crate::tests::packed;
use crate::vecmath::Activation;
use crate::weight::WeightLayout;

/// The values of `[batch, channels, pixels]` as `[batch, pixels, channels]`.
fn turned<T: Copy>(values: &[T], [batch, channels, pixels]: [usize; 3]) -> Vec<T> {
    let at = |i: usize, pixel: usize, channel: usize| values[(i * channels + channel) * pixels + pixel];
    (0..batch)
        .flat_map(|i| {
            (0..pixels).flat_map(move |pixel| (0..channels).map(move |channel| at(i, pixel, channel)))
        })
        .collect()
}

#[test]
fn channels_move_to_the_end() {
    for shape @ [batch, channels, pixels] in [[1, 3, 5], [2, 70, 130], [1, 1, 1], [3, 0, 4], [2, 8, 64]] {
        let x: Vec<_> = (0..batch * channels * pixels).map(|i| i as f32).collect();
        for kernel in Kernel::tested() {
            assert_eq!(from_channels_first(kernel, &x, shape), turned(&x, shape), "{kernel:?} {shape:?}");
        }
    }
}

/// A value of the kind that layers see: of any sign or never negative, with zeros.
fn value(numbers: &mut Numbers, unsigned: bool) -> f32 {
    let x = numbers.next() as f32 / (1u64 << 31) as f32 - 0.5;
    if unsigned { x.max(0.0) } else { x * x * x }
}

/// The rounding of float sums, in parts of the largest possible one: of as many as there are taps, each of both ways is off by half
/// an ulp (6e-8) of the sum so far at most.
const FLOAT_SUM: f32 = 6e-7;

/// Compares sums and outputs of all kernels with those of the way with channels first.
fn check(case: &Case, numbers: &mut Numbers) -> bool {
    let Case { spec, batch, .. } = *case;
    let Ok(geometry) = spec.geometry(case.input, case.padding) else { return false };
    if !computes(&spec) {
        return false;
    }
    let layout = WeightLayout::Conv(spec);
    let [inputs, outputs] = spec.channels;
    let scales: Vec<_> = (0..outputs).map(|i| 0.01 + i as f32 / 777.0).collect();
    let weights = packed(&numbers.int8(layout.len()), &scales, layout);
    let volume: usize = case.input.iter().product();
    let unsigned: Vec<_> = (0..batch).map(|_| numbers.next().is_multiple_of(2)).collect();
    let mut x: Vec<_> = unsigned
        .iter()
        .flat_map(|&u| (0..inputs * volume).map(|_| value(numbers, u)).collect::<Vec<_>>())
        .collect();
    if numbers.next().is_multiple_of(8) {
        let at = numbers.next() % x.len();
        x[at] = f32::NAN;
    }
    let bias: Vec<_> = (0..outputs).map(|_| value(numbers, false)).collect();
    let turned_x = turned(&x, [batch, inputs, volume]);
    let first = ConvInput { values: &x, batch, geometry: &geometry, weights: &weights };
    let last = Convolution {
        pixels: Pixels::Floats(&turned_x),
        batch,
        geometry: &geometry,
        weights: &weights,
        arithmetic: Arithmetic::WeightOnly,
        bias: Some(&bias),
        steps: &[],
    };
    let pixels: usize = geometry.output().iter().product();
    let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for kernel in Kernel::tested() {
        if computes_floats(&spec) && x.iter().all(|x| x.is_finite()) {
            let expected = conv::weight_only(kernel, &first, Some(&bias));
            let expected = turned(&expected, [batch, outputs, pixels]);
            let out = last.floats(kernel);
            let close = |(i, (y, expected)): (usize, (&f32, &f32))| {
                let all = largest * 128.0 * scales[i % outputs] * spec.taps() as f32;
                (y - expected).abs() <= all * FLOAT_SUM
            };
            assert!(
                out.iter().zip(&expected).enumerate().all(close),
                "{kernel:?} {spec:?} {geometry:?} floats"
            );
        }
        for codes in [InputCodes::Auto, InputCodes::Signed] {
            let scheme = InputScheme::from(QuantRange::Symmetric).with_codes(codes);
            let expected = turned(&conv::accumulators(kernel, &first, scheme), [batch, outputs, pixels]);
            let last = Convolution { arithmetic: Arithmetic::Dynamic(scheme), ..last };
            let sums = last.accumulators(kernel);
            // What stands for a NaN is multiplied with a scale of NaN.
            let is_finite = x.iter().all(|x| x.is_finite());
            assert!(sums == expected || !is_finite, "{kernel:?} {spec:?} {geometry:?} {codes:?}");
            let expected = conv::dynamic(kernel, &first, scheme, Some(&bias));
            let expected = turned(&expected, [batch, outputs, pixels]);
            let out = last.floats(kernel);
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&out) == bits(&expected), "{kernel:?} {spec:?} {geometry:?} {codes:?} outputs");
            let other: Vec<_> = expected.iter().rev().map(|x| x * 0.5).collect();
            let steps = [
                Step::Channels(ChannelOp::Subtract, &bias),
                Step::Channels(ChannelOp::Divide, &scales),
                Step::Add(&other),
                Step::Channels(ChannelOp::Multiply, &scales),
                Step::Channels(ChannelOp::Add, &bias),
                Step::Activate(Activation::Relu),
            ];
            let stepped = Convolution { steps: &steps, ..last }.floats(kernel);
            let one = |(i, (&y, &other)): (usize, (&f32, &f32))| {
                let (scale, bias) = (scales[i % outputs], bias[i % outputs]);
                let y = ((y - bias) / scale + other) * scale + bias;
                if y <= 0.0 { 0.0 } else { y }
            };
            let expected: Vec<_> = expected.iter().zip(&other).enumerate().map(one).collect();
            assert!(bits(&stepped) == bits(&expected), "{kernel:?} {spec:?} {geometry:?} {codes:?} steps");
        }
        check_codes(kernel, &last, numbers);
    }
    true
}

/// Outputs as integers are the floats, divided into steps; and a convolution of integers gives what it gives of the floats that they
/// stand for.
fn check_codes(kernel: Kernel, convolution: &Convolution<'_>, numbers: &mut Numbers) {
    let bound = 1.5;
    let steps = [Step::Activate(Activation::Clamp([0.0, bound]))];
    let scheme = InputScheme::from(QuantRange::Symmetric).with_codes(InputCodes::Auto);
    let convolution = Convolution { arithmetic: Arithmetic::Dynamic(scheme), steps: &steps, ..*convolution };
    let floats = convolution.floats(kernel);
    let codes = convolution.codes(kernel, bound);
    let sample = floats.len() / convolution.batch;
    let has_nan: Vec<_> = floats.chunks(sample).map(|sample| sample.iter().any(|y| y.is_nan())).collect();
    assert!(codes.has_nan == has_nan, "{kernel:?}");
    let same =
        |(code, y): (&u8, &f32)| y.is_nan() || f32::from(*code) == (y * (255.0 / bound)).round_ties_even();
    assert!(codes.codes.len() == floats.len() && codes.codes.iter().zip(&floats).all(same), "{kernel:?}");
    // The largest integer is among them, so that floats have the same steps.
    let mut codes: Vec<_> = (0..convolution.pixels.len()).map(|_| (numbers.next() % 256) as u8).collect();
    codes.iter_mut().step_by(convolution.geometry.spec().channels[0]).for_each(|code| *code = 255);
    let mut codes = Codes { codes, bound, has_nan: vec![false; convolution.batch] };
    let floats: Vec<_> = codes.codes.iter().map(|&code| codes.step() * f32::from(code)).collect();
    let of_codes = Convolution { pixels: Pixels::Codes(&codes), ..convolution };
    let of_floats = Convolution { pixels: Pixels::Floats(&floats), ..convolution };
    assert!(of_codes.accumulators(kernel) == of_floats.accumulators(kernel), "{kernel:?}");
    let bits = |values: Vec<f32>| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let expected = of_floats.floats(kernel);
    assert!(bits(of_codes.floats(kernel)) == bits(expected.clone()), "{kernel:?}");
    codes.has_nan[0] = true;
    let of_codes = Convolution { pixels: Pixels::Codes(&codes), ..convolution };
    let first_is_nan =
        |(i, (y, other)): (usize, (&f32, &f32))| if i < sample { y.is_nan() } else { y == other };
    assert!(of_codes.floats(kernel).iter().zip(&expected).enumerate().all(first_is_nan), "{kernel:?}");
}

#[test]
fn random_convolutions_are_those_with_channels_first() {
    let mut numbers = Numbers(17);
    let count = if cfg!(debug_assertions) { 200 } else { 600 };
    let mut checked = 0;
    while checked < count {
        let mut case = Case::random(&mut numbers);
        let spec = &mut case.spec;
        spec.transposed = false;
        if numbers.next().is_multiple_of(2) {
            spec.groups = 1;
        } else {
            spec.groups = numbers.next() % 90 + 1;
            spec.channels = [spec.groups; 2];
        }
        checked += usize::from(check(&case, &mut numbers));
    }
}

/// Layers of real networks, on as many threads as there are.
#[test]
fn large_convolutions_are_those_with_channels_first() {
    let mut numbers = Numbers(18);
    let layers: [([usize; 2], usize, usize, usize); 8] = [
        ([3, 32], 3, 2, 65),
        ([96, 24], 1, 1, 30),
        ([64, 128], 1, 2, 28),
        ([64, 64], 3, 1, 28),
        ([256, 512], 3, 1, 7),
        ([200, 200], 3, 1, 33),
        ([144, 144], 5, 2, 31),
        ([72, 72], 5, 1, 64),
    ];
    for (channels, kernel, stride, size) in layers {
        let mut case = Case::new(channels, [1, kernel, kernel], [1, size, size]);
        case.spec.stride = [1, stride, stride];
        case.padding = [[0; 2], [kernel / 2; 2], [kernel / 2; 2]];
        if channels[0] == channels[1] && channels[0] != 64 {
            case.spec.groups = channels[0];
        }
        for batch in [1, 3] {
            case.batch = batch;
            assert!(check(&case, &mut numbers));
        }
    }
}

/// One sum holds all products, with those of the padding: more have another way.
#[test]
fn long_sums_have_another_way() {
    let spec = |taps| Case::new([3, 16], [1, 1, taps], [1, 1, 1]).spec;
    assert!(computes(&spec(MAX_EXACT_INPUTS / KR)));
    assert!(!computes(&spec(MAX_EXACT_INPUTS / KR + 1)));
}

#[test]
#[should_panic(expected = "is not computed with channels last")]
fn groups_have_another_way() {
    let mut case = Case::new([4, 4], [1, 3, 3], [1, 5, 5]);
    case.spec.groups = 2;
    let geometry = case.spec.geometry(case.input, case.padding).unwrap();
    let layout = WeightLayout::Conv(case.spec);
    let weights = packed(&vec![1; layout.len()], &[1.0; 4], layout);
    let convolution = Convolution {
        pixels: Pixels::Floats(&[0.0; 100]),
        batch: 1,
        geometry: &geometry,
        weights: &weights,
        arithmetic: Arithmetic::Dynamic(QuantRange::Symmetric.into()),
        bias: None,
        steps: &[],
    };
    convolution.floats(Kernel::detect());
}

/// Every window of small images, against loops over its values.
#[test]
fn windows_take_what_is_under_them() {
    let mut numbers = Numbers(19);
    for case in 0..400 {
        let [batch, channels]: [usize; 2] = [numbers.pick([1, 2]), numbers.pick([1, 3, 16, 21, 70])];
        let mut two = |from: [usize; 4]| [0, 1].map(|_| numbers.pick(from));
        let (input, window, stride, dilation) =
            (two([1, 4, 7, 9]), two([1, 2, 3, 4]), two([1, 1, 2, 3]), two([1, 1, 2, 3]));
        let padding = two([0, 0, 1, 2]);
        let up = case % 2;
        let pooling = [
            Pooling::Max,
            Pooling::Average { count_padding: true },
            Pooling::Average { count_padding: false },
        ][case % 3];
        let room = |axis: usize| {
            (input[axis] + 2 * padding[axis]).checked_sub((window[axis] - 1) * dilation[axis] + 1)
        };
        let (Some(height), Some(width)) = (room(0), room(1)) else { continue };
        let output =
            [(height + up * (stride[0] - 1)) / stride[0] + 1, (width + up * (stride[1] - 1)) / stride[1] + 1];
        let task = Pool { pooling, batch, channels, input, output, window, stride, padding, dilation };
        let x: Vec<_> =
            (0..batch * channels * input[0] * input[1]).map(|_| value(&mut numbers, false)).collect();
        let mut expected = Vec::new();
        for i in 0..batch * output[0] * output[1] * channels {
            let [channel, pixel]: [usize; 2] = [i % channels, i / channels];
            let [at_x, line, sample] =
                [pixel % output[1], pixel / output[1] % output[0], pixel / output[1] / output[0]];
            let (mut sum, mut max, mut inside, mut padded) = (0.0f32, f32::NEG_INFINITY, 0, 0);
            for tap in 0..window[0] * window[1] {
                let y: usize = line * stride[0] + tap / window[1] * dilation[0];
                let x_at: usize = at_x * stride[1] + tap % window[1] * dilation[1];
                padded += usize::from(y < input[0] + 2 * padding[0] && x_at < input[1] + 2 * padding[1]);
                let at = (y.wrapping_sub(padding[0]), x_at.wrapping_sub(padding[1]));
                if at.0 < input[0] && at.1 < input[1] {
                    let x = x[((sample * input[0] + at.0) * input[1] + at.1) * channels + channel];
                    (sum, max, inside) = (sum + x, if x > max { x } else { max }, inside + 1);
                }
            }
            expected.push(match pooling {
                Pooling::Max => max,
                Pooling::Average { count_padding: true } => sum / padded as f32,
                Pooling::Average { count_padding: false } => sum / inside as f32,
            });
        }
        for kernel in Kernel::tested() {
            let out = pool(kernel, &x, &task);
            let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
            assert!(
                out.len() == expected.len() && out.iter().zip(&expected).all(same),
                "{kernel:?} {task:?}"
            );
        }
    }
}
