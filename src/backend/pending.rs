//! The outputs of INT8 layers, put off until it is known what becomes of them.
//!
//! A model applies an activation to what a layer gives, or adds something to it. Computed apart, each of these steps reads and writes
//! all values once more. So a layer's output is only written down at first, and such steps are added to it as long as there is one
//! handle; whoever needs the values computes the layer with its steps in one pass, once for all clones.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, TensorMetadata, TensorPrimitive};

use super::fused;
use super::once::Once;
use super::tensor::with_rank;
use super::weight::StockWeight;
use crate::ops::{ConvOp, LinearOp, OutputStep};
use burn_int8_kernels::conv::ConvGeometry;
use burn_int8_kernels::{Activation, ChannelOp};

/// The output of a layer that nobody has computed yet, shared by all clones of the tensor.
#[derive(Debug)]
pub(super) struct Pending<B: Backend> {
    layer: Layer<B>,
    shape: Shape,
    steps: Vec<OutputStep<B>>,
    /// The output after all steps, once somebody has asked for it.
    computed: Once<FloatTensor<B>>,
}

/// A layer and its input.
#[derive(Debug)]
pub(super) struct Layer<B: Backend> {
    pub(super) x: FloatTensor<B>,
    pub(super) weight: Arc<StockWeight<B>>,
    pub(super) bias: Option<FloatTensor<B>>,
    /// The places of a convolution's filters; none of a linear layer.
    pub(super) geometry: Option<ConvGeometry>,
}

impl<B: Backend> Pending<B> {
    /// The output of a layer, of this shape, if it can be put off: kernels of the CPU's compute it, from floats of 32 bits.
    #[allow(clippy::result_large_err, reason = "the layer is computed at once, then")]
    pub(super) fn new(layer: Layer<B>, shape: Shape) -> Result<Self, Layer<B>> {
        let has_values = shape.num_elements() > 0 && (2..=5).contains(&shape.num_dims());
        let is_plain = layer.x.dtype() == DType::F32 && fused::is_on::<B>(&B::float_device(&layer.x));
        if has_values && is_plain && layer.has_steps() {
            return Ok(Self { layer, shape, steps: Vec::new(), computed: Once::new() });
        }
        Err(layer)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape.clone()
    }

    pub(super) fn device(&self) -> B::Device {
        B::float_device(&self.layer.x)
    }

    /// Adds a function of each output, if there is no other handle.
    pub(super) fn activate(this: &mut Arc<Self>, activation: Activation) -> bool {
        Self::add_step(this, || OutputStep::Activate(activation))
    }

    /// Adds the sum with `other`, if it has the same shape and type and there is no other handle.
    pub(super) fn add(this: &mut Arc<Self>, other: &FloatTensor<B>) -> bool {
        let fits = other.dtype() == DType::F32 && other.shape() == this.shape;
        fits && Self::add_step(this, || OutputStep::Add(other.clone()))
    }

    /// Adds an operation with one number for each channel, if `other` has these and the same type, and there is no other handle.
    pub(super) fn with_channels(this: &mut Arc<Self>, op: ChannelOp, other: &FloatTensor<B>) -> bool {
        let mut row = vec![1; this.shape.num_dims()];
        let channels = if this.layer.geometry.is_some() { 1 } else { row.len() - 1 };
        row[channels] = this.shape[channels];
        let fits = other.dtype() == DType::F32 && other.shape().as_slice() == row;
        fits && Self::add_step(this, || OutputStep::Channels(op, other.clone()))
    }

    fn add_step(this: &mut Arc<Self>, step: impl FnOnce() -> OutputStep<B>) -> bool {
        match Arc::get_mut(this) {
            Some(pending) if pending.computed.get().is_none() => {
                pending.steps.push(step());
                true
            }
            _ => false,
        }
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The output, computed once for all clones.
    pub(super) fn output(&self) -> &FloatTensor<B> {
        self.computed.get_or_compute(|| self.layer.compute(&self.shape, &self.steps))
    }

    /// The output of the last handle.
    pub(super) fn into_output(this: Arc<Self>) -> FloatTensor<B> {
        match Arc::try_unwrap(this) {
            Ok(Self { layer, shape, steps, computed }) => {
                computed.into_inner().unwrap_or_else(|| layer.compute(&shape, &steps))
            }
            Err(shared) => shared.output().clone(),
        }
    }
}

impl<B: Backend> Layer<B> {
    fn has_steps(&self) -> bool {
        match &self.geometry {
            Some(geometry) => {
                self.weight.compute(*geometry.spec(), |int8| int8.weights.has_steps(int8.scheme))
            }
            None => self.weight.read(|int8| int8.weights.has_steps(int8.scheme)),
        }
    }

    /// The output, of this shape, after some steps.
    fn compute(&self, shape: &Shape, steps: &[OutputStep<B>]) -> FloatTensor<B> {
        let bias = self.bias.clone().map(TensorPrimitive::Float).map(Tensor::from_primitive);
        let out = with_rank!(shape.num_dims(), D => {
            let x = Tensor::<B, D>::from_primitive(TensorPrimitive::Float(self.x.clone()));
            match self.geometry {
                Some(geometry) => self.weight.compute(*geometry.spec(), |int8| {
                    let op = ConvOp { geometry, scheme: int8.scheme, bias };
                    int8.weights.conv_with_steps(x, op, steps).expect("`has_steps` was asked").into_primitive()
                }),
                None => self.weight.read(|int8| {
                    let op = LinearOp { steps: steps.to_vec(), ..LinearOp::new(int8.scheme, bias) };
                    int8.weights.linear(x, op).into_primitive()
                }),
            }
        }, else { unreachable!("{} axes", shape.num_dims()) });
        out.tensor()
    }
}
