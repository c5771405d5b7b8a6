//! The words of a quantization scheme: plain data.

use std::fmt;

use burn::config::Config;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use burn_int8_kernels::{BlockRotation, InputScheme, WeightLayout};
pub use burn_int8_kernels::{InputCodes, QuantRange, Rounding};

/// The way in which an INT8 layer computes.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantMode {
    /// Inputs are quantized on the fly, each row (in a convolution each sample or pixel) with its own scale, and multiplied in integers:
    /// the fast way.
    Dynamic,
    /// Inputs stay float and the weights become float in registers: as small, more accurate, not as fast.
    WeightOnly,
    /// What was found best for the kind of layer: [`Dynamic`](Self::Dynamic), but for depthwise convolutions, which read each
    /// channel alone: there are no four inputs to multiply at once, so that integers bring no speed, and floats no error.
    Auto,
}

/// The rotation of a layer's inputs, and of its weights by the same matrix, before they are quantized.
///
/// The product stays what it is, and a large input is spread over its block, so that the others keep their bits. It needs no data,
/// adds two or three additions a value for each factor of four in the block (three of them in 64) to the pass that quantizes it, and
/// leaves the integer products as they are.
/// [`BlockRotation`](burn_int8_kernels::BlockRotation) has the matrix.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, tensor::Tensor};
/// use burn_int8::{nn::LinearConfig, prelude::*};
///
/// let device = Default::default();
/// let layer = LinearConfig::new(384, 8).init::<NdArray>(&device);
/// let (layer, report) = layer.quantize(&Int8Config::new().with_rotation(Rotation::Block(64)))?;
/// assert_eq!(report.layers[0].scheme.unwrap().rotation, Rotation::Block(64));
/// assert_eq!(layer.forward(Tensor::<_, 2>::ones([2, 384], &device)).dims(), [2, 8]);
/// # Ok::<(), Int8Error>(())
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rotation {
    /// No rotation.
    None,
    /// What was found best for the kind of layer: linear layers and tables with dynamic activations in blocks of 64 inputs, or of 16
    /// where these do not fit; others not at all.
    Auto,
    /// Blocks of so many inputs: of the largest power of two that this number, 256 and the layer allow. Convolutions are not
    /// rotated: on real weights it changed nothing.
    Block(usize),
}

impl Rotation {
    /// The blocks of [`Rotation::Auto`]. Larger ones took more time and were no better on real weights.
    const AUTO: [usize; 2] = [64, 16];

    /// The blocks in which the inputs of such a layer are rotated.
    fn for_layer(self, layout: &WeightLayout, mode: QuantMode) -> BlockRotation {
        let largest_up_to = |largest| BlockRotation::largest_for(layout.inputs(), largest);
        match (self, layout, mode) {
            (Self::None, ..) | (_, WeightLayout::Conv(_), _) => BlockRotation::NONE,
            (Self::Block(largest), ..) => largest_up_to(largest),
            (Self::Auto, _, QuantMode::Dynamic) => {
                let fitting = Self::AUTO.into_iter().find(|block| largest_up_to(*block).block() == *block);
                fitting.map_or(BlockRotation::NONE, largest_up_to)
            }
            (Self::Auto, ..) => BlockRotation::NONE,
        }
    }
}

impl From<BlockRotation> for Rotation {
    fn from(rotation: BlockRotation) -> Self {
        if rotation.is_none() { Self::None } else { Self::Block(rotation.block()) }
    }
}

/// The smoothing of a layer's inputs, as in SmoothQuant: channels whose inputs are large are made smaller, and their weights larger by
/// as much. The factors are powers of two, which round nothing, and come from inputs that were seen.
///
/// # Example
///
/// ```
/// use burn_int8::Smoothing;
///
/// assert_eq!(Smoothing::strength(0.5), Smoothing::Percent(50));
/// assert_eq!(Smoothing::strength(0.0), Smoothing::None);
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Smoothing {
    /// No smoothing.
    None,
    /// The strength that errs least in each layer, on the inputs that were seen, or none.
    Auto,
    /// The share of the difference between channels that moves from the inputs to the weights, in percent: from 100, where
    /// all inputs are as large, down to 0, where all weights are. A layer takes more than 100 for 100.
    Percent(u8),
}

impl Smoothing {
    /// The smoothing of this strength, from 0 to 1; what is outside is brought inside, and NaN is none.
    pub fn strength(strength: f32) -> Self {
        match (strength.clamp(0.0, 1.0) * 100.0).round() as u8 {
            0 => Self::None,
            percent => Self::Percent(percent),
        }
    }

    /// The same, with the strength that it has in a layer.
    fn for_layer(self) -> Self {
        if let Self::Percent(percent) = self { Self::Percent(percent.min(Self::STRONGEST)) } else { self }
    }

    /// Refuses a strength that no layer has.
    pub(crate) fn check(self) -> Result<(), String> {
        match self {
            Self::Percent(percent) if percent > Self::STRONGEST => {
                Err(format!("a smoothing is of at most {} %, not {percent} %", Self::STRONGEST))
            }
            _ => Ok(()),
        }
    }

    /// The percentage where all inputs are as large.
    const STRONGEST: u8 = 100;
}

/// The way in which one layer is quantized.
///
/// # Example
///
/// ```
/// use burn_int8::{QuantMode, LayerScheme, QuantRange};
///
/// let scheme = LayerScheme::default();
/// assert_eq!(scheme.range, QuantRange::Symmetric);
/// assert_eq!(scheme.mode, QuantMode::Auto);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerScheme {
    /// The integers that are used.
    pub range: QuantRange,
    /// The way in which the layer computes.
    pub mode: QuantMode,
    /// The rotation of its inputs: as it was asked for, and in an INT8 layer as it is, [`Rotation::None`] or [`Rotation::Block`].
    #[serde(default = "no_rotation")]
    pub rotation: Rotation,
    /// The rounding of its weights; tables are rounded to the nearest integer.
    #[serde(default = "to_nearest")]
    pub rounding: Rounding,
    /// The smoothing of its inputs, where inputs were seen.
    #[serde(default = "no_smoothing", deserialize_with = "checked_smoothing")]
    pub smoothing: Smoothing,
    /// The integers of its inputs; those of a layer with weights only, or with rotated inputs, are [`InputCodes::Signed`].
    #[serde(default = "signed_codes")]
    pub codes: InputCodes,
}

/// The integers of schemes that were written before there were others.
fn signed_codes() -> InputCodes {
    InputCodes::Signed
}

/// The smoothing of schemes that were written before there was one.
fn no_smoothing() -> Smoothing {
    Smoothing::None
}

/// Reads a smoothing, and refuses a strength that no layer has.
fn checked_smoothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Smoothing, D::Error> {
    let smoothing = Smoothing::deserialize(deserializer)?;
    smoothing.check().map(|()| smoothing).map_err(D::Error::custom)
}

/// The rotation of schemes that were written before there was one.
fn no_rotation() -> Rotation {
    Rotation::None
}

/// The rounding of schemes that were written before there was another.
fn to_nearest() -> Rounding {
    Rounding::Nearest
}

/// The scheme as a report has it: `dynamic activations`, `weight-only, full range`.
impl fmt::Display for LayerScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mode {
            QuantMode::Auto => "dynamic activations where they are faster",
            QuantMode::Dynamic => "dynamic activations",
            QuantMode::WeightOnly => "weight-only",
        })?;
        if self.range == QuantRange::Full {
            f.write_str(", full range")?;
        }
        if self.codes == InputCodes::Auto && self.mode != QuantMode::WeightOnly {
            f.write_str(", unsigned where not negative")?;
        }
        match self.rotation {
            Rotation::None => Ok(()),
            Rotation::Auto => f.write_str(", rotated"),
            Rotation::Block(block) => write!(f, ", rotated by {block}"),
        }?;
        if let Smoothing::Percent(percent) = self.smoothing {
            write!(f, ", smoothed by {percent} %")?;
        }
        if self.rounding == Rounding::KeepSums { f.write_str(", sums kept") } else { Ok(()) }
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

    /// The same scheme with another rotation.
    pub fn with_rotation(self, rotation: Rotation) -> Self {
        Self { rotation, ..self }
    }

    /// The same scheme with another rounding.
    pub fn with_rounding(self, rounding: Rounding) -> Self {
        Self { rounding, ..self }
    }

    /// The same scheme with another smoothing.
    pub fn with_smoothing(self, smoothing: Smoothing) -> Self {
        Self { smoothing, ..self }
    }

    /// The same scheme with other integers for inputs.
    pub fn with_codes(self, codes: InputCodes) -> Self {
        Self { codes, ..self }
    }

    /// What Keras computes: see [`Int8Config::keras`].
    pub fn keras() -> Self {
        Int8Config::keras().scheme()
    }

    /// The scheme of a layer of this layout: nothing is left to be chosen.
    pub(crate) fn for_layer(self, layout: &WeightLayout) -> Self {
        let is_depthwise = matches!(layout, WeightLayout::Conv(spec) if spec.group_channels()[0] == 1);
        let mode = match self.mode {
            QuantMode::Auto if is_depthwise => QuantMode::WeightOnly,
            QuantMode::Auto => QuantMode::Dynamic,
            mode => mode,
        };
        let rotation = self.rotation.for_layer(layout, mode).into();
        let is_table = matches!(layout, WeightLayout::Table(_));
        let rounding = if is_table { Rounding::Nearest } else { self.rounding };
        // A convolution's inputs are not transformed.
        let is_conv = matches!(layout, WeightLayout::Conv(_));
        let smoothing = if is_conv { Smoothing::None } else { self.smoothing.for_layer() };
        let is_signed = mode == QuantMode::WeightOnly || rotation != Rotation::None;
        let codes = if is_signed { InputCodes::Signed } else { self.codes };
        Self { mode, rotation, rounding, smoothing, codes, ..self }
    }

    /// The way in which inputs are quantized.
    pub(crate) fn inputs(&self) -> InputScheme {
        InputScheme::from(self.range).with_codes(self.codes)
    }

    /// The blocks in which the inputs of a layer of this layout are rotated.
    pub(crate) fn block_rotation(&self, layout: &WeightLayout) -> BlockRotation {
        self.rotation.for_layer(layout, self.mode)
    }
}

/// The way in which a model is quantized.
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
    /// The way in which INT8 layers compute.
    #[config(default = "QuantMode::Auto")]
    pub mode: QuantMode,
    /// The rotation of inputs before they are quantized.
    #[config(default = "Rotation::Auto")]
    pub rotation: Rotation,
    /// The rounding of weights.
    #[config(default = "Rounding::KeepSums")]
    pub rounding: Rounding,
    /// The integers of inputs.
    #[config(default = "InputCodes::Auto")]
    pub codes: InputCodes,
    /// Only layers that match one of these patterns are quantized, if there are any.
    #[config(default = "Vec::new()")]
    pub include: Vec<String>,
    /// Layers that match one of these patterns stay float.
    #[config(default = "Vec::new()")]
    pub exclude: Vec<String>,
    /// The parameters of a model's own that products read: `x.matmul(w)`, where `w` is `[d_input, d_output]`. Those that match one of
    /// these patterns are quantized as the weight of a linear layer is, on the backend [`Int8`](crate::Int8), if the other patterns
    /// let them through.
    #[config(default = "Vec::new()")]
    pub products: Vec<String>,
}

impl Int8Config {
    /// What Keras' `model.quantize("int8")` computes: all inputs quantized by the absmax of their row or sample to integers with a
    /// sign, no rotation, each weight rounded to the nearest integer.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_int8::{Int8Config, QuantMode};
    ///
    /// assert_eq!(Int8Config::keras().mode, QuantMode::Dynamic);
    /// ```
    pub fn keras() -> Self {
        Self::new()
            .with_mode(QuantMode::Dynamic)
            .with_rotation(Rotation::None)
            .with_rounding(Rounding::Nearest)
            .with_codes(InputCodes::Signed)
    }

    /// The scheme of every layer that it quantizes.
    pub fn scheme(&self) -> LayerScheme {
        let Self { range, mode, rotation, rounding, codes, .. } = *self;
        LayerScheme { range, mode, rotation, rounding, smoothing: Smoothing::None, codes }
    }
}
