//! Tests that depend on random numbers. They have a binary of their own, and run one at a time: the generator is the process's.

#[path = "../examples/quickstart/model.rs"]
mod model;

use std::sync::Mutex;

use burn::backend::{Autodiff, NdArray};
use burn::module::{AutodiffModule, Module};
use burn::nn;
use burn::nn::loss::{MseLoss, Reduction};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::tensor::Distribution;
use burn_int8::nn::{Linear, LinearConfig};
use burn_int8::prelude::*;
use model::{Mlp, evaluation_rows, mse, train};

type Train = Autodiff<NdArray>;

/// Held by the test that runs.
static GENERATOR: Mutex<()> = Mutex::new(());

#[derive(Module, Debug)]
struct Ours<B: Backend> {
    fc1: Linear<B>,
    fc2: Linear<B>,
}

#[derive(Module, Debug)]
struct Stock<B: Backend> {
    fc1: nn::Linear<B>,
    fc2: nn::Linear<B>,
}

/// Losses of a few steps of Adam.
fn losses<M: AutodiffModule<Train>>(
    mut model: M,
    forward: impl Fn(&M, Tensor<Train, 2>) -> Tensor<Train, 2>,
) -> (M, Vec<f32>) {
    let mut optimizer = AdamConfig::new().init();
    let losses = (0..20).map(|_| {
        let x = Tensor::random([16, 10], Distribution::Uniform(-1.0, 1.0), &Default::default());
        let target = x.clone().sum_dim(1);
        let loss = MseLoss::new().forward(forward(&model, x), target, Reduction::Mean);
        let value = loss.clone().into_scalar();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-2, model.clone(), gradients);
        value
    });
    let losses = losses.collect();
    (model, losses)
}

/// Same seed, same initial weights, same losses, bit for bit.
#[test]
fn training_is_burns_own() {
    let _alone = GENERATOR.lock();
    let device = Default::default();
    Train::seed(&device, 42);
    let ours = Ours::<Train> {
        fc1: LinearConfig::new(10, 32).init(&device),
        fc2: LinearConfig::new(32, 1).init(&device),
    };
    let (ours, our_losses) =
        losses(ours, |m, x| m.fc2.forward(burn::tensor::activation::relu(m.fc1.forward(x))));
    Train::seed(&device, 42);
    let stock = Stock::<Train> {
        fc1: nn::LinearConfig::new(10, 32).init(&device),
        fc2: nn::LinearConfig::new(32, 1).init(&device),
    };
    let (stock, stock_losses) =
        losses(stock, |m, x| m.fc2.forward(burn::tensor::activation::relu(m.fc1.forward(x))));
    assert_eq!(our_losses, stock_losses);
    assert!(our_losses[19] < our_losses[0] / 2.0, "{our_losses:?}");

    let int8 = ours.valid().quantize(&Int8Config::new()).expect("float layers").0;
    let float = stock.valid();
    let x = Tensor::<NdArray, 2>::random([16, 10], Distribution::Uniform(-1.0, 1.0), &device);
    let hidden = float.fc1.forward(x.clone());
    let error = (int8.fc1.forward(x) - hidden).abs().max().into_scalar();
    assert!(error > 0.0 && error < 0.05, "{error}"); // half a step of weights below 0.5, ten of them, and of the inputs
}

/// Median over 100 seeds of Keras' own code on this model.
const KERAS_MEDIAN: f64 = 7.9e-6;

#[test]
fn as_accurate_as_keras_and_exact_after_a_reload() {
    let _alone = GENERATOR.lock();
    let device = Default::default();
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    let mut errors = Vec::new();
    for seed in 0..100 {
        Train::seed(&device, seed);
        let model = train(Mlp::<Train>::keras(&device), &device);
        let x = evaluation_rows::<NdArray>(&device);
        let baseline = model.forward(x.clone());
        let (int8, _) = model.quantize(&Int8Config::keras()).expect("two float layers");
        let output = int8.forward(x.clone());
        errors.push(mse(baseline, output.clone()));

        let bytes = Recorder::<NdArray>::record(&recorder, int8.into_record(), ()).expect("in memory");
        let record = recorder.load(bytes, &device).expect("its own bytes");
        let reloaded = Mlp::<NdArray>::new(&device).load_record(record);
        assert_eq!(mse(output, reloaded.forward(x)), 0.0);
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors[0] > 0.0 && errors[50] <= KERAS_MEDIAN, "median {:e}", errors[50]);
}

/// The numbers that modules and tensors draw from the generator of a backend, and the gradients through it.
fn drawn<B: burn::tensor::backend::AutodiffBackend>() -> Vec<TensorData> {
    let device = Default::default();
    B::seed(&device, 7);
    let x = Tensor::<B, 2>::random([8, 16], Distribution::Default, &device).require_grad();
    let normal = Tensor::<B, 2>::random([8, 16], Distribution::Normal(0.5, 2.0), &device);
    let linear = nn::LinearConfig::new(16, 4).init::<B>(&device);
    let dropped = nn::DropoutConfig::new(0.4).init().forward(x.clone() + normal);
    let noisy = nn::GaussianNoiseConfig::new(0.3).init().forward(dropped);
    let out = linear.forward(noisy.clone());
    let gradients = out.clone().sum().backward();
    let gradient = x.grad(&gradients).expect("a gradient");
    vec![x.into_data(), noisy.into_data(), out.into_data(), gradient.into_data()]
}

#[test]
fn the_decorated_backend_draws_the_same() {
    let _generator = GENERATOR.lock().unwrap_or_else(|e| e.into_inner());
    assert_eq!(drawn::<Train>(), drawn::<Autodiff<burn_int8::Int8<NdArray>>>());
}
