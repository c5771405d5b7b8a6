//! The worth of a model's predictions on a text, and how near they are to another model's.

use burn::prelude::*;

use crate::cache::Cache;
use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::generate::{CHUNK, ids};
use crate::model::Decoder;

/// The logits after each token of a text but the last, and the token that came next.
pub struct Predictions {
    logits: Vec<f32>,
    vocabulary: usize,
    next: Vec<u32>,
}

/// How near predictions are to those of another model.
#[derive(Clone, Copy, Debug)]
pub struct Nearness {
    /// The mean Kullback-Leibler divergence, in nats; 0 for equal predictions.
    pub divergence: f64,
    /// The share of places where the likeliest token is the same.
    pub same_first_choice: f64,
}

impl Predictions {
    /// The predictions of a text that has at least two tokens and fits into the context.
    pub fn new<B: Backend>(
        model: &Decoder<B>,
        config: &DecoderConfig,
        text: &[u32],
    ) -> Result<Self, ModelError> {
        let (Some((_, read)), [_, next @ ..]) = (text.split_last(), text) else {
            return Err(ModelError::ShortText);
        };
        let mut cache = Cache::new(config);
        cache.check_room(text.len())?;
        let mut logits = Vec::with_capacity(read.len() * config.vocab_size);
        for tokens in read.chunks(CHUNK) {
            let hidden = model.forward(ids(tokens, &B::Device::default()), &mut cache);
            let part = model.logits(hidden).flatten::<1>(0, 2).into_data().convert::<f32>();
            logits.extend(part.iter::<f32>());
        }
        Self::from_logits(logits, next)
    }

    /// The predictions of these tokens, whose logits come row after row.
    pub fn from_logits(logits: Vec<f32>, next: &[u32]) -> Result<Self, ModelError> {
        let vocabulary = logits.len().checked_div(next.len()).ok_or(ModelError::ShortText)?;
        match logits.iter().position(|logit| !logit.is_finite()) {
            Some(at) => Err(ModelError::Logit { token: at % vocabulary, found: logits[at] }),
            None => Ok(Self { logits, vocabulary, next: next.to_vec() }),
        }
    }

    /// The logits, place by place.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.logits.chunks_exact(self.vocabulary)
    }

    /// The log likelihood of each token of the text but the first.
    pub fn log_likelihoods(&self) -> Vec<f64> {
        self.rows().zip(&self.next).map(|(row, next)| log_softmax(row)[*next as usize]).collect()
    }

    /// The number of equally likely tokens that would be as hard to predict.
    pub fn perplexity(&self) -> f64 {
        let likelihoods = self.log_likelihoods();
        (-likelihoods.iter().sum::<f64>() / likelihoods.len() as f64).exp()
    }

    /// The nearness to predictions of the same text, which count as the right ones.
    pub fn nearness(&self, right: &Self) -> Nearness {
        let (mut divergence, mut same) = (0.0, 0);
        for (row, right) in self.rows().zip(right.rows()) {
            let (log_q, log_p) = (log_softmax(row), log_softmax(right));
            divergence += log_p.iter().zip(log_q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            same += usize::from(first_choice(row) == first_choice(right));
        }
        let count = self.next.len() as f64;
        Nearness { divergence: divergence / count, same_first_choice: same as f64 / count }
    }
}

/// In double precision, so that a small divergence is not rounding.
fn log_softmax(row: &[f32]) -> Vec<f64> {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = row.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
    let shift = largest + sum.ln();
    row.iter().map(|logit| f64::from(*logit) - shift).collect()
}

/// The likeliest token, of equals the first.
fn first_choice(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, token| if row[token] > row[best] { token } else { best })
}
