//! One integration binary: each one links all of Burn.

mod conv;
mod conv_hostile;
#[cfg(feature = "wgpu")]
mod device;
mod embedding;
mod fold;
#[cfg(feature = "wgpu")]
mod gpu;
mod keras;
mod keras_tables;
mod kinds;
mod linear;
mod model;
mod on_load;
mod record_kinds;
mod records;
mod support;
mod swap;
mod training;
mod transformer;
