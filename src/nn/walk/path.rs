//! The way from a model to the module at hand, and Burn's own layers that can be recognised by it.

use crate::nn::record::kind_of;
use crate::outcome::SkipReason;

/// Modules of Burn's that have layers of its own inside, which a user of the module can't exchange.
const BURNS_MODULES: &[&str] = &[
    "MultiHeadAttention",
    "CrossAttention",
    "PositionWiseFeedForward",
    "SwiGlu",
    "TransformerEncoder",
    "TransformerDecoder",
    "Rnn",
    "BiRnn",
    "Gru",
    "BiGru",
    "Lstm",
    "BiLstm",
];

/// Names on the way down, each with the type that holds it.
#[derive(Debug, Default)]
pub(crate) struct ModulePath {
    names: Vec<(String, String)>,
}

/// A parameter of one of Burn's own layers.
pub(crate) enum BurnsParameter {
    /// The weight, by which the layer is counted.
    Weight {
        /// The path of its layer.
        path: String,
        /// The layer's kind.
        kind: &'static str,
        /// The reason why the layer can't be swapped.
        reason: SkipReason,
    },
    /// The bias of the layer at `path`.
    Bias {
        /// The path of its layer.
        path: String,
    },
}

impl ModulePath {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        self.names.push((name.into(), container.into()));
    }

    pub(crate) fn exit(&mut self) {
        self.names.pop();
    }

    /// The path of the module or parameter at hand.
    pub(crate) fn module(&self) -> String {
        joined(&self.names)
    }

    /// The paths of what the parameter at hand may be: the layer whose weight it is, if it is called so, or a parameter of the model's
    /// own.
    pub(crate) fn layer_or_parameter(&self) -> Vec<String> {
        let layer = self.names.split_last().filter(|((name, _), _)| name == "weight");
        layer.map(|(_, layer)| joined(layer)).into_iter().chain([self.module()]).collect()
    }

    /// The path of the module that holds the parameter at hand.
    pub(crate) fn holder(&self) -> String {
        joined(&self.names[..self.names.len().saturating_sub(1)])
    }

    /// Says what the parameter at hand is to a layer of Burn's own, if that holds it.
    pub(crate) fn burns_parameter(&self) -> Option<BurnsParameter> {
        let (name, container) = self.names.last()?;
        let kind = container.strip_prefix("Struct:")?;
        let kind = kind_of(kind)?;
        match name.as_str() {
            "weight" => {
                Some(BurnsParameter::Weight { path: self.holder(), kind, reason: self.why_burns(kind) })
            }
            "bias" => Some(BurnsParameter::Bias { path: self.holder() }),
            _ => None,
        }
    }

    /// Names the outermost module of Burn's around the parameter at hand whose layers are its own.
    fn why_burns(&self, kind: &str) -> SkipReason {
        let mut containers = self.names.iter().filter_map(|(_, container)| container.strip_prefix("Struct:"));
        match containers.find(|name| BURNS_MODULES.contains(name)) {
            Some(module) => SkipReason::InsideBurnsModule { module: module.into(), kind: kind.into() },
            None => SkipReason::BurnsLayer { kind: kind.into() },
        }
    }
}

fn joined(names: &[(String, String)]) -> String {
    names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".")
}
