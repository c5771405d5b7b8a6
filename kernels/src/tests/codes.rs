//! Unsigned integers for inputs that are never negative, beside those with a sign.

use super::*;

const AUTO: InputScheme = InputScheme { range: QuantRange::Symmetric, codes: InputCodes::Auto };

/// The integers of a row as [`AUTO`] defines them, and its scale.
fn reference(x: &[f32]) -> (Vec<i64>, f32) {
    let absmax = x.iter().fold(0f32, |max, v| max.max(v.abs()));
    let top = if x.iter().any(|v| *v < 0.0) { 127.0 } else { 255.0 };
    let integers = x.iter().map(|v| ((v * (top / absmax)).round_ties_even() as i64).min(top as i64));
    (integers.collect(), absmax / top)
}

/// Rows without a negative value beside others: each takes its own integers, and floats are equal bit by bit.
#[test]
fn every_row_chooses_for_itself() {
    let mut numbers = Numbers(8);
    for [m, k, n] in [[1, 5, 3], [2, 31, 16], [3, 4, 70], [7, 33, 65], [13, 130, 129], [64, 128, 200]] {
        let mut x: Vec<f32> = (0..m * k).map(|_| numbers.next() as f32 / 1e9 - 1.0).collect();
        for (i, row) in x.chunks_mut(k).enumerate().filter(|(i, _)| i % 3 != 1) {
            row.iter_mut().for_each(|v| *v = if i % 3 == 0 { v.max(0.0) } else { v.abs() });
            row[k - 1] = if i % 2 == 0 { -0.0 } else { 0.7 }; // a negative zero is no negative value
        }
        let (w, bias) = (numbers.int8(k * n), (0..n).map(|j| j as f32 - 1.5).collect::<Vec<_>>());
        let scales: Vec<f32> = (1..=n).map(|j| j as f32 / 64.0).collect();
        let packed = packed(&w, &scales, WeightLayout::Linear([k, n]));
        let (integers, x_scales): (Vec<_>, Vec<_>) = x.chunks(k).map(reference).unzip();
        let sums = naive(&integers.concat(), &w, [m, k, n]);
        let scaled = |i: usize| sums[i] as f32 * (x_scales[i / n] * scales[i % n]) + bias[i % n];
        let expected: Vec<_> = (0..m * n).map(scaled).collect();
        for kernel in Kernel::tested() {
            let exact = accumulators(kernel, (&x, m), AUTO, &packed);
            assert!(exact.into_iter().map(i64::from).eq(sums.iter().copied()), "{kernel:?} {m} {k} {n}");
            let [out] = dynamic(kernel, (&x, m), AUTO, [Product::new(&packed, Some(&bias))]);
            assert_eq!(out, expected, "{kernel:?} {m} {k} {n}");
        }
    }
}

/// The largest sums of unsigned integers fit, and longer ones are split.
#[test]
fn the_longest_unsigned_sums_are_exact() {
    for k in [MAX_EXACT_INPUTS, MAX_EXACT_INPUTS + 5] {
        for (weight, n) in [(-128i8, 1), (127, 17)] {
            let packed = packed(&vec![weight; k * n], &vec![1.0; n], WeightLayout::Linear([k, n]));
            let sum = 255 * i64::from(weight) * k as i64;
            for kernel in Kernel::tested() {
                let [out] = dynamic(kernel, (&vec![255.0; k], 1), AUTO, [Product::new(&packed, None)]);
                assert_eq!(out, vec![sum as f32; n], "{kernel:?} {k} {weight}");
                if k == MAX_EXACT_INPUTS {
                    let exact = accumulators(kernel, (&vec![255.0; k], 1), AUTO, &packed);
                    assert!(exact.into_iter().all(|exact| i64::from(exact) == sum), "{kernel:?} {weight}");
                }
            }
        }
    }
}

/// Tiny, huge, zero and broken rows: as with a sign.
#[test]
fn unsigned_rows_of_all_magnitudes() {
    let packed = packed(&[1, 0, 0, 1], &[1.0, 1.0], WeightLayout::Linear([2, 2]));
    let unit = [255.0f32, 3.0];
    for kernel in Kernel::tested() {
        for exponent in [-130, -110, -100, 0, 100, 119] {
            let x = unit.map(|v| times_power_of_two(v, exponent));
            assert_eq!(accumulators(kernel, (&x, 1), AUTO, &packed), [255, 3], "{kernel:?} 2^{exponent}");
        }
        let x = [0.0, 0.0, f32::INFINITY, 1.0, 1.0, f32::NAN, f32::MAX, 0.0];
        assert_eq!(accumulators(kernel, (&x, 4), AUTO, &packed), [0, 0, 0, 0, 0, 0, 255, 0], "{kernel:?}");
        let [out] = dynamic(kernel, (&x, 4), AUTO, [Product::new(&packed, None)]);
        assert_eq!(out[..2], [0.0, 0.0], "{kernel:?}");
        assert!(out[2..6].iter().all(|y| y.is_nan()) && out[6].is_finite(), "{kernel:?}");
    }
}
