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
mod linear;
mod observe;
mod on_load;
mod random_programs;
mod records;
mod reports;
mod smoothing;
mod stock_modules;
mod support;
mod swap;
mod training;
mod transform;
mod transformer;
