//! INT8 weights: how they lie in a tensor, the gate through which they enter, and the one copy that the kernels read.

mod channel;
mod layout;
mod pack;
mod qtensor;
mod rounding;

pub use channel::QuantError;
pub use layout::{ConvSpec, MAX_EXACT_INPUTS, PackOrder, WeightLayout};
pub(crate) use layout::{KR, Subconvolution};
pub(crate) use pack::{COLUMN_BLOCK, NR, Panel};
pub use pack::{NotFinite, PackedWeights};
pub use qtensor::{QTensor, QTensorError};
pub use rounding::Rounding;
