//! The words of a quantization scheme: plain data.

use std::fmt;

use burn::config::Config;
use serde::{Deserialize, Serialize};

pub use burn_int8_kernels::QuantRange;

/// How an INT8 layer computes.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantMode {
    /// Inputs are quantized on the fly, each row (in a convolution each sample) with its own scale, and multiplied in integers:
    /// the fast way.
    Dynamic,
    /// Inputs stay float and the weights become float in registers: as small, more accurate, not as fast.
    WeightOnly,
}

/// How one layer is quantized.
///
/// # Example
///
/// ```
/// use burn_int8::{QuantMode, LayerScheme, QuantRange};
///
/// let scheme = LayerScheme::default();
/// assert_eq!(scheme.range, QuantRange::Symmetric);
/// assert_eq!(scheme.mode, QuantMode::Dynamic);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerScheme {
    /// The integers that are used.
    pub range: QuantRange,
    /// How the layer computes.
    pub mode: QuantMode,
}

/// The scheme as a report has it: `dynamic activations`, `weight-only, full range`.
impl fmt::Display for LayerScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mode {
            QuantMode::Dynamic => "dynamic activations",
            QuantMode::WeightOnly => "weight-only",
        })?;
        if self.range == QuantRange::Full { f.write_str(", full range") } else { Ok(()) }
    }
}

impl Default for LayerScheme {
    fn default() -> Self {
        Int8Config::new().scheme()
    }
}

impl LayerScheme {
    /// The same scheme with other integers.
    pub fn with_range(self, range: QuantRange) -> Self {
        Self { range, ..self }
    }

    /// The same scheme with another way to compute.
    pub fn with_mode(self, mode: QuantMode) -> Self {
        Self { mode, ..self }
    }
}

/// How a model is quantized.
///
/// Patterns match the path of a layer or of a module above it, with the names of the model's fields:
/// `encoder.layers.0.fc1`. `*` and `?` stay within one name, `**` crosses the dots, `[ab]` lists characters. A layer is
/// quantized if `include` is empty or matches it, and `exclude` does not.
///
/// # Example
///
/// ```
/// use burn_int8::{QuantMode, Int8Config};
///
/// let config = Int8Config::new()
///     .with_mode(QuantMode::WeightOnly)
///     .with_exclude(vec!["head".into(), "encoder.*.query".into()]);
/// assert!(config.include.is_empty());
/// ```
#[derive(Config, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Int8Config {
    /// The integers that are used, for weights and activations.
    #[config(default = "QuantRange::Symmetric")]
    pub range: QuantRange,
    /// How INT8 layers compute.
    #[config(default = "QuantMode::Dynamic")]
    pub mode: QuantMode,
    /// If not empty, only layers that match one of these patterns are quantized.
    #[config(default = "Vec::new()")]
    pub include: Vec<String>,
    /// Layers that match one of these patterns stay float.
    #[config(default = "Vec::new()")]
    pub exclude: Vec<String>,
}

impl Int8Config {
    /// The scheme of every layer that it quantizes.
    pub fn scheme(&self) -> LayerScheme {
        LayerScheme { range: self.range, mode: self.mode }
    }
}
