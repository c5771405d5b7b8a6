//! Perplexity, divergence and agreement, by loops over probabilities, and the evaluation that they make.

use burn::backend::NdArray;

use super::gguf_file::{model, tiny};
use crate::error::ModelError;
use crate::evaluate::{Texts, evaluate, tokens};
use crate::predictions::Predictions;
use crate::synthetic;
use crate::{Command, Options};

/// Logits are f32, and both sides sum exponentials of them in doubles.
const CLOSE: f64 = 1e-9;

fn probabilities(row: &[f32]) -> Vec<f64> {
    let exponentials: Vec<f64> = row.iter().map(|logit| f64::from(*logit).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|exponential| exponential / sum).collect()
}

#[test]
fn they_are_what_their_formulas_say() {
    let rows = [[0.0f32, 1.0, -2.0], [3.0, 0.5, 0.25], [0.1, 0.2, 0.3]];
    let right = [[0.5f32, 0.0, -1.0], [2.0, 0.5, 0.5], [0.3, 0.2, 0.1]];
    let next = [1u32, 0, 2];
    let [found, reference] =
        [rows, right].map(|rows| Predictions::from_logits(rows.concat(), &next).unwrap());
    let likelihood: f64 =
        rows.iter().zip(next).map(|(row, next)| probabilities(row)[next as usize].ln()).sum();
    assert!((found.perplexity() - (-likelihood / 3.0).exp()).abs() < CLOSE);
    let divergence = |(row, right): (&[f32; 3], &[f32; 3])| -> f64 {
        let (q, p) = (probabilities(row), probabilities(right));
        p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum()
    };
    let expected = rows.iter().zip(&right).map(divergence).sum::<f64>() / 3.0;
    let nearness = found.nearness(&reference);
    assert!((nearness.divergence - expected).abs() < CLOSE && expected > 0.01);
    // Only the second row has the same first choice.
    assert!((nearness.same_first_choice - 1.0 / 3.0).abs() < CLOSE);
    let itself = found.nearness(&found);
    assert_eq!((itself.divergence, itself.same_first_choice), (0.0, 1.0));
}

#[test]
fn large_logits_do_not_overflow() {
    let found = Predictions::from_logits(vec![1e30, -1e30, 0.0, 1e30], &[0, 1]).unwrap();
    assert_eq!(found.perplexity(), 1.0);
}

#[test]
fn what_is_not_finite_is_an_error() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = Predictions::from_logits(vec![0.0, 1.0, 2.0, bad], &[0, 1]).err().expect("no prediction");
        assert!(matches!(error, ModelError::Logit { token: 1, .. }), "{error}");
    }
}

#[test]
fn texts_that_predict_nothing_or_too_much_are_errors() {
    let config = tiny();
    let model = model::<NdArray>(&config);
    for text in [&[][..], &[3]] {
        assert!(matches!(Predictions::new(&model, &config, text), Err(ModelError::ShortText)));
    }
    let long = synthetic::tokens(257, &config);
    assert!(matches!(Predictions::new(&model, &config, &long), Err(ModelError::Context { .. })));
}

/// The tokens of a text go through the model at once, those that are written one by one.
#[test]
fn float_is_equal_to_itself_and_int8_is_near() {
    use clap::Parser;

    let Command::Evaluate { source, texts } =
        Options::parse_from(["llm", "evaluate", "--synthetic", "tiny"]).command
    else {
        panic!("another command");
    };
    let Texts { max_tokens, .. } = texts;
    let open = source.open().unwrap();
    let (text, prompts) = tokens(&open, &texts).unwrap();
    let evaluated = evaluate::<NdArray>(&open, &text, &prompts, max_tokens).unwrap();
    let float = &evaluated[0];
    assert_eq!(float.name, "float");
    for (at, model) in evaluated.iter().enumerate() {
        let nearness = model.predictions.nearness(&float.predictions);
        assert_eq!(nearness.divergence == 0.0, at == 0, "{}: {nearness:?}", model.name);
        assert!(nearness.divergence < 0.05, "{}: {nearness:?}", model.name);
        assert_eq!(model.written.len(), prompts.len());
    }
    assert_eq!(float.same_texts(float), 10);
}
