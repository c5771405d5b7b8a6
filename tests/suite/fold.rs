//! A folded layer against the layer and its BatchNorm.

use burn::backend::{Autodiff, NdArray};
use burn::module::{AutodiffModule, Module, Param, RunningState};
use burn::nn::conv::{
    self, Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig,
};
use burn::nn::{
    BatchNorm, BatchNormConfig, LinearConfig, LinearLayout, PaddingConfig1d, PaddingConfig2d, PaddingConfig3d,
};
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::tensor::DType;
use burn_int8::nn::{DropIn, Linear};
use burn_int8::prelude::*;
use burn_int8::{Int8, fold_batch_norm};

use crate::support::models::{burns_linear, floats, on_every_backend, tensor, values};

/// The error of f64 tensors, so that only a wrong formula differs by more: about 100 roundings of 1e-16 of values below 100.
const ROUNDING: f64 = 1e-12;
/// The error of f32 tensors: a few of 1e-7 of values below 10. Weights that are drawn twice differ by 0.1 and more.
const ROUNDING_F32: f64 = 1e-5;

/// The backend is not `NdArray<f64>`: a device's default float type is up to who uses it first in the process.
fn exact<B: Backend, const D: usize>(shape: [usize; D], seed: usize) -> Tensor<B, D> {
    tensor(shape, seed).cast(DType::F64)
}

/// Statistics far from 0 and 1; of both signs, and a gamma of zero.
fn norm<B: Backend>(channels: usize, dtype: DType) -> BatchNorm<B> {
    let mut gamma = values(channels, 11);
    gamma[0] = 0.0;
    let gamma = Tensor::<B, 1>::from_data(TensorData::new(gamma, [channels]), &Default::default());
    let tensor = |seed| tensor::<B, 1>([channels], seed).cast(dtype);
    BatchNorm {
        gamma: Param::from_tensor(gamma.cast(dtype)),
        beta: Param::from_tensor(tensor(12)),
        running_mean: RunningState::new(tensor(13) * 3.0),
        running_var: RunningState::new(tensor(14).abs() * 4.0),
        momentum: 0.1,
        epsilon: 1e-3,
    }
}

fn difference<B: Backend, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> f64 {
    assert_eq!((a.dims(), a.dtype()), (b.dims(), b.dtype()));
    let largest = (a - b).abs().max().into_data().convert::<f64>().to_vec::<f64>();
    largest.expect("f64")[0]
}

/// A layer of this configuration, with and without bias, on an input of this shape; then the drop-in layer of it.
macro_rules! folds {
    ($config:expr, $shape:expr) => {
        for bias in [true, false] {
            let mut layer = $config.with_bias(bias).init::<NdArray>(&Default::default());
            layer.weight = Param::from_tensor(exact(layer.weight.dims(), 1));
            layer.bias = layer.bias.map(|bias| Param::from_tensor(exact(bias.dims(), 2)));
            let x = exact($shape, 3);
            let y = layer.forward(x.clone());
            let norm = norm(y.dims()[1], DType::F64);
            let gamma = floats(norm.gamma.val());
            assert!(gamma.contains(&0.0) && gamma.iter().any(|g| *g < 0.0) && gamma.iter().any(|g| *g > 0.0));
            let expected = norm.forward(y.clone());
            assert!(difference(y.clone(), expected.clone()) > 0.1, "a norm that does nothing tests nothing");
            let folded = fold_batch_norm(&layer, &norm).expect("as many channels");
            let error = difference(folded.forward(x.clone()), expected);
            assert!(error < ROUNDING, "{folded}, bias {bias}: {error:e}");
            assert_eq!(folded.weight.id, layer.weight.id);
            let id = folded.bias.as_ref().map(|bias| bias.id);
            assert!(layer.bias.as_ref().is_none_or(|bias| id == Some(bias.id)));
            assert_eq!(difference(layer.forward(x.clone()), y), 0.0, "the original must stay as it was");

            let drop_in = fold_batch_norm(&DropIn::from(layer), &norm).expect("a float layer");
            assert_eq!(difference(drop_in.forward(x.clone()), folded.forward(x)), 0.0);
            let (int8, _) = drop_in.quantize(&Int8Config::new()).expect("a float layer");
            let error = fold_batch_norm(&int8, &norm).expect_err("it is INT8");
            assert_eq!(error, Int8Error::FoldAfterQuantize);
        }
    };
}

#[test]
fn linear() {
    folds!(LinearConfig::new(6, 5), [4, 6]);
}

#[test]
fn convolutions() {
    folds!(Conv1dConfig::new(4, 6, 3), [2, 4, 9]);
    folds!(Conv1dConfig::new(4, 6, 3).with_groups(2).with_stride(2), [2, 4, 9]);
    folds!(Conv1dConfig::new(4, 6, 3).with_padding(PaddingConfig1d::Explicit(2, 2)), [2, 4, 9]);
    folds!(Conv2dConfig::new([4, 6], [3, 2]), [2, 4, 7, 6]);
    folds!(Conv2dConfig::new([4, 6], [3, 3]).with_stride([2, 1]).with_groups(2), [2, 4, 7, 6]);
    folds!(
        Conv2dConfig::new([4, 8], [3, 3]).with_padding(PaddingConfig2d::Same).with_groups(4),
        [2, 4, 7, 6]
    );
    folds!(Conv2dConfig::new([4, 6], [2, 2]).with_dilation([2, 3]), [2, 4, 7, 6]);
    folds!(Conv3dConfig::new([4, 6], [2, 3, 1]), [2, 4, 4, 5, 3]);
    folds!(Conv3dConfig::new([4, 6], [3, 3, 3]).with_padding(PaddingConfig3d::Same), [2, 4, 4, 5, 3]);
    folds!(Conv3dConfig::new([4, 6], [2, 3, 1]).with_groups(2).with_stride([2, 1, 1]), [2, 4, 4, 5, 3]);
}

/// Groups with several inputs and outputs each: there the order of the output channels matters.
#[test]
fn transposed_convolutions() {
    folds!(ConvTranspose1dConfig::new([4, 6], 3), [2, 4, 5]);
    folds!(ConvTranspose1dConfig::new([4, 6], 3).with_groups(2).with_stride(2), [2, 4, 5]);
    folds!(ConvTranspose2dConfig::new([4, 6], [3, 2]).with_padding([1, 1]), [2, 4, 5, 4]);
    folds!(ConvTranspose2dConfig::new([4, 6], [3, 2]).with_groups(2).with_stride([2, 3]), [2, 4, 5, 4]);
    folds!(
        ConvTranspose2dConfig::new([4, 8], [2, 2])
            .with_groups(4)
            .with_stride([2, 2])
            .with_padding_out([1, 1]),
        [2, 4, 5, 4]
    );
    folds!(ConvTranspose3dConfig::new([4, 6], [2, 3, 1]), [2, 4, 3, 4, 2]);
    folds!(ConvTranspose3dConfig::new([4, 6], [2, 1, 2]).with_groups(2), [2, 4, 3, 4, 2]);
}

#[test]
fn an_int8_layer_says_what_to_do() {
    let layer: Linear<NdArray> = burns_linear(6, 5, true, 1).into();
    let (int8, _) = layer.quantize(&Int8Config::new()).expect("a float layer");
    let error = fold_batch_norm(&int8, &norm(5, DType::F32)).expect_err("it is INT8");
    assert!(error.to_string().contains("fold the BatchNorm into the float layer, then quantize"));
}

/// The wrong counts are also one channel, which would fit by broadcasting, and as many as a group has.
#[test]
fn other_channels_are_named() {
    let layer = burns_linear::<NdArray>(4, 6, true, 1);
    for channels in [1, 4, 5, 7] {
        let error = fold_batch_norm(&layer, &norm(channels, DType::F32)).expect_err("too many or too few");
        assert_eq!(error, Int8Error::ChannelMismatch { layer: 6, norm: channels });
        assert!(error.to_string().contains(&format!("6 output channels, but the BatchNorm has {channels};")));
    }
    let transposed =
        ConvTranspose1dConfig::new([4, 6], 3).with_groups(2).init::<NdArray>(&Default::default());
    let error = fold_batch_norm(&transposed, &norm(3, DType::F32)).expect_err("a group is not the layer");
    assert_eq!(error, Int8Error::ChannelMismatch { layer: 6, norm: 3 });
}

/// Parameters draw their initial values when they are first read: the folded layer must not draw its own.
#[test]
fn a_layer_that_was_never_read() {
    let layer = LinearConfig::new(6, 5).init::<NdArray>(&Default::default());
    let norm = norm(5, DType::F32);
    let folded = fold_batch_norm(&layer, &norm).expect("as many channels");
    let x = tensor([4, 6], 3);
    assert!(difference(folded.forward(x.clone()), norm.forward(layer.forward(x))) < ROUNDING_F32);
}

/// A layer that is saved transposed still is, and reloads.
#[test]
fn column_layout() {
    let device = Default::default();
    let config = LinearConfig::new(6, 5).with_layout(LinearLayout::Col);
    let folded =
        fold_batch_norm(&config.init::<NdArray>(&device), &norm(5, DType::F32)).expect("as many channels");
    let record = folded.clone().into_record();
    assert_eq!(record.weight.dims(), [5, 6]);
    let x = tensor([4, 6], 3);
    let reloaded = config.init::<NdArray>(&device).load_record(record);
    assert_eq!(difference(folded.forward(x.clone()), reloaded.forward(x)), 0.0);
}

/// In a model that trains, what counts is what `valid()` will see, also if another thread did the training.
#[test]
fn statistics_of_a_model_in_training() {
    type Train = Autodiff<NdArray>;
    let (layer, norm) = (burns_linear::<Train>(6, 5, true, 1), norm::<Train>(5, DType::F32));
    let step = || floats(norm.forward(layer.forward(tensor([4, 6], 3))));
    std::thread::scope(|scope| scope.spawn(step).join().expect("a training step"));
    let folded = fold_batch_norm(&layer, &norm).expect("as many channels").valid();
    let x = tensor::<NdArray, 2>([4, 6], 5);
    let expected = norm.valid().forward(layer.valid().forward(x.clone()));
    assert!(difference(folded.forward(x), expected) < ROUNDING_F32);
}

/// Parameters that learned go on learning, frozen ones stay frozen; a new bias does as the weight.
#[test]
fn gradients() {
    type Train = Autodiff<NdArray>;
    for (bias, learns) in [(true, true), (true, false), (false, true), (false, false)] {
        let layer = burns_linear::<Train>(6, 5, bias, 1);
        let layer = if learns { layer } else { layer.no_grad() };
        let folded = fold_batch_norm(&layer, &norm(5, DType::F32)).expect("as many channels");
        let x = tensor::<Train, 2>([4, 6], 3).require_grad();
        let gradients = folded.forward(x.clone()).sum().backward();
        assert!(x.grad(&gradients).is_some());
        let of_bias = folded.bias.as_ref().and_then(|bias| bias.grad(&gradients));
        assert_eq!((folded.weight.grad(&gradients).is_some(), of_bias.is_some()), (learns, learns));
        let again = layer.forward(x.clone());
        assert_ne!(floats(again), floats(folded.forward(x)), "the original must stay as it was");
    }
}

/// Burn's own layers on [`Int8`], with a norm until it is folded.
#[derive(Module, Debug)]
struct Stem<B: Backend> {
    conv: conv::Conv2d<B>,
    norm: Option<BatchNorm<B>>,
}

impl<B: Backend> Stem<B> {
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = self.conv.forward(x);
        self.norm.as_ref().map_or(x.clone(), |norm| norm.forward(x))
    }
}

/// Outputs below 10 of a convolution whose inputs are rounded alike: a weight that comes to lie on the other side of a tie, by the
/// rounding of its factor, moves an output by one step of the weight, 1 / 127, times one input, below 1, and its gamma, below 1.
const ONE_STEP: f64 = 1.0 / 127.0;

fn stock_layers<B: Backend>() {
    let (device, recorder) = (Default::default(), NamedMpkBytesRecorder::<FullPrecisionSettings>::new());
    let config = Conv2dConfig::new([4, 6], [3, 3]).with_bias(false);
    let mut conv = config.init::<Int8<B>>(&device);
    conv.weight = Param::from_tensor(tensor(conv.weight.dims(), 1));
    let norm = norm::<Int8<B>>(6, DType::F32);
    let x = tensor::<Int8<B>, 4>([2, 4, 7, 6], 3);
    let folded = fold_batch_norm(&conv, &norm).expect("as many channels");
    let (with_norm, folded) = (Stem { conv, norm: Some(norm.clone()) }, Stem { conv: folded, norm: None });
    let error = difference(with_norm.forward(x.clone()), folded.forward(x.clone()));
    assert!(error < ROUNDING_F32, "{error}");

    let config = Int8Config::keras();
    let [(with_norm, _), (folded, report)] =
        [with_norm, folded].map(|model| model.quantize(&config).expect("float"));
    assert_eq!(report.int8_layers(), 1);
    let error = difference(with_norm.forward(x.clone()), folded.forward(x.clone()));
    assert!(error < ONE_STEP, "{error}");
    let refused = fold_batch_norm(&with_norm.conv, &norm).expect_err("it is INT8");
    assert_eq!(refused, Int8Error::FoldAfterQuantize);

    // Both are loaded into models that were just made.
    let fresh = |folded: bool| Stem::<Int8<B>> {
        conv: Conv2dConfig::new([4, 6], [3, 3]).with_bias(folded).init(&device),
        norm: (!folded).then(|| BatchNormConfig::new(6).with_epsilon(norm.epsilon).init(&device)),
    };
    for (model, is_folded) in [(with_norm, false), (folded, true)] {
        let y = model.forward(x.clone());
        let bytes = Recorder::<Int8<B>>::record(&recorder, model.into_record(), ()).expect("in memory");
        let record = recorder.load(bytes, &device).expect("its own bytes");
        let loaded = fresh(is_folded).load_record(record);
        assert_eq!(loaded.int8_report().int8_layers(), 1);
        assert_eq!(difference(loaded.forward(x.clone()), y), 0.0);
    }
}

on_every_backend! { stock_layers }
