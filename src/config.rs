//! The words of a quantization scheme: plain data.

use burn::config::Config;

pub use burn_int8_kernels::QuantRange;

/// What happens to the inputs of an INT8 layer.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum QuantMode {
    /// Each row, of a convolution each sample, is quantized on the fly with its own scale and multiplied in integers: the
    /// fast way.
    Dynamic,
    /// They stay float and the weights become float in registers: as small, more accurate, not as fast.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerScheme {
    /// Which integers are used.
    pub range: QuantRange,
    /// What happens to the inputs.
    pub mode: QuantMode,
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

    /// The same scheme with other treatment of the inputs.
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
pub struct Int8Config {
    /// Which integers are used, for weights and activations.
    #[config(default = "QuantRange::Symmetric")]
    pub range: QuantRange,
    /// What happens to the inputs of INT8 layers.
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
    /// What it says about every layer that it quantizes.
    pub fn scheme(&self) -> LayerScheme {
        LayerScheme { range: self.range, mode: self.mode }
    }
}
