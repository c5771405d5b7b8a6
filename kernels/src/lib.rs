#![doc = include_str!("../README.md")]

mod activate;
mod attention;
pub mod conv;
mod epilogue;
pub mod gemm;
#[allow(
    unsafe_code,
    reason = "intrinsics; every block carries the proof that the CPU has them and the memory is there"
)]
mod isa;
mod norm;
mod parallel;
mod quantize;
mod range;
mod scratch;
#[cfg(test)]
mod tests;
mod transform;
mod uninit;
mod vecmath;
mod weight;

pub use activate::activate;
pub use attention::{Attention, Mask, StridedHeads, attention};
pub use epilogue::{ChannelOp, Step};
pub use isa::{Kernel, KernelError, OVERRIDE};
pub use norm::{Norm, layer_norm};
pub use quantize::quantize_rows;
pub use range::{InputCodes, InputScheme, MAX_ABSMAX, MIN_ABSMAX, PRESCALE, QuantRange};
pub use transform::{BlockRotation, InputTransform};
pub use vecmath::Activation;
pub use weight::{
    ConvSpec, MAX_EXACT_INPUTS, NotFinite, PackOrder, PackedWeights, QTensor, QTensorError, QuantError,
    Rounding, WeightLayout,
};
