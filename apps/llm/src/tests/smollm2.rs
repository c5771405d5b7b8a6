//! SmolLM2-135M's real weights, where the machine has them, against transformers' numbers.

use std::io::Write;
use std::path::PathBuf;

use burn::backend::NdArray;
use bytemuck::Pod;
use clap::Parser;
use safetensors::SafeTensors;

use super::difference;
use crate::evaluate::{self, Evaluated, Texts};
use crate::source::OpenModel;
use crate::{Command, Options};

/// Both sides sum in f32, over 30 layers, each in an order of its own.
const CLOSE: f32 = 1e-4;
/// The same of a log likelihood, in nats.
const CLOSE_LIKELIHOOD: f64 = 1e-3;
/// Writing in float is slow: so many of the prompts are continued.
const PROMPTS: usize = 3;
/// Every so many logits of every so many places are in the file, as reference.py says.
const PLACES: usize = 32;
const TOKENS: usize = 64;

/// The mean KL to float, and how much the perplexity may differ: measured (README.md), and a quarter more, as a rounded sum
/// may turn an integer on another machine.
const LIMITS: [(&str, f64, f64); 2] = [("dynamic", 0.039, 0.06), ("weight-only", 0.0041, 0.01)];

/// The file, if there is one.
fn real() -> Option<PathBuf> {
    let folder = std::env::var_os("BURN_INT8_SMOLLM2").map(PathBuf::from);
    if folder.is_none() {
        let message = "SKIPPED: set BURN_INT8_SMOLLM2 to the folder that apps/llm/download.sh prints\n";
        // Not `eprintln!`: the test harness would keep that to itself.
        std::io::stderr().write_all(message.as_bytes()).unwrap();
    }
    folder
}

fn reference<T: Pod>(name: &str) -> Vec<T> {
    let file = SafeTensors::deserialize(include_bytes!("reference.safetensors")).unwrap();
    bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data())
}

fn open(folder: &std::path::Path) -> (OpenModel, Texts) {
    let path = folder.to_str().expect("a path in UTF-8");
    match Options::parse_from(["llm", "evaluate", "--model", path]).command {
        Command::Evaluate { source, texts } => (source.open().unwrap(), texts),
        _ => panic!("another command"),
    }
}

#[test]
fn float_answers_as_transformers_and_int8_is_near() {
    let Some(folder) = real() else { return };
    let (open, texts) = open(&folder);
    let (text, prompts) = evaluate::tokens(&open, &texts).unwrap();
    let as_i32 = |tokens: &[u32]| tokens.iter().map(|token| *token as i32).collect::<Vec<_>>();
    assert_eq!(as_i32(&text), reference::<i32>("text"));
    let tokens = open.tokens().unwrap().expect("the file has a tokenizer");
    let turn = tokens.encode(&tokens.turn("What is the capital of France?").unwrap()).unwrap();
    assert_eq!(as_i32(&turn), reference::<i32>("turn"));

    let evaluated = evaluate::evaluate::<NdArray>(&open, &text, &prompts[..PROMPTS], 20).unwrap();
    let [float, int8 @ ..] = &evaluated[..] else { panic!("no float model") };
    check_float(float);
    for (model, (name, divergence, perplexity)) in int8.iter().zip(LIMITS) {
        assert_eq!(model.name, name);
        let nearness = model.predictions.nearness(&float.predictions);
        assert!(nearness.divergence < divergence, "{name}: {nearness:?}");
        let ratio = model.predictions.perplexity() / float.predictions.perplexity();
        assert!((ratio - 1.0).abs() < perplexity, "{name}: the perplexity is {ratio} of float's");
    }
}

fn check_float(float: &Evaluated) {
    let rows = float.predictions.rows().step_by(PLACES);
    let found: Vec<f32> = rows.flat_map(|row| row.iter().copied().step_by(TOKENS)).collect();
    let difference = difference(&found, &reference("logits"));
    assert!(difference < CLOSE, "logits: {difference}");
    let expected: Vec<f64> = reference("log_likelihoods");
    let found = float.predictions.log_likelihoods();
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < CLOSE_LIKELIHOOD, "token {at}: {found}, not {expected}");
    }
    let written: Vec<i32> = float.written.iter().flat_map(|text| &text.tokens).map(|id| *id as i32).collect();
    let expected: Vec<i32> = reference("written");
    assert_eq!(written, expected[..written.len()]);
}
