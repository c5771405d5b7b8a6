//! The cost of the backend `Int8<B>` while nothing is quantized, and what it brings to models of Burn's own layers. The two take
//! turns, and each figure is the median of the rounds.
//!
//! `cargo bench --features flex --bench backend`

use std::time::Instant;

use burn::backend::{Flex, NdArray};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::transformer::{TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{GruConfig, LstmConfig, PaddingConfig2d};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn_int8::Int8;
use burn_int8::nn::transformer;
use burn_int8::prelude::*;

const ROUNDS: usize = 21;

fn main() -> Result<(), Int8Error> {
    println!("float models on Int8<B>, times those on B (medians of {ROUNDS} rounds)");
    overhead::<NdArray>("NdArray");
    overhead::<Flex>("Flex");
    println!("\nrecurrent nets of Burn's, one sequence of 50 steps");
    recurrent::<NdArray>("NdArray")?;
    recurrent::<Flex>("Flex")?;
    println!("\nencoders in INT8, 6 layers of 384: Burn's on Int8<B>, times this crate's on B");
    encoders::<NdArray>("NdArray")?;
    encoders::<Flex>("Flex")
}

/// A forward pass on one backend.
type Run = Box<dyn Fn()>;
/// Makes a model on two backends.
type Pair = fn() -> [Run; 2];

/// Float models on `B` and on `Int8<B>`.
fn overhead<B: Backend>(name: &str) {
    let cases: [(&str, Pair); 3] = [
        ("1000 additions of 4 x 4", || [additions::<B>(), additions::<Int8<B>>()]),
        ("encoder of 6 layers of 384, 1 x 128 tokens", || [encoder::<B>(), encoder::<Int8<B>>()]),
        ("24 convolutions of 64 channels, 28 x 28", || [convolutions::<B>(), convolutions::<Int8<B>>()]),
    ];
    for (case, make) in cases {
        let [plain, int8] = make();
        let ([plain, int8], ratio) = turns([&plain, &int8]);
        println!("{name:>8}  {case:<44} {plain:>9.3} ms {int8:>9.3} ms {ratio:>7.3}");
    }
}

fn additions<B: Backend>() -> Run {
    let x = Tensor::<B, 2>::random([4, 4], Distribution::Default, &Default::default());
    Box::new(move || {
        let sum = (0..1000).fold(x.clone(), |sum, _| sum + x.clone());
        std::hint::black_box(sum);
    })
}

fn encoder<B: Backend>() -> Run {
    let device = Default::default();
    let encoder = TransformerEncoderConfig::new(384, 1536, 12, 6).init::<B>(&device);
    let x = Tensor::<B, 3>::random([1, 128, 384], Distribution::Default, &device);
    Box::new(move || drop(encoder.forward(TransformerEncoderInput::new(x.clone())).into_data()))
}

fn convolutions<B: Backend>() -> Run {
    let device = Default::default();
    let config = Conv2dConfig::new([64, 64], [3, 3]).with_padding(PaddingConfig2d::Same);
    let layers: Vec<Conv2d<B>> = (0..24).map(|_| config.init(&device)).collect();
    let x = Tensor::<B, 4>::random([1, 64, 28, 28], Distribution::Default, &device);
    Box::new(move || {
        let out = layers.iter().fold(x.clone(), |x, layer| burn::tensor::activation::relu(layer.forward(x)));
        drop(out.into_data());
    })
}

/// An LSTM and a GRU in float on `B` and in INT8 on `Int8<B>`.
fn recurrent<B: Backend>(name: &str) -> Result<(), Int8Error> {
    let device = Default::default();
    let lstm = || (LstmConfig::new(512, 512, true), LstmConfig::new(512, 512, true));
    let x = |device: &B::Device| Tensor::<B, 3>::random([1, 50, 512], Distribution::Default, device);
    let (x, x_int8) =
        (x(&device), Tensor::<Int8<B>, 3>::random([1, 50, 512], Distribution::Default, &device));

    let (first, second) = (lstm().0.init::<B>(&device), lstm().1.init::<B>(&device));
    let float = || drop(second.forward(first.forward(x.clone(), None).0, None).0.into_data());
    let quantize = |config: LstmConfig| config.init::<Int8<B>>(&device).quantize(&Int8Config::new());
    let ((first, _), (second, _)) = (quantize(lstm().0)?, quantize(lstm().1)?);
    let int8 = || drop(second.forward(first.forward(x_int8.clone(), None).0, None).0.into_data());
    let ([float, int8], ratio) = turns([&float, &int8]);
    println!(
        "{name:>8}  LSTM, 2 layers of 512: float {float:.2} ms, INT8 {int8:.2} ms, {:.1} times as fast",
        1.0 / ratio
    );

    let config = || GruConfig::new(512, 512, true);
    let gru = config().init::<B>(&device);
    let float = || drop(gru.forward(x.clone(), None).into_data());
    let (gru, _) = config().init::<Int8<B>>(&device).quantize(&Int8Config::new())?;
    let int8 = || drop(gru.forward(x_int8.clone(), None).into_data());
    let ([float, int8], ratio) = turns([&float, &int8]);
    println!(
        "{name:>8}  GRU of 512: float {float:.2} ms, INT8 {int8:.2} ms, {:.1} times as fast",
        1.0 / ratio
    );
    Ok(())
}

/// The same encoder of Burn's on `Int8<B>` and of this crate's layers on `B`, both in INT8.
fn encoders<B: Backend>(name: &str) -> Result<(), Int8Error> {
    let device = Default::default();
    let config = Int8Config::new();
    let (ours, _) =
        transformer::TransformerEncoderConfig::new(384, 1536, 12, 6).init::<B>(&device).quantize(&config)?;
    let (burns, _) =
        TransformerEncoderConfig::new(384, 1536, 12, 6).init::<Int8<B>>(&device).quantize(&config)?;
    for [batch, tokens] in [[1, 16], [1, 128], [32, 32]] {
        let x = Tensor::<B, 3>::random([batch, tokens, 384], Distribution::Default, &device);
        let x_int8 = Tensor::<Int8<B>, 3>::random([batch, tokens, 384], Distribution::Default, &device);
        let plain = || drop(ours.forward(transformer::TransformerEncoderInput::new(x.clone())).into_data());
        let int8 = || drop(burns.forward(TransformerEncoderInput::new(x_int8.clone())).into_data());
        let ([plain, int8], ratio) = turns([&plain, &int8]);
        println!("{name:>8}  {batch:>3} x {tokens:<4} {plain:>9.2} ms {int8:>9.2} ms {ratio:>7.3}");
    }
    Ok(())
}

/// The medians of the milliseconds of two programs that take turns, and of the second's times the first's.
fn turns(runs: [&dyn Fn(); 2]) -> ([f64; 2], f64) {
    runs.iter().for_each(|run| run());
    let mut rounds: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let [first, second] = runs.map(|run| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        });
        for (values, value) in rounds.iter_mut().zip([first, second, second / first]) {
            values.push(value);
        }
    }
    let [first, second, ratio] = rounds.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    });
    ([first, second], ratio)
}
