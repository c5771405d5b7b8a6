//! A text read at once, in parts, token by token: the same.

use burn::prelude::*;
use burn_int8::prelude::*;

use super::{Cpu, difference, ids, synthetic};
use crate::cache::Cache;
use crate::config::GemmaConfig;
use crate::error::ModelError;
use crate::generate::generate;
use crate::model::Gemma;
use crate::sampler::Sampler;

/// Seven windows of the local layers.
const LENGTH: usize = 28;
/// Sums in another order, as a part of the largest value.
const FLOAT: f32 = 1e-5;
/// Where that turns an activation to the next integer, one step of 127 of one among many.
const INT8: f32 = 2e-2;

fn text() -> Vec<i64> {
    (0..LENGTH as i64).map(|i| i * i * 7 % 61).collect()
}

/// What the model thinks at each token, read in parts of these lengths, over and over.
fn read(model: &Gemma<Cpu>, parts: &[usize]) -> Vec<f32> {
    let mut cache = Cache::new(&GemmaConfig::tiny());
    let (text, mut hidden) = (text(), Vec::new());
    let mut parts = parts.iter().cycle();
    while cache.position() < LENGTH {
        let from = cache.position();
        let part = &text[from..(from + parts.next().unwrap()).min(LENGTH)];
        hidden.extend(model.forward(ids(part), &mut cache).into_data().iter::<f32>());
    }
    hidden
}

#[test]
fn parts_are_the_whole() {
    let float = synthetic();
    let (int8, _) = float.clone().quantize(&Int8Config::new()).unwrap();
    for (model, tolerance) in [(float, FLOAT), (int8, INT8)] {
        let whole = read(&model, &[LENGTH]);
        for parts in [&[1][..], &[2], &[3, 1, 1], &[4], &[5, 1], &[1, 9], &[20, 1, 1, 6]] {
            let (off, largest) = difference(&read(&model, parts), &whole);
            println!("{parts:?}: {off:e} of {largest}");
            assert!(off <= tolerance * largest, "{parts:?}: {off} of {largest}");
        }
    }
}

/// What is beyond the window of all local layers and is not seen by the global one changes nothing; what a layer sees does.
#[test]
fn a_local_layer_keeps_its_window_only() {
    let config = GemmaConfig::tiny();
    let model = synthetic();
    let mut cache = Cache::new(&config);
    for token in text() {
        model.forward(ids(&[token]), &mut cache);
    }
    for (layer, cache) in cache.layers.iter().enumerate() {
        let expected = if config.is_local(layer) { 4 } else { 64 };
        assert_eq!(cache.capacity(), expected, "layer {layer}");
    }
}

#[test]
fn a_full_context_ends_the_text() {
    let mut config = GemmaConfig::tiny();
    config.max_position_embeddings = 12;
    let model = Gemma::<Cpu>::new(&config, &Default::default());
    let write = |prompt: &[u32], longest| {
        let mut sampler = Sampler::new(1.0, 1.0, 3).unwrap();
        generate(&model, &config, prompt, longest, &mut sampler, |_| Ok(()))
    };
    let ends = |tokens: &[u32]| tokens.last().is_some_and(|last| config.ends(*last));
    let tokens = write(&[2; 5], 100).unwrap().tokens;
    assert!(
        tokens.len() == 8 || ends(&tokens),
        "{tokens:?}: seven more tokens fit, after which one is known"
    );
    assert_eq!(write(&[2; 12], 100).unwrap().tokens.len(), 1);
    assert_eq!(write(&[2; 5], 0).unwrap().tokens.len(), 0);
    assert!(matches!(write(&[2; 13], 1), Err(ModelError::TooLong { tokens: 13, room: 12 })));
    assert!(matches!(write(&[], 1), Err(ModelError::NoPrompt)));
}

#[test]
fn the_same_seed_writes_the_same_text() {
    let (model, config) = (synthetic(), GemmaConfig::tiny());
    let write = |seed| {
        let mut told = Vec::new();
        let mut sampler = Sampler::new(1.0, 0.95, seed).unwrap();
        let tell = |token| {
            told.push(token);
            Ok(())
        };
        let text = generate(&model, &config, &[2, 7, 11], 20, &mut sampler, tell).unwrap();
        let written = text.tokens.iter().filter(|token| !config.ends(**token));
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
    let model = synthetic();
    let prompt: Vec<u32> = (0..1100).map(|i| i * i % 61).collect();
    let mut sampler = Sampler::new(0.0, 1.0, 0).unwrap();
    let text = generate(&model, &config, &prompt, 1, &mut sampler, |_| Ok(())).unwrap();
    let all: Vec<_> = prompt.iter().map(|id| i64::from(*id)).collect();
    let hidden = model.forward(ids(&all), &mut Cache::new(&config)).narrow(1, 1099, 1);
    let likeliest = model.logits(hidden).argmax(2).into_scalar();
    assert_eq!(i64::from(text.tokens[0]), likeliest.elem::<i64>());
}
