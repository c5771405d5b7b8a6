//! The layers of a model, in order.

use burn::module::Module;
use burn::prelude::*;
use burn_int8_kernels::WeightLayout;

use crate::nn::walk::{
    BurnsParameter, FloatBytes, FloatFacts, Int8Facts, LayerVisitor, LayerWalker, ModulePath,
};
use crate::outcome::{LayerInfo, SkipReason};

/// A layer as it was found.
pub(crate) struct FoundLayer {
    pub(crate) info: LayerInfo,
    pub(crate) state: FoundState,
}

/// How a layer was found.
pub(crate) enum FoundState {
    /// It can become INT8, unless an output channel has a weight that is not finite.
    Float {
        layout: WeightLayout,
        bytes: FloatBytes,
        non_finite: Option<usize>,
    },
    Int8(Int8Facts),
    /// It is one of Burn's own, which can't be swapped.
    Burns {
        bytes: FloatBytes,
        reason: SkipReason,
    },
}

/// Collects all layers of a model, and the bytes of its other parameters.
#[derive(Default)]
pub(crate) struct LayerCollector {
    pub(crate) layers: Vec<FoundLayer>,
    pub(crate) other: FloatBytes,
    reads_weights: bool,
    path: ModulePath,
}

impl LayerCollector {
    /// Reads shapes only, so that no parameter is initialised.
    pub(crate) fn shapes_of<B: Backend>(model: &impl Module<B>) -> Self {
        LayerVisitor::lead(model, Self::default())
    }

    /// Also looks at every float weight, which initialises them.
    pub(crate) fn weights_of<B: Backend>(model: &impl Module<B>) -> Self {
        LayerVisitor::lead(model, Self { reads_weights: true, ..Self::default() })
    }

    fn add(&mut self, path: String, kind: &'static str, shape: Vec<usize>, state: FoundState) {
        self.layers.push(FoundLayer { info: LayerInfo { path, kind, shape }, state });
    }
}

impl LayerWalker for LayerCollector {
    fn reads_weights(&self) -> bool {
        self.reads_weights
    }

    fn enter(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit(&mut self) {
        self.path.exit();
    }

    fn float(&mut self, layer: FloatFacts) {
        let FloatFacts { kind, layout, bytes, non_finite } = layer;
        let state = FoundState::Float { layout, bytes, non_finite };
        self.add(self.path.module(), kind, layout.shape(), state);
    }

    fn int8(&mut self, layer: Int8Facts) {
        self.add(self.path.module(), layer.kind, layer.shape.clone(), FoundState::Int8(layer));
    }

    fn parameter(&mut self, shape: Vec<usize>, bytes: FloatBytes) {
        match self.path.burns_parameter() {
            Some(BurnsParameter::Weight { path, kind, reason }) => {
                self.add(path, kind, shape, FoundState::Burns { bytes, reason });
            }
            // Its weight is the layer that was seen last.
            Some(BurnsParameter::Bias) => match self.layers.last_mut() {
                Some(FoundLayer { state: FoundState::Burns { bytes: layer, .. }, .. }) => layer.add(bytes),
                _ => self.other.add(bytes),
            },
            None => self.other.add(bytes),
        }
    }
}
