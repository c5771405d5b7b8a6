#![doc = include_str!("../README.md")]
#![deny(unnameable_types)]

mod backend;
mod cast;
mod config;
mod distortion;
mod error;
pub mod nn;
mod ops;
mod outcome;
mod quantize;
mod table;

pub use backend::{Int8, Int8QTensor, Int8Tensor, without_fusion};
pub use config::{InputCodes, Int8Config, LayerScheme, QuantMode, QuantRange, Rotation, Rounding, Smoothing};
pub use distortion::Distortion;
pub use error::{Int8Error, QuantizeError};
pub use nn::record::{LayerItem, LayerRecord, RECORD_VERSION};
pub use nn::walk::QuantizeMapper;
pub use outcome::{LayerInfo, LayerOutcome, SkipReason};
pub use quantize::Quantize;
pub use quantize::budget::{
    Attempt, Bound, Budget, BudgetError, BudgetReport, BudgetSearch, LayerChange, Measured, ModelOutput,
};
pub use quantize::fold::{FoldBatchNorm, fold_batch_norm};
pub use quantize::report::{Action, LayerReport, Report};
pub use quantize::sensitivity::{InputRange, LayerSensitivity, SchemeError, Sensitivity};

/// The names that a model file or a program that quantizes one needs.
pub mod prelude {
    pub use crate::{
        Action, Budget, BudgetError, InputCodes, Int8Config, Int8Error, LayerInfo, LayerScheme, QuantMode,
        QuantRange, Quantize, QuantizeError, Report, Rotation, Rounding, Sensitivity, SkipReason, Smoothing,
    };
}

/// The name of the CPU kernel in use, such as `avx512-vnni`.
///
/// It is the fastest that the CPU supports, unless the environment variable `BURN_INT8_KERNEL` names another.
///
/// # Panics
///
/// If that variable names a kernel that does not exist or that the CPU does not support.
///
/// # Example
///
/// ```
/// println!("INT8 runs on {}", burn_int8::cpu_kernel());
/// ```
pub fn cpu_kernel() -> &'static str {
    burn_int8_kernels::Kernel::detect().name()
}

/// The chapters of the documentation.
#[cfg(any(doc, doctest))]
pub mod docs {
    #[doc = include_str!("../docs/guide.md")]
    pub mod guide {}
    #[doc = include_str!("../docs/backend.md")]
    pub mod backend {}
    #[doc = include_str!("../docs/layers.md")]
    pub mod layers {}
    #[doc = include_str!("../docs/saving.md")]
    pub mod saving {}
    #[doc = include_str!("../docs/gpu.md")]
    pub mod gpu {}
    #[doc = include_str!("../docs/accuracy.md")]
    pub mod accuracy {}
    #[doc = include_str!("../docs/numerics.md")]
    pub mod numerics {}
    #[doc = include_str!("../docs/performance.md")]
    pub mod performance {}
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("../docs/microkernels.md")]
    pub mod microkernels {}
}
