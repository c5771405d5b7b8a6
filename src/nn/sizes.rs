//! The check that a record fits the layer that it is loaded into.

use std::fmt;

use super::layer::FloatLayer;
use super::weight::{WeightParam, groups};

/// The sizes that a record must have in common with its layer.
pub(super) struct Sizes {
    /// The shape of the weight.
    pub(super) shape: Vec<usize>,
    /// The groups of a convolution; none where a record does not tell.
    pub(super) groups: Option<usize>,
    /// The length of the bias.
    pub(super) bias: Option<usize>,
}

impl Sizes {
    /// The sizes of a float layer.
    pub(super) fn of<L: FloatLayer>(layer: &L) -> Self {
        let bias = layer.bias().map(|bias| bias.lazy_shape()[0]);
        let layout = L::layout(&layer.options());
        Self { shape: layout.shape(), groups: Some(groups(&layout)), bias }
    }

    /// Panics unless this record of a layer of this kind fits `layer`.
    pub(super) fn assert_fit(&self, layer: &Self, kind: &str) {
        let same_groups = self.groups.is_none_or(|groups| Some(groups) == layer.groups);
        assert!(
            self.shape == layer.shape && self.bias == layer.bias && same_groups,
            "{kind}: the record holds {self}, but the layer is {layer}; load it into a model of the same configuration",
        );
    }
}

/// Loads a float record.
///
/// # Panics
///
/// With both shapes, if it was saved by a layer of other sizes.
pub(super) fn load_float<L: FloatLayer>(layer: L, record: L::Record) -> L {
    let (weight, bias) = L::record_parts(record);
    let bias_length = bias.as_ref().map(|bias| bias.dims()[0]);
    let saved = Sizes { shape: weight.shape(), groups: None, bias: bias_length };
    let expected = Sizes { shape: L::saved_shape(&layer.options()), ..Sizes::of(&layer) };
    saved.assert_fit(&expected, L::KIND);
    layer.load_record(L::record(weight, bias))
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shape)?;
        if let Some(groups) = self.groups.filter(|groups| *groups != 1) {
            write!(f, " in {groups} groups")?;
        }
        match self.bias {
            Some(n) => write!(f, " with a bias of {n}"),
            None => write!(f, " without bias"),
        }
    }
}
