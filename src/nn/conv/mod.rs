//! Convolutions: the code that they have in common, and a macro for the code that Burn's layers have six times.

#[macro_use]
mod convolution;
mod layers;
mod options;
mod padding;

pub use layers::*;
pub(crate) use options::geometry;
pub(crate) use padding::PerAxis;
