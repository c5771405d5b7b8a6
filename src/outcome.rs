//! The words for one layer of a model and what becomes of it: plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::LayerScheme;
use crate::error::Int8Error;

/// A layer that can become INT8, as a rule is told about it.
///
/// # Example
///
/// ```
/// use burn::backend::NdArray;
/// use burn_int8::{nn::LinearConfig, prelude::*};
///
/// let layer = LinearConfig::new(8, 4).init::<NdArray>(&Default::default());
/// let (_, report) = layer.quantize_with(&Int8Config::new(), |layer: &LayerInfo| {
///     let small = layer.shape.iter().product::<usize>() < 1000;
///     let scheme = LayerScheme::default();
///     Some(if small { scheme.with_mode(QuantMode::WeightOnly) } else { scheme })
/// })?;
/// # Ok::<(), Int8Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerInfo {
    /// The names of the model's fields that lead to it, such as `encoder.layers.0.fc1`.
    pub path: String,
    /// Its kind, such as `Linear`; `Parameter` for a parameter of the model's own that a product may read.
    pub kind: &'static str,
    /// The shape of its weight, such as `[d_input, d_output]`.
    pub shape: Vec<usize>,
}

/// The reason why a layer was not quantized. `Display` says it in words, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SkipReason {
    /// Nobody has asked to quantize the model.
    NotAsked,
    /// There are include patterns, and none matches.
    NotIncluded,
    /// An exclude pattern matches.
    Excluded {
        /// The first that does.
        pattern: String,
    },
    /// The rule returned `None`.
    ByRule,
    /// In INT8 the answers of the model would be further from those of float than the budget of
    /// [`quantize_within`](crate::Quantize::quantize_within) allows.
    OverBudget,
    /// The loader of [`quantize_on_load`](crate::Quantize::quantize_on_load) had no weights for it.
    NoWeights,
    /// A weight is NaN or infinite.
    NonFiniteWeight {
        /// The first output channel that has one.
        channel: usize,
    },
    /// It was INT8 before.
    AlreadyInt8,
    /// It is a parameter of the model's own, and [`Int8Config::products`](crate::Int8Config::products) does not name it.
    NoProduct,
    /// The layer is Burn's own, which can't be swapped.
    BurnsLayer {
        /// Its kind, such as `Linear`.
        kind: String,
    },
    /// The layer is Burn's own and inside a module that is, by its name, Burn's own, too.
    InsideBurnsModule {
        /// The name of that module, such as `MultiHeadAttention`.
        module: String,
        /// The layer's kind, such as `Linear`.
        kind: String,
    },
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => write!(f, "not quantized"),
            Self::NotIncluded => write!(f, "not included"),
            Self::Excluded { pattern } => write!(f, "excluded by `{pattern}`"),
            Self::ByRule => write!(f, "left by the rule"),
            Self::OverBudget => write!(f, "left float to keep the budget"),
            Self::NoWeights => write!(f, "no weights were loaded"),
            Self::NonFiniteWeight { channel } => {
                write!(f, "the weights of output channel {channel} hold a NaN or an infinity")
            }
            Self::AlreadyInt8 => write!(f, "INT8 already"),
            Self::NoProduct => {
                write!(f, "no layer: if it is read by `x.matmul(w)`, name it in `Int8Config::products`")
            }
            Self::BurnsLayer { kind } => {
                let module = if kind.starts_with("Conv") { "nn::conv" } else { "nn" };
                write!(
                    f,
                    "burn::{module}::{kind} can't be swapped: use burn_int8::nn::{kind}, or the backend Int8 around yours"
                )
            }
            Self::InsideBurnsModule { module, kind } => inside(f, module, kind),
        }
    }
}

/// The remedy for a layer inside a module of Burn's own: the crate has a drop-in module for some of them.
fn inside(f: &mut fmt::Formatter<'_>, module: &str, kind: &str) -> fmt::Result {
    let room = match module {
        "MultiHeadAttention" => "attention",
        "PositionWiseFeedForward" | "TransformerEncoder" => "transformer",
        _ => {
            return write!(
                f,
                "part of {module}: use the backend Int8 around yours, or write that module with burn_int8::nn::{kind}"
            );
        }
    };
    write!(
        f,
        "part of {module}: use the backend Int8 around yours; or, if that is Burn's, burn_int8::nn::{room}::{module}, and if \
         yours, burn_int8::nn::{kind} in it"
    )
}

/// The outcome for one layer that a [`QuantizeMapper`](crate::QuantizeMapper) met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerOutcome {
    /// The layer.
    pub layer: LayerInfo,
    /// The scheme that it was quantized with, or the reason why it was not.
    pub result: Result<LayerScheme, SkipReason>,
}

impl LayerOutcome {
    /// The error that this outcome is for someone who wanted the layer to be quantized: of the reasons for skipping a layer
    /// only weights that are not finite are one.
    pub fn error(&self) -> Option<Int8Error> {
        match self.result {
            Err(SkipReason::NonFiniteWeight { channel }) => {
                Some(Int8Error::NonFiniteWeight { path: self.layer.path.clone(), channel })
            }
            _ => None,
        }
    }
}
