//! The facts that a walker is told about a layer.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::Element;
use burn_int8_kernels::WeightLayout;

use crate::config::LayerScheme;

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
    /// A number that tells the memory of its weight from others, where that can be seen; tied layers share it.
    pub(crate) copy: Option<usize>,
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
