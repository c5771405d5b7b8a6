//! A budget: how far the answers of a model may be from those of float, and the search for the least that keeps it.
//!
//! | file | what it does |
//! |---|---|
//! | `measure` | compares what a model gives with what the float model gave |
//! | `ladder` | orders what can be done to each layer |
//! | `search` | tries choices |
//! | `report` | says what was tried |
//! | `within` | carries it out |

mod error;
mod ladder;
mod measure;
mod report;
mod search;
pub(super) mod within;

pub use error::BudgetError;
pub use measure::{Measured, ModelOutput};
pub use report::{Attempt, BudgetReport, BudgetSearch, LayerChange};

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use measure::Reading;

/// How far the answers of an INT8 model may be from those of the float model, and what keeping them there may cost: see
/// [`Quantize::quantize_within`](crate::Quantize::quantize_within). `O` is what the closure there returns.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, tensor::Tensor};
/// use burn_int8::Budget;
///
/// // The closure returns outputs, which are compared with those of float ..
/// let budget = Budget::<Tensor<NdArray, 2>>::sqnr_db(30.0).with_evaluations(20).with_float_share(0.05);
/// // .. or a loss: here it may be 1 % larger than that of float.
/// let budget = Budget::relative_increase(0.01);
/// ```
#[derive(Debug, Clone)]
pub struct Budget<O> {
    bound: Bound,
    evaluations: usize,
    float_share: f64,
    read: fn(O) -> Reading,
}

/// The bound that a [`Budget`] sets. A NaN and an infinite error are over every bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Bound {
    /// Signal to quantization noise of all outputs, in dB, is at least this.
    SqnrDb(#[serde(deserialize_with = "read_db")] f64),
    /// The cosine of all outputs with those of float is at least this.
    Cosine(#[serde(deserialize_with = "read_cosine")] f64),
    /// The loss is at most that of float and this.
    Increase(#[serde(deserialize_with = "read_increase")] f64),
    /// The loss is at most that of float and this share of its magnitude.
    RelativeIncrease(#[serde(deserialize_with = "read_increase")] f64),
}

fn read_db<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    read_bound(deserializer, Bound::SqnrDb)
}

fn read_cosine<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    read_bound(deserializer, Bound::Cosine)
}

fn read_increase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    read_bound(deserializer, Bound::Increase)
}

/// Reads the number of a bound, and refuses what [`Budget`] refuses.
fn read_bound<'de, D: Deserializer<'de>>(deserializer: D, bound: fn(f64) -> Bound) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    bound(number).check().map(|()| number).map_err(D::Error::custom)
}

/// The runs of the float model: one to see its inputs, one to see what schemes make of them.
const FLOAT_RUNS: usize = 2;

/// The runs of the closure that a search takes if nobody says how many.
const EVALUATIONS: usize = 32;

impl<O> Budget<O> {
    fn new(bound: Bound, read: fn(O) -> Reading) -> Self {
        Self { bound, evaluations: EVALUATIONS, float_share: 1.0, read }
    }

    /// The same budget, with at most so many runs of the closure; the first two are those of the float model. It is 32 if nothing
    /// is said.
    pub fn with_evaluations(self, evaluations: usize) -> Self {
        Self { evaluations, ..self }
    }

    /// The same budget, with at most this share (0 to 1) of the weights that the configuration names left float.
    pub fn with_float_share(self, float_share: f64) -> Self {
        Self { float_share, ..self }
    }

    /// The bound.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// Refuses what no model could keep or nobody can have meant.
    fn check(&self) -> Result<(), BudgetError> {
        let invalid = |reason| BudgetError::InvalidBudget { reason };
        self.bound.check().map_err(invalid)?;
        if !(0.0..=1.0).contains(&self.float_share) {
            return Err(invalid(format!("a share of weights is between 0 and 1, not {}", self.float_share)));
        }
        if self.evaluations <= FLOAT_RUNS {
            let runs = self.evaluations;
            return Err(invalid(format!(
                "{runs} evaluations are too few: the first two are those of the float model"
            )));
        }
        Ok(())
    }
}

impl<O: ModelOutput> Budget<O> {
    /// The outputs keep a signal to quantization noise ratio of at least `db`.
    pub fn sqnr_db(db: f64) -> Self {
        Self::new(Bound::SqnrDb(db), |outputs| Reading::Outputs(outputs.into_values()))
    }

    /// The outputs, all taken as one vector, keep a cosine of at least `least` with those of float.
    pub fn cosine(least: f64) -> Self {
        Self::new(Bound::Cosine(least), |outputs| Reading::Outputs(outputs.into_values()))
    }
}

impl Budget<f64> {
    /// The closure returns a loss, or a metric of which less is better, which is at most `most` larger than that of float.
    pub fn increase(most: f64) -> Self {
        Self::new(Bound::Increase(most), Reading::Loss)
    }

    /// The same, with the increase as a share of the magnitude of float's: 0.01 is one percent.
    pub fn relative_increase(most: f64) -> Self {
        Self::new(Bound::RelativeIncrease(most), Reading::Loss)
    }
}

impl Bound {
    /// Refuses numbers that nobody can have meant.
    fn check(&self) -> Result<(), String> {
        match *self {
            Self::SqnrDb(db) if !db.is_finite() => Err(format!("an SQNR is a number, not {db}")),
            Self::Cosine(least) if !(-1.0..=1.0).contains(&least) => {
                Err(format!("a cosine is between -1 and 1, not {least}"))
            }
            Self::Increase(most) | Self::RelativeIncrease(most) if !(0.0..f64::INFINITY).contains(&most) => {
                Err(format!("an increase of the loss is 0 or more, not {most}"))
            }
            _ => Ok(()),
        }
    }

    /// Says whether what was measured is within the bound.
    fn allows(&self, measured: &Measured) -> bool {
        match (*self, *measured) {
            (Self::SqnrDb(least), Measured::Outputs(distortion)) => distortion.sqnr_db() >= least,
            (Self::Cosine(least), Measured::Outputs(distortion)) => distortion.cosine() >= least,
            (Self::Increase(most), Measured::Loss { loss: Some(loss), float }) => loss <= float + most,
            (Self::RelativeIncrease(most), Measured::Loss { loss: Some(loss), float }) => {
                loss <= float + most * float.abs()
            }
            _ => false,
        }
    }

    /// A number that is larger the better a model is.
    fn quality(&self, measured: &Measured) -> f64 {
        match (*self, *measured) {
            (Self::Cosine(_), Measured::Outputs(distortion)) => distortion.cosine(),
            (_, Measured::Outputs(distortion)) => distortion.sqnr_db(),
            (_, Measured::Loss { loss, .. }) => loss.map_or(f64::NEG_INFINITY, |loss| -loss),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SqnrDb(db) => write!(f, "an SQNR of at least {db} dB"),
            Self::Cosine(least) => write!(f, "a cosine of at least {least}"),
            Self::Increase(most) => write!(f, "a loss at most {most} above that of float"),
            Self::RelativeIncrease(most) => {
                write!(f, "a loss at most {} % above that of float", 100.0 * most)
            }
        }
    }
}
