//! Every kernel the CPU has, and an emulated one, against loops in `i64`.

use super::*;
use crate::range::{InputCodes, QuantRange};
use crate::tests::packed;
use crate::weight::ConvSpec;

mod pixels;

/// A small generator: the tests need variety, not randomness.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize
    }

    pub(super) fn pick<const N: usize>(&mut self, from: [usize; N]) -> usize {
        from[self.next() % N]
    }

    pub(super) fn int8(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| self.next() as u8 as i8).collect()
    }
}

/// The scheme of all integers: unsigned ones where there is no negative input.
const AUTO: InputScheme = InputScheme { range: QuantRange::Full, codes: InputCodes::Auto };

/// A convolution of integers that survive quantization unchanged.
pub(super) struct Case {
    pub(super) spec: ConvSpec,
    pub(super) padding: [[usize; 2]; 3],
    pub(super) input: [usize; 3],
    pub(super) batch: usize,
}

impl Case {
    pub(super) fn new(channels: [usize; 2], kernel: [usize; 3], input: [usize; 3]) -> Self {
        let (groups, stride, dilation) = (1, [1; 3], [1; 3]);
        let spec = ConvSpec { axes: 3, channels, groups, kernel, stride, dilation, transposed: false };
        Self { spec, padding: [[0; 2]; 3], input, batch: 1 }
    }

    pub(super) fn random(numbers: &mut Numbers) -> Self {
        let n = numbers;
        let groups = n.pick([1, 1, 1, 2, 3, 7]);
        let channels =
            [groups * n.pick([1, 1, 2, 3, 4, 5, 9]), groups * n.pick([1, 2, 3, 7, 13, 16, 31, 80])];
        let flat = n.pick([0, 0, 1, 2]);
        let mut along = |from: [usize; 5], flat_is: usize| {
            [0, 1, 2].map(|axis| if axis < flat { flat_is } else { n.pick(from) })
        };
        let kernel = along([1, 2, 3, 3, 5], 1);
        let stride = along([1, 1, 2, 3, 4], 1);
        let dilation = along([1, 1, 1, 2, 3], 1);
        let input = along([1, 4, 6, 9, 17], 1);
        let front = along([0, 0, 1, 2, 3], 0);
        let behind = along([0, 0, 1, 2, 3], 0);
        let padding = [0, 1, 2].map(|axis| [front[axis], behind[axis]]);
        let transposed = n.next().is_multiple_of(2);
        let spec = ConvSpec { axes: 3, channels, groups, kernel, stride, dilation, transposed };
        Self { spec, padding, input, batch: n.pick([1, 1, 2, 3]) }
    }

    /// Inputs that become themselves under [`AUTO`]: in some samples those of [`QuantRange::Full`], which have a -128, in others
    /// unsigned ones, which have a 255; where pixels have scales of their own, all pixels have one.
    fn integers(&self, geometry: &ConvGeometry, numbers: &mut Numbers) -> Vec<i16> {
        let (channels, volume) = (self.spec.channels[0], self.input.iter().product::<usize>());
        let sample = channels * volume;
        let mut x: Vec<i16> = numbers.int8(self.batch * sample).into_iter().map(i16::from).collect();
        for x in x.chunks_mut(sample) {
            let unsigned = numbers.next().is_multiple_of(2);
            if unsigned {
                x.iter_mut().for_each(|x| *x += 128);
            }
            let largest = if unsigned { 255 } else { -128 };
            x[sample / 2] = largest;
            if geometry.is_pointwise() {
                (0..volume).for_each(|pixel| x[pixel * 7 % channels * volume + pixel] = largest);
            }
        }
        x
    }

    /// Compares each sum of each kernel with `==`; false if there is no output.
    fn check(&self, numbers: &mut Numbers) -> bool {
        let form = WeightLayout::Conv(self.spec);
        let geometry = match self.spec.geometry(self.input, self.padding) {
            Err(GeometryError::NoOutput) => return false,
            geometry => geometry.unwrap(),
        };
        let x = self.integers(&geometry, numbers);
        let w = numbers.int8(form.len());
        let weights = packed(&w, &vec![1.0; form.channels()], form);
        let values: Vec<_> = x.iter().map(|&x| f32::from(x)).collect();
        let images = ConvInput { values: &values, batch: self.batch, geometry: &geometry, weights: &weights };
        let expected = naive(&x, &w, &images);
        for kernel in Kernel::tested() {
            let sums = accumulators(kernel, &images, AUTO);
            let sums: Vec<_> = sums.into_iter().map(i64::from).collect();
            assert!(sums == expected, "{kernel:?} {:?} {geometry:?}\n{sums:?}\n{expected:?}", self.spec);
            let scaled = dynamic(kernel, &images, AUTO, None);
            assert!(scaled.iter().zip(&expected).all(|(&y, &sum)| y == sum as f32), "{kernel:?} scaled");
            let floats = weight_only(kernel, &images, None);
            let largest = (form.inputs() * 255 * 128) as f32;
            let close = |(y, &sum): (&f32, &i64)| (y - sum as f32).abs() <= largest * FLOAT_SUM;
            assert!(floats.iter().zip(&expected).all(close), "{kernel:?} {:?} floats", self.spec);
        }
        true
    }
}

/// The rounding of float sums, in parts of the largest possible one: none of these sums has more than a few thousand terms,
/// each off by half an ulp (6e-8) of the sum so far.
const FLOAT_SUM: f32 = 6e-8;

/// Integer sums by the definition: each input and each tap, and the output that they meet at.
fn naive<T: Copy + Into<i64>>(x: &[T], w: &[i8], images: &ConvInput<'_>) -> Vec<i64> {
    let (spec, geometry) = (images.geometry.spec(), images.geometry);
    let [inputs, outputs] = spec.group_channels();
    let [_, _, input, output, kernel] = [[0; 3], [0; 3], geometry.input(), geometry.output(), spec.kernel];
    let volume = |size: [usize; 3]| size.iter().product::<usize>();
    let mut sums = vec![0; images.batch * spec.channels[1] * volume(output)];
    let at = |i: usize, size: [usize; 3]| [i / size[2] / size[1], i / size[2] % size[1], i % size[2]];
    for (position, sum) in sums.iter_mut().enumerate() {
        let (plane, to) = (position / volume(output), at(position % volume(output), output));
        let (sample, channel) = (plane / spec.channels[1], plane % spec.channels[1]);
        let group = channel / outputs;
        for tap in 0..volume(kernel) {
            let k = at(tap, kernel);
            let from = [0, 1, 2].map(|axis| {
                let shift = k[axis] * spec.dilation[axis];
                let (to, padding, stride) = (to[axis], geometry.padding()[axis], spec.stride[axis]);
                let from = if spec.transposed {
                    let reached = (to + padding).checked_sub(shift)?;
                    reached.is_multiple_of(stride).then_some(reached / stride)
                } else {
                    (to * stride + shift).checked_sub(padding)
                };
                from.filter(|from| *from < input[axis])
            });
            let [Some(z), Some(y), Some(x_at)] = from else { continue };
            for c in 0..inputs {
                let plane = sample * spec.channels[0] + group * inputs + c;
                let x = x[plane * volume(input) + (z * input[1] + y) * input[2] + x_at];
                let pair = if spec.transposed {
                    (group * inputs + c) * outputs + channel % outputs
                } else {
                    channel * inputs + c
                };
                *sum += x.into() * i64::from(w[pair * volume(kernel) + tap]);
            }
        }
    }
    sums
}

#[test]
fn random_convolutions_equal_the_naive_sums() {
    let mut numbers = Numbers(1);
    let checked = (0..400).filter(|_| Case::random(&mut numbers).check(&mut numbers)).count();
    assert!(checked > 250, "{checked} had an output");
}

/// Sizes that are cut into bands, strips and threads, and the usual ones of each path.
#[test]
fn large_convolutions_are_cut_without_a_seam() {
    let mut numbers = Numbers(2);
    let with = |case: Case, stride: usize, padding: usize, groups: usize| {
        let (stride, padding) = ([1, stride, stride], [[0; 2], [padding; 2], [padding; 2]]);
        Case { spec: ConvSpec { stride, groups, ..case.spec }, padding, ..case }
    };
    for case in [
        with(Case::new([16, 70], [1, 3, 3], [1, 40, 41]), 1, 1, 1),
        with(Case::new([64, 130], [1, 1, 1], [1, 30, 30]), 1, 0, 1),
        with(Case::new([64, 64], [1, 1, 1], [1, 31, 30]), 2, 0, 1),
        with(Case::new([3, 40], [1, 7, 7], [1, 60, 61]), 2, 3, 1),
        with(Case::new([200, 200], [1, 3, 3], [1, 20, 23]), 1, 1, 200),
        with(Case::new([100, 200], [1, 3, 3], [1, 20, 23]), 2, 1, 100),
        with(Case::new([64, 128], [1, 3, 3], [1, 20, 20]), 1, 1, 4),
        with(Case::new([24, 30], [3, 3, 3], [9, 12, 15]), 1, 1, 1),
    ] {
        assert!(case.check(&mut numbers));
        let spec = ConvSpec { transposed: true, ..case.spec };
        assert!(Case { spec, batch: 2, ..case }.check(&mut numbers));
    }
}

/// Lines shorter and longer than a vector and than the sums that are made at once, fewer and more of them than are made
/// together.
#[test]
fn single_channels_under_three_by_three_taps() {
    let mut numbers = Numbers(3);
    for (i, width) in [1, 3, 7, 8, 9, 15, 16, 17, 31, 40, 256, 257, 1024, 1025].into_iter().enumerate() {
        for (j, height) in [1, 3, 4, 5, 9].into_iter().enumerate() {
            let depth = 1 + (i + j) % 2;
            let case = Case::new([3, 6], [1, 3, 3], [depth, height, width]);
            let spec = ConvSpec { groups: 3, ..case.spec };
            let padding = [[0; 2], [1 + j % 2, 1], [1, 1 + i % 2]];
            assert!(Case { spec, padding, batch: 1 + (i + j) % 3, ..case }.check(&mut numbers));
        }
    }
}

/// More inputs than one sum holds, in integers and in floats: exact, and rounded once.
#[test]
fn long_sums_are_split() {
    for (channels, groups, side) in [([4100, 2], 1, 6), ([2, 2], 2, 40)] {
        let spec = ConvSpec {
            axes: 2,
            channels,
            groups,
            kernel: [1, side, side],
            stride: [1; 3],
            dilation: [1; 3],
            transposed: false,
        };
        let geometry = spec.geometry([1, side, side + 1], [[0; 2]; 3]).unwrap();
        let form = WeightLayout::Conv(spec);
        for (a, b) in [(-128i16, -128i8), (-128, 127), (255, -128), (255, 127)] {
            let x = vec![a; channels[0] * side * (side + 1)];
            let values: Vec<_> = x.iter().map(|&x| f32::from(x)).collect();
            let w = vec![b; form.len()];
            let weights = packed(&w, &[1.0; 2], form);
            let images = ConvInput { values: &values, batch: 1, geometry: &geometry, weights: &weights };
            let expected: Vec<_> = naive(&x, &w, &images).into_iter().map(|sum| sum as f32).collect();
            for kernel in Kernel::tested() {
                assert_eq!(dynamic(kernel, &images, AUTO, None), expected, "{kernel:?}");
            }
        }
    }
}

/// Scales and bias enter in one order; a sample that is not finite gives NaN and leaves the others alone.
#[test]
fn scales_are_per_sample_and_channel() {
    for (channels, groups) in [([5, 6], 1), ([6, 6], 6)] {
        let mut spec = Case::new(channels, [1, 3, 3], [1; 3]).spec;
        spec.groups = groups;
        let geometry = spec.geometry([1, 7, 6], [[0, 0], [1, 1], [1, 0]]).unwrap();
        let form = WeightLayout::Conv(spec);
        let weights: Vec<_> = (0..form.len()).map(|i| (i as f32 * 0.7).sin()).collect();
        let (weights, _) = PackedWeights::quantize(&weights, &form, QuantRange::Symmetric).unwrap();
        let sample = channels[0] * 42;
        let mut values: Vec<_> =
            (0..4 * sample).map(|i| (i as f32 * 0.3).cos() * (1 + i / sample) as f32).collect();
        values[sample + 5] = f32::NAN;
        values[2 * sample..3 * sample].fill(0.0);
        let bias: Vec<_> = (0..6).map(|i| i as f32 - 2.5).collect();
        let images = ConvInput { values: &values, batch: 4, geometry: &geometry, weights: &weights };
        let (mut integers, mut scales) = (Vec::new(), Vec::new());
        for x in values.chunks(sample) {
            let (q, scale) = crate::quantize_rows(x, sample, QuantRange::Symmetric);
            integers.extend(q);
            scales.extend(scale);
        }
        let sums = naive(&integers, &weights.to_integers(), &images);
        let per_channel = geometry.output().iter().product::<usize>();
        for kernel in Kernel::tested() {
            let out = dynamic(kernel, &images, QuantRange::Symmetric, Some(&bias));
            for (i, (y, &sum)) in out.iter().zip(&sums).enumerate() {
                let (sample, channel) = (i / per_channel / 6, i / per_channel % 6);
                let expected = sum as f32 * (scales[sample] * weights.scales()[channel]) + bias[channel];
                assert!(*y == expected || (sample == 1 && y.is_nan()), "{kernel:?} {i}: {y} for {expected}");
                assert!(sample != 2 || *y == bias[channel]);
            }
        }
    }
}

/// Filters that reach far beyond the input: each size is right, or refused before it becomes an index.
#[test]
fn huge_sizes_are_right_or_refused() {
    let far = |dilation: usize, transposed: bool| ConvSpec {
        axes: 1,
        channels: [4, 16],
        groups: 1,
        kernel: [1, 1, 2],
        stride: [1; 3],
        dilation: [1, 1, dilation],
        transposed,
    };
    let weights = |spec: &ConvSpec| packed(&[1; 128], &[1.0; 16], WeightLayout::Conv(*spec));
    for exponent in [4, 10, 20, 30, 40, 50, 58, 59, 60, 61, 62, 63] {
        for dilation in [(1usize << exponent) - 1, 1 << exponent] {
            let spec = far(dilation, false);
            let geometry = spec.geometry([1; 3], [[0; 2], [0; 2], [0, dilation.saturating_add(1)]]);
            if exponent > 20 {
                // Larger ones than this need more than 4 MB for a single pixel; from 2^51 on they are larger than memory can be.
                assert_eq!(geometry.is_err(), exponent > 50, "2^{exponent}: {geometry:?}");
                continue;
            }
            let (geometry, weights) = (geometry.unwrap(), weights(&spec));
            let input = ConvInput { values: &[1.0; 4], batch: 1, geometry: &geometry, weights: &weights };
            for kernel in Kernel::tested() {
                for out in
                    [dynamic(kernel, &input, QuantRange::Symmetric, None), weight_only(kernel, &input, None)]
                {
                    // One value lies under the first tap at the first output, and none at the second.
                    let expected: Vec<_> = (0..32).map(|i| if i % 2 == 0 { 4.0 } else { 0.0 }).collect();
                    assert!(
                        out.iter().zip(&expected).all(|(y, e)| (y - e).abs() < 1e-5),
                        "{kernel:?} {out:?}"
                    );
                }
            }
        }
    }
    for size in [usize::MAX, usize::MAX / 2, isize::MAX as usize, 1 << 62] {
        for transposed in [false, true] {
            let spec = far(1, transposed);
            let refused = [
                spec.geometry([1, 1, size], [[0; 2]; 3]),
                spec.geometry([size, size, size], [[0; 2]; 3]),
                spec.geometry([1, 1, 4], [[0; 2], [0; 2], [size, 0]]),
                spec.geometry([1, 1, 4], [[0; 2], [0; 2], [0, size]]),
                far(size, transposed).geometry([1, 1, 4], [[0; 2], [0; 2], [0, size]]),
                ConvSpec { stride: [1, 1, size], ..spec }.geometry([1, 1, 4], [[0; 2]; 3]),
                ConvSpec { kernel: [1, 1, size], ..spec }.geometry([1, 1, 4], [[0; 2]; 3]),
                ConvSpec { channels: [size, 16], ..spec }.geometry([1, 1, 4], [[0; 2]; 3]),
            ];
            assert!(refused.iter().all(Result::is_err), "{size}, transposed: {transposed}: {refused:?}");
        }
    }
}

/// A float sum is finite on the way to any finite output.
#[test]
fn weight_only_does_not_overflow_before_its_output() {
    for groups in [1, 4] {
        let spec = ConvSpec { groups, ..Case::new([4, 4], [1, 3, 3], [1; 3]).spec };
        let geometry = spec.geometry([1, 3, 4], [[0; 2]; 3]).unwrap();
        let layout = WeightLayout::Conv(spec);
        let weights = packed(&vec![127; layout.len()], &[1e-3 / 127.0; 4], layout);
        let mut values = vec![1e37f32; 2 * 48];
        values[48..].fill(1e-3);
        let input = ConvInput { values: &values, batch: 2, geometry: &geometry, weights: &weights };
        for kernel in Kernel::tested() {
            let out = weight_only(kernel, &input, None);
            let sum = 1e-3 * layout.inputs() as f32;
            for (i, y) in out.iter().enumerate() {
                let expected = sum * if i < out.len() / 2 { 1e37 } else { 1e-3 };
                assert!((y / expected - 1.0).abs() < 1e-5, "{kernel:?} {groups} groups: {y}, not {expected}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "are not those of")]
fn weights_of_another_convolution_are_refused() {
    let spec = Case::new([4, 4], [1, 3, 3], [1; 3]).spec;
    let geometry = spec.geometry([1, 3, 3], [[0; 2]; 3]).unwrap();
    let layout = WeightLayout::Conv(ConvSpec { kernel: [1, 1, 3], ..spec });
    let weights = packed(&vec![0; layout.len()], &[1.0; 4], layout);
    let input = ConvInput { values: &[0.0; 36], batch: 1, geometry: &geometry, weights: &weights };
    dynamic(Kernel::detect(), &input, QuantRange::Symmetric, None);
}
