//! Which layers are quantized, and how: patterns and a closure over layer paths.

use std::fmt;

use glob::{MatchOptions, Pattern};

use crate::config::{Int8Config, LayerScheme};
use crate::error::Int8Error;

/// What a rule is told about a layer.
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
    /// Its kind, such as `Linear`.
    pub kind: &'static str,
    /// The shape of its weight, such as `[d_input, d_output]`.
    pub shape: Vec<usize>,
}

/// Why a layer stays float.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Left {
    NotIncluded,
    Excluded(String),
    ByRule,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIncluded => write!(f, "not included"),
            Self::Excluded(pattern) => write!(f, "excluded by `{pattern}`"),
            Self::ByRule => write!(f, "left by the rule"),
        }
    }
}

type Rule = Box<dyn Fn(&LayerInfo) -> Option<LayerScheme> + Send + Sync>;

/// The configuration, ready to decide.
pub(crate) struct Rules {
    scheme: LayerScheme,
    include: Vec<PathPattern>,
    exclude: Vec<PathPattern>,
    rule: Option<Rule>,
}

impl Rules {
    pub(crate) fn new(config: &Int8Config, rule: Option<Rule>) -> Result<Self, Int8Error> {
        let read = |patterns: &[String]| -> Result<Vec<_>, _> {
            patterns.iter().map(|pattern| PathPattern::new(pattern)).collect()
        };
        Ok(Self {
            scheme: config.scheme(),
            include: read(&config.include)?,
            exclude: read(&config.exclude)?,
            rule,
        })
    }

    /// How to quantize a layer, or why not to.
    pub(crate) fn decide(&self, layer: &LayerInfo) -> Result<LayerScheme, Left> {
        if !self.include.is_empty() && !self.include.iter().any(|p| p.matches(&layer.path)) {
            return Err(Left::NotIncluded);
        }
        if let Some(pattern) = self.exclude.iter().find(|p| p.matches(&layer.path)) {
            return Err(Left::Excluded(pattern.text.clone()));
        }
        match &self.rule {
            None => Ok(self.scheme),
            Some(rule) => rule(layer).ok_or(Left::ByRule),
        }
    }

    /// The first pattern that matches none of `paths`.
    pub(crate) fn unmatched(&self, paths: &[String]) -> Option<&str> {
        let mut patterns = self.include.iter().chain(&self.exclude);
        let unmatched = patterns.find(|pattern| !paths.iter().any(|path| pattern.matches(path)));
        unmatched.map(|pattern| pattern.text.as_str())
    }
}

/// A glob over the names of a path.
struct PathPattern {
    text: String,
    glob: Pattern,
}

impl PathPattern {
    fn new(text: &str) -> Result<Self, Int8Error> {
        let invalid = |reason: String| Int8Error::InvalidPattern { pattern: text.into(), reason };
        if text.is_empty() {
            return Err(invalid("it is empty".into()));
        }
        let glob = Pattern::new(&slashed(text)).map_err(|error| invalid(error.msg.into()))?;
        Ok(Self { text: text.into(), glob })
    }

    /// Whether it matches the path or that of a module above it.
    fn matches(&self, path: &str) -> bool {
        const NAMES: MatchOptions = MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        let path = slashed(path);
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.into_iter().any(|end| self.glob.matches_with(&path[..end], NAMES))
    }
}

/// Dots part the names of a path; the globs know slashes.
fn slashed(path: &str) -> String {
    path.replace('.', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::new(pattern).unwrap().matches(path)
    }

    #[test]
    fn patterns_match_layers_and_modules_above_them() {
        assert!(matches("head", "head"));
        assert!(matches("head", "head.fc1"));
        assert!(!matches("head", "header"));
        assert!(!matches("head", "decoder.head"));
        assert!(matches("encoder.*.query", "encoder.0.query"));
        assert!(!matches("encoder.*.query", "encoder.0.attn.query"));
        assert!(matches("encoder.**.query", "encoder.0.attn.query"));
        assert!(matches("**.query", "query") && matches("**.query", "a.b.query"));
        assert!(matches("layers.[02]", "layers.0.fc") && !matches("layers.[02]", "layers.1.fc"));
        assert!(matches("fc?", "fc1") && !matches("fc?", "fc10"));
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_an_error() {
        for pattern in ["", "fc[1", "a**b"] {
            let error = PathPattern::new(pattern).err();
            assert!(
                matches!(&error, Some(Int8Error::InvalidPattern { pattern: p, .. }) if p == pattern),
                "{pattern}: {error:?}"
            );
        }
    }
}
