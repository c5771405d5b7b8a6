//! x
#[doc(hidden)]
pub mod kernel;
