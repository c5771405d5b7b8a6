//! Device code, for every runtime of CubeCL's.
//!
//! | file | what it holds |
//! |---|---|
//! | `round` | division and rounding that come out the same on every device |
//! | `rotate` | the rotation of rows |
//! | `quantize` | floats to integers, row by row or image by image |
//! | `tile` | a tile of outputs: its weights, its sums, how they leave |
//! | `gemm` | matrix products |
//! | `conv` | convolutions |
//! | `embed` | the rows of a table |
//! | `dot` | four products in one instruction |

pub(super) mod conv;
pub(super) mod dot;
pub(super) mod embed;
pub(super) mod gemm;
pub(super) mod quantize;
pub(super) mod rotate;
pub(super) mod round;
pub(super) mod tile;
