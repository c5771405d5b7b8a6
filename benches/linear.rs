//! Whole `forward` calls of one linear layer: INT8 against Burn's own layer and Burn's own quantizer.
//!
//! `cargo bench --features flex --bench linear`; a shape alone: `-- 64x1024x1024`.

#![allow(missing_docs, reason = "criterion_group! makes a function without any")]

use std::hint::black_box;
use std::time::Duration;

use burn::backend::{Flex, NdArray};
use burn::module::{Module, Quantizer};
use burn::nn;
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::ops::QuantizedTensor;
use burn::tensor::quantization::{Calibration, QTensorPrimitive, QuantLevel, QuantValue};
use burn_int8::nn::Linear;
use burn_int8::prelude::*;
use burn_int8_kernels::gemm::{self, Product};
use burn_int8_kernels::{Kernel, PackedWeights, QuantRange, WeightLayout};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};

/// Batch, inputs, outputs.
const SHAPES: [[usize; 3]; 9] = [
    [1, 768, 768],
    [1, 1152, 6912],
    [1, 4096, 4096],
    [8, 1024, 1024],
    [64, 1024, 1024],
    [128, 768, 3072],
    [128, 3072, 768],
    [512, 1024, 1024],
    [256, 4096, 4096],
];

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Burn's float layer, Burn's quantizer, and both INT8 modes, on one backend.
fn backend<B: Backend>(group: &mut Group<'_>, name: &str, [m, k, n]: [usize; 3]) {
    let device = Default::default();
    let float = nn::LinearConfig::new(k, n).init::<B>(&device);
    let x = Tensor::<B, 2>::random([m, k], Distribution::Normal(0.0, 1.0), &device);
    let expected = float.forward(x.clone());
    let mut run = |what: &str, forward: &dyn Fn(Tensor<B, 2>) -> Tensor<B, 2>| {
        assert_close(&expected, forward(x.clone()), what);
        group.bench_function(format!("{what} ({name})"), |b| b.iter(|| black_box(forward(x.clone()))));
    };
    run("burn f32", &|x| float.forward(x));
    for (what, activations) in [("int8", QuantMode::Dynamic), ("int8 weight-only", QuantMode::WeightOnly)] {
        let config = Int8Config::new().with_mode(activations);
        let layer = Linear::from(float.clone()).quantize(&config).expect("a float layer").0;
        run(what, &|x| layer.forward(x));
    }
    let burns = burns_quantizer(&float);
    run("burn Quantizer Q8", &|x| burns.forward(x) + float.bias.as_ref().expect("a bias").val().unsqueeze());
}

/// Burn's own INT8: one scale for the whole weight, dequantized in every call.
fn burns_quantizer<B: Backend>(float: &nn::Linear<B>) -> nn::Linear<B> {
    let scheme = <QuantizedTensor<B> as QTensorPrimitive>::default_scheme()
        .with_value(QuantValue::Q8S)
        .with_level(QuantLevel::Tensor);
    let layer = nn::Linear { weight: float.weight.clone(), bias: None }; // it would quantize the bias, too
    layer.quantize_weights(&mut Quantizer { calibration: Calibration::MinMax, scheme })
}

/// The answer is right before the clock starts: 2 % root mean square is more than 8 bits cost.
fn assert_close<B: Backend>(expected: &Tensor<B, 2>, got: Tensor<B, 2>, what: &str) {
    let noise = (expected.clone() - got).powf_scalar(2.0).mean().into_scalar().elem::<f64>();
    let signal = expected.clone().powf_scalar(2.0).mean().into_scalar().elem::<f64>();
    assert!((noise / signal).sqrt() < 0.02, "{what}: {noise} of {signal}");
}

/// Every kernel that this CPU has, without Burn around it.
fn kernels(group: &mut Group<'_>, [m, k, n]: [usize; 3]) {
    let values = |len: usize| (0..len).map(|i| ((i * 7919 % 2003) as f32 / 1001.5) - 1.0).collect::<Vec<_>>();
    let x = values(m * k);
    let (packed, _) =
        PackedWeights::quantize(&values(k * n), &WeightLayout::Linear([k, n]), QuantRange::Symmetric)
            .expect("finite");
    for active in Kernel::all() {
        group.bench_function(format!("kernel {}", active.name()), |b| {
            b.iter(|| {
                black_box(gemm::dynamic(
                    active,
                    (&x, m),
                    QuantRange::Symmetric,
                    [Product::new(&packed, None)],
                ))
            });
        });
    }
}

fn linear(c: &mut Criterion) {
    for shape in SHAPES {
        let [m, k, n] = shape;
        let mut group = c.benchmark_group(format!("linear {m}x{k}x{n}"));
        group.sample_size(10).warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(1)).throughput(Throughput::Elements((m * k * n) as u64));
        backend::<NdArray>(&mut group, "NdArray", shape);
        backend::<Flex>(&mut group, "Flex", shape);
        kernels(&mut group, shape);
        group.finish();
    }
}

criterion_group!(benches, linear);
criterion_main!(benches);
