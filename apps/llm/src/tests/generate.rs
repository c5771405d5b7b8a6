//! Whole texts: where they end, and that the seed decides.

use burn::backend::NdArray;
use burn::module::Module;
use burn::prelude::*;

use super::ids;
use crate::cache::Cache;
use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::gemma::GemmaConfig;
use crate::generate::generate;
use crate::model::Decoder;
use crate::sampler::Sampler;
use crate::synthetic::Synthetic;

fn synthetic(config: &DecoderConfig) -> Decoder<NdArray> {
    Decoder::new(config, &Default::default()).map(&mut Synthetic::default())
}

#[test]
fn a_full_context_ends_the_text() {
    let mut config = GemmaConfig::tiny();
    config.max_position_embeddings = 12;
    let config = config.decoder();
    let model = synthetic(&config);
    let write = |prompt: &[u32], longest| {
        let mut sampler = Sampler::new(1.0, 1.0, 3).unwrap();
        generate(&model, &config, prompt, longest, &mut sampler, |_| Ok(()))
    };
    let ends = |tokens: &[u32]| tokens.last().is_some_and(|last| config.ends.contains(last));
    let tokens = write(&[2; 5], 100).unwrap().tokens;
    assert!(
        tokens.len() == 8 || ends(&tokens),
        "{tokens:?}: seven more tokens fit, after which one is known"
    );
    assert_eq!(write(&[2; 12], 100).unwrap().tokens.len(), 1);
    assert_eq!(write(&[2; 5], 0).unwrap().tokens.len(), 0);
    assert!(matches!(write(&[2; 13], 1), Err(ModelError::Context { needed: 13, room: 12 })));
    assert!(matches!(write(&[], 1), Err(ModelError::NoPrompt)));
}

#[test]
fn the_same_seed_writes_the_same_text() {
    let config = GemmaConfig::tiny().decoder();
    let model = synthetic(&config);
    let write = |seed| {
        let mut told = Vec::new();
        let mut sampler = Sampler::new(1.0, 0.95, seed).unwrap();
        let tell = |token| {
            told.push(token);
            Ok(())
        };
        let text = generate(&model, &config, &[2, 7, 11], 20, &mut sampler, tell).unwrap();
        let written = text.tokens.iter().filter(|token| !config.ends.contains(token));
        assert_eq!(told, written.copied().collect::<Vec<_>>());
        text.tokens
    };
    assert_eq!(write(1), write(1));
    assert_ne!(write(1), write(2));
}

/// A prompt longer than what is read at once.
#[test]
fn a_long_prompt() {
    let mut config = GemmaConfig::tiny();
    config.max_position_embeddings = 2048;
    let config = config.decoder();
    let model = synthetic(&config);
    let prompt: Vec<u32> = (0..1100).map(|i| i * i % 61).collect();
    let mut sampler = Sampler::new(0.0, 1.0, 0).unwrap();
    let text = generate(&model, &config, &prompt, 1, &mut sampler, |_| Ok(())).unwrap();
    let all: Vec<_> = prompt.iter().map(|id| *id as i32).collect();
    let hidden =
        model.forward(ids(&all, 1, &Default::default()), &mut Cache::new(&config)).narrow(1, 1099, 1);
    let likeliest = model.logits(hidden).argmax(2).into_scalar();
    assert_eq!(i64::from(text.tokens[0]), likeliest.elem::<i64>());
}
