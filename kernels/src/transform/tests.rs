//! Products of transformed inputs on every kernel, against loops in `i64` and against the plain product.

use crate::gemm::{Product, dynamic, weight_only};
use crate::*;

/// Two roundings to 8 bits, where one value in sixteen is twenty times as large as the others: of the sum of magnitudes.
const QUANTIZED: f64 = 0.05;
/// The same with one rounding.
const WEIGHTS_QUANTIZED: f64 = 0.03;

/// Values of both signs, one in sixteen of them large.
fn values(len: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.0 - 1.0;
    (0..len).map(|i| value(i) * if i % 16 == 3 { 20.0 } else { 1.0 }).collect()
}

/// Every block that fits, alone and with factors.
fn transforms(k: usize) -> Vec<InputTransform> {
    let rotations = (0..=8).filter_map(|power| BlockRotation::new(1 << power));
    let rotations = rotations.filter(|rotation| k.is_multiple_of(rotation.block()));
    let shifts: Vec<u8> = (0..k).map(|i| (i % 3) as u8).collect();
    rotations.flat_map(|r| [r.into(), InputTransform::from(r).with_shifts(&shifts)]).collect()
}

fn quantized(k: usize, n: usize, transform: &InputTransform) -> PackedWeights {
    let (w, layout) = (values(k * n, 2), WeightLayout::Linear([k, n]));
    PackedWeights::quantize_transformed(
        &w,
        &layout,
        (QuantRange::Symmetric, Rounding::KeepSums),
        transform.clone(),
    )
    .unwrap()
    .0
}

#[test]
fn sums_are_those_of_the_transformed_rows_on_every_kernel() {
    for [m, k, n] in [[3, 64, 5], [1, 320, 17], [9, 256, 80], [2, 12, 3], [50, 128, 33]] {
        let x = values(m * k, 1);
        for transform in transforms(k) {
            let packed = quantized(k, n, &transform);
            let w = packed.to_integers();
            let (q, scales) = quantize_rows(&transform.apply(&x, k), k, QuantRange::Symmetric);
            let expected: Vec<f32> = (0..m * n)
                .map(|at| {
                    let (i, j) = (at / n, at % n);
                    let product = |t: usize| i64::from(q[i * k + t]) * i64::from(w[t * n + j]);
                    (0..k).map(product).sum::<i64>() as f32 * (scales[i] * packed.scales()[j])
                })
                .collect();
            for kernel in Kernel::tested() {
                let products = [Product::new(&packed, None), Product::new(&packed, None)];
                let [out, again] = dynamic(kernel, (&x, m), QuantRange::Symmetric, products);
                assert!(out == expected && again == expected, "{kernel:?} {m}x{k}x{n} {transform:?}");
            }
        }
    }
}

#[test]
fn products_stay_what_they_are() {
    let [m, k, n] = [4, 256, 6];
    let (x, w) = (values(m * k, 1), values(k * n, 2));
    for transform in transforms(k) {
        let packed = quantized(k, n, &transform);
        // Smoothing that does not suit the inputs makes the steps of some larger by the ratio of the factors.
        let coarser = transform.factors().map_or(1.0, |_| 4.0);
        let restored = packed.to_qtensor().dequantize();
        for kernel in Kernel::tested() {
            let [out] = dynamic(kernel, (&x, m), QuantRange::Symmetric, [Product::new(&packed, None)]);
            let floats = weight_only(kernel, (&x, m), Product::new(&packed, None));
            for (at, (y, float)) in out.iter().zip(&floats).enumerate() {
                let terms = |w: &[f32]| -> Vec<f64> {
                    (0..k).map(|t| f64::from(x[at / n * k + t]) * f64::from(w[t * n + at % n])).collect()
                };
                let (exact, size) =
                    (terms(&w).iter().sum::<f64>(), terms(&w).iter().map(|t| t.abs()).sum::<f64>());
                let error = (f64::from(*y) - exact).abs() / size;
                assert!(error < QUANTIZED * coarser, "{kernel:?} {error} {transform:?}");
                let error = (f64::from(*float) - exact).abs() / size;
                assert!(error < WEIGHTS_QUANTIZED * coarser, "{kernel:?} {error} {transform:?}");
                let restored: f64 = terms(&restored).iter().sum();
                assert!((f64::from(*float) - restored).abs() < 1e-5 * size, "{kernel:?} {transform:?}");
            }
        }
    }
}

#[test]
fn a_rotation_spreads_what_one_input_has() {
    let [m, k, n] = [1, 128, 64];
    let mut x: Vec<_> = (0..k).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    x[5] = 50.0;
    let layout = WeightLayout::Linear([k, n]);
    let w: Vec<_> = (0..k * n).map(|i| ((i * 7919) % 1009) as f32 / 504.0 - 1.0).collect();
    let error = |transform: InputTransform| {
        let (packed, _) = PackedWeights::quantize_transformed(
            &w,
            &layout,
            (QuantRange::Symmetric, Rounding::Nearest),
            transform,
        )
        .unwrap();
        let [out] = dynamic(Kernel::detect(), (&x, m), QuantRange::Symmetric, [Product::new(&packed, None)]);
        let exact = (0..n).map(|j| (0..k).map(|t| x[t] * w[t * n + j]).sum::<f32>());
        out.iter().zip(exact).map(|(y, exact)| (y - exact).powi(2)).sum::<f32>().sqrt()
    };
    let (rotated, plain) = (error(BlockRotation::new(k).unwrap().into()), error(InputTransform::default()));
    assert!(rotated < plain / 2.0, "{rotated} is not much better than {plain}");
}

#[test]
fn rows_near_the_largest_and_the_smallest_float_are_transformed_without_overflow() {
    let k = 256;
    let transform = InputTransform::from(BlockRotation::new(k).unwrap()).with_shifts(&vec![16; k]);
    for weight in [1.0, 1e-30] {
        let layout = WeightLayout::Linear([k, 1]);
        let w = vec![weight; k];
        let (packed, _) = PackedWeights::quantize_transformed(
            &w,
            &layout,
            (QuantRange::Symmetric, Rounding::KeepSums),
            transform.clone(),
        )
        .unwrap();
        for size in [f32::MAX / 300.0, 1e30, 1.0, 1e-30] {
            let mut x = vec![-size; k];
            x[..k / 2 + 8].fill(size);
            let exact = f64::from(size) * 16.0 * f64::from(weight);
            for kernel in Kernel::tested() {
                let [out] = dynamic(kernel, (&x, 1), QuantRange::Symmetric, [Product::new(&packed, None)]);
                let float = weight_only(kernel, (&x, 1), Product::new(&packed, None));
                for y in [out[0], float[0]] {
                    let smallest = f64::from(f32::MIN_POSITIVE); // below it floats lose their bits
                    assert!(
                        (f64::from(y) - exact).abs() <= (0.05 * exact).max(smallest),
                        "{kernel:?} {size}: {y}"
                    );
                }
            }
        }
    }
    let large = f32::MAX / 2.0; // a weight that is rounded up stays finite
    let w = [large, large, -large, large];
    let four = InputTransform::from(BlockRotation::new(4).unwrap());
    let layout = WeightLayout::Linear([4, 1]);
    let (packed, _) =
        PackedWeights::quantize_transformed(&w, &layout, (QuantRange::Symmetric, Rounding::Nearest), four)
            .unwrap();
    let [out] = dynamic(
        Kernel::detect(),
        (&[1.0, 0.0, 0.0, 0.0], 1),
        QuantRange::Symmetric,
        [Product::new(&packed, None)],
    );
    assert!((out[0] / large - 1.0).abs() < 0.02, "{out:?}");
}

#[test]
fn rows_that_are_not_finite_give_nan_and_touch_no_other() {
    let [k, n] = [64, 3];
    let packed = quantized(k, n, &BlockRotation::new(64).unwrap().into());
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = values(3 * k, 1);
        x[k + 7] = broken;
        for kernel in Kernel::tested() {
            let [out] = dynamic(kernel, (&x, 3), QuantRange::Symmetric, [Product::new(&packed, None)]);
            assert!(out[n..2 * n].iter().all(|y| y.is_nan()), "{kernel:?}: {out:?}");
            let [alone] = dynamic(kernel, (&x[..k], 1), QuantRange::Symmetric, [Product::new(&packed, None)]);
            assert_eq!(out[..n], alone, "{kernel:?}");
        }
    }
}

#[test]
fn a_table_gives_the_rows_that_were_put_in() {
    let [entries, width] = [70, 48];
    let (table, layout) = (values(entries * width, 3), WeightLayout::Table([entries, width]));
    for transform in transforms(width) {
        let (packed, _) = PackedWeights::quantize_transformed(
            &table,
            &layout,
            (QuantRange::Symmetric, Rounding::KeepSums),
            transform.clone(),
        )
        .unwrap();
        let rows = packed.rows_of_table(Kernel::detect(), &[69, 0, 33]);
        let floats = packed.to_qtensor().dequantize();
        for (row, entry) in rows.chunks(width).zip([69, 0, 33]) {
            assert_eq!(row, &floats[entry * width..][..width], "{transform:?}");
            let exact = &table[entry * width..][..width];
            // Half a step of each value in its length: that is what rotations keep, and the factors multiply by at most 4.
            let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
            let error = length(&mut row.iter().zip(exact).map(|(a, b)| a - b));
            let largest = length(&mut exact.iter().copied()) * transform.factors().map_or(1.0, |_| 4.0);
            assert!(error < 0.5 / 127.0 * (width as f32).sqrt() * largest, "{error} {transform:?}");
        }
    }
}

#[test]
fn what_does_not_suit_a_layer_is_refused() {
    let tensor = || QTensor::new(vec![0; 24], vec![1.0; 2], WeightLayout::Linear([12, 2])).unwrap();
    let eight = InputTransform::from(BlockRotation::new(8).unwrap());
    let error = tensor().with_transform(eight).unwrap_err();
    assert_eq!(error.to_string(), "12 inputs can't be rotated in blocks of 8");
    let error = tensor().with_transform(InputTransform::default().with_shifts(&[0; 11])).unwrap_err();
    assert_eq!(error.to_string(), "11 smoothing factors for 12 inputs");
    let spec = ConvSpec {
        axes: 1,
        channels: [4, 4],
        groups: 1,
        kernel: [1; 3],
        stride: [1; 3],
        dilation: [1; 3],
        transposed: false,
    };
    let conv = QTensor::new(vec![0; 16], vec![1.0; 4], WeightLayout::Conv(spec)).unwrap();
    let error = conv.with_transform(BlockRotation::new(4).unwrap().into()).unwrap_err();
    assert_eq!(error.to_string(), "the inputs of a convolution are not transformed");
    let shifts: Vec<u8> = (0..12).map(|i| if i == 0 { u8::MAX } else { i }).collect();
    let tensor = tensor().with_transform(InputTransform::default().with_shifts(&shifts)).unwrap();
    let kept = tensor.transform().shifts().unwrap();
    assert_eq!((kept[0], &kept[1..]), (InputTransform::LARGEST_SHIFT, &shifts[1..]));
}
