//! Activations.

use burn::nn::activation::{Activation, ActivationConfig, HardSwish};
use burn::nn::*;
use burn::prelude::*;

use super::cases;
use super::run::Run;

cases! {
    train: [every_activation, with_options, prelu, glu, swiglu],
    train_nearly: [softplus_and_mish, functions],
    infer: [],
}

fn every_activation<B: Backend>(run: &mut Run<B>) {
    let configs = [
        ActivationConfig::Gelu,
        ActivationConfig::GeluApproximate,
        PReluConfig::new().into(),
        ActivationConfig::Relu,
        LeakyReluConfig::new().into(),
        SwiGluConfig::new(6, 6).into(),
        ActivationConfig::Selu,
        ActivationConfig::Sigmoid,
        ActivationConfig::Tanh,
        HardSigmoidConfig::new().into(),
        ActivationConfig::HardSwish,
        ActivationConfig::Softsign,
        EluConfig::new().into(),
        CeluConfig::new().into(),
        ThresholdedReluConfig::new().with_alpha(0.3).into(),
        HardShrinkConfig::new().into(),
        SoftShrinkConfig::new().into(),
        ShrinkConfig::new().into(),
    ];
    for config in configs {
        let layer: Activation<B> = run.module(config.init(&run.device));
        let x = run.input([4, 6]) * 4.0;
        run.output(layer.forward(x));
    }
}

fn with_options<B: Backend>(run: &mut Run<B>) {
    macro_rules! each {
        ($($layer:expr),* $(,)?) => {$({
            let layer = run.plain($layer);
            let x = run.input([3, 4, 5]) * 4.0;
            run.output(layer.forward(x));
        })*};
    }
    each!(
        Gelu::new(),
        Gelu::new_approximate(),
        Relu::new(),
        LeakyReluConfig::new().with_negative_slope(0.3).init(),
        Selu::new(),
        Sigmoid::new(),
        Tanh::new(),
        HardSigmoidConfig::new().with_alpha(0.3).with_beta(0.4).init(),
        HardSwish::new(),
        Softsign::new(),
        EluConfig::new().with_alpha(0.7).init(),
        CeluConfig::new().with_alpha(0.7).init(),
        ThresholdedReluConfig::new().with_alpha(0.7).init(),
        HardShrinkConfig::new().with_lambda(0.7).init(),
        SoftShrinkConfig::new().with_lambda(0.7).init(),
        ShrinkConfig::new().with_lambda(0.7).with_bias(0.2).init(),
    );
}

fn prelu<B: Backend>(run: &mut Run<B>) {
    for parameters in [1, 4] {
        let config = PReluConfig::new().with_num_parameters(parameters);
        let layer = run.module(config.init(&run.device));
        let x = run.input([3, 4, 5]);
        run.output(layer.forward(x));
    }
}

fn glu<B: Backend>(run: &mut Run<B>) {
    for axis in [1, 2] {
        let layer = run.plain(GLU::new(axis));
        let x = run.input([3, 4, 6]);
        run.output(layer.forward(x));
    }
}

fn swiglu<B: Backend>(run: &mut Run<B>) {
    for (bias, layout) in [(true, LinearLayout::Row), (false, LinearLayout::Col)] {
        let config = SwiGluConfig::new(6, 5).with_bias(bias).with_layout(layout);
        let layer = run.module(config.init(&run.device));
        let x = run.input([2, 3, 6]);
        run.output(layer.forward(x));
    }
}

/// Activations that are functions and no modules.
fn functions<B: Backend>(run: &mut Run<B>) {
    use burn::tensor::activation::*;
    for axis in 0..3 {
        for function in [softmax, log_softmax, softmin, quiet_softmax] {
            let x = run.input([3, 4, 5]) * 4.0;
            run.output(function(x, axis));
        }
    }
    for function in [log_sigmoid, silu] {
        let x = run.input([3, 4, 5]) * 4.0;
        run.output(function(x));
    }
}

fn softplus_and_mish<B: Backend>(run: &mut Run<B>) {
    let x = run.input([3, 4, 5]) * 4.0;
    run.output(burn::tensor::activation::mish(x));
    for layer in [SoftplusConfig::new(), SoftplusConfig::new().with_beta(2.0)] {
        let layer = run.plain(layer.init());
        let x = run.input([3, 4, 5]) * 4.0;
        run.output(layer.forward(x));
    }
    let layer: Activation<B> = run.module(ActivationConfig::from(SoftplusConfig::new()).init(&run.device));
    let x = run.input([4, 6]) * 4.0;
    run.output(layer.forward(x));
}
