//! The backend that an example runs on.

use clap::ValueEnum;

/// Burn's backends, by the names of their features.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BackendName {
    /// The CPU, through Burn's `NdArray`.
    Ndarray,
    /// The CPU, through Burn's `Flex`; needs `--features flex`.
    #[cfg(feature = "flex")]
    Flex,
    /// A GPU, through Burn's `Wgpu`; needs `--features wgpu`.
    #[cfg(feature = "wgpu")]
    Wgpu,
}

/// Evaluates an expression with `$B` as the type of the backend.
macro_rules! with_backend {
    ($name:expr, $B:ident => $body:expr) => {
        match $name {
            $crate::backend::BackendName::Ndarray => {
                type $B = burn::backend::NdArray;
                $body
            }
            #[cfg(feature = "flex")]
            $crate::backend::BackendName::Flex => {
                type $B = burn::backend::Flex;
                $body
            }
            #[cfg(feature = "wgpu")]
            $crate::backend::BackendName::Wgpu => {
                type $B = burn::backend::Wgpu;
                $body
            }
        }
    };
}
pub(crate) use with_backend;
