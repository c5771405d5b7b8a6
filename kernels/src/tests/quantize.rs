//! Floats to integers: rows, and weights.

use super::*;

#[test]
fn ties_round_to_even_and_extremes_clip() {
    let (q, scales) =
        quantize_rows(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5], 8, QuantRange::Symmetric);
    assert_eq!((q, scales), (vec![127, 0, 2, 2, 0, -2, -2, 126], vec![1.0]));
    let (q, scales) = quantize_rows(&[128.0, -128.0, 127.5, 3.0], 4, QuantRange::Full);
    assert_eq!((q, scales), (vec![127, -128, 127, 3], vec![1.0]));
    let (q, _) = quantize_rows(&[-128.0, 128.0], 2, QuantRange::Symmetric);
    assert_eq!(q, vec![-127, 127]);
}

#[test]
fn all_magnitudes_keep_their_resolution() {
    let unit = [1.0f32, -0.5, 0.25, 0.013];
    let (expected, _) = quantize_rows(&unit, 4, QuantRange::Symmetric);
    for exponent in [-125, -110, -100, -99, -60, 0, 60, 100, 126] {
        let x = unit.map(|v| times_power_of_two(v, exponent));
        let (q, scales) = quantize_rows(&x, 4, QuantRange::Symmetric);
        assert_eq!(q, expected, "2^{exponent}");
        assert!(scales[0].is_finite() && scales[0] > 0.0);
    }
    for range in [QuantRange::Symmetric, QuantRange::Full] {
        let (q, scales) = quantize_rows(&[f32::MAX, -f32::MAX], 2, range);
        assert!(q[0] == 127 && q[1] <= -127 && scales[0].is_finite());
    }
}

#[test]
fn rows_that_are_zero_or_not_finite_stay_apart() {
    let x = [0.0, -0.0, f32::NAN, 1.0, 1.0, f32::NEG_INFINITY, 2.0, -4.0];
    let (q, scales) = quantize_rows(&x, 2, QuantRange::Symmetric);
    assert_eq!(q, [0, 0, 0, 0, 0, 0, 64, -127]);
    assert_eq!(scales[0], 1.0);
    assert!(scales[1].is_nan() && scales[2].is_nan());
    let packed = packed(&[1, 2, 3, 4], &[1.0, 1.0], WeightLayout::Linear([2, 2]));
    for kernel in Kernel::tested() {
        let [out] = dynamic(kernel, (&x, 4), QuantRange::Symmetric, [Product::new(&packed, None)]);
        assert_eq!(out[..2], [0.0, 0.0], "{kernel:?}");
        assert!(out[2..6].iter().all(|y| y.is_nan()), "{kernel:?}");
        let scale = 4.0 / 127.0;
        assert_eq!(out[6..], [(64 - 127 * 3) as f32 * scale, (128 - 127 * 4) as f32 * scale], "{kernel:?}");
    }
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let mut w = vec![1.0f32; 12];
    w[7] = f32::NAN;
    assert_eq!(
        PackedWeights::quantize(&w, &WeightLayout::Linear([3, 4]), QuantRange::Symmetric).err(),
        Some(NotFinite { channel: 3 })
    );
    w[4] = f32::INFINITY;
    assert_eq!(
        PackedWeights::quantize(&w, &WeightLayout::Linear([3, 4]), QuantRange::Symmetric).err(),
        Some(NotFinite { channel: 0 })
    );
}

#[test]
fn fidelity_is_the_signal_to_noise_ratio() {
    let w: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.7).sin()).collect();
    let form = WeightLayout::Linear([100, 10]);
    let (packed, fidelity) = PackedWeights::quantize(&w, &form, QuantRange::Symmetric).unwrap();
    let (mut signal, mut noise) = (0.0, 0.0);
    for (i, (&w, q)) in w.iter().zip(packed.to_integers()).enumerate() {
        signal += f64::from(w).powi(2);
        noise += (f64::from(w) - f64::from(packed.scales()[i % 10]) * f64::from(q)).powi(2);
    }
    let expected = 10.0 * (signal / noise).log10();
    let got = fidelity.sqnr_db().unwrap();
    assert!(
        (f64::from(got) - expected).abs() < 1e-5 && (40.0..60.0).contains(&got),
        "{got} against {expected}"
    );
    let (_, exact) =
        PackedWeights::quantize(&[127.0, 1.0], &WeightLayout::Linear([2, 1]), QuantRange::Symmetric).unwrap();
    assert_eq!(exact.sqnr_db(), None);
}
