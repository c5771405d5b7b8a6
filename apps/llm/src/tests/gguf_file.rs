//! GGUF files as llama.cpp's converter writes them, of a tiny Llama.

use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use tempfile::TempDir;

use super::weights;
use crate::config::{DecoderConfig, Span};
use crate::llama;
use crate::model::Decoder;

pub const U32: u32 = 4;
pub const F32: u32 = 6;
pub const BOOL: u32 = 7;
pub const TEXT: u32 = 8;
pub const LIST: u32 = 9;

/// Some bytes make words of their own. The last merge is never used: digits are apart.
const MERGES: [&str; 4] = ["t h", "a t", "th e", "1 2"];

/// Two layers, with heads that share keys, and a vocabulary as `vocabulary` makes it.
pub fn tiny() -> DecoderConfig {
    DecoderConfig {
        vocab_size: vocabulary().len(),
        hidden_size: 32,
        intermediate_size: 64,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 256,
        layers: vec![Span { window: 256, rope_theta: 1e5 }; 2],
        attention_scale: 8f64.sqrt().recip(),
        ..llama::smollm2_135m()
    }
}

/// Three tokens that mark, all letters, and what merges make of them.
pub fn vocabulary() -> Vec<String> {
    let marks = ["<|end|>", "<|start|>", "<|stop|>"].map(String::from).into_iter();
    // A byte level writes a space as `Ġ`.
    let letters = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain(['Ġ', '?']).map(String::from);
    marks.chain(letters).chain(MERGES.map(|merge| merge.replace(' ', ""))).collect()
}

pub fn model<B: Backend>(config: &DecoderConfig) -> Decoder<B> {
    weights::filled(config, &Default::default(), weights::random)
}

/// The parts of a file, to be changed before they are written.
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    /// Key, type, bytes.
    pub pairs: Vec<(String, u32, Vec<u8>)>,
    /// Name, axes as the file has them, type, bytes.
    pub tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
    pub alignment: usize,
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

pub fn list(kind: u32, length: usize, items: Vec<u8>) -> Vec<u8> {
    [kind.to_le_bytes().to_vec(), (length as u64).to_le_bytes().to_vec(), items].concat()
}

fn texts(items: &[String]) -> Vec<u8> {
    list(TEXT, items.len(), items.iter().flat_map(|item| text(item)).collect())
}

impl GgufFile {
    /// The tensors of `model`, as floats.
    pub fn new(config: &DecoderConfig) -> Self {
        let mut parts = ToGguf { path: Vec::new(), config, tensors: Vec::new() };
        model::<burn::backend::NdArray>(config).visit(&mut parts);
        let (magic, version, tensors) = (*b"GGUF", 3, parts.tensors);
        let mut file = Self { magic, version, pairs: Vec::new(), tensors, alignment: 32 };
        file.describe(config);
        file
    }

    fn describe(&mut self, config: &DecoderConfig) {
        let sizes = [
            ("llama.block_count", config.layers.len()),
            ("llama.context_length", config.max_position_embeddings),
            ("llama.embedding_length", config.hidden_size),
            ("llama.feed_forward_length", config.intermediate_size),
            ("llama.attention.head_count", config.num_attention_heads),
            ("llama.attention.head_count_kv", config.num_key_value_heads),
            ("llama.rope.dimension_count", config.head_dim),
            ("llama.vocab_size", config.vocab_size),
            ("tokenizer.ggml.bos_token_id", 1),
            ("tokenizer.ggml.eos_token_id", config.ends[0] as usize),
        ];
        for (key, size) in sizes {
            self.set(key, U32, (size as u32).to_le_bytes().to_vec());
        }
        self.set("llama.rope.freq_base", F32, (config.layers[0].rope_theta as f32).to_le_bytes().to_vec());
        let epsilon = (config.rms_norm_eps as f32).to_le_bytes().to_vec();
        self.set("llama.attention.layer_norm_rms_epsilon", F32, epsilon);
        self.set("general.architecture", TEXT, text("llama"));
        self.set("tokenizer.ggml.model", TEXT, text("gpt2"));
        self.set("tokenizer.ggml.pre", TEXT, text("smollm"));
        self.set("tokenizer.ggml.add_bos_token", BOOL, vec![0]);
        let words = vocabulary();
        let kinds = (0..words.len()).flat_map(|at| if at < 3 { 3i32 } else { 1 }.to_le_bytes()).collect();
        self.set("tokenizer.ggml.token_type", LIST, list(5, words.len(), kinds));
        self.set("tokenizer.ggml.tokens", LIST, texts(&words));
        self.set("tokenizer.ggml.merges", LIST, texts(&MERGES.map(String::from)));
    }

    pub fn set(&mut self, key: &str, kind: u32, bytes: Vec<u8>) {
        self.pairs.retain(|(other, ..)| other != key);
        self.pairs.push((key.into(), kind, bytes));
    }

    pub fn remove(&mut self, key: &str) {
        self.pairs.retain(|(other, ..)| other != key);
    }

    pub fn tensor(&mut self, name: &str) -> &mut (String, Vec<u64>, u32, Vec<u8>) {
        self.tensors.iter_mut().find(|(other, ..)| other == name).expect("the file has this tensor")
    }

    /// The bytes of the file, and how many of them are the header.
    pub fn bytes(&self) -> (Vec<u8>, usize) {
        let mut header = [&self.magic[..], &self.version.to_le_bytes()].concat();
        let counts = [self.tensors.len() as u64, self.pairs.len() as u64];
        header.extend(counts.into_iter().flat_map(u64::to_le_bytes));
        for (key, kind, bytes) in &self.pairs {
            header.extend([&text(key)[..], &kind.to_le_bytes(), bytes].concat());
        }
        let mut data: Vec<u8> = Vec::new();
        for (name, axes, kind, bytes) in &self.tensors {
            header.extend([&text(name)[..], &(axes.len() as u32).to_le_bytes()].concat());
            header.extend(axes.iter().flat_map(|axis| axis.to_le_bytes()));
            header.extend([&kind.to_le_bytes()[..], &(data.len() as u64).to_le_bytes()].concat());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(self.alignment), 0);
        }
        let length = header.len();
        header.resize(length.next_multiple_of(self.alignment), 0);
        ([header, data].concat(), length)
    }

    /// Writes the file into a folder of its own.
    pub fn write(&self) -> (TempDir, PathBuf) {
        write(&self.bytes().0)
    }
}

pub fn write(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Takes a model apart into the tensors of a file.
struct ToGguf<'a> {
    path: Vec<(String, String)>,
    config: &'a DecoderConfig,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl<B: Backend> ModuleVisitor<B> for ToGguf<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push((name.into(), container.into()));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let is_linear = self.path.last().is_some_and(|(_, container)| container == "Struct:Linear");
        let tensor = if is_linear { param.val().swap_dims(0, 1) } else { param.val() };
        let names: Vec<_> = self.path.iter().map(|(name, _)| name.as_str()).collect();
        let data = tensor.into_data();
        let (mut values, axes) = (data.to_vec::<f32>().unwrap(), data.shape.to_vec());
        let heads = match *names.last_chunk::<2>().expect("a module and its parameter") {
            ["q_proj", _] => Some(self.config.num_attention_heads),
            ["k_proj", _] => Some(self.config.num_key_value_heads),
            _ => None,
        };
        if let Some(heads) = heads {
            values = interleave(&values, heads, axes[1]);
        }
        let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
        let axes = axes.into_iter().rev().map(|axis| axis as u64).collect();
        self.tensors.push((llama::tensor_name(&names.join(".")), axes, 0, bytes));
    }
}

/// Row `2 i + half` of a head is row `i` of that half.
fn interleave(rows: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let rows: Vec<_> = rows.chunks(width).collect();
    let half = rows.len() / heads / 2;
    let row = |at: usize| {
        let (head, within) = (at / (2 * half), at % (2 * half));
        rows[head * 2 * half + within % 2 * half + within / 2]
    };
    (0..rows.len()).flat_map(|at| row(at).to_vec()).collect()
}
