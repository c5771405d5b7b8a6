//! A cache changes nothing but the time it takes.

use burn::backend::NdArray;
use burn::prelude::*;
use burn_int8::prelude::*;

use super::{difference, ids, values, weights};
use crate::cache::Cache;
use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::gemma::GemmaConfig;
use crate::model::Decoder;

/// Sums are rounded in other orders: their parts lie in other places, or come with others.
const CLOSE: f32 = 1e-5;

fn tiny() -> DecoderConfig {
    GemmaConfig::tiny().decoder()
}

fn tiny_with(change: impl FnOnce(&mut GemmaConfig)) -> DecoderConfig {
    let mut config = GemmaConfig::tiny();
    change(&mut config);
    config.decoder()
}

fn model<B: Backend>(config: &DecoderConfig) -> Decoder<B> {
    weights::filled(config, &Default::default(), weights::random)
}

/// Different tokens for each text of a batch, as many as asked for.
fn text(tokens: usize, batch: usize) -> Vec<Vec<i32>> {
    let token = |text: usize, at: usize| ((7 + 5 * text) * at + at * at / 3 + text) % 61;
    (0..batch).map(|text| (0..tokens).map(|at| token(text, at) as i32).collect()).collect()
}

/// The logits of each text after another, which the model is given in parts of these lengths.
fn logits<B: Backend>(
    model: &Decoder<B>,
    config: &DecoderConfig,
    texts: &[Vec<i32>],
    parts: &[usize],
) -> Vec<f32> {
    let mut cache = Cache::new(config);
    let mut outputs = Vec::new();
    for part in parts {
        let range = cache.length()..cache.length() + part;
        let tokens: Vec<i32> = texts.iter().flat_map(|text| text[range.clone()].to_vec()).collect();
        let tokens = ids(&tokens, texts.len(), &Default::default());
        outputs.push(model.logits(model.forward(tokens, &mut cache)));
    }
    assert_eq!(cache.length(), texts[0].len());
    values(Tensor::cat(outputs, 1))
}

/// The texts are several windows of 4 tokens, and each part meets a cache that is empty, partly or wholly filled.
fn parts_are_a_whole<B: Backend>(model: &Decoder<B>, close: f32) {
    let (config, texts) = (tiny(), text(30, 2));
    let whole = logits(model, &config, &texts, &[30]);
    let parts: [&[usize]; 6] =
        [&[1; 30], &[13, 17], &[1, 29], &[2, 2, 1, 25], &[3, 2, 25], &[4, 4, 5, 1, 1, 1, 3, 4, 7]];
    for parts in parts {
        let difference = difference(&logits(model, &config, &texts, parts), &whole);
        assert!(difference < close, "{parts:?}: {difference}");
    }
}

#[test]
fn tokens_one_by_one_or_in_parts_are_a_whole_text() {
    parts_are_a_whole(&model::<NdArray>(&tiny()), CLOSE);
}

/// Inputs stay float, so that rounding remains rounding.
#[test]
fn and_with_int8_weights() {
    let config = Int8Config::new().with_mode(QuantMode::WeightOnly);
    let (model, _) = model::<NdArray>(&tiny()).quantize(&config).unwrap();
    parts_are_a_whole(&model, CLOSE);
}

#[test]
fn and_in_int8() {
    int8_parts_are_a_whole(model::<NdArray>(&tiny()));
}

/// The texts are more than three windows. A rounded sum may make an integer the next, which all later tokens of its text see;
/// that happens to few texts.
fn int8_parts_are_a_whole<B: Backend>(model: Decoder<B>) {
    let (model, _) = model.quantize(&Int8Config::new()).unwrap();
    let (config, texts) = (tiny(), text(14, 8));
    let whole = logits(&model, &config, &texts, &[14]);
    for parts in [&[1; 14][..], &[6, 8], &[3, 2, 9]] {
        let found = logits(&model, &config, &texts, parts);
        let each = found.chunks(found.len() / 8).zip(whole.chunks(whole.len() / 8));
        let differences: Vec<f32> = each.map(|(found, whole)| difference(found, whole)).collect();
        let same = differences.iter().filter(|difference| **difference < CLOSE).count();
        assert!(same >= 5 && differences.iter().all(|difference| *difference < 0.05), "{differences:?}");
    }
}

#[cfg(feature = "flex")]
#[test]
fn and_on_flex() {
    let model = model::<burn::backend::Flex>(&tiny());
    parts_are_a_whole(&model, CLOSE);
    int8_parts_are_a_whole(model);
}

/// Slots are added several times, of local layers up to an odd number.
#[test]
fn a_cache_that_grows_is_a_whole_text_too() {
    let config = tiny_with(|config| {
        config.sliding_window = 71;
        config.max_position_embeddings = 180;
    });
    let (model, texts) = (model::<NdArray>(&config), text(180, 1));
    let whole = logits(&model, &config, &texts, &[180]);
    for parts in [vec![1; 180], vec![40, 30, 20, 90], [vec![50], vec![1; 70], vec![60]].concat()] {
        let difference = difference(&logits(&model, &config, &texts, &parts), &whole);
        assert!(difference < CLOSE, "{difference}");
    }
}

#[test]
fn a_batch_is_each_text_alone() {
    let (config, model, texts) = (tiny(), model::<NdArray>(&tiny()), text(20, 3));
    let together = logits(&model, &config, &texts, &[9, 1, 10]);
    let alone: Vec<f32> =
        texts.iter().flat_map(|text| logits(&model, &config, std::slice::from_ref(text), &[20])).collect();
    let difference = difference(&together, &alone);
    assert!(difference < CLOSE, "{difference}");
}

/// A head of keys that two heads of queries share is one that each of them has of its own.
#[test]
fn shared_heads_are_repeated_heads() {
    let shared = tiny_with(|config| config.num_key_value_heads = 2);
    let own = tiny_with(|config| config.num_key_value_heads = 4);
    let repeated = weights::filled::<NdArray>(&own, &Default::default(), |path, shape| {
        if !(path.contains("k_proj") || path.contains("v_proj")) {
            return weights::random(path, shape);
        }
        let heads = weights::random(path, &[shape[0], shape[1] / 2]);
        heads.chunks(own.head_dim).flat_map(|head| [head, head].concat()).collect()
    });
    let texts = text(20, 2);
    let expected = logits(&repeated, &own, &texts, &[20]);
    let found = logits(&model::<NdArray>(&shared), &shared, &texts, &[20]);
    let difference = difference(&found, &expected);
    assert!(difference < CLOSE, "{difference}");
}

#[test]
fn a_local_layer_has_no_more_slots_than_its_window() {
    let config = tiny_with(|config| config.max_position_embeddings = 300);
    let model = model::<NdArray>(&config);
    for parts in [vec![1; 40], vec![30, 1, 7, 2], vec![290], vec![3; 90]] {
        let mut cache = Cache::new(&config);
        for part in parts {
            let tokens = ids(&vec![5; part], 1, &Default::default());
            model.forward(tokens, &mut cache);
            for (layer, span) in config.layers.iter().enumerate() {
                let (slots, length) = (cache.slots(layer), cache.length());
                let most = if span.window == 4 { 4 } else { (length + length / 4 + 64).min(300) };
                assert!(
                    slots >= length.min(4) && slots <= most,
                    "{slots} slots of layer {layer} for {length}"
                );
            }
        }
    }
}

/// Each token would cost a copy of all before it otherwise.
#[test]
fn tokens_are_written_in_place() {
    let config = tiny();
    let model = model::<NdArray>(&config);
    let mut cache = Cache::new(&config);
    model.forward(ids(&[1; 9], 1, &Default::default()), &mut cache);
    let before = addresses(&cache, &config);
    for _ in 0..9 {
        model.forward(ids(&[1], 1, &Default::default()), &mut cache);
        assert_eq!(addresses(&cache, &config), before);
    }
}

fn addresses(cache: &Cache<NdArray>, config: &DecoderConfig) -> Vec<[*const f32; 2]> {
    use burn_ndarray::NdArrayTensor;

    let address = |tensor: Tensor<NdArray, 4>| match tensor.into_primitive().tensor() {
        NdArrayTensor::F32(storage) => storage.view().as_ptr(),
        other => panic!("{other:?}"),
    };
    (0..config.layers.len()).map(|layer| cache.layer(layer).expect("filled").map(address)).collect()
}

#[test]
fn a_full_context_is_refused() {
    let config = tiny_with(|config| config.max_position_embeddings = 6);
    let model = model::<NdArray>(&config);
    let mut cache = Cache::new(&config);
    assert_eq!(cache.room(), 6);
    model.forward(ids(&[1; 4], 1, &Default::default()), &mut cache);
    assert!(cache.check_room(2).is_ok());
    assert!(matches!(cache.check_room(3), Err(ModelError::Context { needed: 3, room: 2 })));
    model.forward(ids(&[1; 2], 1, &Default::default()), &mut cache);
    assert!(matches!(cache.check_room(1), Err(ModelError::Context { needed: 1, room: 0 })));
}

#[test]
#[should_panic(expected = "7 tokens, 1 to 6 can be added")]
fn more_than_the_context_panics() {
    let config = tiny_with(|config| config.max_position_embeddings = 6);
    model::<NdArray>(&config).forward(ids(&[1; 7], 1, &Default::default()), &mut Cache::new(&config));
}
