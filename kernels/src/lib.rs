//! INT8 arithmetic on slices. Nothing here knows that Burn exists.
//!
//! One equation: `real = scale * q`, with `q` an `i8` and `scale` an `f32` step. Activations are quantized row by row,
//! products are summed exactly in `i32`, and the sums leave as `sum as f32 * (x_scale * w_scale) + bias`.
//!
//! | file | what it holds |
//! |---|---|
//! | `quantize` | f32 rows to integers |
//! | `form` | what a weight tensor is to its layer, and the order of its weights in a matrix |
//! | `pack` | the one copy of a weight matrix, in the order the kernels read it |
//! | `gemm` | the products: dynamic activations, float activations, bare accumulators |
//! | `conv` | convolutions, in the same three ways |
//! | `epilogue` | from sums to outputs |
//! | `math`, `norm`, `attention` | what is computed in floats between products |
//! | `parallel` | disjoint pieces of the output, and the threads that take them |
//! | `isa` | one file per instruction set: the only SIMD, the only `unsafe` |

mod aligned;
mod attention;
pub mod conv;
mod epilogue;
mod form;
mod gemm;
#[allow(
    unsafe_code,
    reason = "intrinsics; every block carries the proof that the CPU has them and the memory is there"
)]
mod isa;
mod math;
mod norm;
mod pack;
mod parallel;
mod quantize;
#[cfg(test)]
mod tests;

pub use attention::{Attention, Mask, StridedHeads, attention};
pub use form::{ConvGeometry, ConvSpec, PackOrder, WeightLayout};
pub use gemm::{Layer, accumulate, dynamic, weight_only};
pub use isa::{Active, NAMES, OVERRIDE, active, supported};
pub use math::Activation;
pub use norm::{Norm, layer_norm};
pub use pack::{NotFinite, PackedWeights, QuantError};
pub use quantize::{MIN_ABSMAX, PRESCALE, QuantRange, quantize_rows};
