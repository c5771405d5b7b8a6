//! The answers of a model, compared with those of the float model.

use std::fmt;

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::BudgetError;
use crate::distortion::Distortion;
use crate::ops::with_floats;

/// The outputs of a model that are compared with those of float: a tensor, tensors of several batches, or any values.
///
/// # Example
///
/// ```
/// use burn_int8::ModelOutput;
///
/// /// Of what a detector gives only the scores are compared.
/// struct Detections {
///     scores: Vec<f32>,
///     labels: Vec<String>,
/// }
///
/// impl ModelOutput for Detections {
///     fn into_values(self) -> Vec<f32> {
///         self.scores
///     }
/// }
/// ```
pub trait ModelOutput {
    /// The values: as many, in the same order, in each run.
    fn into_values(self) -> Vec<f32>;
}

impl ModelOutput for Vec<f32> {
    fn into_values(self) -> Vec<f32> {
        self
    }
}

impl<B: Backend, const D: usize> ModelOutput for Tensor<B, D> {
    fn into_values(self) -> Vec<f32> {
        with_floats(self, <[f32]>::to_vec)
    }
}

impl<B: Backend, const D: usize> ModelOutput for Vec<Tensor<B, D>> {
    fn into_values(self) -> Vec<f32> {
        self.into_iter().flat_map(ModelOutput::into_values).collect()
    }
}

/// The values that a closure has returned.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    Outputs(Vec<f32>),
    Loss(f64),
}

/// The measurement of a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Measured {
    /// The distance of its outputs from those of float.
    Outputs(Distortion),
    /// Its loss.
    Loss {
        /// The loss of this model; none if it is NaN or infinite.
        loss: Option<f64>,
        /// The loss of the float model.
        float: f64,
    },
}

impl Reading {
    /// Refuses a reading of the float model that nothing can be compared with.
    pub(super) fn check(&self) -> Result<(), BudgetError> {
        match self {
            Self::Outputs(values) if values.is_empty() => Err(BudgetError::NoOutputs),
            Self::Outputs(values) if values.iter().all(|value| value.is_finite()) => Ok(()),
            Self::Loss(loss) if loss.is_finite() => Ok(()),
            _ => Err(BudgetError::FloatNotFinite),
        }
    }

    /// Compares the reading of another model with this one, that of the float model.
    pub(super) fn compare(&self, other: Self) -> Result<Measured, BudgetError> {
        match (self, other) {
            (Self::Outputs(float), Self::Outputs(int8)) if float.len() == int8.len() => {
                Ok(Measured::Outputs(Distortion::between(float, &int8).ok_or(BudgetError::NoOutputs)?))
            }
            (&Self::Loss(float), Self::Loss(loss)) => {
                Ok(Measured::Loss { loss: loss.is_finite().then_some(loss), float })
            }
            (float, int8) => Err(BudgetError::OtherOutputs { float: float.len(), int8: int8.len() }),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Outputs(values) => values.len(),
            Self::Loss(_) => 1,
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outputs(distortion @ Distortion::Finite { cosine, .. }) => {
                write!(f, "{distortion}, cosine {cosine:.6}")
            }
            Self::Outputs(distortion) => write!(f, "{distortion}"),
            Self::Loss { loss: Some(loss), float } => write!(f, "loss {loss:.6}, float {float:.6}"),
            Self::Loss { loss: None, float } => write!(f, "loss not finite, float {float:.6}"),
        }
    }
}
