//! The plan: which layers are quantized, and how, decided once for each layer of a model.

use std::sync::Arc;

use burn_int8_kernels::WeightLayout;
use glob::{MatchOptions, Pattern};

use super::inspect::{FoundLayer, FoundState, LayerCollector};
use crate::config::{Int8Config, LayerScheme};
use crate::error::Int8Error;
use crate::nn::record::PARAMETER;
use crate::nn::walk::HowToQuantize;
use crate::outcome::{LayerInfo, SkipReason};

/// A closure of the user's: the scheme of a layer, or none to leave it float.
pub(crate) type Rule = Box<dyn Fn(&LayerInfo) -> Option<LayerScheme> + Send + Sync>;

/// The configuration, ready to decide.
pub(crate) struct Rules {
    scheme: LayerScheme,
    include: Vec<PathPattern>,
    exclude: Vec<PathPattern>,
    products: Vec<PathPattern>,
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
            products: read(&config.products)?,
            rule,
        })
    }

    /// The scheme for a float layer, or the reason to leave it float.
    pub(crate) fn decide(&self, layer: &LayerInfo) -> Result<LayerScheme, SkipReason> {
        if layer.kind == PARAMETER && !self.products.iter().any(|p| p.matches(&layer.path)) {
            return Err(SkipReason::NoProduct);
        }
        if !self.include.is_empty() && !self.include.iter().any(|p| p.matches(&layer.path)) {
            return Err(SkipReason::NotIncluded);
        }
        if let Some(pattern) = self.exclude.iter().find(|p| p.matches(&layer.path)) {
            return Err(SkipReason::Excluded { pattern: pattern.text.clone() });
        }
        match &self.rule {
            None => Ok(self.scheme),
            Some(rule) => rule(layer).ok_or(SkipReason::ByRule),
        }
    }

    /// The error if a pattern matches nothing.
    fn check_patterns(&self, layers: &[FoundLayer]) -> Result<(), Int8Error> {
        let paths = |is_listed: fn(&LayerInfo) -> bool| -> Vec<String> {
            let listed = layers.iter().filter(|layer| is_listed(&layer.info));
            listed.map(|layer| layer.info.path.clone()).collect()
        };
        let (all, parameters) = (paths(|_| true), paths(|layer| layer.kind == PARAMETER));
        let lacks = |paths: &[String], pattern: &PathPattern| !paths.iter().any(|path| pattern.matches(path));
        if let Some(pattern) = self.include.iter().chain(&self.exclude).find(|pattern| lacks(&all, pattern)) {
            return Err(Int8Error::UnmatchedPattern { pattern: pattern.text.clone(), layers: all });
        }
        match self.products.iter().find(|pattern| lacks(&parameters, pattern)) {
            Some(pattern) => Err(Int8Error::UnmatchedProduct { pattern: pattern.text.clone(), parameters }),
            None => Ok(()),
        }
    }
}

/// The layers of a model, each with what is to become of it.
pub(crate) struct Plan {
    pub(crate) layers: Vec<PlannedLayer>,
}

/// A layer and what is to become of it.
pub(crate) struct PlannedLayer {
    pub(crate) found: FoundLayer,
    pub(crate) decision: Result<LayerScheme, SkipReason>,
    /// The largest magnitude that was seen of each of its inputs; empty if nobody has looked.
    pub(crate) inputs: Arc<[f32]>,
}

impl Plan {
    /// Decides about each layer of a model.
    ///
    /// # Errors
    ///
    /// Everything that can be known to go wrong before anything is changed.
    pub(crate) fn new(rules: &Rules, model: LayerCollector) -> Result<Self, Int8Error> {
        rules.check_patterns(&model.layers)?;
        let layers = model.layers.into_iter().map(|found| PlannedLayer::new(rules, found));
        let plan = Self { layers: layers.collect::<Result<_, _>>()? };
        if plan.layers.iter().any(|layer| layer.decision.is_ok()) { Ok(plan) } else { Err(plan.nothing()) }
    }

    /// The error that says why no layer is to be quantized.
    fn nothing(&self) -> Int8Error {
        let paths = |of: fn(&FoundState) -> bool| -> Vec<String> {
            let layers = self.layers.iter().filter(|layer| of(&layer.found.state));
            layers.map(|layer| layer.found.info.path.clone()).collect()
        };
        let int8 = paths(|state| matches!(state, FoundState::Int8(_)));
        if !int8.is_empty() {
            return Int8Error::AlreadyInt8 { layers: int8 };
        }
        let left = paths(|state| matches!(state, FoundState::Float { .. }));
        Int8Error::NothingToQuantize { left, stock: paths(|state| matches!(state, FoundState::Burns { .. })) }
    }
}

impl PlannedLayer {
    fn new(rules: &Rules, found: FoundLayer) -> Result<Self, Int8Error> {
        let decision = match &found.state {
            FoundState::Float { .. } => rules.decide(&found.info),
            FoundState::Int8(_) => Err(SkipReason::AlreadyInt8),
            FoundState::Burns { reason, .. } => Err(reason.clone()),
        };
        match (&decision, &found.state) {
            (Ok(_), &FoundState::Float { non_finite: Some(channel), .. }) => {
                Err(Int8Error::NonFiniteWeight { path: found.info.path, channel })
            }
            _ => Ok(Self { found, decision, inputs: Arc::default() }),
        }
    }

    /// The way in which it is quantized by this scheme.
    pub(crate) fn how_to_quantize(&self, scheme: LayerScheme) -> HowToQuantize {
        HowToQuantize { inputs: self.inputs.clone(), layout: self.layout(), ..scheme.into() }
    }

    /// The layout of its weight, while it is float.
    pub(crate) fn layout(&self) -> Option<WeightLayout> {
        if let FoundState::Float { layout, .. } = self.found.state { Some(layout) } else { None }
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

    /// Says whether it matches the path or that of a module above it.
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

/// Replaces the dots between the names of a path by slashes, which globs know.
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
