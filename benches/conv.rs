//! Whole `forward` calls of one 2D convolution, batch 1: INT8 against Burn's own layer.
//!
//! `cargo bench --features flex --bench conv`; a shape alone: `-- "conv 64-64 56x56"`.

#![allow(missing_docs, reason = "criterion_group! makes a function without any")]

use std::hint::black_box;
use std::time::Duration;

use burn::backend::{Flex, NdArray};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::prelude::*;
use burn::tensor::Distribution;
use burn_int8::nn::Conv2d;
use burn_int8::prelude::*;
use burn_int8_kernels::{ConvSpec, Kernel, PackedWeights, QuantRange, WeightLayout, conv};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};

/// A layer of ResNet or MobileNet.
#[derive(Clone, Copy)]
struct Shape {
    channels: [usize; 2],
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
}

impl Shape {
    const ALL: [Self; 8] = [
        Self::new([64, 64], 56, 3, 1, 1, 1),
        Self::new([128, 128], 28, 3, 1, 1, 1),
        Self::new([256, 256], 14, 3, 1, 1, 1),
        Self::new([512, 512], 7, 3, 1, 1, 1),
        Self::new([64, 256], 56, 1, 1, 0, 1),
        Self::new([1024, 256], 14, 1, 1, 0, 1),
        Self::new([3, 64], 224, 7, 2, 3, 1),
        Self::new([144, 144], 56, 3, 1, 1, 144),
    ];

    const fn new(
        channels: [usize; 2],
        size: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        groups: usize,
    ) -> Self {
        Self { channels, size, kernel, stride, padding, groups }
    }

    fn name(&self) -> String {
        let Self { channels: [inputs, outputs], size, kernel, stride, groups, .. } = self;
        let groups = if *groups > 1 { format!(" groups {groups}") } else { String::new() };
        format!("conv {inputs}-{outputs} {size}x{size} kernel {kernel} stride {stride}{groups}")
    }

    fn spec(&self) -> ConvSpec {
        ConvSpec {
            axes: 2,
            channels: self.channels,
            groups: self.groups,
            kernel: [1, self.kernel, self.kernel],
            stride: [1, self.stride, self.stride],
            dilation: [1; 3],
            transposed: false,
        }
    }
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Burn's float layer and both INT8 modes, on one backend.
fn backend<B: Backend>(group: &mut Group<'_>, name: &str, shape: Shape) {
    let device = Default::default();
    let Shape { channels, size, kernel, stride, padding, groups } = shape;
    let float = Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
        .with_groups(groups)
        .init::<B>(&device);
    let x = Tensor::<B, 4>::random([1, channels[0], size, size], Distribution::Normal(0.0, 1.0), &device);
    let expected = float.forward(x.clone());
    let mut run = |what: &str, forward: &dyn Fn(Tensor<B, 4>) -> Tensor<B, 4>| {
        assert_close(&expected, forward(x.clone()), what);
        group.bench_function(format!("{what} ({name})"), |b| b.iter(|| black_box(forward(x.clone()))));
    };
    run("burn f32", &|x| float.forward(x));
    for (what, activations) in [("int8", QuantMode::Dynamic), ("int8 weight-only", QuantMode::WeightOnly)] {
        let config = Int8Config::new().with_mode(activations);
        let layer = Conv2d::from(float.clone()).quantize(&config).expect("a float layer").0;
        run(what, &|x| layer.forward(x));
    }
}

/// The answer is right before the clock starts: one scale for a whole sample costs more than one for each row, but not 3 %.
fn assert_close<B: Backend>(expected: &Tensor<B, 4>, got: Tensor<B, 4>, what: &str) {
    let noise = (expected.clone() - got).powf_scalar(2.0).mean().into_scalar().elem::<f64>();
    let signal = expected.clone().powf_scalar(2.0).mean().into_scalar().elem::<f64>();
    assert!((noise / signal).sqrt() < 0.03, "{what}: {noise} of {signal}");
}

/// Every kernel that this CPU has, without Burn around it.
fn kernels(group: &mut Group<'_>, shape: Shape) {
    let values = |len: usize| (0..len).map(|i| ((i * 7919 % 2003) as f32 / 1001.5) - 1.0).collect::<Vec<_>>();
    let (spec, padding) = (shape.spec(), [shape.padding; 2]);
    let input = [1, shape.size, shape.size];
    let geometry = spec.geometry(input, [[0; 2], padding, padding]).expect("an output");
    let form = WeightLayout::Conv(spec);
    let (weights, _) =
        PackedWeights::quantize(&values(form.len()), &form, QuantRange::Symmetric).expect("finite");
    let x = values(shape.channels[0] * shape.size * shape.size);
    let images = conv::ConvInput { values: &x, batch: 1, geometry: &geometry, weights: &weights };
    for active in Kernel::all() {
        group.bench_function(format!("kernel {}", active.name()), |b| {
            b.iter(|| black_box(conv::dynamic(active, &images, QuantRange::Symmetric, None)));
        });
    }
}

fn convolution(c: &mut Criterion) {
    for shape in Shape::ALL {
        let mut group = c.benchmark_group(shape.name());
        let outputs = (shape.size + 2 * shape.padding - shape.kernel) / shape.stride + 1;
        let products = shape.channels[1] * shape.channels[0] / shape.groups * shape.kernel * shape.kernel;
        let products = (products * outputs * outputs) as u64;
        group.sample_size(10).warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(1)).throughput(Throughput::Elements(products));
        backend::<NdArray>(&mut group, "NdArray", shape);
        backend::<Flex>(&mut group, "Flex", shape);
        kernels(&mut group, shape);
        group.finish();
    }
}

criterion_group!(benches, convolution);
criterion_main!(benches);
