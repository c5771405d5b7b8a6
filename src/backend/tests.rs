//! What waits for the output of a layer; what comes of it is tested in `tests/suite/int8_backend/put_off.rs`.

use burn::backend::NdArray;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{BatchNormConfig, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

use crate::{Int8, Int8Config, Quantize};

type B = Int8<NdArray>;

fn waiting_steps<const D: usize>(x: Tensor<B, D>) -> Option<usize> {
    x.into_primitive().tensor().waiting_steps()
}

/// The four operations of a BatchNorm, and what follows it.
#[test]
fn a_batch_norm_waits_with_its_layer() {
    let device = Default::default();
    let norm = BatchNormConfig::new(8).init::<B>(&device);
    for config in [Conv2dConfig::new([4, 8], [1, 1]), Conv2dConfig::new([8, 8], [3, 3]).with_groups(8)] {
        let (conv, _) = config.init(&device).quantize(&Int8Config::new()).expect("a float layer");
        let x = Tensor::ones([2, config.channels[0], 5, 5], &device);
        assert_eq!(waiting_steps(norm.forward(conv.forward(x.clone()))), Some(4));
        let y = norm.forward(conv.forward(x.clone()));
        assert_eq!(waiting_steps(relu(y)), Some(5));
        let y = conv.forward(x);
        assert_eq!(
            waiting_steps(norm.forward(y.clone())),
            None,
            "somebody else wants the output without the norm"
        );
    }
    let (linear, _) =
        LinearConfig::new(4, 8).init(&device).quantize(&Int8Config::new()).expect("a float layer");
    let y = linear.forward(Tensor::<B, 2>::ones([3, 4], &device));
    assert_eq!(waiting_steps(norm.forward(y)), Some(4));
    let y = linear.forward(Tensor::<B, 3>::ones([3, 8, 4], &device));
    assert_eq!(waiting_steps(norm.forward(y)), None, "the norm's channels are the rows");
}
