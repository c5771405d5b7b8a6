//! The words of a quantization scheme: plain data.

use burn::config::Config;

use crate::kernel::Levels;

/// Which integers stand for the largest magnitude of a channel or row.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Range {
    /// `scale = absmax / 127`, integers `-127..=127`: what Keras computes.
    Symmetric,
    /// `scale = absmax / 128`, integers `-128..=127`: what Keras' guide describes. The largest positive value clips by a
    /// whole step, which shows in layers with few inputs.
    Full,
}

/// What happens to the inputs of an INT8 layer.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Activations {
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
/// use burn_int8::{Activations, LayerScheme, Range};
///
/// let scheme = LayerScheme::default();
/// assert_eq!(scheme.range, Range::Symmetric);
/// assert_eq!(scheme.activations, Activations::Dynamic);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerScheme {
    /// Which integers are used.
    pub range: Range,
    /// What happens to the inputs.
    pub activations: Activations,
}

impl Default for LayerScheme {
    fn default() -> Self {
        Int8Config::new().scheme()
    }
}

impl LayerScheme {
    /// The same scheme with other integers.
    pub fn with_range(self, range: Range) -> Self {
        Self { range, ..self }
    }

    /// The same scheme with other treatment of the inputs.
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
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
/// use burn_int8::{Activations, Int8Config};
///
/// let config = Int8Config::new()
///     .with_activations(Activations::WeightOnly)
///     .with_exclude(vec!["head".into(), "encoder.*.query".into()]);
/// assert!(config.include.is_empty());
/// ```
#[derive(Config, Debug, PartialEq, Eq)]
pub struct Int8Config {
    /// Which integers are used, for weights and activations.
    #[config(default = "Range::Symmetric")]
    pub range: Range,
    /// What happens to the inputs of INT8 layers.
    #[config(default = "Activations::Dynamic")]
    pub activations: Activations,
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
        LayerScheme { range: self.range, activations: self.activations }
    }
}

impl From<Range> for Levels {
    fn from(range: Range) -> Self {
        match range {
            Range::Symmetric => Self::SYMMETRIC,
            Range::Full => Self::FULL,
        }
    }
}
