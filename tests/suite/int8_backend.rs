//! `Int8<B>`: Burn's own layers, quantized where they stand.

use burn::backend::NdArray;
use burn::nn;
use burn::prelude::*;
use burn::tensor::Distribution;
use burn_int8::Int8;
use burn_int8::prelude::*;

type B = Int8<NdArray>;

#[test]
fn an_lstm() {
    let device = Default::default();
    let lstm = nn::LstmConfig::new(32, 64, true).init::<B>(&device);
    let x = Tensor::<B, 3>::random([1, 20, 32], Distribution::Default, &device);
    let (float, _) = lstm.forward(x.clone(), None);
    let (lstm, report) = lstm.quantize(&Int8Config::new()).expect("float layers");
    println!("{report}");
    assert_eq!(report.int8_layers(), 8);
    let (int8, _) = lstm.forward(x, None);
    let error: f32 = (float - int8).abs().max().into_scalar();
    assert!(error < 0.02, "{error}");
}
