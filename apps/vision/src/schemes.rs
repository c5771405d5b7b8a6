//! The ways to quantize the model that are compared: a row each.

use burn::prelude::*;
use burn_int8::prelude::*;

use crate::compare::{agreement, sqnr};
use crate::error::BelowFloor;
use crate::model::EfficientNet;

/// The least that a scheme must reach, or the program fails.
struct Floor {
    /// Signal to noise of the scores in dB.
    sqnr: f64,
    /// The share of the inputs whose first class is float's.
    agreement: f64,
}

/// 23.9 dB and 94.6 % were measured. The order of float sums, another on each backend, moves a first class or two.
const DEFAULT: Floor = Floor { sqnr: 22.0, agreement: 0.92 };
/// 14.8 dB and 87.1 % were measured.
const KERAS: Floor = Floor { sqnr: 14.5, agreement: 0.85 };
/// 24.3 dB and 95.4 % were measured.
const WEIGHT_ONLY: Floor = Floor { sqnr: 23.5, agreement: 0.94 };
/// What is only looked at may be as bad as it is.
const NONE: Floor = Floor { sqnr: f64::NEG_INFINITY, agreement: 0.0 };

pub struct Scheme {
    pub name: &'static str,
    /// The configurations in turn, each for what those before it have left float.
    passes: Vec<Int8Config>,
    floor: Floor,
}

/// The rows of the table, below float.
pub fn compared() -> Vec<Scheme> {
    vec![
        Scheme::new("INT8", DEFAULT, [Int8Config::new()]),
        Scheme::new("INT8 as Keras", KERAS, [Int8Config::keras()]),
        Scheme::new("INT8 weight-only", WEIGHT_ONLY, [weight_only()]),
    ]
}

/// This configuration but for the layers that these patterns match.
pub fn asked(base: Int8Config, float: &[String], weight: &[String]) -> Scheme {
    let base = base.with_exclude(float.to_vec());
    let weight = (!weight.is_empty())
        .then(|| base.clone().with_mode(QuantMode::WeightOnly).with_include(weight.to_vec()));
    Scheme::new("INT8 as asked", NONE, weight.into_iter().chain([base]))
}

fn weight_only() -> Int8Config {
    Int8Config::new().with_mode(QuantMode::WeightOnly)
}

impl Scheme {
    fn new(name: &'static str, floor: Floor, passes: impl IntoIterator<Item = Int8Config>) -> Self {
        Self { name, passes: passes.into_iter().collect(), floor }
    }

    pub fn quantize<B: Backend>(&self, model: EfficientNet<B>) -> Result<EfficientNet<B>, Int8Error> {
        self.passes.iter().try_fold(model, |model, config| Ok(model.quantize(config)?.0))
    }

    /// Checks that the scores are as near to float's as the scheme must be.
    pub fn check(&self, float: &[Vec<f32>], scores: &[Vec<f32>]) -> Result<(), BelowFloor> {
        let reached = [
            ("signal to noise in dB", sqnr(float, scores), self.floor.sqnr),
            ("share of inputs with float's first class", agreement(float, scores, 1), self.floor.agreement),
        ];
        match reached.into_iter().find(|(_, reached, needed)| reached.is_nan() || reached < needed) {
            Some((what, reached, needed)) => Err(BelowFloor { scheme: self.name, what, reached, needed }),
            None => Ok(()),
        }
    }
}
