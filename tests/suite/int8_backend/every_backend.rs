//! `Int8<B>` around each backend gives the bits of this crate's layers on `B`.

use burn::nn;
use burn::prelude::*;
use burn_int8::Int8;
use burn_int8::prelude::*;

use crate::support::conv_case::{conv2d, one_of_each};
use crate::support::models::{burns_embedding, burns_linear, floats, on_every_backend, tensor};

on_every_backend! { layers an_lstm }

fn layers<B: Backend>() {
    let config = Int8Config::new();
    let (ours, _) =
        burn_int8::nn::Linear::from(burns_linear::<B>(64, 9, true, 1)).quantize(&config).expect("float");
    let (burns, report) = burns_linear::<Int8<B>>(64, 9, true, 1).quantize(&config).expect("float");
    assert_eq!(report.int8_layers(), 1);
    let expected = floats(ours.forward(tensor::<B, 3>([2, 5, 64], 2)));
    assert_eq!(floats(burns.forward(tensor::<Int8<B>, 3>([2, 5, 64], 2))), expected);

    let (ours, _) =
        burn_int8::nn::Embedding::from(burns_embedding::<B>(11, 16, 1)).quantize(&config).expect("float");
    let (burns, _) = burns_embedding::<Int8<B>>(11, 16, 1).quantize(&config).expect("float");
    let indices = [[0, 10, 3], [3, 7, 1]];
    let expected = floats(ours.forward(Tensor::<B, 2, Int>::from_ints(indices, &Default::default())));
    assert_eq!(floats(burns.forward(Tensor::from_ints(indices, &Default::default()))), expected);

    let [_, case, ..] = one_of_each();
    let (ours, _) = burn_int8::nn::Conv2d::from(conv2d::<B>(&case)).quantize(&config).expect("float");
    let (burns, _) = conv2d::<Int8<B>>(&case).quantize(&config).expect("float");
    let expected = floats(ours.forward(tensor::<B, 4>(case.shape(2), 5)));
    assert_eq!(floats(burns.forward(tensor::<Int8<B>, 4>(case.shape(2), 5))), expected);
}

fn an_lstm<B: Backend>() {
    let device = Default::default();
    let lstm = nn::LstmConfig::new(16, 32, true).init::<Int8<B>>(&device);
    let x = tensor::<Int8<B>, 3>([2, 4, 16], 1);
    let (float, _) = lstm.forward(x.clone(), None);
    let (int8, report) = lstm.quantize(&Int8Config::new()).expect("float layers");
    assert_eq!(report.int8_layers(), 8);
    let error = floats(float - int8.forward(x, None).0).into_iter().fold(0f32, |max, x| max.max(x.abs()));
    assert!(error < 0.02, "{error}"); // two products of 40 dB, and gates that flatten them
}
