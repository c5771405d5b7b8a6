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
use crate::config::{LayerScheme, QuantMode};
use crate::ops::{ConvImage, ConvOp, LinearOp, OutputStep};
use burn_int8_kernels::conv::ConvGeometry;
use burn_int8_kernels::{Activation, ChannelOp, InputCodes};

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
    pub(super) x: ConvImage<B>,
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
        let is_single = match &layer.x {
            ConvImage::Floats(x) => x.dtype() == DType::F32,
            ConvImage::Codes { .. } => true,
        };
        let is_plain = is_single && fused::is_on::<B>(&layer.x.device());
        if has_values && is_plain && layer.has_steps() {
            return Ok(Self { layer, shape, steps: Vec::new(), computed: Once::new() });
        }
        Err(layer)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape.clone()
    }

    pub(super) fn device(&self) -> B::Device {
        self.layer.x.device()
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

    /// The output in integers, for the convolution that reads it: if nobody else has a handle, the last step bounds it between zero and a
    /// number, and the schemes of both allow it. The convolution then reads a quarter of the bytes, and each value is rounded by 1/510 of
    /// that number at most.
    pub(super) fn into_codes(
        this: Arc<Self>,
        reader: &StockWeight<B>,
        geometry: &ConvGeometry,
    ) -> Result<ConvImage<B>, Arc<Self>> {
        let bound = match this.steps.last() {
            Some(&OutputStep::Activate(Activation::Clamp([0.0, high]))) => high,
            Some(OutputStep::Activate(Activation::Sigmoid)) => 1.0,
            _ => return Err(this),
        };
        let is_bounded = bound > 0.0 && bound.is_finite();
        let allow = |writer| Layer::allow_codes([(&this.layer.weight, writer), (reader, geometry)]);
        let is_allowed = is_bounded && this.layer.geometry.as_ref().is_some_and(allow);
        if !is_allowed || this.computed.get().is_some() {
            return Err(this);
        }
        let Self { layer, steps, .. } = Arc::try_unwrap(this)?;
        Ok(layer.convolve(&steps, Some(bound)))
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

    /// Says whether integers may go from one convolution to the next. The scheme of one of them must leave the integers of inputs open; a
    /// depthwise one, which is weight-only, says nothing about them, and goes with the other.
    fn allow_codes(layers: [(&StockWeight<B>, &ConvGeometry); 2]) -> bool {
        let schemes = layers.map(|(weight, geometry)| {
            weight.compute(*geometry.spec(), |int8| {
                let is_put_off = fused::is_on::<B>(&int8.device) && int8.weights.has_steps(int8.scheme);
                is_put_off.then_some(int8.scheme)
            })
        });
        let is_open = |scheme: &LayerScheme| scheme.codes == InputCodes::Auto;
        let [Some(one), Some(other)] = &schemes else { return false };
        (is_open(one) || is_open(other))
            && [one, other].into_iter().all(|scheme| is_open(scheme) || scheme.mode == QuantMode::WeightOnly)
    }

    /// The input of a layer that was not put off.
    pub(super) fn into_floats(self) -> FloatTensor<B> {
        match self.x {
            ConvImage::Floats(x) => x,
            ConvImage::Codes { .. } => unreachable!("integers are of a convolution that is put off"),
        }
    }

    fn bias(&self) -> Option<Tensor<B, 1>> {
        self.bias.clone().map(TensorPrimitive::Float).map(Tensor::from_primitive)
    }

    /// The output of a convolution after some steps: integers if it has a bound that is given.
    fn convolve(&self, steps: &[OutputStep<B>], bound: Option<f32>) -> ConvImage<B> {
        let geometry = self.geometry.expect("a convolution has a geometry");
        self.weight.compute(*geometry.spec(), |int8| {
            let op = ConvOp { geometry, scheme: int8.scheme, bias: self.bias() };
            int8.weights.conv_of_image(&self.x, op, steps, bound).expect("`has_steps` was asked")
        })
    }

    /// The output, of this shape, after some steps.
    fn compute(&self, shape: &Shape, steps: &[OutputStep<B>]) -> FloatTensor<B> {
        let x = match &self.x {
            ConvImage::Floats(x) if self.geometry.is_none() => x.clone(),
            _ => match self.convolve(steps, None) {
                ConvImage::Floats(out) => return out,
                ConvImage::Codes { .. } => unreachable!("integers have a bound"),
            },
        };
        let out = with_rank!(shape.num_dims(), D => {
            let x = Tensor::<B, D>::from_primitive(TensorPrimitive::Float(x));
            self.weight.read(|int8| {
                let op = LinearOp { steps: steps.to_vec(), ..LinearOp::new(int8.scheme, self.bias()) };
                int8.weights.linear(x, op).into_primitive()
            })
        }, else { unreachable!("{} axes", shape.num_dims()) });
        out.tensor()
    }
}
