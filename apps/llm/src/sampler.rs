//! The choice of the token that comes next.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::error::ModelError;

/// Chooses tokens: always the most likely, or by chance among the likely ones.
#[derive(Clone, Debug)]
pub enum Sampler {
    /// The most likely; of equals the first.
    Greedy,
    Chance(Box<Chance>),
}

/// A die, and what it is thrown for.
#[derive(Clone, Debug)]
pub struct Chance {
    /// Logits are divided by it: below 1 likely tokens become more likely.
    temperature: f64,
    /// The likeliest tokens that together are this likely are chosen from.
    top_p: f64,
    random: StdRng,
}

impl Sampler {
    /// The same seed gives the same choices. A temperature of 0 is [`Sampler::Greedy`], a `top_p` of 1 leaves all tokens.
    pub fn new(temperature: f64, top_p: f64, seed: u64) -> Result<Self, ModelError> {
        let refuse = |setting, found, supported| Err(ModelError::Sampling { setting, found, supported });
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return refuse("the temperature", temperature, "0 or more");
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return refuse("top-p", top_p, "more than 0 and at most 1");
        }
        if temperature == 0.0 {
            return Ok(Self::Greedy);
        }
        Ok(Self::Chance(Box::new(Chance { temperature, top_p, random: StdRng::seed_from_u64(seed) })))
    }

    /// The id of the next token, given the logit of each.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32, ModelError> {
        let best = best(logits)?;
        Ok(match self {
            Self::Greedy => best as u32,
            Self::Chance(chance) => chance.choose(logits, best) as u32,
        })
    }
}

/// The place of the largest logit. All of them must be numbers, or minus infinity for a token that can't be.
fn best(logits: &[f32]) -> Result<usize, ModelError> {
    let mut best = 0;
    for (token, &found) in logits.iter().enumerate() {
        if found.is_nan() || found == f32::INFINITY {
            return Err(ModelError::Logit { token, found });
        }
        if found > logits[best] {
            best = token;
        }
    }
    match logits.get(best) {
        Some(logit) if logit.is_finite() => Ok(best),
        _ => Err(ModelError::NoTokens),
    }
}

impl Chance {
    fn choose(&mut self, logits: &[f32], best: usize) -> usize {
        // The most likely token has weight 1: nothing overflows, and the sum can't be 0.
        let weight = |&logit: &f32| ((f64::from(logit) - f64::from(logits[best])) / self.temperature).exp();
        let weights: Vec<f64> = logits.iter().map(weight).collect();
        let candidates = candidates(&weights, self.top_p);
        let total: f64 = candidates.iter().map(|token| weights[*token]).sum();
        let mut left = self.random.random::<f64>() * total;
        for &token in &candidates {
            left -= weights[token];
            if left < 0.0 {
                return token;
            }
        }
        // Rounding may leave a last bit of the sum.
        best
    }
}

/// The fewest tokens that make up `top_p` of the sum of weights, at least one.
fn candidates(weights: &[f64], top_p: f64) -> Vec<usize> {
    if top_p == 1.0 {
        return (0..weights.len()).collect();
    }
    let total: f64 = weights.iter().sum();
    // All that are below this make up less than what is left out: no need to sort them, and they are nearly all.
    let least = (1.0 - top_p) * total / weights.len() as f64;
    let mut tokens: Vec<usize> = (0..weights.len()).filter(|token| weights[*token] >= least).collect();
    // Stable: of equals the first stays in front.
    tokens.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
    let mut sum = 0.0;
    let enough = tokens.iter().position(|token| {
        sum += weights[*token];
        sum >= top_p * total
    });
    tokens.truncate(enough.map_or(tokens.len(), |last| last + 1));
    tokens
}
