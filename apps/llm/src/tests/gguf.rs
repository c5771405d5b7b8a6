//! GGUF files: a model that comes back, types of numbers, and files that are damaged or of another kind.

use burn::backend::NdArray;
use burn_int8::prelude::*;
use half::{bf16, f16};

use super::gguf_file::{BOOL, F32, GgufFile, LIST, TEXT, U32, list, model, text, tiny};
use super::{difference, ids, values};
use crate::cache::Cache;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::gguf::{BlockType, Gguf};
use crate::llama;
use crate::load::from_checkpoint;
use crate::model::Decoder;
use crate::tokens::Tokens;

type Cpu = NdArray;

/// Sums are rounded in other orders: their parts come with others.
const CLOSE: f32 = 1e-5;

/// Everything that is done with a file: its header, tokenizer and weights.
fn load(path: &std::path::Path, int8: Option<&Int8Config>) -> Result<Decoder<Cpu>, ModelError> {
    let gguf = Gguf::open(path)?;
    let config = llama::decoder(&gguf)?;
    Tokens::from_gguf(&gguf, &config)?;
    let model = Decoder::new(&config, &Default::default());
    let checkpoint = Checkpoint::gguf(&gguf, &config);
    from_checkpoint(model, checkpoint, config.norm_offset, int8).map(|(model, _)| model)
}

/// The error that a file gives once its parts are something else.
fn error(change: impl FnOnce(&mut GgufFile)) -> ModelError {
    let mut file = GgufFile::new(&tiny());
    change(&mut file);
    let (_folder, path) = file.write();
    load(&path, None).expect_err("a file that is no model")
}

fn logits(model: &Decoder<Cpu>, config: &DecoderConfig, parts: &[usize]) -> Vec<f32> {
    let (mut cache, mut found) = (Cache::new(config), Vec::new());
    for part in parts {
        let start = cache.length();
        let tokens: Vec<_> = (start..start + part).map(|at| (at * at * 7 % 61) as i32).collect();
        let hidden = model.forward(ids(&tokens, 1, &Default::default()), &mut cache);
        found.extend(values(model.logits(hidden)));
    }
    found
}

#[test]
fn a_file_is_the_model() {
    for tied_head in [true, false] {
        let config = DecoderConfig { tied_head, ..tiny() };
        let (_folder, path) = GgufFile::new(&config).write();
        let gguf = Gguf::open(&path).unwrap();
        let found = llama::decoder(&gguf).unwrap();
        // The base and epsilon of a file are f32; Debug of the rest has each field.
        let exact = DecoderConfig { rms_norm_eps: config.rms_norm_eps, ..found.clone() };
        assert_eq!(format!("{exact:?}"), format!("{config:?}"));
        assert!((found.rms_norm_eps / config.rms_norm_eps - 1.0).abs() < 1e-7);
        let (found, expected) = (load(&path, None).unwrap(), model::<Cpu>(&config));
        let [found, expected] = [found, expected].map(|model| logits(&model, &config, &[20]));
        let difference = difference(&found, &expected);
        assert!(difference < CLOSE, "{difference}");
    }
}

#[test]
fn int8_while_loading_is_int8_after_loading() {
    let (config, int8) = (tiny(), Int8Config::new());
    let (_folder, path) = GgufFile::new(&config).write();
    let (expected, report) = load(&path, None).unwrap().quantize(&int8).unwrap();
    assert_eq!(report.int8_layers(), 1 + 2 * 7);
    let found = load(&path, Some(&int8)).unwrap();
    assert_eq!(logits(&found, &config, &[20]), logits(&expected, &config, &[20]));
}

#[test]
fn tokens_one_by_one_are_a_whole_text() {
    let config = tiny();
    let model = model::<Cpu>(&config);
    let whole = logits(&model, &config, &[90]);
    for parts in [vec![1; 90], vec![40, 1, 1, 48]] {
        let difference = difference(&logits(&model, &config, &parts), &whole);
        assert!(difference < CLOSE, "{difference}");
    }
}

/// The numbers of a block are exact in f32: halves times small integers.
#[test]
fn blocks_are_their_floats() {
    let half = |value: f32| f16::from_f32(value).to_le_bytes();
    let codes: Vec<u8> = (0..16).map(|at| at * 17 % 251).collect();
    let nibble = |at: usize| f32::from(if at < 16 { codes[at] & 15 } else { codes[at - 16] >> 4 });
    let q4_0 = [&half(0.25)[..], &codes].concat();
    let expected: Vec<_> = (0..32).map(|at| 0.25 * (nibble(at) - 8.0)).collect();
    assert_eq!(BlockType::Q4_0.floats(&q4_0), expected);
    let q4_1 = [&half(0.25)[..], &half(-3.5), &codes].concat();
    let expected: Vec<_> = (0..32).map(|at| 0.25 * nibble(at) - 3.5).collect();
    assert_eq!(BlockType::Q4_1.floats(&q4_1), expected);
    let bytes: Vec<i8> = (-128..127).step_by(8).collect();
    let q8_0 = [&half(0.5)[..], &bytes.iter().map(|byte| *byte as u8).collect::<Vec<_>>()].concat();
    let expected: Vec<_> = bytes.iter().map(|byte| 0.5 * f32::from(*byte)).collect();
    assert_eq!(BlockType::Q8_0.floats(&q8_0), expected);
    assert_eq!(BlockType::Q8_0.floats(&[q8_0.clone(), q8_0].concat()).len(), 64);
    let floats = [1.5f32, -0.25, 3e4];
    assert_eq!(BlockType::F32.floats(&floats.map(f32::to_le_bytes).concat()), floats);
    assert_eq!(BlockType::F16.floats(&floats.map(half).concat()), floats.map(|x| f16::from_f32(x).to_f32()));
    let brain = floats.map(bf16::from_f32);
    assert_eq!(BlockType::BF16.floats(&brain.map(bf16::to_le_bytes).concat()), brain.map(bf16::to_f32));
}

#[test]
fn tensors_that_are_not_the_models_are_named() {
    let found = error(|file| file.tensors.retain(|(name, ..)| name != "blk.1.attn_k.weight"));
    assert!(matches!(&found, ModelError::Missing { tensor } if tensor == "blk.1.attn_k.weight"), "{found}");
    let found = error(|file| file.tensor("blk.0.ffn_up.weight").1.reverse());
    let expected =
        "tensor blk.0.ffn_up.weight of the checkpoint is [32, 64]; the configuration makes it [64, 32]";
    assert_eq!(found.to_string(), expected);
    let found = error(|file| file.tensor("blk.0.ffn_norm.weight").0 = "rope_freqs.weight".into());
    assert!(matches!(&found, ModelError::Missing { tensor } if tensor == "blk.0.ffn_norm.weight"), "{found}");
    let found = error(|file| {
        let tensor = file.tensor("output_norm.weight").clone();
        file.tensors.push(("rope_freqs.weight".into(), tensor.1, tensor.2, tensor.3));
    });
    assert!(matches!(&found, ModelError::Unexpected { tensor } if tensor == "rope_freqs.weight"), "{found}");
    let found = error(|file| {
        let again = file.tensors[0].clone();
        file.tensors.push(again);
    });
    assert!(found.to_string().contains("two tensors token_embd.weight"), "{found}");
}

#[test]
fn other_models_are_refused() {
    let changes: [(&str, u32, Vec<u8>); 6] = [
        ("general.architecture", TEXT, text("gemma3")),
        ("llama.rope.scaling.type", TEXT, text("yarn")),
        ("llama.expert_count", U32, 8u32.to_le_bytes().to_vec()),
        ("llama.rope.dimension_count", U32, 4u32.to_le_bytes().to_vec()),
        ("tokenizer.ggml.model", TEXT, text("llama")),
        ("tokenizer.ggml.pre", TEXT, text("llama-bpe")),
    ];
    for (key, kind, bytes) in changes {
        let found = error(|file| file.set(key, kind, bytes));
        assert!(matches!(found, ModelError::Unsupported { key: found, .. } if found == key), "{found}");
    }
    let found = error(|file| file.remove("llama.block_count"));
    assert!(matches!(found, ModelError::NoEntry { key: "llama.block_count" }), "{found}");
    let found = error(|file| file.set("llama.block_count", TEXT, text("two")));
    assert_eq!(found.to_string(), "the metadata of GGUF: llama.block_count is two; a size is needed");
}

#[test]
fn sizes_that_make_no_model_are_refused() {
    let keys = [
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.vocab_size",
    ];
    for (key, size) in keys.into_iter().flat_map(|key| [(key, 0), (key, u32::MAX)]) {
        let found = error(|file| file.set(key, U32, size.to_le_bytes().to_vec()));
        assert!(matches!(found, ModelError::Size { key: found, .. } if found == key), "{key}: {found}");
    }
    for key in ["llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon"] {
        for number in [0.0, -1.0, f32::NAN] {
            let found = error(|file| file.set(key, F32, number.to_le_bytes().to_vec()));
            assert!(matches!(found, ModelError::NotPositive { key: found, .. } if found == key), "{found}");
        }
    }
}

#[test]
fn tokenizers_that_are_broken_are_refused() {
    let texts = |items: &[&str]| list(TEXT, items.len(), items.iter().flat_map(|item| text(item)).collect());
    let found = error(|file| file.set("tokenizer.ggml.tokens", LIST, texts(&["a", "b", "a"])));
    assert!(matches!(found, ModelError::RepeatedTokens { tokens: 3, different: 2 }), "{found}");
    let found = error(|file| file.set("tokenizer.ggml.merges", LIST, texts(&["he"])));
    assert!(matches!(&found, ModelError::Merge { merge } if merge == "he"), "{found}");
    let found = error(|file| file.set("tokenizer.ggml.merges", LIST, texts(&["h X", "hX Y"])));
    assert!(matches!(found, ModelError::Tokenizer { .. }), "{found}");
    let found = error(|file| file.set("tokenizer.ggml.tokens", LIST, texts(&[])));
    assert!(matches!(found, ModelError::Tokenizer { .. }), "{found}");
    let found = error(|file| file.set("tokenizer.ggml.add_bos_token", U32, vec![1, 0, 0, 0]));
    assert!(
        matches!(found, ModelError::Entry { key: "tokenizer.ggml.add_bos_token", .. }),
        "{found}: a {BOOL} is needed"
    );
}
