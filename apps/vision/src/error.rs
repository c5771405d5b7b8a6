//! The faults of the folder of weights and photographs, and of what a model answers.

use std::io;
use std::path::PathBuf;

use burn_int8::Int8Error;
use burn_store::SafetensorsStoreError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum VisionError {
    #[error("can't read {path}: {source}; apps/vision/download.sh fetches it")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} does not hold the weights of EfficientNet-Lite0: {source}")]
    Checkpoint { path: PathBuf, source: SafetensorsStoreError },
    #[error("{path} has a tensor {tensor} that EfficientNet-Lite0 has no place for")]
    Unexpected { path: PathBuf, tensor: String },
    #[error("{path} is not a photograph that can be read: {source}")]
    Photograph { path: PathBuf, source: image::ImageError },
    #[error("there is no photograph in {path}; apps/vision/download.sh fetches some")]
    NoPhotographs { path: PathBuf },
    #[error(transparent)]
    Fold(#[from] Int8Error),
}

/// A scheme that costs more accuracy than it may.
#[derive(Debug, Error, PartialEq)]
#[error("{scheme}: the {what} is {reached:.3}, at least {needed} is needed")]
pub struct BelowFloor {
    pub scheme: &'static str,
    pub what: &'static str,
    pub reached: f64,
    pub needed: f64,
}
