//! The faults of a folder that should hold a model.

use std::io;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum ModelError {
    #[error("can't read {path}: {source}; apps/minilm/download.sh fetches the model")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not the configuration of a BERT model: {source}")]
    Config { path: PathBuf, source: serde_json::Error },
    #[error("config.json: {key} is {found:?}; only {supported:?} is supported")]
    Unsupported { key: &'static str, found: String, supported: &'static str },
    #[error("config.json: hidden_size {width} can't be divided among {heads} attention heads")]
    Heads { width: usize, heads: usize },
    #[error("{path} is not a safetensors file: {reason}; fetch it again")]
    Header { path: PathBuf, reason: String },
    #[error(
        "the checkpoint is truncated: tensor {tensor} ends at byte {end}, the file at {length}; fetch it again"
    )]
    Truncated { tensor: String, end: u64, length: u64 },
    #[error("the checkpoint has no tensor {tensor}; is config.json that of another model?")]
    Missing { tensor: String },
    #[error("the checkpoint has a tensor {tensor} that the model of config.json has no place for")]
    Unexpected { tensor: String },
    #[error("tensor {tensor} of the checkpoint is {found:?}; config.json makes it {expected:?}")]
    Shape { tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor {tensor} of the checkpoint is {found:?}; F32, F16 or BF16 is needed")]
    Dtype { tensor: String, found: Dtype },
    #[error(
        "tensor {tensor} of the checkpoint has {found} bytes where its shape needs {needed}; fetch it again"
    )]
    Size { tensor: String, found: usize, needed: usize },
    #[error("{path}: {source}")]
    Tokenizer { path: PathBuf, source: tokenizers::Error },
    #[error("tokenizer.json has {tokens} tokens, the model only {rows}: they are not of the same model")]
    Vocabulary { tokens: usize, rows: usize },
    #[error("can't split {text:?} into tokens: {source}")]
    Text { text: String, source: tokenizers::Error },
}

impl ModelError {
    pub fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.into(), source }
    }
}
