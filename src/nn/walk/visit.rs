//! A visitor that the layers of this crate recognise.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;

use super::facts::{FloatBytes, FloatFacts, Int8Facts};
use super::parameter::FloatParameter;
use crate::nn::layer::FloatLayer;
use crate::nn::weight::WeightParam;

/// Someone who looks at the layers of a model.
pub(crate) trait LayerWalker {
    /// Says whether float weights are to be read, which initialises them.
    fn reads_weights(&self) -> bool;

    /// The way leads down, to `name` in a value of the type `container`.
    fn enter(&mut self, name: &str, container: &str);

    /// The way leads back up.
    fn exit(&mut self);

    /// A layer of this crate that is float.
    fn float(&mut self, layer: FloatFacts);

    /// A layer of this crate that is INT8.
    fn int8(&mut self, layer: Int8Facts);

    /// A float parameter of any other module.
    fn parameter(&mut self, parameter: &dyn FloatParameter);
}

/// The visitor that the layers recognise.
pub(crate) struct LayerVisitor {
    walker: Rc<RefCell<dyn LayerWalker>>,
}

impl LayerVisitor {
    /// Leads `walker` through `model`.
    pub(crate) fn lead<B: Backend, W: LayerWalker + Default + 'static>(
        model: &impl Module<B>,
        walker: W,
    ) -> W {
        let shared = Rc::new(RefCell::new(walker));
        model.visit(&mut Self { walker: shared.clone() });
        shared.take()
    }

    pub(crate) fn float<L: FloatLayer>(&mut self, layer: &L) {
        let mut walker = self.walker.borrow_mut();
        let layout = L::layout(&layer.options());
        let non_finite = walker.reads_weights().then(|| layer.weight().non_finite_channel(&layout)).flatten();
        let mut bytes = CountBytes::default();
        layer.visit(&mut bytes);
        let copy = layer.weight().copy();
        walker.float(FloatFacts { kind: L::KIND, layout, bytes: bytes.0, non_finite, copy });
    }

    pub(crate) fn int8(&mut self, layer: Int8Facts) {
        self.walker.borrow_mut().int8(layer);
    }
}

impl<B: Backend> ModuleVisitor<B> for LayerVisitor {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walker.borrow_mut().enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walker.borrow_mut().exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.walker.borrow_mut().parameter(param);
    }
}

/// Adds up the float parameters of one layer.
#[derive(Default)]
struct CountBytes(FloatBytes);

impl<B: Backend> ModuleVisitor<B> for CountBytes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.add(FloatBytes::of(param));
    }
}
