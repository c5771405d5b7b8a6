//! Whole `forward` calls on the device that Burn's `Wgpu` picks: INT8 against Burn's own layers and Burn's own quantizer.
//!
//! `cargo bench --features wgpu,burn/fusion,burn/autotune --bench device`, which are Burn's default features; `vulkan` instead
//! of `wgpu` for SPIR-V. Everyone takes turns, the clock stops when the device has finished.

#![allow(missing_docs, reason = "a program")]

use std::time::Instant;

use burn::backend::Wgpu;
use burn::backend::wgpu::{WgpuDevice, WgpuRuntime};
use burn::module::{Module, Quantizer};
use burn::nn;
use burn::prelude::*;
use burn::tensor::ops::QuantizedTensor;
use burn::tensor::quantization::{Calibration, QTensorPrimitive, QuantLevel, QuantValue};
use burn::tensor::{DType, Distribution};
use burn_int8::nn::{Conv2d, Linear};
use burn_int8::prelude::*;

/// Batch, inputs, outputs.
const LINEAR: [[usize; 3]; 6] = [
    [1, 1024, 1024],
    [1, 1152, 6912],
    [1, 4096, 4096],
    [64, 1024, 1024],
    [256, 768, 3072],
    [512, 1024, 1024],
];
/// In, out, size, kernel, groups.
const CONV: [[usize; 5]; 4] =
    [[64, 64, 28, 3, 1], [128, 256, 14, 1, 1], [32, 32, 28, 3, 32], [3, 32, 56, 3, 1]];
const ROUNDS: usize = 9;
/// Seconds that one turn should last.
const TURN: f64 = 0.1;

/// Someone who takes part: a name and a call, whose result is kept until the device is done, or fusion would leave it out.
type Peer<'a> = (&'static str, Box<dyn Fn() -> Kept + 'a>);
type Kept = Box<dyn std::any::Any>;

fn main() {
    let device = WgpuDevice::default();
    let client = <WgpuRuntime as cubecl::Runtime>::client(&device);
    let bandwidth = bandwidth(&device);
    println!("{} on {:?}, which copies {bandwidth:.1} GB/s", Wgpu::<f32>::name(&device), client.info());
    println!("medians of {ROUNDS} rounds in which everyone takes a turn; x: times as fast as Burn f32\n");
    for shape in LINEAR {
        linear(shape, &device);
    }
    for shape in CONV {
        conv(shape, &device);
    }
}

fn linear([m, k, n]: [usize; 3], device: &WgpuDevice) {
    let x = Tensor::<Wgpu, 2>::random([m, k], Distribution::Normal(0.0, 1.0), device);
    let float = nn::LinearConfig::new(k, n).init::<Wgpu>(device);
    let half = to_half(float.clone());
    let int8 = |activations| {
        let config = Int8Config::new().with_mode(activations);
        Linear::from(float.clone()).quantize(&config).expect("a float layer").0
    };
    let (dynamic, weight_only) = (int8(QuantMode::Dynamic), int8(QuantMode::WeightOnly));
    let burns = float.clone().quantize_weights(&mut Quantizer {
        calibration: Calibration::MinMax,
        scheme: <QuantizedTensor<Wgpu> as QTensorPrimitive>::default_scheme()
            .with_level(QuantLevel::Tensor)
            .with_value(QuantValue::Q8S),
    });
    let half_x = half.as_ref().map(|_| x.clone().cast(DType::F16));
    let mut peers: Vec<Peer<'_>> = vec![
        ("Burn f32", Box::new(|| Box::new(float.forward(x.clone())))),
        ("INT8", Box::new(|| Box::new(dynamic.forward(x.clone())))),
        ("INT8 weight-only", Box::new(|| Box::new(weight_only.forward(x.clone())))),
        ("Burn Quantizer", Box::new(|| Box::new(burns.forward(x.clone())))),
    ];
    if let (Some(half), Some(x)) = (&half, &half_x) {
        peers.push(("Burn f16", Box::new(|| Box::new(half.forward(x.clone())))));
    }
    let bytes = (m == 1).then_some(k * n);
    race(&format!("linear {m} x {k} x {n}"), &peers, m * k * n, bytes, device);
}

fn conv([inputs, outputs, size, kernel, groups]: [usize; 5], device: &WgpuDevice) {
    let x = Tensor::<Wgpu, 4>::random([1, inputs, size, size], Distribution::Normal(0.0, 1.0), device);
    let float = nn::conv::Conv2dConfig::new([inputs, outputs], [kernel; 2])
        .with_groups(groups)
        .with_padding(nn::PaddingConfig2d::Same)
        .init::<Wgpu>(device);
    let int8 = |activations| {
        let config = Int8Config::new().with_mode(activations);
        Conv2d::from(float.clone()).quantize(&config).expect("a float layer").0
    };
    let (dynamic, weight_only) = (int8(QuantMode::Dynamic), int8(QuantMode::WeightOnly));
    let peers: Vec<Peer<'_>> = vec![
        ("Burn f32", Box::new(|| Box::new(float.forward(x.clone())))),
        ("INT8", Box::new(|| Box::new(dynamic.forward(x.clone())))),
        ("INT8 weight-only", Box::new(|| Box::new(weight_only.forward(x.clone())))),
    ];
    let products = size * size * outputs * inputs / groups * kernel * kernel;
    let name = format!("conv {inputs} -> {outputs}, {size} x {size}, {kernel}, groups {groups}");
    race(&name, &peers, products, None, device);
}

/// The same layer in half floats, if the device has them.
fn to_half(layer: nn::Linear<Wgpu>) -> Option<nn::Linear<Wgpu>> {
    let device = layer.weight.device();
    Wgpu::<f32>::supports_dtype(&device, DType::F16).then(|| nn::Linear {
        weight: layer.weight.map(|weight| weight.cast(DType::F16)),
        bias: layer.bias.map(|bias| bias.map(|bias| bias.cast(DType::F16))),
    })
}

/// Prints a line for each peer. `products` is how many a call sums up, `bytes` what it must read.
fn race(name: &str, peers: &[Peer<'_>], products: usize, bytes: Option<usize>, device: &WgpuDevice) {
    let calls: Vec<_> = peers
        .iter()
        .map(|(_, call)| {
            let _ = seconds(call, 3, device); // kernels compile, memory is taken
            (TURN / seconds(call, 1, device)).clamp(1.0, 64.0) as usize
        })
        .collect();
    let mut times = vec![Vec::new(); peers.len()];
    for _ in 0..ROUNDS {
        for ((peer, times), &calls) in peers.iter().zip(&mut times).zip(&calls) {
            times.push(seconds(&peer.1, calls, device));
        }
    }
    println!("{name}");
    let medians = times.iter_mut().map(|times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let medians: Vec<_> = medians.collect();
    for ((name, _), median) in peers.iter().zip(&medians) {
        let reads = match bytes {
            Some(bytes) if name.starts_with("INT8") => {
                format!(", reads {:.1} GB/s", bytes as f64 / median / 1e9)
            }
            _ => String::new(),
        };
        println!(
            "  {name:<18} {:>10.0} us  {:>5.2} x  {:>8.1} Gop/s{reads}",
            median * 1e6,
            medians[0] / median,
            2.0 * products as f64 / median / 1e9,
        );
    }
}

fn seconds(call: &dyn Fn() -> Kept, calls: usize, device: &WgpuDevice) -> f64 {
    Wgpu::<f32>::sync(device).expect("a device that works");
    let start = Instant::now();
    let kept: Vec<_> = (0..calls).map(|_| call()).collect();
    Wgpu::<f32>::sync(device).expect("a device that works");
    let seconds = start.elapsed().as_secs_f64() / calls as f64;
    drop(kept);
    seconds
}

/// The speed of reading and writing a large tensor, in GB/s.
fn bandwidth(device: &WgpuDevice) -> f64 {
    let x = Tensor::<Wgpu, 1>::zeros([1 << 24], device);
    let copy = || -> Kept { Box::new(x.clone() + 1.0) };
    let _ = seconds(&copy, 3, device);
    let best = (0..5).map(|_| seconds(&copy, 4, device)).fold(f64::INFINITY, f64::min);
    2.0 * 4.0 * f64::from(1 << 24) / best / 1e9
}
