//! Convolutions, with all their options.

use burn::nn::conv::*;
use burn::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};
use burn::prelude::*;

use super::cases;
use super::run::Run;

cases! {
    train: [conv1d, conv2d, depthwise, pointwise, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d],
    train_nearly: [deform_conv2d],
    infer: [],
}

fn conv1d<B: Backend>(run: &mut Run<B>) {
    let config = Conv1dConfig::new(4, 6, 3);
    let configs = [
        config.clone(),
        config.clone().with_stride(2).with_bias(false),
        config.clone().with_dilation(2).with_padding(PaddingConfig1d::Explicit(2, 2)),
        config.clone().with_groups(2).with_padding(PaddingConfig1d::Same),
        config.with_padding(PaddingConfig1d::Explicit(0, 3)),
    ];
    for config in configs {
        let layer = run.module(config.init(&run.device));
        let x = run.input([2, 4, 9]);
        run.output(layer.forward(x));
    }
}

fn conv2d<B: Backend>(run: &mut Run<B>) {
    let config = Conv2dConfig::new([4, 6], [3, 2]);
    let configs = [
        config.clone(),
        config.clone().with_stride([2, 1]).with_bias(false),
        config.clone().with_dilation([2, 3]).with_padding(PaddingConfig2d::Explicit(1, 2, 1, 2)),
        config.clone().with_groups(2),
        Conv2dConfig::new([4, 6], [3, 3]).with_padding(PaddingConfig2d::Same),
        config.with_padding(PaddingConfig2d::Explicit(0, 1, 2, 3)),
    ];
    for config in configs {
        let layer = run.module(config.init(&run.device));
        let x = run.input([2, 4, 7, 8]);
        run.output(layer.forward(x));
    }
}

fn depthwise<B: Backend>(run: &mut Run<B>) {
    for outputs in [6, 12] {
        let config = Conv2dConfig::new([6, outputs], [3, 3]).with_groups(6).with_stride([2, 2]);
        let layer = run.module(config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(&run.device));
        let x = run.input([1, 6, 9, 8]);
        run.output(layer.forward(x));
    }
}

fn pointwise<B: Backend>(run: &mut Run<B>) {
    let layer = run.module(Conv2dConfig::new([8, 5], [1, 1]).init(&run.device));
    let x = run.input([2, 8, 3, 4]);
    run.output(layer.forward(x.clone().permute([0, 1, 3, 2])));
    run.output(layer.forward(x));
}

fn conv3d<B: Backend>(run: &mut Run<B>) {
    let config = Conv3dConfig::new([2, 4], [2, 3, 2]);
    let configs = [
        config.clone(),
        config.clone().with_stride([1, 2, 1]).with_bias(false).with_groups(2),
        config.with_dilation([1, 1, 2]).with_padding(PaddingConfig3d::Explicit(1, 2, 0)),
        Conv3dConfig::new([2, 4], [3, 3, 3]).with_padding(PaddingConfig3d::Same),
    ];
    for config in configs {
        let layer = run.module(config.init(&run.device));
        let x = run.input([2, 2, 4, 5, 6]);
        run.output(layer.forward(x));
    }
}

fn conv_transpose1d<B: Backend>(run: &mut Run<B>) {
    let config = ConvTranspose1dConfig::new([4, 6], 3);
    let configs = [
        config.clone(),
        config.clone().with_stride(2).with_padding_out(1).with_bias(false),
        config.with_groups(2).with_dilation(2).with_padding(1),
    ];
    for config in configs {
        let layer = run.module(config.init(&run.device));
        let x = run.input([2, 4, 5]);
        run.output(layer.forward(x));
    }
}

fn conv_transpose2d<B: Backend>(run: &mut Run<B>) {
    let config = ConvTranspose2dConfig::new([4, 6], [3, 2]);
    let configs = [
        config.clone(),
        config.clone().with_stride([2, 3]).with_padding_out([1, 0]).with_bias(false),
        config.with_groups(2).with_dilation([1, 2]).with_padding([1, 0]),
    ];
    for config in configs {
        let layer = run.module(config.init(&run.device));
        let x = run.input([2, 4, 5, 3]);
        run.output(layer.forward(x));
    }
}

fn conv_transpose3d<B: Backend>(run: &mut Run<B>) {
    let config = ConvTranspose3dConfig::new([4, 2], [3, 2, 1]);
    let configs = [
        config.clone(),
        config.clone().with_stride([2, 3, 1]).with_padding_out([1, 0, 0]).with_bias(false),
        config.with_groups(2).with_dilation([1, 2, 1]).with_padding([1, 0, 0]),
    ];
    for config in configs {
        let layer = run.module(config.init(&run.device));
        let x = run.input([2, 4, 3, 4, 2]);
        run.output(layer.forward(x));
    }
}

fn deform_conv2d<B: Backend>(run: &mut Run<B>) {
    let config = DeformConv2dConfig::new([4, 6], [3, 3]);
    let same = PaddingConfig2d::Explicit(1, 1, 1, 1);
    let configs = [
        (config.clone().with_padding(same.clone()), [6, 7], 1),
        (config.with_weight_groups(2).with_offset_groups(2).with_stride([2, 2]).with_bias(false), [2, 3], 2),
    ];
    for (config, [height, width], groups) in configs {
        let layer = run.module(config.init(&run.device));
        for masked in [false, true] {
            let x = run.input([2, 4, 6, 7]);
            let offset = run.input([2, groups * 18, height, width]);
            let mask = run.input([2, groups * 9, height, width]);
            run.output(layer.forward(x, offset, masked.then_some(mask)));
        }
    }
}
