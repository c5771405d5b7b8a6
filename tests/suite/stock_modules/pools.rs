//! Pooling and interpolation.

use burn::nn::interpolate::*;
use burn::nn::pool::*;
use burn::nn::{PaddingConfig1d, PaddingConfig2d};
use burn::prelude::*;

use super::cases;
use super::run::Run;

cases! {
    train: [avg_pool1d, avg_pool2d, max_pool1d, max_pool2d, adaptive_avg_pools, interpolate_nearest],
    train_nearly: [],
    infer: [interpolate_smoothly, max_pool_indices],
}

/// Runs the layer of each configuration on an input of this shape.
macro_rules! pool {
    ($run:ident, $configs:ident, $shape:expr) => {
        for config in $configs {
            let layer = $run.plain(config.init());
            let x = $run.input($shape);
            $run.output(layer.forward(x));
        }
    };
}

fn avg_pool1d<B: Backend>(run: &mut Run<B>) {
    let config = AvgPool1dConfig::new(3);
    let padded = config.clone().with_stride(2).with_padding(PaddingConfig1d::Explicit(1, 1));
    let configs = [
        config,
        padded.clone(),
        padded.clone().with_count_include_pad(false),
        padded.clone().with_ceil_mode(true),
        padded.with_padding(PaddingConfig1d::Explicit(1, 0)),
    ];
    pool!(run, configs, [2, 3, 10]);
}

fn avg_pool2d<B: Backend>(run: &mut Run<B>) {
    let config = AvgPool2dConfig::new([3, 2]);
    let padded = config.clone().with_strides([2, 1]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
    let configs = [
        config,
        padded.clone(),
        padded.clone().with_count_include_pad(false),
        padded.clone().with_ceil_mode(true),
        padded.with_padding(PaddingConfig2d::Explicit(1, 0, 1, 1)),
    ];
    pool!(run, configs, [2, 3, 8, 7]);
}

fn max_pool1d<B: Backend>(run: &mut Run<B>) {
    let config = MaxPool1dConfig::new(3);
    let padded = config.clone().with_stride(2).with_padding(PaddingConfig1d::Explicit(1, 1));
    let configs = [
        config,
        padded.clone().with_dilation(2),
        padded.clone().with_ceil_mode(true),
        padded.with_padding(PaddingConfig1d::Explicit(1, 0)),
    ];
    pool!(run, configs, [2, 3, 10]);
}

fn max_pool2d<B: Backend>(run: &mut Run<B>) {
    let config = MaxPool2dConfig::new([3, 2]);
    let padded = config.clone().with_strides([2, 1]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
    let configs = [
        config,
        padded.clone().with_dilation([1, 2]),
        padded.clone().with_ceil_mode(true),
        padded.with_padding(PaddingConfig2d::Explicit(1, 0, 1, 1)),
    ];
    pool!(run, configs, [2, 3, 8, 7]);
}

fn max_pool_indices<B: Backend>(run: &mut Run<B>) {
    let x = run.input([2, 3, 8]);
    let (values, indices) = burn::tensor::module::max_pool1d_with_indices(x, 3, 2, 1, 1, false);
    run.output(values);
    run.data(indices.into_data());
    let x = run.input([2, 3, 8, 6]);
    let (values, indices) =
        burn::tensor::module::max_pool2d_with_indices(x, [3, 2], [2, 1], [1, 0], [1, 1], true);
    run.output(values);
    run.data(indices.into_data());
}

fn adaptive_avg_pools<B: Backend>(run: &mut Run<B>) {
    for size in [1, 3] {
        let layer = run.plain(AdaptiveAvgPool1dConfig::new(size).init());
        let x = run.input([2, 3, 10]);
        run.output(layer.forward(x));
        let layer = run.plain(AdaptiveAvgPool2dConfig::new([size, 2]).init());
        let x = run.input([2, 3, 8, 7]);
        run.output(layer.forward(x));
    }
}

fn interpolate<B: Backend>(run: &mut Run<B>, mode: InterpolateMode) {
    for align in [true, false] {
        let config = Interpolate1dConfig::new().with_mode(mode.clone()).with_align_corners(align);
        for config in [config.clone().with_output_size(Some(7)), config.with_scale_factor(Some(0.5))] {
            let layer = run.plain(config.init());
            let x = run.input([2, 3, 10]);
            run.output(layer.forward(x));
        }
        let config = Interpolate2dConfig::new().with_mode(mode.clone()).with_align_corners(align);
        for config in
            [config.clone().with_output_size(Some([5, 9])), config.with_scale_factor(Some([2.0, 0.5]))]
        {
            let layer = run.plain(config.init());
            let x = run.input([2, 3, 4, 6]);
            run.output(layer.forward(x));
        }
    }
}

fn interpolate_nearest<B: Backend>(run: &mut Run<B>) {
    interpolate(run, InterpolateMode::Nearest);
}

/// `NdArray` has no gradient of these.
fn interpolate_smoothly<B: Backend>(run: &mut Run<B>) {
    for mode in [InterpolateMode::Linear, InterpolateMode::Cubic, InterpolateMode::Lanczos] {
        interpolate(run, mode);
    }
}
