//! The ways of quantizing, by the names that the command line and the tables have for them.

use burn_int8::prelude::*;
use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheme {
    /// What burn-int8 does unless it is told otherwise.
    Default,
    /// What Keras computes: inputs are quantized on the fly, row by row, and integers multiplied.
    Keras,
    /// The same with inputs and weights rotated block by block, which spreads large inputs.
    Rotated,
    /// Inputs stay float, and weights become float as they are read.
    WeightOnly,
}

impl Scheme {
    pub fn config(self) -> Int8Config {
        match self {
            Self::Default => Int8Config::new(),
            Self::Keras => Int8Config::keras(),
            Self::Rotated => Int8Config::keras().with_rotation(Rotation::Auto),
            Self::WeightOnly => Int8Config::new().with_mode(QuantMode::WeightOnly),
        }
    }

    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().into())
    }
}
