//! A visitor that the layers of this crate recognise.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::Element;
use burn_int8_kernels::WeightLayout;

use super::parameter::FloatParameter;
use crate::config::LayerScheme;
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

/// The size of float parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct FloatBytes {
    /// Bytes in a file of full precision, which holds `f32` whatever a backend computes with.
    pub(crate) saved: usize,
    /// Bytes in memory.
    pub(crate) memory: usize,
}

impl FloatBytes {
    /// The size of `count` values of the backend's default float type.
    pub(crate) fn new<B: Backend>(count: usize) -> Self {
        Self { saved: count * size_of::<f32>(), memory: count * B::FloatElem::dtype().size() }
    }

    /// Asks for the shape alone: reading the value would initialise a parameter that has never been used.
    pub(super) fn of<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> Self {
        Self::new::<B>(param.lazy_shape().num_elements())
    }

    /// Adds those of another parameter.
    pub(crate) fn add(&mut self, other: Self) {
        self.saved += other.saved;
        self.memory += other.memory;
    }
}

/// The facts that a walker is told about a float layer.
pub(crate) struct FloatFacts {
    pub(crate) kind: &'static str,
    pub(crate) layout: WeightLayout,
    pub(crate) bytes: FloatBytes,
    /// The first output channel with a weight that is not finite, if weights are read.
    pub(crate) non_finite: Option<usize>,
}

/// The facts that a walker is told about an INT8 layer.
#[derive(Debug, Clone)]
pub(crate) struct Int8Facts {
    pub(crate) kind: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) scheme: LayerScheme,
    /// Signal to quantization noise of its weights in dB, if there is a noise.
    pub(crate) sqnr_db: Option<f32>,
    /// The name of the kernel that computes it.
    pub(crate) kernel: &'static str,
    /// Bytes of a saved float layer.
    pub(crate) float_bytes: usize,
    /// Bytes of this layer as saved.
    pub(crate) int8_bytes: usize,
    /// Bytes of this layer in memory.
    pub(crate) memory_bytes: usize,
    /// A number that tells its copy of the weights from others; tied layers share one.
    pub(crate) copy: usize,
    /// The number of times that an operation has read the weight as floats; only one of Burn's own layers allows that.
    pub(crate) float_reads: usize,
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
        walker.float(FloatFacts { kind: L::KIND, layout, bytes: bytes.0, non_finite });
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
