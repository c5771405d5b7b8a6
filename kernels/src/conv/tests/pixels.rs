//! One scale for each pixel, where each output reads a single one.

use super::*;

/// Values that differ by powers of ten from pixel to pixel; in samples with a sign some are negative.
fn images(channels: usize, volume: usize, batch: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (sample, pixel) = (i / (channels * volume), i % volume);
        let v = ((i * 7919) % 2003) as f32 / 2003.0 - if sample % 2 == 0 { 0.0 } else { 0.5 };
        v * 10f32.powi((pixel * 5 % 7) as i32 - 3)
    };
    (0..batch * channels * volume).map(value).collect()
}

/// The integers by the definition, and one scale for each pixel of each sample.
fn reference(x: &[f32], channels: usize, volume: usize) -> (Vec<i64>, Vec<f32>) {
    let (mut integers, mut scales) = (vec![0; x.len()], Vec::new());
    for (x, integers) in x.chunks(channels * volume).zip(integers.chunks_mut(channels * volume)) {
        let finite = x.iter().all(|v| v.is_finite());
        let top = if finite && x.iter().all(|v| *v >= 0.0) { 255.0 } else { 127.0 };
        for pixel in 0..volume {
            let at = |channel| channel * volume + pixel;
            let absmax = (0..channels).fold(0f32, |max, channel| max.max(x[at(channel)].abs()));
            let broken = (0..channels).any(|channel| !x[at(channel)].is_finite());
            scales.push(match absmax {
                _ if broken => f32::NAN,
                0.0 => 1.0,
                absmax => absmax / top,
            });
            for channel in (0..channels).filter(|_| !broken && absmax > 0.0) {
                // Tiny pixels are brought up, so that the quotient is a float.
                let up = if absmax < 1e-30 { 2f32.powi(64) } else { 1.0 };
                let steps = (x[at(channel)] * up) * (top / (absmax * up));
                integers[at(channel)] = (steps.round_ties_even() as i64).min(top as i64);
            }
        }
    }
    (integers, scales)
}

/// Few and many output channels, strides, several samples and axes, more pixels than are looked at together.
#[test]
fn every_pixel_has_its_own_scale() {
    for (channels, stride, input) in [
        ([2, 3], [1, 1, 1], [1, 1, 1]),
        ([5, 7], [1, 1, 1], [1, 6, 5]),
        ([6, 64], [1, 1, 1], [2, 7, 9]),
        ([9, 130], [1, 2, 3], [1, 9, 11]),
        ([4, 20], [2, 1, 2], [3, 5, 17]),
        ([40, 33], [1, 1, 1], [1, 50, 45]),
        ([3, 80], [1, 1, 1], [1, 1, 1030]),
    ] {
        let spec = ConvSpec { stride, ..Case::new(channels, [1; 3], [1; 3]).spec };
        let geometry = spec.geometry(input, [[0; 2]; 3]).unwrap();
        let layout = WeightLayout::Conv(spec);
        let w: Vec<_> = (0..layout.len()).map(|i| (i as f32 * 0.7).sin()).collect();
        let (weights, _) = PackedWeights::quantize(&w, &layout, QuantRange::Symmetric).unwrap();
        let (batch, volume) = (3, input.iter().product::<usize>());
        let mut values = images(channels[0], volume, batch);
        if volume > 20 {
            (0..channels[0]).for_each(|channel| values[channel * volume + 3] = 0.0);
            (0..channels[0]).for_each(|channel| values[channel * volume + 4] *= 1e-34);
            values[(channels[0] * 2 + 1) * volume + 5] = f32::NAN;
            values[(channels[0] * 2 + 1) * volume + 9] = f32::INFINITY;
        }
        let (integers, scales) = reference(&values, channels[0], volume);
        let images = ConvInput { values: &values, batch, geometry: &geometry, weights: &weights };
        let sums = naive(&integers, &weights.to_integers(), &images);
        let scheme = InputScheme { range: QuantRange::Symmetric, ..AUTO };
        let bias: Vec<_> = (0..channels[1]).map(|i| i as f32 - 2.5).collect();
        let (pixels, output) = (geometry.output().iter().product::<usize>(), geometry.output());
        let expected = |(i, sum): (usize, &i64)| {
            let (sample, channel, pixel) = (i / pixels / channels[1], i / pixels % channels[1], i % pixels);
            let at = [pixel / output[2] / output[1], pixel / output[2] % output[1], pixel % output[2]];
            let [z, y, x] = [0, 1, 2].map(|axis| at[axis] * stride[axis]);
            let x_scale = scales[sample * volume + (z * input[1] + y) * input[2] + x];
            *sum as f32 * (x_scale * weights.scales()[channel]) + bias[channel]
        };
        let expected: Vec<_> = sums.iter().enumerate().map(expected).collect();
        for kernel in Kernel::tested() {
            let out = dynamic(kernel, &images, scheme, Some(&bias));
            for (i, (y, expected)) in out.iter().zip(&expected).enumerate() {
                let same = y == expected || y.is_nan() && expected.is_nan();
                assert!(same, "{kernel:?} {spec:?} at {i}: {y}, not {expected}");
            }
        }
    }
}

/// Outputs that read padding, several pixels or one group of channels share the scale of their sample.
#[test]
fn other_convolutions_have_one_scale_a_sample() {
    let spec = Case::new([4, 4], [1; 3], [1; 3]).spec;
    let is_pointwise = |spec: ConvSpec, padding| spec.geometry([1, 5, 5], padding).unwrap().is_pointwise();
    assert!(is_pointwise(spec, [[0; 2]; 3]));
    assert!(is_pointwise(ConvSpec { stride: [1, 2, 3], ..spec }, [[0; 2]; 3]));
    assert!(!is_pointwise(spec, [[0, 0], [0, 0], [1, 0]]));
    assert!(!is_pointwise(spec, [[0, 0], [0, 1], [0, 0]]));
    assert!(!is_pointwise(ConvSpec { kernel: [1, 1, 2], ..spec }, [[0; 2]; 3]));
    assert!(!is_pointwise(ConvSpec { groups: 2, ..spec }, [[0; 2]; 3]));
    assert!(!is_pointwise(ConvSpec { transposed: true, ..spec }, [[0; 2]; 3]));
    assert!(!is_pointwise(ConvSpec { channels: [1, 4], ..spec }, [[0; 2]; 3]));
}
