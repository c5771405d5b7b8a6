//! The faults of a folder that should hold a model, and of what is asked of it.

use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use burn_int8::Int8Error;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum ModelError {
    #[error("can't read {path}: {source}; README.md beside this example says where models are")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not the configuration of a Gemma 3 text model: {source}")]
    Config { path: PathBuf, source: serde_json::Error },
    #[error("{file}: {key} is {found}; only {supported} is supported")]
    Unsupported { file: &'static str, key: &'static str, found: String, supported: &'static str },
    #[error("{file}: {key} is {found}; it must be from 1 to {most}")]
    Size { file: &'static str, key: &'static str, found: usize, most: usize },
    #[error("{file}: {key} is {found}; it must be more than 0, and finite")]
    NotPositive { file: &'static str, key: &'static str, found: f64 },
    #[error("{file}: {heads} attention heads can't share {kv_heads} heads of keys and values evenly")]
    Heads { file: &'static str, heads: usize, kv_heads: usize },
    #[error("{file}: a head has {head_dim} numbers; rotary positions need them even")]
    OddHead { file: &'static str, head_dim: usize },
    #[error("the metadata of GGUF has no {key}")]
    NoEntry { key: &'static str },
    #[error("the metadata of GGUF: {key} is {found}; {needed} is needed")]
    Entry { key: &'static str, found: String, needed: &'static str },
    #[error("the metadata of GGUF has {tokens} tokens, but only {different} that differ")]
    RepeatedTokens { tokens: usize, different: usize },
    #[error("the metadata of GGUF has a merge {merge:?}, which is not two tokens with a space between")]
    Merge { merge: String },
    #[error("the model's file does not say how a question is put; leave out --chat")]
    NoChat,
    #[error("the chat template of the model's file: {0}")]
    ChatTemplate(minijinja::Error),
    #[error("config.json: layer_types has {found} entries for {layers} layers")]
    LayerTypes { found: usize, layers: usize },
    #[error("the context is full: {room} tokens fit in, {needed} are to be added; start a new one")]
    Context { needed: usize, room: usize },
    #[error("{setting} is {found}; {supported} is needed")]
    Sampling { setting: &'static str, found: f64, supported: &'static str },
    #[error("the logit of token {token} is {found}; the model's weights must be broken")]
    Logit { token: usize, found: f32 },
    #[error("there is no token to choose from")]
    NoTokens,
    #[error("the prompt is empty")]
    NoPrompt,
    #[error("a text of less than two tokens has nothing to predict")]
    ShortText,
    #[error("{path} says not which files there are: {source}")]
    Index { path: PathBuf, source: serde_json::Error },
    #[error("{path} is not a whole {format} file: {reason}; fetch it again")]
    File { path: PathBuf, format: &'static str, reason: String },
    #[error("{path} is truncated: tensor {tensor} ends at byte {end}, the file at {length}; fetch it again")]
    Truncated { path: PathBuf, tensor: String, end: u64, length: u64 },
    #[error("the checkpoint has no tensor {tensor}; is the configuration that of another model?")]
    Missing { tensor: String },
    #[error("the checkpoint has a tensor {tensor} that the model of the configuration has no place for")]
    Unexpected { tensor: String },
    #[error("tensor {tensor} of the checkpoint is {found:?}; the configuration makes it {expected:?}")]
    Shape { tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor {tensor} of the checkpoint is {found:?}; F32, F16 or BF16 is needed")]
    Dtype { tensor: String, found: DType },
    #[error("a tensor of the checkpoint can't be read: {reason}")]
    Unreadable { reason: String },
    #[error(transparent)]
    Int8(#[from] Int8Error),
    #[error("can't read {path}: {source}; `llm quantize` writes such files")]
    NoRecord { path: PathBuf, source: io::Error },
    #[error("{path} is truncated or not a record that llm wrote: {reason}; quantize again")]
    Record { path: PathBuf, reason: String },
    #[error("{path} holds a model of other sizes than {expected}: {reason}")]
    OtherModel { path: PathBuf, expected: String, reason: String },
    #[error("can't write {path}: {reason}")]
    Save { path: PathBuf, reason: String },
    #[error("there is no folder {folder} to put {path} in; make it first")]
    NoFolder { folder: PathBuf, path: PathBuf },
    #[error("the reloaded model is not the one that was saved")]
    NotReloaded,
    #[error("{path}: {source}")]
    Tokenizer { path: PathBuf, source: tokenizers::Error },
    #[error("the tokenizer has {tokens} tokens, the model only {rows}: they are not of the same model")]
    Vocabulary { tokens: usize, rows: usize },
    #[error("can't split a text into tokens or join them: {0}")]
    Text(tokenizers::Error),
    #[error("can't print: {0}")]
    Print(#[from] io::Error),
}

impl ModelError {
    pub fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.into(), source }
    }
}
