//! Tensors that Burn calls quantized: its own, which pass through, and INT8 weights, which are floats to most operations.

use burn::tensor::backend::{Backend, ExecutionError};
use burn::tensor::ops::{FloatTensor, FloatTensorOps, QTensorOps, QuantizedTensor};
use burn::tensor::quantization::{QuantScheme, QuantizationParametersPrimitive};
use burn::tensor::{
    BoolDType, FloatDType, IntDType, Scalar, Shape, TensorData, TensorMetadata, TensorPrimitive,
};

use super::{argument, forward_quantized, lower_quantized, lowered, raised, raised_float};
use crate::backend::int8::Int8;
use crate::backend::quantized::{Int8QTensor, lower, raise};
use crate::backend::tensor::Int8Tensor;

#[deny(clippy::missing_trait_methods, reason = "a default would take the place of what the backend does")]
impl<B: Backend> QTensorOps<Self> for Int8<B> {
    forward_quantized! {
        q_expand as float_expand(tensor: Quant, shape: Shape) -> Quant;
        q_flip as float_flip(tensor: Quant, axes: Axes) -> Quant;
        q_select as float_select(tensor: Quant, dim: usize, indices: Int) -> Quant;
        q_slice as float_slice(tensor: Quant, slices: Slices) -> Quant;
        q_gather as float_gather(dim: usize, tensor: Quant, indices: Int) -> Quant;
        q_repeat_dim as float_repeat_dim(tensor: Quant, dim: usize, times: usize) -> Quant;
        q_add as float_add(lhs: Quant, rhs: Quant) -> Primitive;
        q_add_scalar as float_add_scalar(lhs: Quant, rhs: Scalar) -> Primitive;
        q_clamp_min as float_clamp_min(tensor: Quant, min: Scalar) -> Primitive;
        q_clamp_max as float_clamp_max(tensor: Quant, max: Scalar) -> Primitive;
        q_clamp as float_clamp(tensor: Quant, min: Scalar, max: Scalar) -> Primitive;
        q_sub as float_sub(lhs: Quant, rhs: Quant) -> Primitive;
        q_sub_scalar as float_sub_scalar(lhs: Quant, rhs: Scalar) -> Primitive;
        q_mul as float_mul(lhs: Quant, rhs: Quant) -> Primitive;
        q_mul_scalar as float_mul_scalar(lhs: Quant, rhs: Scalar) -> Primitive;
        q_div as float_div(lhs: Quant, rhs: Quant) -> Primitive;
        q_div_scalar as float_div_scalar(lhs: Quant, rhs: Scalar) -> Primitive;
        q_neg as float_neg(tensor: Quant) -> Primitive;
        q_recip as float_recip(tensor: Quant) -> Primitive;
        q_sum as float_sum(tensor: Quant) -> Primitive;
        q_sum_dim as float_sum_dim(tensor: Quant, dim: usize) -> Primitive;
        q_prod as float_prod(tensor: Quant) -> Primitive;
        q_prod_dim as float_prod_dim(tensor: Quant, dim: usize) -> Primitive;
        q_mean as float_mean(tensor: Quant) -> Primitive;
        q_mean_dim as float_mean_dim(tensor: Quant, dim: usize) -> Primitive;
        q_cumsum as float_cumsum(tensor: Quant, dim: usize) -> Primitive;
        q_cumprod as float_cumprod(tensor: Quant, dim: usize) -> Primitive;
        q_cummin as float_cummin(tensor: Quant, dim: usize) -> Primitive;
        q_cummax as float_cummax(tensor: Quant, dim: usize) -> Primitive;
        q_exp as float_exp(tensor: Quant) -> Primitive;
        q_log as float_log(tensor: Quant) -> Primitive;
        q_log1p as float_log1p(tensor: Quant) -> Primitive;
        q_powf as float_powf(lhs: Quant, rhs: Quant) -> Primitive;
        q_powi as float_powi(lhs: Quant, rhs: Int) -> Primitive;
        q_powi_scalar as float_powi_scalar(lhs: Quant, rhs: Scalar) -> Primitive;
        q_powf_scalar as float_powf_scalar(tensor: Quant, value: Scalar) -> Primitive;
        q_sqrt as float_sqrt(tensor: Quant) -> Primitive;
        q_abs as float_abs(tensor: Quant) -> Quant;
        q_cos as float_cos(tensor: Quant) -> Primitive;
        q_sin as float_sin(tensor: Quant) -> Primitive;
        q_tan as float_tan(tensor: Quant) -> Primitive;
        q_cosh as float_cosh(tensor: Quant) -> Primitive;
        q_sinh as float_sinh(tensor: Quant) -> Primitive;
        q_tanh as float_tanh(tensor: Quant) -> Primitive;
        q_erf as float_erf(tensor: Quant) -> Primitive;
        q_cat as float_cat(tensors: Quants, dim: usize) -> Quant;
        q_argmax as float_argmax(tensor: Quant, dim: usize, out_dtype: IntDType) -> Int;
        q_argtopk as float_argtopk(tensor: Quant, dim: usize, k: usize, out_dtype: IntDType) -> Int;
        q_topk as float_topk(tensor: Quant, dim: usize, k: usize) -> Quant;
        q_argmin as float_argmin(tensor: Quant, dim: usize, out_dtype: IntDType) -> Int;
        q_max as float_max(tensor: Quant) -> Quant;
        q_max_dim as float_max_dim(tensor: Quant, dim: usize) -> Quant;
        q_max_dim_with_indices as float_max_dim_with_indices(
            tensor: Quant, dim: usize, out_dtype: IntDType
        ) -> (Quant, Int);
        q_min as float_min(tensor: Quant) -> Quant;
        q_min_dim as float_min_dim(tensor: Quant, dim: usize) -> Quant;
        q_min_dim_with_indices as float_min_dim_with_indices(
            tensor: Quant, dim: usize, out_dtype: IntDType
        ) -> (Quant, Int);
        q_max_abs as float_max_abs(tensor: Quant) -> Quant;
        q_max_abs_dim as float_max_abs_dim(tensor: Quant, dim: usize) -> Quant;
        q_any as float_any(tensor: Quant, out_dtype: BoolDType) -> Bool;
        q_any_dim as float_any_dim(tensor: Quant, dim: usize, out_dtype: BoolDType) -> Bool;
        q_all as float_all(tensor: Quant, out_dtype: BoolDType) -> Bool;
        q_all_dim as float_all_dim(tensor: Quant, dim: usize, out_dtype: BoolDType) -> Bool;
        q_sort as float_sort(tensor: Quant, dim: usize, descending: bool) -> Quant;
        q_sort_with_indices as float_sort_with_indices(
            tensor: Quant, dim: usize, descending: bool, out_dtype: IntDType
        ) -> (Quant, Int);
        q_argsort as float_argsort(tensor: Quant, dim: usize, descending: bool, out_dtype: IntDType) -> Int;
    }

    fn q_from_data(data: TensorData, device: &B::Device) -> QuantizedTensor<Self> {
        match Int8Tensor::from_saved(&data, device) {
            Some(weight) => Int8QTensor::Float(weight),
            None => Int8QTensor::Burns(B::q_from_data(data, device)),
        }
    }

    async fn q_into_data(tensor: QuantizedTensor<Self>) -> Result<TensorData, ExecutionError> {
        match (tensor.data_of_weight(), tensor) {
            (Some(data), _) => Ok(data),
            (None, Int8QTensor::Burns(tensor)) => B::q_into_data(tensor).await,
            (None, Int8QTensor::Float(tensor)) => B::float_into_data(tensor.into_float()).await,
        }
    }

    fn quantize(
        tensor: FloatTensor<Self>,
        scheme: &QuantScheme,
        qparams: QuantizationParametersPrimitive<Self>,
    ) -> QuantizedTensor<Self> {
        let qparams = QuantizationParametersPrimitive { scales: qparams.scales.into_float() };
        Int8QTensor::Burns(B::quantize(tensor.into_float(), scheme, qparams))
    }

    fn quantize_dynamic(tensor: FloatTensor<Self>, scheme: &QuantScheme) -> QuantizedTensor<Self> {
        Int8QTensor::Burns(B::quantize_dynamic(tensor.into_float(), scheme))
    }

    fn dequantize(tensor: QuantizedTensor<Self>, dtype: FloatDType) -> FloatTensor<Self> {
        match tensor {
            Int8QTensor::Burns(tensor) => Int8Tensor::new(B::dequantize(tensor, dtype), false),
            Int8QTensor::Float(tensor) if tensor.dtype() == dtype.into() => tensor,
            Int8QTensor::Float(tensor) => Self::float_cast(tensor, dtype),
        }
    }

    fn q_device(tensor: &QuantizedTensor<Self>) -> B::Device {
        match tensor {
            Int8QTensor::Burns(tensor) => B::q_device(tensor),
            Int8QTensor::Float(tensor) => tensor.device(),
        }
    }

    fn q_to_device(tensor: QuantizedTensor<Self>, device: &B::Device) -> QuantizedTensor<Self> {
        tensor.map(|tensor| B::q_to_device(tensor, device), |tensor| tensor.moved_to(device))
    }

    fn q_reshape(tensor: QuantizedTensor<Self>, shape: Shape) -> QuantizedTensor<Self> {
        let of_float = shape.clone();
        tensor.map(|tensor| B::q_reshape(tensor, shape), |tensor| Self::float_reshape(tensor, of_float))
    }

    fn q_detach(tensor: QuantizedTensor<Self>) -> QuantizedTensor<Self> {
        tensor.map(B::q_detach, Self::float_detach)
    }

    fn q_set_require_grad(tensor: QuantizedTensor<Self>, require_grad: bool) -> QuantizedTensor<Self> {
        tensor.map(|tensor| B::q_set_require_grad(tensor, require_grad), |tensor| tensor)
    }

    fn q_is_require_grad(tensor: &QuantizedTensor<Self>) -> bool {
        matches!(tensor, Int8QTensor::Burns(tensor) if B::q_is_require_grad(tensor))
    }

    fn q_transpose(tensor: QuantizedTensor<Self>) -> QuantizedTensor<Self> {
        tensor.map(B::q_transpose, Self::float_transpose)
    }

    fn q_swap_dims(tensor: QuantizedTensor<Self>, dim1: usize, dim2: usize) -> QuantizedTensor<Self> {
        tensor.map(
            |tensor| B::q_swap_dims(tensor, dim1, dim2),
            |tensor| Self::float_swap_dims(tensor, dim1, dim2),
        )
    }

    fn q_permute(tensor: QuantizedTensor<Self>, axes: &[usize]) -> QuantizedTensor<Self> {
        tensor.map(|tensor| B::q_permute(tensor, axes), |tensor| Self::float_permute(tensor, axes))
    }

    fn q_matmul(lhs: TensorPrimitive<Self>, rhs: TensorPrimitive<Self>) -> TensorPrimitive<Self> {
        match (lower(lhs), lower(rhs)) {
            (Ok(lhs), Ok(rhs)) => raise(B::q_matmul(lhs, rhs)),
            (lhs, rhs) => {
                let [lhs, rhs] =
                    [lhs, rhs].map(|side| side.map_or_else(|tensor| tensor, |burns| raise(burns).tensor()));
                TensorPrimitive::Float(Self::float_matmul(lhs, rhs))
            }
        }
    }
}
