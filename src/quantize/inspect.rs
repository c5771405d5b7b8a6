//! The layers of a model, in order.

use std::collections::HashSet;

use burn::module::Module;
use burn::prelude::*;
use burn_int8_kernels::WeightLayout;

use crate::nn::record::{PARAMETER, layout_of};
use crate::nn::walk::{
    BurnsParameter, FloatBytes, FloatFacts, FloatParameter, Int8Facts, LayerVisitor, LayerWalker, ModulePath,
    ParameterState, shape_of_product,
};
use crate::outcome::{LayerInfo, SkipReason};

/// A layer as it was found.
pub(crate) struct FoundLayer {
    pub(crate) info: LayerInfo,
    pub(crate) state: FoundState,
    /// A number that tells the memory of its weight from others, where that can be seen; tied layers share it.
    pub(crate) copy: Option<usize>,
    /// True if its weight is in memory that was met before.
    pub(crate) is_shared: bool,
}

/// The state that a layer was found in.
pub(crate) enum FoundState {
    /// It can become INT8, unless an output channel has a weight that is not finite.
    Float {
        layout: WeightLayout,
        bytes: FloatBytes,
        non_finite: Option<usize>,
        /// True for a layer of Burn's, whose weight becomes INT8 where it stands, and for a parameter of the model's own.
        is_parameter: bool,
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
    /// The memory that was met.
    copies: HashSet<usize>,
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

    /// The state of the weight of a layer of Burn's.
    fn state_of_weight(
        &self,
        weight: &dyn FloatParameter,
        kind: &'static str,
        shape: &[usize],
        reason: SkipReason,
    ) -> FoundState {
        let bytes = weight.bytes();
        match (weight.state(), layout_of(kind, shape, 1)) {
            (ParameterState::Int8(facts), _) => FoundState::Int8(facts),
            (ParameterState::Float, Some(layout)) => {
                let non_finite = self.reads_weights.then(|| weight.non_finite_channel(&layout)).flatten();
                FoundState::Float { layout, bytes, non_finite, is_parameter: true }
            }
            _ => FoundState::Burns { bytes, reason },
        }
    }

    /// The bias of a layer of Burn's, which comes after its weight.
    fn bias(&mut self, path: &str, bias: FloatBytes) {
        let layer = self.layers.last_mut().filter(|layer| layer.info.path == path);
        match layer.map(|layer| (&mut layer.state, &layer.info)) {
            Some((FoundState::Burns { bytes, .. }, _)) => bytes.add(bias),
            Some((FoundState::Float { bytes, layout, .. }, info)) => {
                bytes.add(bias);
                // A weight does not know the groups of a transposed convolution, the number of its outputs tells.
                let channels = bias.saved / size_of::<f32>();
                let groups = channels.checked_div(info.shape[1]).unwrap_or(1).max(1);
                if matches!(layout, WeightLayout::Conv(spec) if spec.transposed) {
                    *layout = layout_of(info.kind, &info.shape, groups).unwrap_or(*layout);
                }
            }
            Some((FoundState::Int8(facts), _)) => {
                facts.float_bytes += bias.saved;
                facts.int8_bytes += bias.saved;
                facts.memory_bytes += bias.memory;
            }
            None => self.other.add(bias),
        }
    }

    fn add(
        &mut self,
        (path, kind, shape): (String, &'static str, Vec<usize>),
        state: FoundState,
        copy: Option<usize>,
    ) {
        let (info, is_shared) = (LayerInfo { path, kind, shape }, self.is_shared(copy));
        self.layers.push(FoundLayer { info, state, copy, is_shared });
    }

    /// Says whether this memory was met before.
    fn is_shared(&mut self, copy: Option<usize>) -> bool {
        copy.is_some_and(|copy| !self.copies.insert(copy))
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
        let FloatFacts { kind, layout, bytes, non_finite, copy } = layer;
        let state = FoundState::Float { layout, bytes, non_finite, is_parameter: false };
        self.add((self.path.module(), kind, layout.shape()), state, copy);
    }

    fn int8(&mut self, layer: Int8Facts) {
        let copy = Some(layer.copy);
        self.add((self.path.module(), layer.kind, layer.shape.clone()), FoundState::Int8(layer), copy);
    }

    fn parameter(&mut self, parameter: &dyn FloatParameter) {
        match self.path.burns_parameter() {
            Some(BurnsParameter::Weight { path, kind, reason }) => {
                let shape = parameter.shape_in(kind);
                let state = self.state_of_weight(parameter, kind, &shape, reason);
                let copy = copy_of(&state, parameter);
                self.add((path, kind, shape), state, copy);
            }
            Some(BurnsParameter::Bias { path }) => self.bias(&path, parameter.bytes()),
            None => match shape_of_product(parameter) {
                Some(shape) => {
                    let state = self.state_of_weight(parameter, PARAMETER, &shape, SkipReason::NoProduct);
                    let copy = copy_of(&state, parameter);
                    self.add((self.path.module(), PARAMETER, shape), state, copy);
                }
                None => {
                    let FloatBytes { saved, memory } = parameter.bytes();
                    let memory = if self.is_shared(parameter.copy()) { 0 } else { memory };
                    self.other.add(FloatBytes { saved, memory });
                }
            },
        }
    }
}

/// A number that tells the memory of a weight of Burn's from others.
fn copy_of(state: &FoundState, parameter: &dyn FloatParameter) -> Option<usize> {
    match state {
        FoundState::Int8(facts) => Some(facts.copy),
        _ => parameter.copy(),
    }
}
