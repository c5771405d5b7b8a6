//! The layers: drop-in replacements for Burn's own, and the INT8 modules that they become.
//!
//! A drop-in layer has the constructors and the `forward` of Burn's layer. It is that layer, trains like it and saves the
//! same bytes, until [`Quantize::quantize`](crate::Quantize::quantize) swaps it for its INT8 form.
//!
//! | drop-in | INT8 form | replaces |
//! |---|---|---|
//! | [`Linear`] | [`QLinear`] | [`burn::nn::Linear`] |
//!
//! To add a layer: a file that implements [`FloatLayer`] for Burn's layer and [`Int8Layer`] for the new one, and a line here.

pub(crate) mod layer;
mod linear;
mod qlinear;
mod quantizable;
mod weight;

pub use burn::nn::LinearLayout;
pub use layer::{FloatLayer, Int8Facts, Int8Layer};
pub use linear::{Linear, LinearConfig};
pub use qlinear::{QLinear, QLinearConfig};
pub use quantizable::Quantizable;
