//! Two ways of quantizing side by side, for the time of a token: they take turns, so that a busy moment hits both.

use std::io::{Write, stdout};
use std::time::Instant;

use burn::prelude::*;
use clap::Args;

use crate::cache::Cache;
use crate::error::ModelError;
use crate::generate::ids;
use crate::model::Decoder;
use crate::scheme::Scheme;
use crate::source::OpenModel;
use crate::synthetic;

/// The first tokens, which are not counted: they find nothing in the caches.
const WARM_UP: usize = 8;

#[derive(Args)]
pub struct Turns {
    /// The way of quantizing that the other is measured against.
    #[arg(long, value_enum, default_value_t = Scheme::Keras)]
    base: Scheme,
    /// The other way.
    #[arg(long, value_enum, default_value_t = Scheme::Rotated)]
    int8: Scheme,
    /// The tokens that count.
    #[arg(long, default_value_t = 200)]
    max_tokens: usize,
}

/// Reads random tokens one by one, each with both models, and prints medians.
pub fn run<B: Backend>(open: &OpenModel, turns: &Turns) -> Result<(), ModelError> {
    let tokens = synthetic::tokens(WARM_UP + turns.max_tokens, &open.config);
    let load = |scheme: Scheme| open.load::<B>(Some(&scheme.config())).map(|(model, _)| model);
    let models: [Decoder<B>; 2] = [load(turns.base)?, load(turns.int8)?];
    let mut caches = [(); 2].map(|()| Cache::new(&open.config));
    caches[0].check_room(tokens.len())?;
    let mut times = Vec::new();
    for (turn, token) in tokens.into_iter().enumerate() {
        let mut both = [0.0; 2];
        for side in [turn % 2, 1 - turn % 2] {
            both[side] = time(&models[side], token, &mut caches[side]);
        }
        times.push(both);
    }
    let times = &times[WARM_UP.min(times.len())..];
    let [base, other] = [0, 1].map(|side| median(times.iter().map(|both| both[side])));
    let ratio = median(times.iter().map(|both| both[1] / both[0]));
    let [base_name, name] = [turns.base, turns.int8].map(Scheme::name);
    Ok(writeln!(
        stdout(),
        "milliseconds a token: {base_name} {base:.3}, {name} {other:.3}; {ratio:.3} times as many (medians of {})",
        times.len()
    )?)
}

/// The milliseconds from a token to the scores of the next.
fn time<B: Backend>(model: &Decoder<B>, token: u32, cache: &mut Cache<B>) -> f64 {
    let ids = ids(&[token], &B::Device::default());
    let start = Instant::now();
    std::hint::black_box(model.logits(model.forward(ids, cache)).into_data());
    start.elapsed().as_secs_f64() * 1e3
}

/// The median; NaN of nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
