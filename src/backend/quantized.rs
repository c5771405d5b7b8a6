//! The tensors that Burn calls quantized.

use burn::tensor::backend::Backend;
use burn::tensor::quantization::{QTensorPrimitive, QuantScheme};
use burn::tensor::{DType, Shape, TensorData, TensorMetadata, TensorPrimitive};

use super::int8::Int8;
use super::tensor::Int8Tensor;
use crate::nn::record::PARAMETER_SCHEME;

/// A quantized tensor of [`Int8`]: one of the inner backend's, or a parameter that is INT8, on its way to a file or from one.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "Burn's tensors are as large, which the lint does not see")]
pub enum Int8QTensor<B: Backend> {
    /// Quantized by Burn's own means.
    Burns(B::QuantizedTensorPrimitive),
    /// An INT8 weight, or what an operation has made of one.
    Float(Int8Tensor<B>),
}

impl<B: Backend> Int8QTensor<B> {
    pub(super) fn is_burns(&self) -> bool {
        matches!(self, Self::Burns(_))
    }

    /// The tensor of the inner backend. Burn never mixes: it asks for one only where all are of that kind.
    pub(super) fn into_burns(self) -> B::QuantizedTensorPrimitive {
        match self {
            Self::Burns(tensor) => tensor,
            Self::Float(_) => panic!("an INT8 weight is no tensor of the inner backend"),
        }
    }

    /// The tensor as a float one: an INT8 weight stays one.
    pub(super) fn into_tensor(self) -> Int8Tensor<B> {
        TensorPrimitive::<Int8<B>>::QFloat(self).tensor()
    }

    /// The bytes of an INT8 weight as it is saved; none if it is no such weight.
    pub(super) fn data_of_weight(&self) -> Option<TensorData> {
        match self {
            Self::Burns(_) => None,
            Self::Float(tensor) => tensor.saved(),
        }
    }

    pub(super) fn map(
        self,
        burns: impl FnOnce(B::QuantizedTensorPrimitive) -> B::QuantizedTensorPrimitive,
        float: impl FnOnce(Int8Tensor<B>) -> Int8Tensor<B>,
    ) -> Self {
        match self {
            Self::Burns(tensor) => Self::Burns(burns(tensor)),
            Self::Float(tensor) => Self::Float(float(tensor)),
        }
    }
}

/// A tensor of this backend as one of the inner backend; an INT8 weight as it is.
#[allow(clippy::result_large_err, reason = "the error is a tensor, as the value is")]
pub(super) fn lower<B: Backend>(
    tensor: TensorPrimitive<Int8<B>>,
) -> Result<TensorPrimitive<B>, Int8Tensor<B>> {
    match tensor {
        TensorPrimitive::Float(tensor) => match tensor.as_float() {
            Some(_) => Ok(TensorPrimitive::Float(tensor.into_float())),
            None => Err(tensor),
        },
        TensorPrimitive::QFloat(Int8QTensor::Burns(tensor)) => Ok(TensorPrimitive::QFloat(tensor)),
        TensorPrimitive::QFloat(Int8QTensor::Float(tensor)) => Err(tensor),
    }
}

/// A tensor of the inner backend as one of this.
pub(super) fn raise<B: Backend>(tensor: TensorPrimitive<B>) -> TensorPrimitive<Int8<B>> {
    match tensor {
        TensorPrimitive::Float(tensor) => TensorPrimitive::Float(Int8Tensor::new(tensor, false)),
        TensorPrimitive::QFloat(tensor) => TensorPrimitive::QFloat(Int8QTensor::Burns(tensor)),
    }
}

impl<B: Backend> TensorMetadata for Int8QTensor<B> {
    fn dtype(&self) -> DType {
        match self {
            Self::Burns(tensor) => tensor.dtype(),
            Self::Float(_) => DType::QFloat(PARAMETER_SCHEME),
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Burns(tensor) => tensor.shape(),
            Self::Float(tensor) => tensor.shape(),
        }
    }
}

impl<B: Backend> QTensorPrimitive for Int8QTensor<B> {
    fn scheme(&self) -> &QuantScheme {
        match self {
            Self::Burns(tensor) => tensor.scheme(),
            Self::Float(_) => &PARAMETER_SCHEME,
        }
    }

    fn default_scheme() -> QuantScheme {
        B::QuantizedTensorPrimitive::default_scheme()
    }
}
