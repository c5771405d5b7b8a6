//! The backend that an example runs on, and with it whose layers its model is made of: this crate's, or Burn's own, which become
//! INT8 on `Int8<B>`.

use clap::ValueEnum;

/// Burn's backends, by the names of their features; those with `int8-` run a model of Burn's own layers.
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
    /// Burn's own layers on `Int8<NdArray>`.
    Int8Ndarray,
    /// Burn's own layers on `Int8<Flex>`; needs `--features flex`.
    #[cfg(feature = "flex")]
    Int8Flex,
}

/// Evaluates an expression with `$Model` as the model on that backend: the one of the module `drop_in` or of `stock`.
macro_rules! with_model {
    ($name:expr, $Model:ident => $body:expr) => {
        match $name {
            $crate::layers::BackendName::Ndarray => {
                type $Model = $crate::drop_in::$Model<burn::backend::NdArray>;
                $body
            }
            #[cfg(feature = "flex")]
            $crate::layers::BackendName::Flex => {
                type $Model = $crate::drop_in::$Model<burn::backend::Flex>;
                $body
            }
            #[cfg(feature = "wgpu")]
            $crate::layers::BackendName::Wgpu => {
                type $Model = $crate::drop_in::$Model<burn::backend::Wgpu>;
                $body
            }
            $crate::layers::BackendName::Int8Ndarray => {
                type $Model = $crate::stock::$Model<burn_int8::Int8<burn::backend::NdArray>>;
                $body
            }
            #[cfg(feature = "flex")]
            $crate::layers::BackendName::Int8Flex => {
                type $Model = $crate::stock::$Model<burn_int8::Int8<burn::backend::Flex>>;
                $body
            }
        }
    };
}
pub(crate) use with_model;
