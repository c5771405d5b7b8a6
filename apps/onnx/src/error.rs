//! The errors of the models.

use std::io;

use burn::record::RecorderError;
use burn_int8::Int8Error;
use thiserror::Error;

use crate::reference::ReferenceError;

#[derive(Debug, Error)]
pub enum OnnxError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Quantize(#[from] Int8Error),
    #[error("can't save or reload a model: {0}")]
    Record(#[from] RecorderError),
    #[error("can't save or reload a model: {0}")]
    File(#[from] io::Error),
    #[error("{0} answers nothing")]
    NoAnswers(&'static str),
}

/// A model that is worse than it may be.
#[derive(Debug, Error, PartialEq)]
pub enum Shortfall {
    #[error("{model}: float differs by {found:e} from ONNX Runtime, at most {most:e} is allowed")]
    Float { model: &'static str, found: f32, most: f32 },
    #[error("{model}, {scheme}: the cosine of INT8 with float is {found:.5}, at least {least} is needed")]
    Int8 { model: &'static str, scheme: &'static str, found: f64, least: f64 },
    #[error("{model}, {scheme}: {others} of {all} decisions are others than in float")]
    Decisions { model: &'static str, scheme: &'static str, others: usize, all: usize },
}
