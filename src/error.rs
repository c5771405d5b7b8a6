//! The one error type, and the way in which it hands the model back.

use std::fmt;

/// The reason why a layer or a model could not be quantized or folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Int8Error {
    /// A weight is NaN or infinite.
    #[error(
        "{}: the weights of output channel {channel} hold a NaN or an infinity; repair or retrain the layer, or \
         exclude it",
        layer(path)
    )]
    NonFiniteWeight {
        /// The layer's path in the model; empty for a layer that is not in one.
        path: String,
        /// The first output channel that has one.
        channel: usize,
    },
    /// An include or exclude pattern can't be read.
    #[error("pattern `{pattern}` can't be read: {reason}")]
    InvalidPattern {
        /// The pattern as given.
        pattern: String,
        /// The fault in it.
        reason: String,
    },
    /// An include or exclude pattern matches no layer, so it does not do what it was written for.
    #[error(
        "pattern `{pattern}` matches no layer; the model's layers are {}{}",
        list(layers),
        stars(pattern)
    )]
    UnmatchedPattern {
        /// The pattern as given.
        pattern: String,
        /// The paths of all layers.
        layers: Vec<String>,
    },
    /// A pattern of [`Int8Config::products`](crate::Int8Config::products) matches no parameter.
    #[error(
        "pattern `{pattern}` matches no parameter that a product may read: on the backend `Int8` that is a parameter of the model's \
         own, of two axes with more than one position each; the model's are {}{}",
        list(parameters),
        stars(pattern)
    )]
    UnmatchedProduct {
        /// The pattern as given.
        pattern: String,
        /// The paths of all such parameters.
        parameters: Vec<String>,
    },
    /// No layer of the model would become INT8.
    #[error("nothing to quantize: {}", nothing(left, stock))]
    NothingToQuantize {
        /// The paths of the layers and parameters that could become INT8, but that the patterns or the rule leave float.
        left: Vec<String>,
        /// The paths of Burn's own layers, which can't be swapped.
        stock: Vec<String>,
    },
    /// All layers that could become INT8 already are.
    #[error("the model is INT8 already: {}; quantize the float model instead", list(layers))]
    AlreadyInt8 {
        /// The paths of the INT8 layers.
        layers: Vec<String>,
    },
    /// The closure that should show inputs to the model has shown none to a layer that could become INT8.
    #[error(
        "no input has reached a layer that could become INT8: {}; run the `forward` of the model that the closure is \
         given, on inputs that are not empty",
        list(layers)
    )]
    NothingObserved {
        /// The paths of the layers that wait for inputs.
        layers: Vec<String>,
    },
    /// A BatchNorm has not as many channels as the layer that it should be folded into.
    #[error(
        "the layer has {layer} output channels, but the BatchNorm has {norm}; fold the BatchNorm that normalizes this \
         layer's output"
    )]
    ChannelMismatch {
        /// Output channels of the layer.
        layer: usize,
        /// Channels of the BatchNorm.
        norm: usize,
    },
    /// A BatchNorm should be folded into an INT8 layer.
    #[error("the layer is INT8 already; fold the BatchNorm into the float layer, then quantize that")]
    FoldAfterQuantize,
}

fn layer(path: &str) -> String {
    if path.is_empty() { "the layer".into() } else { format!("layer `{path}`") }
}

fn nothing(left: &[String], stock: &[String]) -> String {
    const REMEDY: &str = "use the layers of `burn_int8::nn` in the model";
    match (left, stock) {
        ([], []) => format!("the model has no layer that can become INT8; {REMEDY}"),
        ([], stock) => {
            format!("the model's layers are Burn's own, which can't be swapped: {}; {REMEDY}", list(stock))
        }
        (left, []) => {
            format!("include, exclude, products or the rule leave every layer float: {}", list(left))
        }
        (left, stock) => format!(
            "include, exclude, products or the rule leave float what could become INT8: {}; Burn's own layers can't be swapped: {}",
            list(left),
            list(stock)
        ),
    }
}

/// A hint about a pattern with a star.
fn stars(pattern: &str) -> &'static str {
    if pattern.contains('*') {
        "; a `*` stays within one name, `**.` stands for any number of them"
    } else {
        ""
    }
}

/// A list of as many names as a person reads.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    if names == [""] {
        return "the model itself, which has no path".into();
    }
    let mut text: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => return "none".into(),
        n if n > SHOWN => text.push(format!("and {} more", n - SHOWN)),
        _ => {}
    }
    text.join(", ")
}

/// The reason why a model could not be quantized, with the model as it was.
///
/// # Example
///
/// ```
/// use burn::backend::NdArray;
/// use burn_int8::{nn::LinearConfig, prelude::*};
///
/// let layer = LinearConfig::new(4, 2).init::<NdArray>(&Default::default());
/// let config = Int8Config::new().with_include(vec!["encoder".into()]);
/// let error = layer.quantize(&config).unwrap_err();
/// assert!(error.to_string().contains("`encoder` matches no layer"));
/// let layer = error.into_model();
/// assert!(!layer.is_int8());
/// ```
pub struct QuantizeError<M, E = Int8Error> {
    error: E,
    model: Box<M>,
}

impl<M, E> QuantizeError<M, E> {
    pub(crate) fn new(error: E, model: M) -> Self {
        Self { error, model: Box::new(model) }
    }

    /// The reason.
    pub fn error(&self) -> &E {
        &self.error
    }

    /// The model: unchanged, or as far as it got if a weight that was loaded is not finite.
    pub fn into_model(self) -> M {
        *self.model
    }

    /// The reason and the model.
    pub fn into_parts(self) -> (E, M) {
        (self.error, *self.model)
    }
}

impl<M, E: fmt::Debug> fmt::Debug for QuantizeError<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<M, E: fmt::Display> fmt::Display for QuantizeError<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// The source is the reason. `Display` has its message, too, so that `{error}` alone says what to do.
impl<M, E: std::error::Error + 'static> std::error::Error for QuantizeError<M, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<M> From<QuantizeError<M>> for Int8Error {
    fn from(error: QuantizeError<M>) -> Self {
        error.error
    }
}
