//! Normalizations.

use burn::nn::norm::{Normalization, NormalizationConfig};
use burn::nn::*;
use burn::prelude::*;

use super::cases;
use super::run::Run;

cases! {
    train: [batch_norm, group_norm, instance_norm, layer_norm, rms_norm, local_response_norm, normalizations],
    train_nearly: [],
    infer: [],
}

/// With autodiff it normalizes by its batch and moves its running state, else by that state.
fn batch_norm<B: Backend>(run: &mut Run<B>) {
    let config = BatchNormConfig::new(3).with_epsilon(1e-3).with_momentum(0.3);
    let layer = run.module(config.init(&run.device));
    let x = [run.input([4, 3, 5, 2]), run.input([2, 3, 4, 4])];
    x.into_iter().for_each(|x| run.output(layer.forward(x)));
    let x = run.input([4, 3]);
    run.output(layer.forward(x));
    run.data(layer.running_mean.value_sync().into_data());
    run.data(layer.running_var.value_sync().into_data());
}

fn group_norm<B: Backend>(run: &mut Run<B>) {
    for affine in [true, false] {
        let config = GroupNormConfig::new(2, 6).with_affine(affine).with_epsilon(1e-3);
        let layer = run.module(config.init(&run.device));
        let x = run.input([3, 6, 4, 5]);
        run.output(layer.forward(x));
        let x = run.input([3, 6, 4]);
        run.output(layer.forward(x));
    }
}

fn instance_norm<B: Backend>(run: &mut Run<B>) {
    for affine in [true, false] {
        let config = InstanceNormConfig::new(6).with_affine(affine).with_epsilon(1e-3);
        let layer = run.module(config.init(&run.device));
        let x = run.input([3, 6, 4, 5]);
        run.output(layer.forward(x));
    }
}

fn layer_norm<B: Backend>(run: &mut Run<B>) {
    for bias in [true, false] {
        let layer = run.module(LayerNormConfig::new(8).with_bias(bias).with_epsilon(1e-3).init(&run.device));
        let x = run.input([3, 5, 8]);
        run.output(layer.forward(x.clone().swap_dims(0, 1)));
        run.output(layer.forward(x));
        let x = run.input([8]);
        run.output(layer.forward(x));
    }
}

fn rms_norm<B: Backend>(run: &mut Run<B>) {
    let layer = run.module(RmsNormConfig::new(8).with_epsilon(1e-3).init(&run.device));
    let x = run.input([3, 5, 8]);
    run.output(layer.forward(x));
}

fn local_response_norm<B: Backend>(run: &mut Run<B>) {
    for size in [3, 4] {
        let config = LocalResponseNormConfig::new(size).with_alpha(0.5).with_beta(0.6).with_k(1.5);
        let layer = run.plain(config.init());
        let x = run.input([2, 7, 3, 4]);
        run.output(layer.forward(x));
        let x = run.input([2, 7, 3]);
        run.output(layer.forward(x));
    }
}

fn normalizations<B: Backend>(run: &mut Run<B>) {
    let configs: [NormalizationConfig; 5] = [
        BatchNormConfig::new(6).into(),
        GroupNormConfig::new(3, 6).into(),
        InstanceNormConfig::new(6).into(),
        LayerNormConfig::new(6).into(),
        RmsNormConfig::new(6).into(),
    ];
    for config in configs {
        let layer: Normalization<B> = run.module(config.init(&run.device));
        let x = run.input([2, 6, 6]);
        run.output(layer.forward(x));
    }
}
