//! Llamas against transformers' numbers: a tiny one, and SmolLM2-135M with its real weights, where the machine has them.

use std::io::Write;
use std::path::PathBuf;

use burn::backend::NdArray;
use bytemuck::Pod;
use clap::Parser;
use safetensors::SafeTensors;

use super::{difference, ids, values, weights};
use crate::cache::Cache;
use crate::config::{DecoderConfig, Span};
use crate::evaluate::{self, Evaluated, Texts};
use crate::model::Decoder;
use crate::source::OpenModel;
use crate::{Command, Options, llama};

/// Both sides sum in f32, over 30 layers, each in an order of its own.
const CLOSE: f32 = 1e-4;
/// Two layers round less.
const CLOSE_TINY: f32 = 1e-5;
/// The same of a log likelihood, in nats.
const CLOSE_LIKELIHOOD: f64 = 1e-3;
/// Writing in float is slow: so many of the prompts are continued.
const PROMPTS: usize = 3;
/// Every so many logits of every so many places are in the file, as reference.py says.
const PLACES: usize = 32;
const TOKENS: usize = 64;

/// The mean KL to float, and how much the perplexity may differ: somewhat more than was measured (README.md), as a rounded sum
/// may turn an integer on another machine.
const LIMITS: [(&str, f64, f64); 5] = [
    ("default", 0.006, 0.015),
    ("keras", 0.039, 0.06),
    ("rotated", 0.006, 0.015),
    ("weight-only", 0.0045, 0.01),
    ("smoothed", 0.004, 0.01),
];

/// Transformers' name of a parameter, given its path.
fn transformers_name(path: &str) -> String {
    if path == "head.weight" {
        return "lm_head.weight".into();
    }
    let names = [
        ("attention_norm", "input_layernorm"),
        ("feedforward_norm", "post_attention_layernorm"),
        ("gamma", "weight"),
    ];
    names.iter().fold(format!("model.{path}"), |path, (ours, theirs)| path.replace(ours, theirs))
}

/// Matrices have their outputs first there.
fn tiny(config: &DecoderConfig) -> Decoder<NdArray> {
    weights::filled(config, &Default::default(), |path, shape| {
        let values: Vec<f32> = reference(&transformers_name(path));
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{path}");
        match shape {
            &[inputs, outputs] if path != "embed_tokens.weight" => {
                (0..inputs * outputs).map(|at| values[at % outputs * inputs + at / outputs]).collect()
            }
            _ => values,
        }
    })
}

#[test]
fn a_tiny_llama_answers_as_transformers() {
    let config = DecoderConfig {
        vocab_size: 61,
        hidden_size: 24,
        intermediate_size: 40,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 6,
        max_position_embeddings: 64,
        layers: vec![Span { window: 64, rope_theta: 1e4 }; 2],
        attention_scale: 6f64.sqrt().recip(),
        tied_head: false,
        ..llama::smollm2_135m()
    };
    let model = tiny(&config);
    let tokens = ids(&reference("tiny_ids"), 1, &Default::default());
    let found = values(model.logits(model.forward(tokens, &mut Cache::new(&config))));
    let difference = difference(&found, &reference("tiny_logits"));
    assert!(difference < CLOSE_TINY, "{difference}");
}

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
    assert_eq!(int8.len(), LIMITS.len());
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
