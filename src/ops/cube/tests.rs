//! Kernels on whatever device there is, against the CPU's: the same integers.

mod codes;
mod convolutions;

use std::cell::Cell;

use burn::prelude::*;
use burn::tensor::DType;
use cubecl::wgpu::WgpuRuntime;

use super::capabilities::{WIDE, multiplies_packed_bytes};
use super::context::{Context, DeviceOp, QueuedOp};
use super::conv::Convolution;
use super::linear::{Matmul, quantized_rows};
use crate::config::{InputCodes, LayerScheme, QuantMode, QuantRange};
use crate::ops::op::{ConvOp, LinearOp};
use crate::ops::portable::weights::{Capabilities, DeviceWeights};
use burn_int8_kernels::{
    BlockRotation, ConvSpec, Kernel, PackedWeights, QTensor, Rounding, WeightLayout, conv, gemm,
};
use gpu::{Fused, Plain};

#[path = "../../../tests/suite/gpu.rs"]
mod gpu;

thread_local! {
    /// Says whether kernels multiply four bytes at once.
    static DOT: Cell<bool> = const { Cell::new(false) };
}

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

fn tensor<B: Backend, const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (&Default::default(), DType::F32))
}

/// Runs `test` with the tiles of a CPU that stands in for a GPU, with those of a GPU, and with its dot products.
fn in_every_way(test: impl Fn()) {
    if !gpu::available() {
        return;
    }
    let client = <WgpuRuntime as cubecl::Runtime>::client(&Default::default());
    let dot = multiplies_packed_bytes(&client);
    println!("packed dot products: {}", if dot { "tested" } else { "SKIPPED, the device has none" });
    for (wide, dot) in [(false, false), (true, false), (true, dot)] {
        WIDE.set(Some(wide));
        DOT.set(dot);
        test();
    }
}

/// The sums of an operation before any scale. Its memory is not zero before.
fn sums<const D: usize>(
    kind: impl DeviceOp,
    x: Tensor<Plain, D>,
    weights: &DeviceWeights<Plain>,
    scheme: LayerScheme,
    shape: Shape,
) -> Vec<i32> {
    let len = shape.num_elements();
    let poison = Tensor::<Plain, 1>::full([len], 3e7, &Default::default());
    Plain::sync(&Default::default()).expect("a device that works");
    drop(poison);
    let op = QueuedOp::new(kind, scheme, weights, shape, DType::I32);
    let out: Tensor<Plain, 1> = QueuedOp { packed_dot: DOT.get(), ..op }.run(x.into(), weights, None);
    out.into_data().to_vec().expect("integers")
}

/// The weights on a device, in shards of at most `binding_bytes` bytes.
fn on_device<B: Backend>(
    packed: &PackedWeights,
    layout: &WeightLayout,
    binding_bytes: usize,
) -> DeviceWeights<B> {
    let capabilities = Capabilities { binding_bytes, ..Capabilities::default() };
    assert_eq!(packed.layout(), *layout);
    DeviceWeights::new(&packed.to_qtensor(), capabilities, &Default::default())
}

#[test]
fn sums_of_products_are_identical() {
    in_every_way(|| {
        for [m, k, n] in [
            [1usize, 1usize, 1usize],
            [1, 33, 70],
            [1, 512, 300],
            [3, 4, 5],
            [5, 130, 17],
            [70, 67, 66],
            [9, 1024, 129],
        ] {
            let small = k.next_multiple_of(4) * 16;
            for (range, codes, limit) in [
                (QuantRange::Symmetric, InputCodes::Signed, usize::MAX),
                (QuantRange::Full, InputCodes::Signed, small),
                (QuantRange::Symmetric, InputCodes::Auto, small),
            ] {
                let scheme = LayerScheme::default().with_range(range).with_codes(codes);
                let form = WeightLayout::Linear([k, n]);
                let rotation = BlockRotation::largest_for(k, if range == QuantRange::Full { 256 } else { 1 });
                let packed = rotated_weights(&values(k * n, 1), &form, range, rotation);
                let x = mixed(m * k, k, 2);
                let expected = gemm::accumulators(Kernel::detect(), (&x, m), scheme.inputs(), &packed);
                let kind = Matmul { rows: m, inputs: k, outputs: n, rotation };
                let words = on_device(&packed, &form, limit);
                let got = sums(kind, tensor(&x, [m, k]), &words, scheme, Shape::new([m, n]));
                assert_eq!(got, expected, "m={m} k={k} n={n} {range:?} {codes:?}");
            }
        }
    });
}

/// Weights for inputs that are rotated.
fn rotated_weights(
    weights: &[f32],
    layout: &WeightLayout,
    range: QuantRange,
    rotation: BlockRotation,
) -> PackedWeights {
    let how = (range, Rounding::Nearest);
    PackedWeights::quantize_transformed(weights, layout, how, rotation.into()).expect("finite").0
}

/// Rotated rows: the same integers and scales, also of rows that leave no room for sums, on every block.
#[test]
fn integers_of_rotated_rows_are_identical() {
    in_every_way(|| {
        let client = <WgpuRuntime as cubecl::Runtime>::client(&Default::default());
        for (block, k) in [(2, 6), (4, 1028), (8, 40), (16, 48), (32, 96), (64, 576), (128, 384), (256, 2304)]
        {
            let rotation = BlockRotation::new(block).expect("a power of two");
            let mut rows = vec![values(k, 3), vec![0.0; k], vec![f32::NAN; k], values(k, 5)];
            rows[3][k / 2] = f32::INFINITY;
            for factor in [1e-3, 1e30, 3e38, 1e-31, 1e-30] {
                rows.push(values(k, 7).iter().map(|x| x * factor).collect());
            }
            let (m, x) = (rows.len(), rows.concat());
            let identity: Vec<i8> = (0..k * k).map(|i| i8::from(i / k == i % k)).collect();
            let tensor_of = QTensor::new(identity, vec![1.0; k], WeightLayout::Linear([k, k]))
                .and_then(|tensor| tensor.with_transform(rotation.into()))
                .expect("it fits");
            let packed = PackedWeights::from_qtensor(&tensor_of);
            let products = [gemm::Product::new(&packed, None)];
            let [expected] = gemm::dynamic(Kernel::detect(), (&x, m), QuantRange::Symmetric, products);
            let op = QueuedOp {
                kind: Matmul { rows: m, inputs: k, outputs: 0, rotation },
                scheme: LayerScheme::keras(),
                shards: vec![],
                packed_dot: false,
                shape: Shape::new([1]),
                dtype: DType::F32,
            };
            let [x, any] = [tensor::<Plain, 1>(&x, [m * k]), tensor(&[0.0], [1])]
                .map(|tensor| tensor.into_primitive().tensor());
            let (words, scales) = quantized_rows(&Context::new(&op, &[x, any.clone()], &any), m, k, rotation);
            let [words, scales] = [words, scales].map(|buffer| client.read_one_unchecked(buffer.handle()));
            let words: &[i8] = bytemuck::cast_slice(&words);
            let scales: &[f32] = bytemuck::cast_slice(&scales);
            let width = k.div_ceil(4) * 4;
            for (row, expected) in expected.chunks(k).enumerate() {
                for (&q, &expected) in words[row * width..][..k].iter().zip(expected) {
                    let got = f32::from(q) * scales[row];
                    // Steps that are not normal floats are zero to some devices.
                    let tiny = scales[row].abs() < f32::MIN_POSITIVE && expected.abs() < 1e-36;
                    let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
                    assert!(same || tiny, "block {block}, row {row}: {got}, not {expected}");
                }
            }
        }
    });
}

/// Values whose integers are hard to get right: ties, neighbours of ties, the extremes of the float range.
#[test]
fn integers_of_rows_are_identical() {
    in_every_way(|| {
        let device = Default::default();
        let client = <WgpuRuntime as cubecl::Runtime>::client(&device);
        for k in [1, 7, 64, 130, 3000] {
            let mut rows = vec![values(k, 3), vec![0.0; k], vec![f32::NAN; k], values(k, 5)];
            rows[3][k / 2] = f32::NEG_INFINITY;
            for factor in [1.0, 0.3, 1e-3, 1e30, 3e-38, 1e-30, 1.1e-30, 254.0 / 3.0] {
                let ties = (0..k).map(|i| (i as f32 - (k / 2) as f32 + 0.5) * factor);
                rows.push(ties.clone().collect());
                rows.push(ties.map(|x| f32::from_bits(x.to_bits() + 1)).collect());
                rows.push(values(k, 7).iter().map(|x| x * factor).collect());
            }
            // With the largest value at a range's top (times a power of two) every step is one, and halves are ties.
            for top in [127.0, 128.0, 127.0 * 2f32.powi(-70)] {
                let step = if top < 1.0 { 2f32.powi(-70) } else { 1.0 };
                let half = |i: usize| ((i * 7 % 120) as f32 + 0.5) * [step, -step][i % 2];
                rows.push((0..k).map(|i| if i == 0 { top } else { half(i) }).collect());
            }
            let m = rows.len();
            let x = rows.concat();
            for range in [QuantRange::Symmetric, QuantRange::Full] {
                let (mut expected, mut scales) = burn_int8_kernels::quantize_rows(&x, k, range);
                let kind = Matmul { rows: m, inputs: k, outputs: 0, rotation: BlockRotation::NONE };
                let scheme = LayerScheme::keras().with_range(range);
                let op = QueuedOp {
                    kind,
                    scheme,
                    shards: vec![],
                    packed_dot: false,
                    shape: Shape::new([1]),
                    dtype: DType::F32,
                };
                let [x, any] = [tensor::<Plain, 1>(&x, [m * k]), tensor(&[0.0], [1])]
                    .map(|tensor| tensor.into_primitive().tensor());
                let inputs = [x, any.clone()];
                let (words, got) =
                    quantized_rows(&Context::new(&op, &inputs, &any), m, k, BlockRotation::NONE);
                let [words, got] = [words, got].map(|buffer| client.read_one_unchecked(buffer.handle()));
                let width = k.div_ceil(4) * 4;
                let words: &[i8] = bytemuck::cast_slice(&words);
                let got: &[f32] = bytemuck::cast_slice(&got);
                for row in 0..m {
                    // Steps that are not normal floats are zero to some devices.
                    let (e, s) = (&mut expected[row * k..][..k], &mut scales[row]);
                    let same_scale = got[row].to_bits() == s.to_bits() || (s.is_nan() && got[row].is_nan());
                    assert!(
                        same_scale || *s < f32::MIN_POSITIVE,
                        "{range:?} k={k} row {row}: {} {s}",
                        got[row]
                    );
                    assert_eq!(&words[row * width..][..k], e, "{range:?} k={k} row {row}: {:?}", &rows[row]);
                    assert!(words[row * width + k..(row + 1) * width].iter().all(|q| *q == 0));
                }
            }
        }
    });
}

/// The rows of a table that is larger than a device binds at once.
#[test]
fn rows_of_a_table_in_shards() {
    fn check<B: Backend>() {
        let (form, range) = (WeightLayout::Table([70, 6]), QuantRange::Symmetric);
        let (table, _) = PackedWeights::quantize(&values(420, 1), &form, range).expect("finite");
        let words: DeviceWeights<B> = on_device(&table, &form, 160);
        assert_eq!(words.shards.len(), 4, "20 entries of 8 bytes in each shard");
        let picked = [0, 19, 20, 69, 40, 39];
        let data = TensorData::new(picked.map(|i| i as i32).to_vec(), [2, 3]);
        let got = super::embed(&words, Tensor::from_data(data, &Default::default()));
        assert_eq!(
            got.into_data().to_vec::<f32>().expect("f32"),
            table.rows_of_table(Kernel::detect(), &picked)
        );
        assert_eq!(words.to_integers(&form), table.to_integers());
    }
    if gpu::available() {
        check::<Plain>();
        check::<Fused>();
    }
}

/// Inputs whose products with the integers overflow `f32`, although the outputs do not, beside ordinary ones, which have the
/// same bits as alone.
#[test]
fn large_inputs_do_not_overflow_where_only_weights_are_integers() {
    in_every_way(|| {
        let scheme = LayerScheme::default().with_mode(QuantMode::WeightOnly);
        let close = |got: &[f32], expected: &[f32]| {
            let pairs = got.iter().zip(expected);
            pairs.for_each(|(y, e)| assert!((y / e - 1.0).abs() < 1e-6, "{y}, not {e}"));
        };
        for k in [8, 7 * 9] {
            let layout = WeightLayout::Linear([k, 1]);
            let (packed, _) = PackedWeights::quantize(&vec![1e-3; k], &layout, scheme.range).expect("finite");
            let weights = on_device(&packed, &layout, usize::MAX);
            let rows = [vec![1e37; k], values(k, 1), vec![-3e38; k]];
            let product = |rows: &[Vec<f32>]| -> Vec<f32> {
                let x = tensor::<Plain, 2>(&rows.concat(), [rows.len(), k]);
                let y = super::linear(&weights, x, LinearOp::new(scheme, None));
                y.into_data().to_vec().expect("floats")
            };
            let got = product(&rows);
            close(&[got[0], got[2]], &[k as f32 * 1e34, k as f32 * -3e35]);
            close(&product(&rows[..1]), &[k as f32 * 1e34]);
            assert_eq!(product(&[rows[1].clone(), rows[1].clone(), rows[1].clone()])[1], got[1]);
        }
        for [channels, groups] in [[8, 1], [6, 6]] {
            let spec = ConvSpec {
                axes: 1,
                channels: [channels, 6],
                groups,
                kernel: [1, 1, 2],
                stride: [1; 3],
                dilation: [1; 3],
                transposed: false,
            };
            let layout = WeightLayout::Conv(spec);
            let ones = vec![1e-3; layout.len()];
            let (packed, _) = PackedWeights::quantize(&ones, &layout, scheme.range).expect("finite");
            let geometry = spec.geometry([1, 1, 3], [[0; 2]; 3]).expect("an output");
            let x = [vec![1e37; channels * 3], vec![0.5; channels * 3]].concat();
            let op = ConvOp { geometry, scheme, bias: None };
            let weights = on_device(&packed, &layout, usize::MAX);
            let y = super::conv(&weights, tensor::<Plain, 3>(&x, [2, channels, 3]), op);
            let k = (2 * channels / groups) as f32;
            let y = y.into_data().to_vec::<f32>().expect("floats");
            close(&y, &[[k * 1e34; 12], [k * 5e-4; 12]].concat());
        }
    });
}

/// Buffers that do not match the shape of an operation are refused before a kernel reads past their end.
#[test]
fn lengths_are_checked_before_a_launch() {
    if !gpu::available() {
        return;
    }
    let (layout, scheme) = (WeightLayout::Linear([8, 4]), LayerScheme::default());
    let (packed, _) = PackedWeights::quantize(&values(32, 1), &layout, scheme.range).expect("finite");
    let weights = on_device::<Plain>(&packed, &layout, usize::MAX);
    let fails = |kind: Matmul, len: usize, out: usize, bias: Option<usize>| {
        let run = || {
            let x = tensor::<Plain, 1>(&values(len, 2), [len]);
            let bias = bias.map(|len| tensor::<Plain, 1>(&values(len, 3), [len]));
            let op = QueuedOp::new(kind, scheme, &weights, Shape::new([out]), DType::F32);
            drop(op.run::<_, 1>(x.into(), &weights, bias));
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
    };
    let good = || Matmul { rows: 3, inputs: 8, outputs: 4, rotation: BlockRotation::NONE };
    assert!(!fails(good(), 24, 12, Some(4)));
    assert!(fails(good(), 23, 12, None), "a short input");
    assert!(fails(good(), 24, 11, None), "a short output");
    assert!(fails(good(), 24, 12, Some(3)), "a short bias");
    assert!(fails(Matmul { inputs: 16, ..good() }, 48, 12, None), "fewer words than inputs");
    assert!(fails(Matmul { outputs: 5, ..good() }, 24, 15, None), "fewer columns than outputs");
}
