//! Which token comes next.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::error::ModelError;

/// Takes the likeliest token, or draws one of the likely ones.
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    random: StdRng,
}

impl Sampler {
    /// Temperature 0 always takes the likeliest. Else tokens are drawn as often as they are likely, of those likeliest ones
    /// that together have the probability `top_p`.
    pub fn new(temperature: f64, top_p: f64, seed: u64) -> Result<Self, ModelError> {
        if !(temperature >= 0.0 && temperature.is_finite()) {
            let needed = "0 or more";
            return Err(ModelError::Option { option: "temperature", found: temperature, needed });
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            let needed = "above 0 and at most 1";
            return Err(ModelError::Option { option: "top-p", found: top_p, needed });
        }
        Ok(Self { temperature, top_p, random: StdRng::seed_from_u64(seed) })
    }

    /// A token, by the logit of each.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32, ModelError> {
        let largest = logits.iter().fold(f32::NEG_INFINITY, |largest, logit| largest.max(*logit));
        if !largest.is_finite() || logits.iter().any(|logit| logit.is_nan()) {
            return Err(ModelError::NotANumber);
        }
        if self.temperature == 0.0 {
            let best = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
            return Ok(best.unwrap_or(0) as u32);
        }
        let likely = self.likely(logits, largest);
        let total: f64 = likely.iter().map(|(_, weight)| weight).sum();
        let mut left = self.random.random::<f64>() * total;
        let drawn = likely.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        Ok(drawn.or(likely.last()).map_or(0, |(token, _)| *token as u32))
    }

    /// The likeliest tokens and their weights, the likeliest first.
    fn likely(&self, logits: &[f32], largest: f32) -> Vec<(usize, f64)> {
        let weight = |logit: f32| (f64::from(logit - largest) / self.temperature).exp();
        let mut tokens: Vec<_> = logits.iter().map(|logit| weight(*logit)).enumerate().collect();
        tokens.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let total: f64 = tokens.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let enough = tokens.iter().position(|(_, weight)| {
            sum += weight;
            sum >= self.top_p * total
        });
        tokens.truncate(enough.map_or(tokens.len(), |last| last + 1));
        tokens
    }
}
