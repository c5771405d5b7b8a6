//! The float tensors of [`Int8`](super::Int8).

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Slice, TensorData, TensorMetadata, TensorPrimitive};

use super::conv::ConvCall;
use super::observed::ObservedWeight;
use super::padding::{Constant, Padded};
use super::pending::{Layer, Pending};
use super::saved;
use super::scores::{Scores, SharedScores, Step};
use super::weight::{StockWeight, WeightView};
use crate::ops::{ConvImage, ConvOp, LinearOp, conv_output};
use burn_int8_kernels::conv::ConvGeometry;
use burn_int8_kernels::{Activation, ChannelOp, WeightLayout};

/// Evaluates an expression with a rank that models have as the constant `$rank`, another for any other rank.
macro_rules! with_rank {
    ($value:expr, $rank:ident => $result:expr, else $other:expr) => {
        match $value {
            2 => {
                const $rank: usize = 2;
                $result
            }
            3 => {
                const $rank: usize = 3;
                $result
            }
            4 => {
                const $rank: usize = 4;
                $result
            }
            5 => {
                const $rank: usize = 5;
                $result
            }
            _ => $other,
        }
    };
}
pub(super) use with_rank;

/// A float tensor of [`Int8`](super::Int8): one of the inner backend's, or the weight of a layer in INT8, which linear layers,
/// convolutions, look-ups and products compute with, and which any other operation reads as the floats that it stands for.
#[derive(Clone, Debug)]
pub struct Int8Tensor<B: Backend> {
    value: Value<B>,
    /// True if an INT8 layer has a part in it: it is rounded already, so that kernels may compute with it that round in another
    /// order than the inner backend.
    is_approximate: bool,
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a box would cost each operation an allocation")]
enum Value<B: Backend> {
    Float(FloatTensor<B>),
    Weight(WeightView<B>),
    Observed(Arc<ObservedWeight<B>>),
    Pending(Arc<Pending<B>>),
    Constant(Arc<Constant<B>>),
    Padded(Arc<Padded<B>>),
    Scores(SharedScores<B>),
}

impl<B: Backend> Int8Tensor<B> {
    /// A tensor that the inner backend has computed of others, of which some, or none, are approximate.
    pub(super) fn new(tensor: FloatTensor<B>, is_approximate: bool) -> Self {
        Self { value: Value::Float(tensor), is_approximate }
    }

    pub(super) fn weight(view: WeightView<B>) -> Self {
        Self { value: Value::Weight(view), is_approximate: true }
    }

    pub(super) fn observed(weight: ObservedWeight<B>) -> Self {
        Self { value: Value::Observed(Arc::new(weight)), is_approximate: false }
    }

    /// The weight of a layer that is observed.
    pub(super) fn as_observed(&self) -> Option<&ObservedWeight<B>> {
        match &self.value {
            Value::Observed(weight) => Some(weight),
            _ => None,
        }
    }

    /// The output of an INT8 layer or of a kernel beside it, in this shape.
    pub(super) fn computed<const D: usize>(tensor: Tensor<B, D>, shape: Shape) -> Self {
        Self::new(B::float_reshape(tensor.into_primitive().tensor(), shape), true)
    }

    /// The tensor of the inner backend: of an INT8 weight the floats that it stands for.
    pub(super) fn into_float(self) -> FloatTensor<B> {
        match self.value {
            Value::Float(tensor) => tensor,
            Value::Weight(view) => view.dequantize(),
            Value::Observed(weight) => weight.float().clone(),
            Value::Pending(pending) => Pending::into_output(pending),
            Value::Constant(constant) => constant.tensor(),
            Value::Padded(padded) => padded.tensor(),
            Value::Scores(scores) => scores.compute(),
        }
    }

    /// The tensor of the inner backend, if this is one or the output of a layer.
    pub(crate) fn as_float(&self) -> Option<&FloatTensor<B>> {
        match &self.value {
            Value::Float(tensor) => Some(tensor),
            Value::Observed(weight) => Some(weight.float()),
            Value::Pending(pending) => Some(pending.output()),
            _ => None,
        }
    }

    pub(super) fn as_weight(&self) -> Option<&WeightView<B>> {
        match &self.value {
            Value::Weight(view) => Some(view),
            _ => None,
        }
    }

    fn as_scores(&self) -> Option<&Scores<B>> {
        match &self.value {
            Value::Scores(scores) => Some(scores),
            _ => None,
        }
    }

    pub(super) fn is_approximate(&self) -> bool {
        self.is_approximate
    }

    /// The tensor of the inner backend, whose operations take it with its type.
    pub(super) fn into_tensor<const D: usize>(self) -> Tensor<B, D> {
        Tensor::from_primitive(TensorPrimitive::Float(self.into_float()))
    }

    /// The output of an INT8 layer or of a kernel beside it.
    pub(super) fn made<const D: usize>(tensor: Tensor<B, D>) -> Self {
        Self::new(tensor.into_primitive().tensor(), true)
    }

    /// The values in another shape, as a tensor of the inner backend.
    pub(super) fn reshaped<const D: usize>(self, shape: Shape) -> Tensor<B, D> {
        Tensor::from_primitive(TensorPrimitive::Float(B::float_reshape(self.into_float(), shape)))
    }

    pub(super) fn device(&self) -> B::Device {
        match &self.value {
            Value::Float(tensor) => B::float_device(tensor),
            Value::Weight(view) => view.weight.device(),
            Value::Observed(weight) => B::float_device(weight.float()),
            Value::Pending(pending) => pending.device(),
            Value::Constant(constant) => constant.device(),
            Value::Padded(padded) => padded.device(),
            Value::Scores(scores) => scores.device(),
        }
    }

    pub(super) fn moved_to(self, device: &B::Device) -> Self {
        match self.value {
            Value::Weight(view) => Self::weight(view.to_device(device)),
            _ => self.map(|tensor| B::float_to_device(tensor, device)),
        }
    }

    /// The result of an operation of the inner backend on this tensor.
    pub(super) fn map(self, float: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>) -> Self {
        let is_approximate = self.is_approximate;
        Self::new(float(self.into_float()), is_approximate)
    }

    /// Another view of the same numbers: of an INT8 weight if `weight` has one, else of the floats.
    pub(super) fn view(
        self,
        weight: impl Fn(&WeightView<B>) -> Option<WeightView<B>>,
        float: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
    ) -> Self {
        if let Value::Observed(observed) = &self.value {
            return observed.view(weight, float).map_or_else(|float| Self::new(float, false), Self::observed);
        }
        match self.as_weight().and_then(weight) {
            Some(view) => Self::weight(view),
            None => self.map(float),
        }
    }

    /// The output of a layer that is put off and goes through an activation; the tensor itself if it can't be put off.
    pub(super) fn activated(mut self, activation: Activation) -> Result<Self, Self> {
        if let Value::Pending(pending) = &mut self.value
            && Pending::activate(pending, activation)
        {
            return Ok(self);
        }
        Err(self)
    }

    /// The sum of two tensors, where the output of a layer is put off together with it.
    pub(super) fn add(mut self, mut other: Self) -> Self {
        // The sum is the same either way; one of two layers is computed first.
        if let Value::Pending(pending) = &mut self.value
            && let Some(float) = other.as_float()
            && Pending::add(pending, float)
        {
            return self;
        }
        if let Value::Pending(pending) = &mut other.value
            && let Some(float) = self.as_float()
            && Pending::add(pending, float)
        {
            return other;
        }
        self.combine(ChannelOp::Add, other, B::float_add)
    }

    /// The result of an operation, where the output of a layer is put off together with it: each channel with one number.
    pub(super) fn combine(
        mut self,
        op: ChannelOp,
        other: Self,
        float: impl FnOnce(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
    ) -> Self {
        if let Value::Pending(pending) = &mut self.value
            && let Some(numbers) = other.as_float()
            && Pending::with_channels(pending, op, numbers)
        {
            return self;
        }
        let is_approximate = self.is_approximate || other.is_approximate;
        Self::new(float(self.into_float(), other.into_float()), is_approximate)
    }

    /// The number of steps that wait for the output of a layer; none if this is no such output.
    #[cfg(test)]
    pub(super) fn waiting_steps(&self) -> Option<usize> {
        match &self.value {
            Value::Pending(pending) => Some(pending.steps()),
            _ => None,
        }
    }

    /// A tensor that has one value everywhere.
    pub(super) fn constant(constant: Constant<B>) -> Self {
        Self { value: Value::Constant(Arc::new(constant)), is_approximate: false }
    }

    /// This tensor with `part` written over some of it: zeros around an image are put off.
    pub(super) fn slice_assign(self, slices: &[Slice], mut part: Self) -> Self {
        if let Value::Constant(zeros) = &self.value
            && part.is_approximate
            && matches!(part.value, Value::Float(_) | Value::Pending(_))
        {
            part = match Padded::new(zeros, slices, part) {
                Ok(padded) => return Self { value: Value::Padded(Arc::new(padded)), is_approximate: true },
                Err(part) => part,
            };
        }
        let is_approximate = self.is_approximate || part.is_approximate;
        Self::new(B::float_slice_assign(self.into_float(), slices, part.into_float()), is_approximate)
    }

    /// The scores of attention after one more step, if that can be put off; else what the inner backend computes.
    pub(super) fn step(self, step: Step<B>, float: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>) -> Self {
        match self.as_scores().and_then(|scores| scores.then(step)) {
            Some(scores) => Self { value: Value::Scores(Arc::new(scores)), ..self },
            None => self.map(float),
        }
    }

    /// The product of two tensors of which none is an INT8 weight that computes it.
    pub(super) fn matmul(self, other: Self) -> Self {
        let is_approximate = self.is_approximate || other.is_approximate;
        if is_approximate && let Some(other) = other.as_float() {
            if let Some(context) = self.as_scores().and_then(|weights| weights.attend(other)) {
                return Self::new(context, true);
            }
            if let Some(scores) = self.as_float().and_then(|query| Scores::new(query, other)) {
                return Self { value: Value::Scores(Arc::new(scores)), is_approximate };
            }
        }
        Self::new(B::float_matmul(self.into_float(), other.into_float()), is_approximate)
    }

    /// The result of an operation of the inner backend on an input, a weight and a bias.
    pub(super) fn layer(
        x: Self,
        weight: Self,
        bias: Option<Self>,
        float: impl FnOnce(FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>) -> FloatTensor<B>,
    ) -> Self {
        let is_approximate = x.is_approximate || weight.is_approximate;
        let bias = bias.map(Self::into_float);
        Self::new(float(x.into_float(), weight.into_float(), bias), is_approximate)
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
        let out: Shape = [outer, &[outputs]].concat().into();
        let bias = bias.clone().map(Self::into_float);
        let image = ConvImage::Floats(x.clone().into_float());
        let layer = Layer { x: image, weight: view.weight.clone(), bias, geometry: None };
        let layer = match Pending::new(layer, out.clone()) {
            Ok(pending) => return Some(Self::put_off(pending)),
            Err(layer) => layer,
        };
        let bias = layer.bias.clone().map(|bias| Tensor::from_primitive(TensorPrimitive::Float(bias)));
        let x = Self::new(layer.into_floats(), true);
        Some(view.weight.read(|int8| {
            let op = LinearOp::new(int8.scheme, bias);
            with_rank!(shape.num_dims(), D => Self::made(int8.weights.linear::<D>(x.into_tensor(), op)), else {
                let rows = Shape::new([outer.iter().product::<usize>(), inputs]);
                let product = int8.weights.linear::<2>(x.reshaped(rows), op);
                Self::computed(product, out)
            })
        }))
    }

    fn put_off(pending: Pending<B>) -> Self {
        Self { value: Value::Pending(Arc::new(pending)), is_approximate: true }
    }

    /// The product `lhs · self`, if this is an INT8 weight that products of `lhs` are computed with.
    pub(super) fn product(&self, lhs: &Self) -> Option<Self> {
        (lhs.rank() == self.rank()).then(|| self.linear(lhs, &None)).flatten()
    }

    /// The rows of an INT8 table at `indices` `[batch, length]`: `[batch, length, width]`.
    pub(super) fn embedding(&self, indices: &IntTensor<B>) -> Option<Self> {
        let view = self.as_weight().filter(|view| view.is_table())?;
        let indices = Tensor::from_primitive(indices.clone());
        Some(Self::made(view.weight.read(|int8| int8.weights.embed(indices))))
    }

    /// The rows of an INT8 table that are selected along its first axis.
    pub(super) fn rows(&self, axis: usize, indices: &IntTensor<B>) -> Option<Self> {
        let view = self.as_weight().filter(|view| view.is_table() && axis == 0)?;
        let (count, width) = (indices.shape().num_elements(), view.shape()[1]);
        let indices = B::int_reshape(indices.clone(), Shape::new([1, count]));
        let rows: Tensor<B, 3> = self.embedding(&indices)?.into_tensor();
        Some(Self::computed(rows, Shape::new([count, width])))
    }

    /// The convolution of `x` with this, if it is an INT8 weight; `x` itself if it is not.
    pub(super) fn convolution<const D: usize>(
        &self,
        x: Self,
        bias: &Option<Self>,
        call: &ConvCall,
    ) -> Result<Self, Self> {
        let view = self.as_weight();
        let Some((view, filter)) = view.and_then(|view| match view.weight.layout() {
            WeightLayout::Conv(filter) if call.fits(&filter) => Some((view, filter)),
            _ => None,
        }) else {
            return Err(x);
        };
        let spec = call.spec(&filter);
        let (shape, around) = match &x.value {
            Value::Padded(padded) if !spec.transposed => (padded.image().shape(), padded.padding()),
            _ => (x.shape(), Default::default()),
        };
        let geometry = call.geometry(view.weight.kind, &spec, &shape, around);
        let out = conv_output(&geometry, &shape);
        let bias = bias.clone().map(Self::into_float);
        let x = x.into_image(&view.weight, &geometry);
        let layer = Layer { x, weight: view.weight.clone(), bias, geometry: Some(geometry) };
        let layer = match Pending::new(layer, out) {
            Ok(pending) => return Ok(Self::put_off(pending)),
            Err(layer) => layer,
        };
        let bias = layer.bias.clone().map(|bias| Tensor::from_primitive(TensorPrimitive::Float(bias)));
        let x = Tensor::<B, D>::from_primitive(TensorPrimitive::Float(layer.into_floats()));
        Ok(Self::made(
            view.weight
                .compute(spec, |int8| int8.weights.conv(x, ConvOp { geometry, scheme: int8.scheme, bias })),
        ))
    }

    /// The image that a convolution reads, without the zeros around it: integers where it takes them.
    fn into_image(self, weight: &StockWeight<B>, geometry: &ConvGeometry) -> ConvImage<B> {
        match self.value {
            Value::Padded(padded) if !geometry.spec().transposed => {
                Padded::into_image(padded).into_image(weight, geometry)
            }
            Value::Pending(pending) => Pending::into_codes(pending, weight, geometry)
                .unwrap_or_else(|pending| ConvImage::Floats(Pending::into_output(pending))),
            value => ConvImage::Floats(Self { value, ..self }.into_float()),
        }
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
        match &self.value {
            Value::Float(tensor) => tensor.dtype(),
            Value::Weight(view) => view.weight.dtype,
            Value::Observed(weight) => weight.float().dtype(),
            Value::Pending(_) => DType::F32,
            Value::Constant(constant) => constant.dtype(),
            Value::Padded(padded) => padded.dtype(),
            Value::Scores(scores) => scores.dtype(),
        }
    }

    fn shape(&self) -> Shape {
        match &self.value {
            Value::Float(tensor) => tensor.shape(),
            Value::Weight(view) => view.shape().into(),
            Value::Observed(weight) => weight.float().shape(),
            Value::Pending(pending) => pending.shape(),
            Value::Constant(constant) => constant.shape().clone(),
            Value::Padded(padded) => padded.shape().clone(),
            Value::Scores(scores) => scores.shape(),
        }
    }

    fn rank(&self) -> usize {
        match &self.value {
            Value::Float(tensor) => tensor.rank(),
            Value::Weight(view) => view.shape().len(),
            Value::Observed(weight) => weight.float().rank(),
            Value::Pending(pending) => pending.shape().num_dims(),
            Value::Constant(constant) => constant.shape().num_dims(),
            Value::Padded(padded) => padded.shape().num_dims(),
            Value::Scores(scores) => scores.shape().num_dims(),
        }
    }
}
