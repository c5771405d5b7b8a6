//! The ways to quantize the model that are compared: a row each.

use burn::prelude::*;
use burn_int8::prelude::*;

use crate::compare::{agreement, sqnr};
use crate::error::BelowFloor;
use crate::model::EfficientNet;

/// The least that a scheme must reach, or the program fails.
pub struct Floor {
    /// Signal to noise of the scores in dB.
    pub sqnr: f64,
    /// The share of the inputs whose first class is float's.
    pub agreement: f64,
}

pub struct Scheme {
    pub name: &'static str,
    /// What is quantized first, what of the rest then, and so on.
    passes: Vec<Int8Config>,
    floor: Option<Floor>,
}

/// The rows of the table, below float.
pub fn compared() -> Vec<Scheme> {
    vec![
        Scheme::new("INT8 dynamic", [Int8Config::new()]),
        Scheme::new("INT8 weight-only", [weight_only()]),
    ]
}

/// Dynamic INT8 but for the layers that these patterns match.
pub fn asked(float: &[String], weight: &[String]) -> Scheme {
    let dynamic = Int8Config::new().with_exclude(float.to_vec());
    let weight = (!weight.is_empty()).then(|| weight_only().with_include(weight.to_vec()));
    Scheme::new("INT8 as asked", weight.into_iter().chain([dynamic]))
}

fn weight_only() -> Int8Config {
    Int8Config::new().with_mode(QuantMode::WeightOnly)
}

impl Scheme {
    fn new(name: &'static str, passes: impl IntoIterator<Item = Int8Config>) -> Self {
        Self { name, passes: passes.into_iter().collect(), floor: None }
    }

    pub fn quantize<B: Backend>(&self, model: EfficientNet<B>) -> Result<EfficientNet<B>, Int8Error> {
        self.passes.iter().try_fold(model, |model, config| Ok(model.quantize(config)?.0))
    }

    /// Whether the scores are as near to float's as the scheme must be.
    pub fn check(&self, float: &[Vec<f32>], scores: &[Vec<f32>]) -> Result<(), BelowFloor> {
        let Some(floor) = &self.floor else { return Ok(()) };
        let reached = [
            ("signal to noise in dB", sqnr(float, scores), floor.sqnr),
            ("share of inputs with float's first class", agreement(float, scores, 1), floor.agreement),
        ];
        match reached.into_iter().find(|(_, reached, needed)| reached.is_nan() || reached < needed) {
            Some((what, reached, needed)) => Err(BelowFloor { scheme: self.name, what, reached, needed }),
            None => Ok(()),
        }
    }
}
