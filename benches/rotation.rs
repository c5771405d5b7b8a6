//! The cost of rotating inputs in a whole model: a transformer encoder of MiniLM's shape with random weights, as by default and as
//! Keras computes. The two take turns.
//!
//! `cargo bench --bench rotation`

use std::time::Instant;

use burn::backend::NdArray;
use burn::prelude::*;
use burn::tensor::Distribution;
use burn_int8::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn_int8::prelude::*;

const WIDTH: usize = 384;
const ROUNDS: usize = 40;

fn main() -> Result<(), Int8Error> {
    let device = Default::default();
    let float = TransformerEncoderConfig::new(WIDTH, 4 * WIDTH, 12, 6).init::<NdArray>(&device);
    let x = |[batch, tokens]: [usize; 2]| {
        Tensor::<NdArray, 3>::random([batch, tokens, WIDTH], Distribution::Default, &device)
    };
    float.forward(TransformerEncoderInput::new(x([1, 1]))); // draws the weights, which both models have then
    let (keras, _) = float.clone().quantize(&Int8Config::keras())?;
    let (rotated, _) = float.quantize(&Int8Config::keras().with_rotation(Rotation::Auto))?;
    println!("batch x tokens   plain ms   rotated ms   ratio (medians of {ROUNDS})");
    for shape in [[1, 16], [1, 128], [32, 32]] {
        let x = x(shape);
        let (mut times, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
        for _ in 0..ROUNDS {
            let [plain, rotated] = [&keras, &rotated].map(|model| time(model, &x));
            ratios.push(rotated / plain);
            times[0].push(plain);
            times[1].push(rotated);
        }
        let [plain, rotated] = times.map(median);
        println!("{:>5} x {:<6} {plain:>10.2} {rotated:>12.2} {:>7.3}", shape[0], shape[1], median(ratios));
    }
    Ok(())
}

/// Milliseconds of a forward pass.
fn time(model: &TransformerEncoder<NdArray>, x: &Tensor<NdArray, 3>) -> f64 {
    let start = Instant::now();
    std::hint::black_box(model.forward(TransformerEncoderInput::new(x.clone())));
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
