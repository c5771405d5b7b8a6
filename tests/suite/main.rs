//! One integration binary: each one links all of Burn.

mod budget;
mod conv;
mod conv_hostile;
#[cfg(feature = "wgpu")]
mod device;
mod embedding;
mod fold;
#[cfg(feature = "wgpu")]
mod gpu;
mod int8_backend;

mod keras;
mod keras_tables;
mod linear;
mod observe;
mod on_load;
mod records;
mod reports;
mod smoothing;
mod support;
mod swap;
mod training;
mod transform;
mod transformer;
