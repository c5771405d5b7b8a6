//! What can be wrong with a model's files, or with what is asked of it.

use std::io;
use std::path::{Path, PathBuf};

use burn::record::RecorderError;
use burn::tensor::DType;
use burn_int8::Int8Error;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum ModelError {
    #[error("can't read {path}: {source}; README.md beside this example says where models are")]
    Read { path: PathBuf, source: io::Error },
    #[error("can't read {path}: {source}")]
    Config { path: PathBuf, source: serde_json::Error },
    #[error("config.json: {key} is {found}; only {supported} is supported")]
    Unsupported { key: &'static str, found: String, supported: &'static str },
    #[error("config.json: {reason}")]
    Sizes { reason: String },
    #[error("{path} is not a safetensors file: {reason}; fetch it again")]
    File { path: PathBuf, reason: String },
    #[error("{path} is truncated: tensor {tensor} ends at byte {end}, the file at {length}; fetch it again")]
    Truncated { path: PathBuf, tensor: String, end: u64, length: u64 },
    #[error("the checkpoint has no tensor {tensor}; is config.json that of another model?")]
    Missing { tensor: String },
    #[error("the checkpoint has a tensor {tensor} that the model of config.json has no place for")]
    Unexpected { tensor: String },
    #[error("tensor {tensor} of the checkpoint is {found:?}; config.json makes it {expected:?}")]
    Shape { tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor {tensor} of the checkpoint is {found:?}; F32, F16 or BF16 is needed")]
    Dtype { tensor: String, found: DType },
    #[error("a tensor of the checkpoint can't be read: {reason}")]
    Unreadable { reason: String },
    #[error(transparent)]
    Int8(#[from] Int8Error),
    #[error("{path}: {source}")]
    Record { path: PathBuf, source: RecorderError },
    #[error("{path} holds a model of other sizes than config.json: {reason}")]
    OtherModel { path: PathBuf, reason: String },
    #[error("{path}: {source}")]
    Tokenizer { path: PathBuf, source: tokenizers::Error },
    #[error("tokenizer.json has {tokens} tokens, the model only {rows}: they are not of the same model")]
    Vocabulary { tokens: usize, rows: usize },
    #[error("can't split a text into tokens or join them: {0}")]
    Text(tokenizers::Error),
    #[error("the prompt has {tokens} tokens, the model has room for {room}; shorten it")]
    TooLong { tokens: usize, room: usize },
    #[error("the prompt is empty")]
    NoPrompt,
    #[error("the model answers NaN: its weights are damaged")]
    NotANumber,
    #[error("the reloaded model is not the one that was saved")]
    NotReloaded,
    #[error("--{option} is {found}; it must be {needed}")]
    Option { option: &'static str, found: f64, needed: &'static str },
}

impl ModelError {
    pub fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.into(), source }
    }
}
