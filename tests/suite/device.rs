//! The things that only a device can get wrong: files that travel, types, memory, answers that no one may wait for.

use burn::backend::{Autodiff, NdArray};
use burn::module::Module;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::tensor::{DType, Distribution};
use burn_int8::nn::{Conv2d, DropIn, Embedding, FloatLayer, Linear};
use burn_int8::prelude::*;

use crate::gpu::{Fused, Plain, available};
use crate::support::conv_case::{conv, conv2d};
use crate::support::models::{Net, burns_embedding, burns_linear, floats, tensor, values};

/// One layer of each family.
#[derive(Module, Debug)]
struct Families<B: Backend> {
    table: Embedding<B>,
    linear: Linear<B>,
    conv: Conv2d<B>,
}

impl<B: Backend> Families<B> {
    fn new(seed: usize) -> Self {
        Self {
            table: burns_embedding(20, 6, seed).into(),
            linear: burns_linear(6, 10, true, seed).into(),
            conv: conv2d(&conv(2, [5, 7], [1, 3, 3], [1, 6, 7])).into(),
        }
    }
}

fn bytes<B: Backend, M: Module<B>>(model: M) -> Vec<u8> {
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    recorder.record(model.into_record(), ()).expect("a record")
}

fn load<B: Backend, M: Module<B>>(model: M, bytes: Vec<u8>) -> M {
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    model.load_record(recorder.load(bytes, &Default::default()).expect("its own bytes"))
}

/// A device loads the file that a host saves and saves it again, byte for byte, and the other way round.
#[test]
fn files_travel() {
    fn check<B: Backend>() {
        let (host, _) = Families::<NdArray>::new(1).quantize(&Int8Config::new()).expect("float layers");
        let file = bytes(host.clone());
        let device = load(Families::<B>::new(2), file.clone());
        fn same<A: FloatLayer, B: FloatLayer>(a: &DropIn<A>, b: &DropIn<B>) {
            let (a, b) = (a.as_int8().expect("INT8"), b.as_int8().expect("INT8"));
            assert_eq!((a.integers(), a.scales()), (b.integers(), b.scales()));
        }
        same(&host.table, &device.table);
        same(&host.linear, &device.linear);
        same(&host.conv, &device.conv);
        assert_eq!(bytes(device), file);
        let (device, _) = Families::<B>::new(1).quantize(&Int8Config::new()).expect("float layers");
        let back = load(Families::<NdArray>::new(2), bytes(device));
        same(&host.conv, &back.conv);
        assert_eq!(
            floats(back.linear.forward(tensor::<_, 2>([3, 6], 1))),
            floats(host.linear.forward(tensor::<_, 2>([3, 6], 1)))
        );
    }
    if available() {
        check::<Fused>();
        check::<Plain>();
    }
}

/// Dynamic and weight-only give what a host gives, for a whole model.
#[test]
fn a_model_answers_as_on_the_host() {
    fn check<B: Backend>(config: &Int8Config) {
        let (host, _) = Net::<NdArray>::new(1).quantize(config).expect("float layers");
        let (device, report) = Net::<B>::new(1).quantize(config).expect("float layers");
        assert!(
            report.layers.iter().all(|layer| layer.kernel.as_ref().is_some_and(|name| name.contains("wgpu"))),
            "{report}"
        );
        let expected = floats(host.forward(tensor([6, 8], 9)));
        let got = floats(device.forward(tensor([6, 8], 9)));
        // An input in the last bit beside a tie is rounded to the other side: one step (1/127) of one product.
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() <= expected.abs().max(1.0) / 127.0, "{got}, not {expected}");
        }
        let squares = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>();
        let difference: Vec<_> = got.iter().zip(&expected).map(|(a, b)| a - b).collect();
        assert!(squares(&difference) <= 1e-4 * squares(&expected));
    }
    if available() {
        for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
            let config = Int8Config::new().with_mode(activations);
            check::<Fused>(&config);
            check::<Plain>(&config);
        }
    }
}

/// Half floats go in and come out; what is computed is as exact as they are.
#[test]
fn half_floats() {
    const F16: f32 = 1.0 / 1024.0;
    fn check<B: Backend>() {
        let model = Families::<B>::new(1);
        for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
            let config = Int8Config::new().with_mode(activations);
            let (model, _) = model.clone().quantize(&config).expect("float layers");
            let x = tensor::<B, 2>([3, 6], 1).cast(DType::F16);
            let y = model.linear.forward(x.clone());
            assert_eq!(y.dtype(), DType::F16);
            let expected = floats(model.linear.forward(x.cast(DType::F32)));
            let close = |(y, expected): (f32, f32)| (y - expected).abs() <= F16 * expected.abs().max(1.0);
            assert!(floats(y).into_iter().zip(expected).all(close));
            let x = tensor::<B, 4>([2, 5, 6, 7], 1).cast(DType::F16);
            let y = model.conv.forward(x.clone());
            assert_eq!(y.dtype(), DType::F16);
            let expected = floats(model.conv.forward(x.cast(DType::F32)));
            assert!(floats(y).into_iter().zip(expected).all(close));
        }
    }
    let device = Default::default();
    if available() && Plain::supports_dtype(&device, DType::F16) {
        check::<Fused>();
        check::<Plain>();
    } else {
        println!("SKIPPED: the device has no half floats");
    }
}

/// The host does not wait to look at indices: one that is not in the table gives NaN, others do not notice.
#[test]
fn an_index_outside_the_table_gives_nan() {
    fn check<B: Backend>(width: usize) {
        let (table, _) =
            Embedding::<B>::from(burns_embedding(11, width, 3)).quantize(&Int8Config::new()).expect("float");
        let tokens = |tokens: [[i32; 4]; 1]| Tensor::<B, 2, Int>::from_data(tokens, &Default::default());
        let got = floats(table.forward(tokens([[3, 11, -1, 10]])));
        let good = floats(table.forward(tokens([[3, 3, 10, 10]])));
        assert_eq!((&got[..width], &got[3 * width..]), (&good[..width], &good[3 * width..]));
        assert!(got[width..3 * width].iter().all(|y| y.is_nan()), "{got:?}");
    }
    if available() {
        for width in [5, 64] {
            // 64 are rotated.
            check::<Fused>(width);
            check::<Plain>(width);
        }
    }
}

/// After the first calls memory is used again, and no more of it is asked for.
#[test]
fn nothing_is_allocated_after_the_first_calls() {
    if !available() {
        return;
    }
    let device = Default::default();
    let (model, _) = Families::<Plain>::new(1).quantize(&Int8Config::new()).expect("float layers");
    let rows = Tensor::<Plain, 2>::random([64, 6], Distribution::Default, &device);
    let images = tensor::<Plain, 4>([2, 5, 6, 7], 1);
    let tokens = Tensor::<Plain, 2, Int>::from_data([[1, 2, 3]], &device);
    let reserved = || {
        Plain::sync(&device).expect("a device that works");
        let client = <cubecl::wgpu::WgpuRuntime as cubecl::Runtime>::client(&device);
        client.memory_usage().expect("a device that works").bytes_reserved
    };
    let call = || {
        drop(model.linear.forward(rows.clone()));
        drop(model.conv.forward(images.clone()));
        drop(model.table.forward(tokens.clone()));
    };
    (0..20).for_each(|_| call());
    let before = reserved();
    (0..100).for_each(|_| call());
    assert_eq!(reserved(), before);
}

/// On an autodiff backend layers compute with tensor operations, which the report says, and give the same.
#[test]
fn training_goes_through_tensor_operations() {
    if !available() {
        return;
    }
    let (train, report) =
        Families::<Autodiff<Fused>>::new(1).quantize(&Int8Config::new()).expect("float layers");
    assert!(report.layers.iter().all(|layer| layer.kernel.as_deref() == Some("tensor operations")));
    let valid = burn::module::AutodiffModule::valid(&train);
    let kernels = valid.int8_report();
    assert!(kernels.layers.iter().all(|layer| layer.kernel.as_deref() != Some("tensor operations")));
    let x = values(18, 1);
    let rows = |x: &[f32]| TensorData::new(x.to_vec(), [3, 6]);
    let device = Default::default();
    let expected = floats(valid.linear.forward(Tensor::<Fused, 2>::from_data(rows(&x), &device)));
    let got = floats(train.linear.forward(Tensor::<Autodiff<Fused>, 2>::from_data(rows(&x), &device)));
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() <= 1.2e-7 * (1.0 + expected.abs()), "{got}, not {expected}");
    }
}

/// Tied layers share one copy on a device, too.
#[test]
fn tied_layers_share_one_copy() {
    if !available() {
        return;
    }
    let layer = burns_linear::<Fused>(8, 8, true, 1);
    let model: Vec<Linear<Fused>> = vec![layer.clone().into(), layer.into()];
    let (model, _) = model.quantize(&Int8Config::new()).expect("float layers");
    let [a, b] = [0, 1].map(|i| model[i].as_int8().expect("INT8"));
    assert!(a.shares_weights(b));
}

/// A way of inputs that a device's kernels do not have is computed by tensor operations, and the report says so: of a layer that was
/// just quantized, was moved, or loaded.
#[test]
fn the_report_names_what_computes_transformed_inputs() {
    fn check<B: Backend>() {
        const INPUTS: usize = 64;
        let layer = || Linear::<B>::from(burns_linear(INPUTS, 8, true, 1));
        let x = || tensor::<B, 2>([5, INPUTS], 2);
        let run = |model: &Linear<B>| drop(model.forward(x()));
        let keras = Int8Config::keras;
        let weight_only = keras().with_mode(QuantMode::WeightOnly);
        let rotation = Rotation::Block(16);
        let quantized = |config: &Int8Config| layer().quantize(config).expect("a float layer").0;
        let smoothed = |config: &Int8Config| {
            layer().quantize_smoothed(config, Smoothing::Percent(50), run).expect("a layer that is seen").0
        };
        for (int8, by_kernels) in [
            (quantized(&keras()), true),
            (quantized(&weight_only), true),
            (quantized(&keras().with_rotation(rotation)), true),
            (quantized(&weight_only.clone().with_rotation(rotation)), false),
            (smoothed(&keras()), false),
            (smoothed(&weight_only), false),
        ] {
            let scheme = int8.as_int8().expect("INT8").scheme();
            let loaded = load(layer(), bytes(int8.clone()));
            let moved = int8.clone().to_device(&Default::default());
            let (train, forked) =
                (int8.clone().train::<Autodiff<B>>(), int8.clone().fork(&Default::default()));
            for layer in [&int8, &loaded, &moved, &forked, &burn::module::AutodiffModule::valid(&train)] {
                let kernel = layer.int8_report().layers[0].kernel.clone().expect("INT8");
                assert_eq!(kernel.contains("wgpu"), by_kernels, "{scheme}: {kernel}");
                assert_eq!(kernel == "tensor operations", !by_kernels, "{scheme}: {kernel}");
                assert_eq!(floats(layer.forward(x())), floats(int8.forward(x())), "{scheme}");
            }
        }
    }
    if available() {
        check::<Fused>();
        check::<Plain>();
    }
}
