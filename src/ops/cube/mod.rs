//! Devices of CubeCL's: kernels on packed words, the same source for every runtime.
//!
//! | file | what it holds |
//! |---|---|
//! | `linear`, `conv`, `embed` | one operation each: validated, cut into tiles, launched |
//! | `context` | the buffers of an operation in the device's queue, and what all operations need |
//! | `fusion` | from a Burn primitive to a tensor of CubeCL's and back, with and without fusion |
//! | `capabilities` | the limits and the abilities of a device |
//! | `buffer` | device memory with its length |
//! | `kernels` | device code |

mod buffer;
mod capabilities;
mod context;
mod conv;
mod embed;
mod fusion;
mod kernels;
mod linear;
#[cfg(test)]
mod tests;

pub(super) use capabilities::{capabilities, computes, name};
pub(super) use context::addresses_words;
pub(super) use conv::{addresses_conv, conv};
pub(super) use embed::{addresses_embed, embed};
pub(super) use linear::{addresses_linear, linear, transforms};
