//! Integers without a sign and scales of single pixels: whole layers give the bits of the CPU's.

use super::convolutions::filters;
use super::*;

/// Asserts that the outputs have the same bits; one NaN is like another.
fn assert_same_bits(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
        assert!(same, "{what} at {i}: {got}, not {expected}");
    }
}

/// Whole products of rows without a negative value: tiny, huge, zero and broken ones beside others.
#[test]
fn products_of_unsigned_rows_are_identical() {
    in_every_way(|| {
        for [k, n] in [[5, 3], [130, 70]] {
            let mut rows = vec![mixed(k, k, 3), vec![0.0; k], vec![f32::NAN; k], values(k, 5)];
            rows.extend(
                [1.0, 0.3, 1e30, 3e38, 1e-28].map(|by| mixed(k, k, 7).iter().map(|x| x * by).collect()),
            );
            rows.push((0..k).map(|i| if i == 0 { 255.0 } else { (i * 7 % 250) as f32 + 0.5 }).collect());
            rows.push(vec![-0.0; k]);
            let (m, x, layout) = (rows.len(), rows.concat(), WeightLayout::Linear([k, n]));
            let packed = PackedWeights::quantize(&values(k * n, 1), &layout, QuantRange::Symmetric);
            let (packed, _) = packed.expect("finite");
            let (weights, scheme) =
                (on_device::<Plain>(&packed, &layout, usize::MAX), LayerScheme::default());
            let products = [gemm::Product::new(&packed, None)];
            let [expected] = gemm::dynamic(Kernel::detect(), (&x, m), scheme.inputs(), products);
            let y = crate::ops::cube::linear(
                &weights,
                tensor::<Plain, 2>(&x, [m, k]),
                LinearOp::new(scheme, None),
            );
            let got = y.into_data().to_vec::<f32>().expect("floats");
            assert_same_bits(&got, &expected, &format!("k={k} n={n}"));
        }
    });
}

/// Whole convolutions whose pixels have scales of their own: also of zeros, of broken pixels, and of samples with a sign.
#[test]
fn convolutions_of_single_pixels_are_identical() {
    in_every_way(|| {
        for (channels, stride) in [([2, 3], [1; 3]), ([70, 66], [1; 3]), ([6, 16], [1, 2, 3])] {
            let spec = ConvSpec { channels, kernel: [1; 3], stride, ..filters()[0] };
            let (layout, input) = (WeightLayout::Conv(spec), [2, 5, 7]);
            let geometry = spec.geometry(input, [[0; 2]; 3]).expect("an output");
            let packed = PackedWeights::quantize(&values(layout.len(), 1), &layout, QuantRange::Symmetric);
            let (packed, scheme) = (packed.expect("finite").0, LayerScheme::default());
            let volume = input.iter().product::<usize>();
            let len = 3 * channels[0] * volume;
            let mut x = mixed(len, len / 3, 2);
            x.iter_mut().enumerate().for_each(|(i, x)| *x *= 10f32.powi((i % volume % 7) as i32 - 3));
            (0..channels[0]).for_each(|channel| x[channel * volume + 3] = 0.0);
            x[len - volume + 4] = f32::NAN;
            x[len - volume] = f32::INFINITY;
            let images = conv::ConvInput { values: &x, batch: 3, geometry: &geometry, weights: &packed };
            let expected = conv::dynamic(Kernel::detect(), &images, scheme.inputs(), None);
            let x = tensor::<Plain, 5>(&x, [3, channels[0], input[0], input[1], input[2]]);
            let weights = on_device(&packed, &layout, usize::MAX);
            let y = crate::ops::cube::conv(&weights, x, ConvOp { geometry, scheme, bias: None });
            let got = y.into_data().to_vec::<f32>().expect("floats");
            assert!(expected.iter().any(|y| y.is_nan()) && expected.iter().any(|y| y.is_finite()));
            assert_same_bits(&got, &expected, &format!("{spec:?}"));
        }
    });
}
