//! From the sums of a tile to the outputs that a caller gets: one for products and convolutions.
//!
//! | file | contents |
//! |---|---|
//! | `step` | the steps that outputs go through before they are stored |
//! | `rows` | outputs whose channels lie side by side |
//! | `pixels` | outputs whose pixels lie side by side |

mod pixels;
mod rows;
mod step;

pub(crate) use pixels::{Dequantize, Epilogue, FinishPixels, FinishTransposed, PixelRows};
pub(crate) use rows::{DequantizeRows, EncodeRows, RowEpilogue, TileSums};
pub(crate) use step::check_steps;
pub use step::{ChannelOp, Step};

/// The exact integer sums themselves.
#[derive(Clone, Copy)]
pub(crate) struct RawAccumulators;
