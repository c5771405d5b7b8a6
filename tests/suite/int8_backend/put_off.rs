//! What `Int8<B>` puts off: the outputs of layers, until it is known what becomes of them, and zeros around images.

use burn::module::{Param, RunningState};
use std::any::TypeId;

use burn::backend::NdArray;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv1dConfig, Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2dConfig, AvgPool2dConfig, MaxPool2dConfig};
use burn::nn::{BatchNorm, Linear, LinearConfig};
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::tensor::activation::{gelu, relu};
use burn_int8::prelude::*;
use burn_int8::{Int8, without_fusion};
use rayon::prelude::*;

use crate::support::models::{floats, on_every_backend, tensor};

on_every_backend! { a_network a_saved_network integers_between_convolutions norms_of_channels other_handles zeros_around nothing_is_lost workers_of_a_pool }

/// The rounding of a mean and of GELU in `f32`, in parts of their inputs.
const ROUNDING: f32 = 1e-6;

/// A small network of the layers and steps that are computed together.
#[derive(Module, Debug)]
struct Network<B: Backend> {
    stem: Conv2d<B>,
    expand: Conv2d<B>,
    depthwise: Conv2d<B>,
    project: Conv2d<B>,
    head: Linear<B>,
}

impl<B: Backend> Network<B> {
    fn new(device: &B::Device) -> Self {
        let same = PaddingConfig2d::Explicit(1, 1, 1, 1);
        B::seed(device, 7);
        let conv = |channels, kernel| Conv2dConfig::new(channels, [kernel; 2]);
        Self {
            stem: conv([3, 20], 3)
                .with_padding(PaddingConfig2d::Explicit(0, 0, 1, 1))
                .with_stride([2, 2])
                .init(device),
            expand: conv([20, 70], 1).init(device),
            depthwise: conv([70, 70], 3).with_groups(70).with_padding(same).init(device),
            project: conv([70, 20], 1).init(device),
            head: LinearConfig::new(20, 9).init(device),
        }
    }

    /// The image after the last convolution, and the outputs.
    fn forward(&self, x: Tensor<B, 4>) -> (Tensor<B, 4>, Tensor<B, 2>) {
        let x = relu(self.stem.forward(x));
        let x = MaxPool2dConfig::new([3, 3])
            .with_strides([2, 2])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .init()
            .forward(x);
        let wide = self.expand.forward(x.clone()).clamp(0.0, 6.0);
        let wide = self.depthwise.forward(wide).clamp(0.0, 6.0);
        let image = relu(self.project.forward(wide) + x.clone()) + x;
        let mean = AdaptiveAvgPool2dConfig::new([1, 1]).init().forward(image.clone());
        (image, gelu(self.head.forward(mean.flatten(1, 3))))
    }
}

/// Steps that are computed with their layers, or between them by kernels, give what the inner backend gives. With a sign for all inputs
/// nothing goes from layer to layer as integers.
fn a_network<B: Backend>() {
    let config = Int8Config::new().with_codes(InputCodes::Signed);
    let (network, _) = Network::<Int8<B>>::new(&Default::default()).quantize(&config).expect("float layers");
    let x = tensor::<Int8<B>, 4>([2, 3, 17, 19], 3);
    let (image, out) = network.forward(x.clone());
    let (plain_image, plain_out) = without_fusion(|| network.forward(x));
    assert!(floats(image) == floats(plain_image));
    let difference = (out - plain_out.clone()).abs().max().into_scalar().elem::<f32>();
    assert!(difference <= ROUNDING * plain_out.abs().max().into_scalar().elem::<f32>(), "{difference}");
}

/// A BatchNorm that does something to each channel.
fn norm<B: Backend>(channels: usize) -> BatchNorm<B> {
    BatchNorm {
        gamma: Param::from_tensor(tensor([channels], 11)),
        beta: Param::from_tensor(tensor([channels], 12)),
        running_mean: RunningState::new(tensor::<B, 1>([channels], 13) * 3.0),
        running_var: RunningState::new(tensor::<B, 1>([channels], 14).abs() * 4.0),
        momentum: 0.1,
        epsilon: 1e-3,
    }
}

/// A BatchNorm is computed with the layer before it, and gives the bits of the inner backend; so do other tensors with one number for
/// each channel, and tensors that are no such thing.
fn norms_of_channels<B: Backend>() {
    let device = Default::default();
    let config = Int8Config::new();
    let norm = norm::<Int8<B>>(70);
    let same = |run: &dyn Fn() -> Vec<f32>| assert!(run() == without_fusion(run));
    for conv in [Conv2dConfig::new([20, 70], [1, 1]), Conv2dConfig::new([70, 70], [3, 3]).with_groups(70)] {
        let x = tensor::<Int8<B>, 4>([2, conv.channels[0], 5, 6], 3);
        let (conv, _) = conv.init(&device).quantize(&config).expect("float");
        let forward = || relu(norm.forward(conv.forward(x.clone())));
        same(&|| floats(forward()));
        let shortcut = forward();
        same(&|| floats(relu(norm.forward(conv.forward(x.clone())) + shortcut.clone())));
        let factors = |shape: [usize; 4]| tensor::<Int8<B>, 4>(shape, 5);
        let dims = shortcut.dims();
        for shape in [[1, 70, 1, 1], [2, 70, 1, 1], [1, 1, 1, dims[3]], [1; 4], dims] {
            let by = factors(shape);
            same(&|| floats(conv.forward(x.clone()) * by.clone()));
            same(&|| floats(by.clone() - conv.forward(x.clone())));
            same(&|| floats(by.clone() + conv.forward(x.clone())));
            same(&|| floats(conv.forward(x.clone()) / by.clone() - by.clone()));
        }
        let plain = floats(conv.forward(x.clone()));
        assert!(plain != floats(norm.forward(conv.forward(x))), "a norm that does nothing tests nothing");
    }
    let (conv, _) = Conv1dConfig::new(6, 70, 3).init::<Int8<B>>(&device).quantize(&config).expect("float");
    let x = tensor::<Int8<B>, 3>([2, 6, 9], 3);
    same(&|| floats(norm.forward(conv.forward(x.clone()))));
    let (linear, _) = LinearConfig::new(16, 70).init::<Int8<B>>(&device).quantize(&config).expect("float");
    let x = tensor::<Int8<B>, 2>([3, 16], 3);
    same(&|| floats(norm.forward(linear.forward(x.clone()))));
    let rows = tensor::<Int8<B>, 3>([2, 70, 16], 3); // channels of the norm that are rows of the layer
    same(&|| floats(norm.forward(linear.forward(rows.clone()))));
}

/// A model answers the same after it was saved and loaded, though files hold less than what was asked for.
fn a_saved_network<B: Backend>() {
    let device = Default::default();
    let (network, _) = Network::<Int8<B>>::new(&device).quantize(&Int8Config::new()).expect("float layers");
    let x = tensor::<Int8<B>, 4>([2, 3, 17, 19], 3);
    let image = floats(network.forward(x.clone()).0);
    let plain = without_fusion(|| floats(network.forward(x.clone()).0));
    let has_kernels = TypeId::of::<B>() == TypeId::of::<NdArray>();
    assert!(image != plain || !has_kernels, "integers go from layer to layer");
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    let bytes = recorder.record(network.into_record(), ()).expect("a record");
    let record = recorder.load(bytes, &device).expect("the same record");
    let loaded = Network::<Int8<B>>::new(&device).load_record(record);
    assert!(floats(loaded.forward(x).0) == image);
}

/// Between two convolutions of which nobody sees the image, values with bounds are integers: each is rounded by half a step at most.
fn integers_between_convolutions<B: Backend>() {
    const BOUND: f32 = 2.0;
    let device = Default::default();
    let first = Conv2dConfig::new([8, 24], [1, 1]).init::<Int8<B>>(&device);
    let (first, _) = first.quantize(&Int8Config::new()).expect("float");
    let image = || first.forward(tensor::<Int8<B>, 4>([2, 8, 9, 7], 8) * 4.0).clamp(0.0, BOUND);
    for (groups, kernel) in [(24, 3), (1, 3), (1, 1)] {
        let config = Conv2dConfig::new([24, 24], [kernel; 2]).with_groups(groups);
        let around = PaddingConfig2d::Explicit(kernel / 2, kernel / 2, kernel / 2, kernel / 2);
        let second = config.clone().with_padding(around).init::<Int8<B>>(&device);
        let (second, _) = second.quantize(&Int8Config::new()).expect("float");
        let out = second.forward(image());
        let of_floats = without_fusion(|| second.forward(image()));
        // Where the second layer quantizes floats itself, its steps are as large at most: together they are off by one.
        let weights = second.weight.val().abs().sum_dims(&[1, 2, 3]).max().into_scalar().elem::<f32>();
        let largest = (out.clone() - of_floats.clone()).abs().max().into_scalar().elem::<f32>();
        // A filter of several pixels has the same steps anyway, as each sample reaches the bound. Without kernels nothing is rounded.
        let has_kernels = TypeId::of::<B>() == TypeId::of::<NdArray>();
        let is_rounded = has_kernels && (groups, kernel) != (1, 3);
        assert!(largest > 0.0 || !is_rounded, "{groups} {kernel}: nothing was rounded");
        assert!(largest <= BOUND / 255.0 * weights, "{groups} {kernel}: {largest}");
        // Zeros that a model puts around the image are padding of integers, too.
        let mut unpadded = config.init::<Int8<B>>(&device);
        (unpadded.weight, unpadded.bias) = (second.weight.clone(), second.bias.clone());
        let side = kernel / 2;
        assert!(floats(unpadded.forward(image().pad((side, side, side, side), 0.0))) == floats(out));
        // A NaN, which is no integer, does not get lost; a device's clamp makes a number of it.
        let nan = Tensor::full([1, 1, 1, 1], f32::NAN, &device);
        let x = tensor::<Int8<B>, 4>([2, 8, 9, 7], 8).slice_assign([1..2, 2..3, 4..5, 3..4], nan);
        let out = floats(second.forward(first.forward(x).clamp(0.0, BOUND)));
        let (finite, with_nan) = out.split_at(out.len() / 2);
        assert!(finite.iter().all(|y| y.is_finite()));
        assert!(with_nan.iter().any(|y| y.is_nan()) || !has_kernels);
        // Whoever sees the image sees floats, and then the convolution reads them, too.
        let seen = image();
        assert!(floats(second.forward(seen.clone())) == floats(of_floats));
        assert!(floats(seen) == floats(without_fusion(image)));
    }
}

/// Each handle keeps its own value, whatever becomes of others.
fn other_handles<B: Backend>() {
    let device = Default::default();
    let (conv, _) = Conv2dConfig::new([8, 8], [1, 1])
        .init::<Int8<B>>(&device)
        .quantize(&Int8Config::new())
        .expect("float");
    let x = tensor::<Int8<B>, 4>([1, 8, 3, 3], 1);
    let y = conv.forward(x.clone());
    let active = relu(y.clone());
    let sum = y.clone() + conv.forward(x.clone());
    let expected = floats(y);
    let each = |f: fn(f32) -> f32| expected.iter().map(|&x| f(x)).collect::<Vec<_>>();
    assert!(expected.iter().any(|x| *x < 0.0));
    assert_eq!(floats(active), each(|x| x.max(0.0)));
    assert_eq!(floats(sum), each(|x| x + x));
    // Two layers, each of which could wait for the other.
    assert_eq!(floats(conv.forward(x.clone()) + conv.forward(x.clone())), each(|x| x + x));
    // A sum with one number for each channel.
    let row = tensor::<Int8<B>, 4>([1, 8, 1, 1], 2);
    let expected: Vec<_> =
        expected.iter().zip(floats(row.clone().expand([1, 8, 3, 3]))).map(|(a, b)| a + b).collect();
    assert_eq!(floats(conv.forward(x) + row), expected);
}

/// Zeros that a model puts around an image are those of a convolution with that padding.
fn zeros_around<B: Backend>() {
    let device = Default::default();
    let config = Conv2dConfig::new([8, 5], [3, 2]).with_bias(false);
    let (conv, _) = config.init::<Int8<B>>(&device).quantize(&Int8Config::new()).expect("float");
    let mut padded = config.with_padding(PaddingConfig2d::Explicit(2, 1, 2, 1)).init::<Int8<B>>(&device);
    padded.weight = conv.weight.clone();
    let (pointwise, _) = Conv2dConfig::new([8, 8], [1, 1])
        .init::<Int8<B>>(&device)
        .quantize(&Int8Config::new())
        .expect("float");
    let image = || pointwise.forward(tensor::<Int8<B>, 4>([2, 8, 5, 6], 4));
    let zeros = image().pad((1, 1, 2, 2), 0.0); // left, right, top, bottom
    assert_eq!(zeros.dims(), [2, 8, 9, 8]);
    assert!(floats(conv.forward(zeros.clone())) == floats(padded.forward(image())));
    // Anybody else reads the zeros, and other values are no padding of a convolution.
    let inner = zeros.clone().slice([0..2, 0..8, 2..7, 1..7]);
    assert!(floats(inner) == floats(image()));
    assert_eq!(floats(zeros.clone().abs().sum()), floats(without_fusion(|| zeros.abs().sum())));
    let ones = image().pad((1, 1, 2, 2), 1.0);
    let expected = without_fusion(|| conv.forward(ones.clone()));
    assert!(floats(conv.forward(ones.clone())) == floats(expected));
    assert_eq!(floats(ones.slice([0..1, 0..1, 0..1, 0..1])), [1.0]);
}

/// A layer is computed by threads of rayon's pool. One that waits for the others may take up a task that asks for the same output.
fn workers_of_a_pool<B: Backend>() {
    let device = Default::default();
    let same = PaddingConfig2d::Explicit(1, 1, 1, 1);
    let conv = Conv2dConfig::new([64, 64], [3, 3]).with_padding(same).init::<Int8<B>>(&device);
    let (conv, _) = conv.quantize(&Int8Config::new()).expect("float");
    let x = tensor::<Int8<B>, 4>([1, 64, 24, 24], 5);
    let expected = floats(conv.forward(x.clone()));
    for _ in 0..4 {
        let y = conv.forward(x.clone());
        (0..16).into_par_iter().for_each(|_| assert!(floats(y.clone()) == expected));
    }
}

/// Windows over what a layer gives, with zeros that count or not, and what is rounded up.
fn nothing_is_lost<B: Backend>() {
    let device = Default::default();
    let (conv, _) = Conv2dConfig::new([8, 19], [1, 1])
        .init::<Int8<B>>(&device)
        .quantize(&Int8Config::new())
        .expect("float");
    let x = tensor::<Int8<B>, 4>([2, 8, 7, 9], 6);
    let image = floats(conv.forward(x.clone()));
    let largest = image.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for (count, up) in [(true, false), (false, true), (true, true)] {
        let max = MaxPool2dConfig::new([3, 2])
            .with_strides([2, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_ceil_mode(up)
            .init();
        let pooled = || floats(max.forward(conv.forward(x.clone())));
        assert!(pooled() == without_fusion(pooled));
        let mean = AvgPool2dConfig::new([3, 2])
            .with_strides([2, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_count_include_pad(count)
            .with_ceil_mode(up)
            .init();
        let pooled = || floats(mean.forward(conv.forward(x.clone())));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= ROUNDING * largest;
        let (ours, plain) = (pooled(), without_fusion(pooled));
        assert!(ours.len() == plain.len() && ours.iter().zip(&plain).all(close), "{count} {up}");
    }
}
