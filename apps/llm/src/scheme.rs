//! The ways of quantizing, by the names that the command line and the tables have for them.

use burn_int8::prelude::*;
use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheme {
    /// Inputs are quantized on the fly, and integers multiplied.
    Dynamic,
    /// The same with inputs and weights rotated block by block, which spreads large inputs.
    Rotated,
    /// Inputs stay float, and weights become float as they are read.
    WeightOnly,
}

impl Scheme {
    pub fn config(self) -> Int8Config {
        match self {
            Self::Dynamic => Int8Config::keras(),
            Self::Rotated => Int8Config::keras().with_rotation(Rotation::Auto),
            Self::WeightOnly => Int8Config::keras().with_mode(QuantMode::WeightOnly),
        }
    }

    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().into())
    }
}
