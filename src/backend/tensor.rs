//! The float tensors of [`Int8`](super::Int8).

use burn::prelude::*;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, TensorData, TensorMetadata, TensorPrimitive};

use super::conv::ConvCall;
use super::saved;
use super::weight::WeightView;
use crate::ops::{ConvOp, LinearOp};
use burn_int8_kernels::WeightLayout;

/// A float tensor of [`Int8`](super::Int8): one of the inner backend's, or the weight of a layer in INT8, which linear layers,
/// convolutions, look-ups and products compute with, and which any other operation reads as the floats that it stands for.
#[derive(Clone, Debug)]
pub struct Int8Tensor<B: Backend>(Value<B>);

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a box would cost each operation an allocation")]
enum Value<B: Backend> {
    Float(FloatTensor<B>),
    Weight(WeightView<B>),
}

impl<B: Backend> Int8Tensor<B> {
    pub(super) fn float(tensor: FloatTensor<B>) -> Self {
        Self(Value::Float(tensor))
    }

    pub(super) fn weight(view: WeightView<B>) -> Self {
        Self(Value::Weight(view))
    }

    /// The tensor of the inner backend: of an INT8 weight the floats that it stands for.
    pub(super) fn into_float(self) -> FloatTensor<B> {
        match self.0 {
            Value::Float(tensor) => tensor,
            Value::Weight(view) => view.dequantize(),
        }
    }

    pub(crate) fn as_float(&self) -> Option<&FloatTensor<B>> {
        match &self.0 {
            Value::Float(tensor) => Some(tensor),
            Value::Weight(_) => None,
        }
    }

    pub(super) fn as_weight(&self) -> Option<&WeightView<B>> {
        match &self.0 {
            Value::Float(_) => None,
            Value::Weight(view) => Some(view),
        }
    }

    /// The tensor of the inner backend, whose operations take it with its type.
    fn into_tensor<const D: usize>(self) -> Tensor<B, D> {
        Tensor::from_primitive(TensorPrimitive::Float(self.into_float()))
    }

    fn from_tensor<const D: usize>(tensor: Tensor<B, D>) -> Self {
        Self::float(tensor.into_primitive().tensor())
    }

    pub(super) fn device(&self) -> B::Device {
        match &self.0 {
            Value::Float(tensor) => B::float_device(tensor),
            Value::Weight(view) => view.weight.device(),
        }
    }

    pub(super) fn moved_to(self, device: &B::Device) -> Self {
        match self.0 {
            Value::Float(tensor) => Self::float(B::float_to_device(tensor, device)),
            Value::Weight(view) => Self::weight(view.to_device(device)),
        }
    }

    /// Another view of the same numbers: of an INT8 weight if `weight` has one, else of the floats.
    pub(super) fn view(
        self,
        weight: impl FnOnce(&WeightView<B>) -> Option<WeightView<B>>,
        float: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
    ) -> Self {
        match self.as_weight().and_then(weight) {
            Some(view) => Self::weight(view),
            None => Self::float(float(self.into_float())),
        }
    }

    /// The product `x · self + bias`, if this is an INT8 weight that products are computed with.
    ///
    /// # Panics
    ///
    /// If the last axis of `x` is not that of the weight's inputs.
    pub(super) fn linear(&self, x: &Self, bias: &Option<Self>) -> Option<Self> {
        let view = self.as_weight()?;
        let (shape, [inputs, outputs]) = (x.shape(), view.as_product()?);
        let (last, outer) = shape.as_slice().split_last()?;
        assert!(
            *last == inputs,
            "{}: the last axis of an input of shape {:?} must be {inputs}, as the weight is {:?}",
            view.weight.kind,
            shape.as_slice(),
            view.weight.layout().shape(),
        );
        let rows = Shape::new([outer.iter().product::<usize>(), inputs]);
        let x =
            Tensor::from_primitive(TensorPrimitive::Float(B::float_reshape(x.clone().into_float(), rows)));
        let bias = bias.clone().map(Self::into_tensor);
        let product: Tensor<B, 2> =
            view.weight.compute(None, |int8| int8.weights.linear(x, LinearOp::new(int8.scheme, bias)));
        let shape = [outer, &[outputs]].concat().into();
        Some(Self::float(B::float_reshape(product.into_primitive().tensor(), shape)))
    }

    /// The product `lhs · self`, if this is an INT8 weight that products of `lhs` are computed with.
    pub(super) fn product(&self, lhs: &Self) -> Option<Self> {
        (lhs.rank() == self.rank()).then(|| self.linear(lhs, &None)).flatten()
    }

    /// The rows of an INT8 table at `indices` `[batch, length]`: `[batch, length, width]`.
    pub(super) fn embedding(&self, indices: &IntTensor<B>) -> Option<Self> {
        let view = self.as_weight().filter(|view| view.is_table())?;
        let indices = Tensor::from_primitive(indices.clone());
        Some(Self::from_tensor(view.weight.compute(None, |int8| int8.weights.embed(indices))))
    }

    /// The rows of an INT8 table that are selected along its first axis.
    pub(super) fn rows(&self, axis: usize, indices: &IntTensor<B>) -> Option<Self> {
        let view = self.as_weight().filter(|view| view.is_table() && axis == 0)?;
        let (count, width) = (indices.shape().num_elements(), view.shape()[1]);
        let indices = B::int_reshape(indices.clone(), Shape::new([1, count]));
        let rows = self.embedding(&indices)?.into_float();
        Some(Self::float(B::float_reshape(rows, Shape::new([count, width]))))
    }

    /// The convolution of `x` with this, if it is an INT8 weight.
    pub(super) fn convolution<const D: usize>(
        &self,
        x: &Self,
        bias: &Option<Self>,
        call: &ConvCall,
    ) -> Option<Self> {
        let view = self.as_weight()?;
        let (kind, layout) = (view.weight.kind, view.weight.layout());
        let WeightLayout::Conv(filter) = layout else { return None };
        let spec = call.spec(&filter);
        let geometry = call.geometry(kind, &spec, &x.shape());
        let x: Tensor<B, D> = x.clone().into_tensor();
        let bias = bias.clone().map(Self::into_tensor);
        Some(Self::from_tensor(view.weight.compute(Some(spec), |int8| {
            int8.weights.conv(x, ConvOp { geometry, scheme: int8.scheme, bias })
        })))
    }

    /// The bytes of an INT8 weight as it is saved; none for a float.
    pub(super) fn saved(&self) -> Option<TensorData> {
        self.as_weight().map(saved::to_data)
    }

    /// The INT8 weight that was saved; none if the data is something else.
    ///
    /// # Panics
    ///
    /// If it is one, but damaged: Burn's method, which has no error, is asked for it.
    pub(super) fn from_saved(data: &TensorData, device: &B::Device) -> Option<Self> {
        saved::from_data(data, device).map(Self::weight)
    }
}

impl<B: Backend> TensorMetadata for Int8Tensor<B> {
    fn dtype(&self) -> DType {
        match &self.0 {
            Value::Float(tensor) => tensor.dtype(),
            Value::Weight(view) => view.weight.dtype,
        }
    }

    fn shape(&self) -> Shape {
        match &self.0 {
            Value::Float(tensor) => tensor.shape(),
            Value::Weight(view) => view.shape().into(),
        }
    }

    fn rank(&self) -> usize {
        match &self.0 {
            Value::Float(tensor) => tensor.rank(),
            Value::Weight(view) => view.shape().len(),
        }
    }
}
