//! The layers: drop-in replacements for Burn's own, and the INT8 modules that they become.
//!
//! A drop-in layer has the constructors and the `forward` of Burn's layer. It is that layer, trains like it and saves the
//! same bytes, until [`Quantize::quantize`](crate::Quantize::quantize) swaps it for its INT8 form.
//!
//! | drop-in | INT8 form | replaces |
//! |---|---|---|
//! | [`Linear`] | [`QLinear`] | [`burn::nn::Linear`] |
//!
//! To add a layer: a file that implements [`FloatLayer`] for Burn's layer, with its config and its `forward`, and a line here.

mod int8;
pub(crate) mod layer;
mod linear;
mod module;
mod quantizable;
mod sizes;
pub(crate) mod weight;

pub use burn::nn::LinearLayout;
pub use int8::Int8;
pub use layer::FloatLayer;
pub use linear::{Linear, LinearConfig, QLinear};
pub use quantizable::Quantizable;
