//! Text, token by token.

use std::time::{Duration, Instant};

use burn::prelude::*;

use crate::cache::Cache;
use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::model::Decoder;
use crate::sampler::Sampler;

/// Tokens of a prompt that are read at once: bounds what attention takes in memory.
pub const CHUNK: usize = 512;

pub struct Generated {
    pub tokens: Vec<u32>,
    /// The number of tokens that were read before the first was written.
    pub prompt: usize,
    pub prefill: Duration,
    /// The time of writing all tokens but the first, which the prefill gives.
    pub decode: Duration,
}

impl Generated {
    /// Tokens read a second.
    pub fn prefill_speed(&self) -> f64 {
        self.prompt as f64 / self.prefill.as_secs_f64()
    }

    /// Tokens written a second, if there are any but the first.
    pub fn decode_speed(&self) -> Option<f64> {
        let steps = self.tokens.len().checked_sub(1).filter(|steps| *steps > 0)?;
        Some(steps as f64 / self.decode.as_secs_f64())
    }
}

/// Writes at most `longest` tokens after `prompt`, until one ends the text; tells each at once.
pub fn generate<B: Backend>(
    model: &Decoder<B>,
    config: &DecoderConfig,
    prompt: &[u32],
    longest: usize,
    sampler: &mut Sampler,
    mut tell: impl FnMut(u32) -> Result<(), ModelError>,
) -> Result<Generated, ModelError> {
    let device = B::Device::default();
    let mut cache = Cache::new(config);
    if prompt.is_empty() {
        return Err(ModelError::NoPrompt);
    }
    cache.check_room(prompt.len())?;
    let mut tokens = Vec::new();
    let start = Instant::now();
    let mut next = sampler.next(&read(model, prompt, &mut cache, &device))?;
    let prefill = start.elapsed();
    let start = Instant::now();
    while tokens.len() < longest {
        tokens.push(next);
        if config.ends.contains(&next) {
            break;
        }
        tell(next)?;
        if cache.room() == 0 || tokens.len() == longest {
            break;
        }
        next = sampler.next(&read(model, &[next], &mut cache, &device))?;
    }
    Ok(Generated { tokens, prompt: prompt.len(), prefill, decode: start.elapsed() })
}

/// The logits after the last of these tokens.
fn read<B: Backend>(
    model: &Decoder<B>,
    tokens: &[u32],
    cache: &mut Cache<B>,
    device: &B::Device,
) -> Vec<f32> {
    let mut hidden = None;
    for tokens in tokens.chunks(CHUNK) {
        hidden = Some(model.forward(ids(tokens, device), cache).narrow(1, tokens.len() - 1, 1));
    }
    // Flat: of more axes NdArray would copy one number after the other.
    let logits = hidden.map(|hidden| model.logits(hidden).flatten::<1>(0, 2).into_data().convert::<f32>());
    logits.and_then(|logits| logits.into_vec().ok()).unwrap_or_default()
}

/// Tokens as the model takes them, as the only text of a batch.
pub fn ids<B: Backend>(tokens: &[u32], device: &B::Device) -> Tensor<B, 2, Int> {
    let ids = tokens.iter().map(|token| i64::from(*token)).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(ids, [1, tokens.len()]), device)
}
