//! Every kernel the CPU has, and an emulated one, against loops in `i64`.

use crate::gemm::{Product, accumulators, dynamic, weight_only};
use crate::weight::MAX_EXACT_INPUTS;
use crate::*;

/// The environment variable by which CI names the kernels that must be tested, so that a skip can't look like a pass.
const REQUIRED: &str = "BURN_INT8_REQUIRE_KERNELS";

mod codes;
mod quantize;

/// Integer sums by the definition.
fn naive<T: Copy + Into<i64>>(x: &[T], w: &[i8], [m, k, n]: [usize; 3]) -> Vec<i64> {
    let mut sums = vec![0; m * n];
    for (i, sums) in sums.chunks_mut(n.max(1)).enumerate() {
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum = (0..k).map(|t| x[i * k + t].into() * i64::from(w[t * n + j])).sum();
        }
    }
    sums
}

/// A small generator: the tests need variety, not randomness.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn int8(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| self.next() as u8 as i8).collect()
    }

    /// Integers that survive quantization unchanged: every row of `k` has a -128, which `QuantRange::Full` maps to scale 1.
    fn rows(&mut self, m: usize, k: usize) -> Vec<i8> {
        let mut x = self.int8(m * k);
        x.chunks_mut(k.max(1)).for_each(|row| row[k / 2] = -128);
        x
    }
}

fn floats(x: &[i8]) -> Vec<f32> {
    x.iter().map(|&v| f32::from(v)).collect()
}

/// Weights that are integers already.
pub(crate) fn packed(integers: &[i8], scales: &[f32], layout: WeightLayout) -> PackedWeights {
    PackedWeights::from_qtensor(&QTensor::new(integers.to_vec(), scales.to_vec(), layout).unwrap())
}

/// In two steps: the power alone may be no normal number, which `powi` does not always give.
fn times_power_of_two(x: f32, exponent: i32) -> f32 {
    x * 2f32.powi(exponent / 2) * 2f32.powi(exponent - exponent / 2)
}

/// Runs one shape on every kernel and compares each sum with `==`.
fn check([m, k, n]: [usize; 3], x: &[i8], w: &[i8]) {
    let expected = naive(x, w, [m, k, n]);
    let packed = packed(w, &vec![1.0; n], WeightLayout::Linear([k, n]));
    for kernel in Kernel::tested() {
        let sums = accumulators(kernel, (&floats(x), m), QuantRange::Full, &packed);
        assert_eq!(sums.len(), m * n);
        for (i, (&sum, &expected)) in sums.iter().zip(&expected).enumerate() {
            assert_eq!(i64::from(sum), expected, "{kernel:?} m={m} k={k} n={n} at {i}");
        }
    }
}

#[test]
fn required_kernels_are_here() {
    let here: Vec<_> = Kernel::all().map(|kernel| kernel.name()).collect();
    for name in Kernel::NAMES.iter().filter(|name| !here.contains(*name)) {
        eprintln!("kernel {name} is not supported by this CPU: not tested");
    }
    for name in std::env::var(REQUIRED).iter().flat_map(|names| names.split(',')) {
        assert!(here.contains(&name), "{REQUIRED} wants {name}, this CPU supports {here:?}");
    }
    assert_eq!(here.last(), Some(&"portable"));
}

#[test]
fn kernels_have_their_names() {
    for kernel in Kernel::all() {
        assert!(Kernel::NAMES.contains(&kernel.name()));
        assert_eq!(Kernel::by_name(kernel.name()).unwrap().name(), kernel.name());
    }
    let mut names = Kernel::NAMES.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kernel::NAMES.len(), "each name is there once");
}

#[test]
fn a_kernel_that_is_not_here_says_what_there_is() {
    let error = Kernel::by_name("abacus").unwrap_err();
    assert_eq!((error.name.as_str(), error.reason), ("abacus", "there is no such kernel"));
    assert!(error.to_string().ends_with("portable"), "{error}");
    let here: Vec<_> = Kernel::all().map(Kernel::name).collect();
    for name in Kernel::NAMES.iter().filter(|name| !here.contains(*name)) {
        assert_eq!(Kernel::by_name(name).unwrap_err().reason, "the CPU lacks its instructions");
    }
}

/// All sizes around every tile edge: 6 rows, groups of 4 inputs, vectors of 4, 8 and 16 columns, panels of 64.
#[test]
fn every_kernel_equals_the_naive_sums() {
    let mut numbers = Numbers(1);
    for m in [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13] {
        for k in [1, 2, 3, 4, 5, 7, 8, 9, 31] {
            for n in [0, 1, 3, 4, 5, 15, 16, 17, 31, 33, 48, 63, 64, 65, 127, 129] {
                let x = numbers.rows(m, k);
                let w = numbers.int8(k * n);
                check([m, k, n], &x, &w);
            }
        }
    }
}

/// So few rows that a panel is gone through in blocks of 32 K steps, around the edges of these.
#[test]
fn few_rows_take_a_panel_in_chunks() {
    let mut numbers = Numbers(3);
    for m in [1, 2, 3, 4, 6, 7] {
        for k in [125, 128, 129, 132, 256, 257, 300] {
            for n in [1, 16, 17, 63, 64, 129] {
                let x = numbers.rows(m, k);
                let w = numbers.int8(k * n);
                check([m, k, n], &x, &w);
            }
        }
    }
}

/// Sizes that are cut into bands, strips and threads.
#[test]
fn large_products_are_cut_without_a_seam() {
    let mut numbers = Numbers(2);
    for [m, k, n] in
        [[47, 64, 1100], [48, 100, 700], [49, 129, 500], [200, 257, 130], [1, 2050, 2060], [300, 512, 70]]
    {
        let x = numbers.rows(m, k);
        let w = numbers.int8(k * n);
        check([m, k, n], &x, &w);
    }
}

/// All operands at their extremes, all signs: what saturating 16-bit multiply-adds get wrong.
#[test]
fn extreme_pairs_do_not_saturate() {
    for k in [2, 4, 64, 1000] {
        for (a, b) in [(-128, -128), (-128, 127), (127, -128), (127, 127)] {
            let mut x = vec![a; 7 * k];
            x.chunks_mut(k).for_each(|row| row[0] = -128);
            check([7, k, 18], &x, &vec![b; k * 18]);
        }
    }
}

/// The largest sum that one `i32` must hold.
#[test]
fn the_longest_exact_column_fits() {
    let k = MAX_EXACT_INPUTS;
    check([1, k, 17], &vec![-128; k], &vec![-128; k * 17]);
}

/// Past that, slices are summed in `i64`: still exact, then rounded to float once.
#[test]
fn longer_columns_are_split() {
    let (k, n) = (MAX_EXACT_INPUTS + 5, 17);
    let mut numbers = Numbers(3);
    for (x, w) in [(vec![-128i8; k], vec![-128i8; k * n]), (numbers.rows(1, k), numbers.int8(k * n))] {
        let packed = packed(&w, &vec![1.0; n], WeightLayout::Linear([k, n]));
        let expected: Vec<_> = naive(&x, &w, [1, k, n]).into_iter().map(|sum| sum as f32).collect();
        for kernel in Kernel::tested() {
            let [out] = dynamic(kernel, (&floats(&x), 1), QuantRange::Full, [Product::new(&packed, None)]);
            assert_eq!(out, expected, "{kernel:?}");
        }
    }
}

/// Without inputs there is nothing to read, whatever the tiles.
#[test]
fn no_inputs_of_any_size_give_zeros() {
    for m in [1, 2, 5, 7, 70] {
        for n in [1, 3, 16, 17, 64, 65, 200] {
            let weights = packed(&[], &vec![1.0; n], WeightLayout::Linear([0, n]));
            for kernel in Kernel::tested() {
                let [out] = dynamic(kernel, (&[], m), QuantRange::Symmetric, [Product::new(&weights, None)]);
                assert_eq!(out, vec![0.0; m * n], "{kernel:?}");
                assert_eq!(accumulators(kernel, (&[], m), QuantRange::Full, &weights), vec![0; m * n]);
                assert_eq!(weight_only(kernel, (&[], m), Product::new(&weights, None)), vec![0.0; m * n]);
            }
        }
    }
}

#[test]
fn no_inputs_give_the_bias() {
    let packed = packed(&[], &[1.0; 3], WeightLayout::Linear([0, 3]));
    for kernel in Kernel::tested() {
        let [out] =
            dynamic(kernel, (&[], 2), QuantRange::Symmetric, [Product::new(&packed, Some(&[1.0, 2.0, 3.0]))]);
        assert_eq!(out, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0], "{kernel:?}");
        let out = weight_only(kernel, (&[], 2), Product::new(&packed, None));
        assert_eq!(out, [0.0; 6], "{kernel:?}");
    }
}

/// Scales and bias enter in one order, so that floats are equal bit by bit, too.
#[test]
fn dynamic_outputs_are_identical_on_all_kernels() {
    let mut numbers = Numbers(4);
    for [m, k, n] in [[1, 5, 3], [7, 33, 65], [64, 128, 200]] {
        let x: Vec<f32> = (0..m * k).map(|_| numbers.next() as f32 / 1e9 - 1.0).collect();
        let w: Vec<f32> = (0..k * n).map(|_| numbers.next() as f32 / 1e9 - 1.0).collect();
        let bias: Vec<f32> = (0..n).map(|_| numbers.next() as f32 / 1e9).collect();
        let form = WeightLayout::Linear([k, n]);
        let (packed, _) = PackedWeights::quantize(&w, &form, QuantRange::Symmetric).unwrap();
        let (q, x_scales) = quantize_rows(&x, k, QuantRange::Symmetric);
        let sums = naive(&q, &packed.to_integers(), [m, k, n]);
        let expected: Vec<f32> = (0..m * n)
            .map(|i| sums[i] as f32 * (x_scales[i / n] * packed.scales()[i % n]) + bias[i % n])
            .collect();
        for kernel in Kernel::tested() {
            let [out] = dynamic(kernel, (&x, m), QuantRange::Symmetric, [Product::new(&packed, Some(&bias))]);
            assert_eq!(out, expected, "{kernel:?} m={m} k={k} n={n}");
        }
    }
}

/// Layers of one input share its integers and the threads; each gives what it gives alone, and then its activation.
#[test]
fn layers_of_one_input_are_as_each_alone() {
    let mut numbers = Numbers(6);
    for [m, k] in [[0, 4], [1, 7], [65, 130], [1, MAX_EXACT_INPUTS + 3]] {
        let x: Vec<f32> = (0..m * k).map(|_| numbers.next() as f32 / 1e9 - 1.0).collect();
        let packed =
            [1, 0, 200].map(|n| packed(&numbers.int8(k * n), &vec![0.01; n], WeightLayout::Linear([k, n])));
        let activations = [Activation::Gelu, Activation::Identity, Activation::GeluApproximate];
        let divisors = [1, 0, 200].map(|n| (0..n).map(|i| 0.5 + i as f32).collect::<Vec<_>>());
        let steps: [_; 3] = std::array::from_fn(|i| {
            [Step::Channels(ChannelOp::Divide, &divisors[i]), Step::Activate(activations[i])]
        });
        let apply = |i: usize, out: &mut Vec<f32>| {
            let rows = out.chunks_exact_mut(divisors[i].len().max(1));
            rows.for_each(|row| row.iter_mut().zip(&divisors[i]).for_each(|(y, divisor)| *y /= divisor));
            activations[i].apply(out);
        };
        for kernel in Kernel::tested() {
            let mut each = packed.iter().zip(&steps);
            let layers = [(); 3].map(|()| {
                let (weights, steps) = each.next().unwrap();
                Product { steps, ..Product::new(weights, None) }
            });
            let together = dynamic(kernel, (&x, m), QuantRange::Symmetric, layers);
            for ((i, layer), out) in layers.iter().enumerate().zip(together) {
                let mut expected =
                    dynamic(kernel, (&x, m), QuantRange::Symmetric, [Product::new(layer.weights, None)]);
                apply(i, &mut expected[0]);
                assert_eq!([out], expected, "{kernel:?} m={m} k={k}");
                let out = weight_only(kernel, (&x, m), *layer);
                let mut expected = weight_only(kernel, (&x, m), Product::new(layer.weights, None));
                apply(i, &mut expected);
                assert_eq!(out, expected, "{kernel:?} m={m} k={k}, float activations");
            }
        }
    }
}

/// Rounding errors of a float sum of `k` terms, relative to the sum of magnitudes: each of the `k` additions and
/// products may be off by half an ulp (6e-8).
fn float_sum_tolerance(k: usize) -> f64 {
    1.2e-7 * (k as f64 + 2.0)
}

#[test]
fn weight_only_equal_the_float_product() {
    let mut numbers = Numbers(5);
    for m in [1, 2, 3, 7, 50] {
        for k in [1, 3, 4, 5, 64, 130] {
            for n in [1, 15, 16, 17, 32, 48, 64, 65, 200] {
                let x: Vec<f32> = (0..m * k).map(|_| numbers.next() as f32 / 1e9 - 1.0).collect();
                let w = numbers.int8(k * n);
                let scales: Vec<f32> = (1..=n).map(|j| j as f32 / 64.0).collect();
                let packed = packed(&w, &scales, WeightLayout::Linear([k, n]));
                for kernel in Kernel::tested() {
                    let out = weight_only(kernel, (&x, m), Product::new(&packed, None));
                    assert_eq!(out.len(), m * n);
                    for (at, &y) in out.iter().enumerate() {
                        let (i, j) = (at / n, at % n);
                        let terms = (0..k).map(|t| f64::from(x[i * k + t]) * f64::from(w[t * n + j]));
                        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                        let scale = f64::from(scales[j]);
                        let error = (f64::from(y) - sum * scale).abs();
                        assert!(
                            error <= float_sum_tolerance(k) * size * scale,
                            "{kernel:?} m={m} k={k} n={n} at {at}: {y} against {}",
                            sum * scale
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn packing_is_reversible() {
    let mut numbers = Numbers(6);
    for k in [0, 1, 3, 4, 5, 17] {
        for n in [0, 1, 15, 16, 17, 64, 65, 130] {
            let w = numbers.int8(k * n);
            let scales: Vec<f32> = (0..n).map(|j| j as f32).collect();
            let form = WeightLayout::Linear([k, n]);
            let packed = packed(&w, &scales, form);
            assert_eq!(packed.to_integers(), w);
            assert_eq!(packed.scales(), scales);
            assert_eq!(packed.shape(), [k, n]);
        }
    }
}

/// A float sum is finite on the way to any finite output; other rows keep their bits.
#[test]
fn weight_only_does_not_overflow_before_its_output() {
    let weights = packed(&[127; 8], &[1e-3 / 127.0], WeightLayout::Linear([8, 1]));
    let mut x = vec![1e37f32; 8];
    x.extend([0.3; 8]);
    x.extend([f32::INFINITY, 1e38, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    for kernel in Kernel::tested() {
        let out = weight_only(kernel, (&x, 3), Product::new(&weights, None));
        assert!((out[0] / 8e34 - 1.0).abs() < 1e-6, "{kernel:?}: {}", out[0]);
        assert_eq!(out[1], weight_only(kernel, (&x[8..16], 1), Product::new(&weights, None))[0]);
        assert!(!out[2].is_finite(), "{kernel:?}: {}", out[2]);
    }
}
