//! Float tensors.

use burn::tensor::backend::{Backend, ExecutionError};
use burn::tensor::ops::{BoolTensor, FloatTensor, FloatTensorOps, GridSampleOptions, IntTensor};
use burn::tensor::{
    BoolDType, Distribution, FloatDType, IndexingUpdateOp, IntDType, Scalar, Shape, Slice, TensorData,
    TensorMetadata,
};

use super::{approximates, argument, forward, lower, lowered, raised};
use crate::backend::fused;
use crate::backend::int8::Int8;
use crate::backend::padding::Constant;
use crate::backend::scores::Step;
use crate::backend::tensor::Int8Tensor;
use burn_int8_kernels::{Activation, ChannelOp};

#[deny(clippy::missing_trait_methods, reason = "a default would take the place of what the backend does")]
impl<B: Backend> FloatTensorOps<Self> for Int8<B> {
    forward! {
        float_from_data(data: TensorData, device: Device) -> Float;
        float_random(shape: Shape, distribution: Distribution, device: Device, dtype: FloatDType) -> Float;
        float_zeros(shape: Shape, device: Device, dtype: FloatDType) -> Float;
        float_ones(shape: Shape, device: Device, dtype: FloatDType) -> Float;
        float_into_int(tensor: Float, out_dtype: IntDType) -> Int;
        float_empty(shape: Shape, device: Device, dtype: FloatDType) -> Float;
        float_repeat_dim(tensor: Float, dim: usize, times: usize) -> Float;
        float_add_scalar(lhs: Float, rhs: Scalar) -> Float;
        float_sub_scalar(lhs: Float, rhs: Scalar) -> Float;
        float_remainder(lhs: Float, rhs: Float) -> Float;
        float_remainder_scalar(lhs: Float, rhs: Scalar) -> Float;
        float_cross(lhs: Float, rhs: Float, dim: usize) -> Float;
        float_neg(tensor: Float) -> Float;
        float_recip(tensor: Float) -> Float;
        float_flip(tensor: Float, axes: Axes) -> Float;
        float_gather(dim: usize, tensor: Float, indices: Int) -> Float;
        float_scatter_add(dim: usize, tensor: Float, indices: Int, value: Float) -> Float;
        float_scatter_nd(data: Float, indices: Int, values: Float, reduction: IndexingUpdateOp) -> Float;
        float_gather_nd(data: Float, indices: Int) -> Float;
        float_select_add(tensor: Float, dim: usize, indices: Int, value: Float) -> Float;
        float_slice(tensor: Float, slices: Slices) -> Float;
        float_mask_where(tensor: Float, mask: Bool, value: Float) -> Float;
        float_equal(lhs: Float, rhs: Float, out_dtype: BoolDType) -> Bool;
        float_not_equal(lhs: Float, rhs: Float, out_dtype: BoolDType) -> Bool;
        float_equal_elem(lhs: Float, rhs: Scalar, out_dtype: BoolDType) -> Bool;
        float_not_equal_elem(lhs: Float, rhs: Scalar, out_dtype: BoolDType) -> Bool;
        float_greater(lhs: Float, rhs: Float, out_dtype: BoolDType) -> Bool;
        float_greater_elem(lhs: Float, rhs: Scalar, out_dtype: BoolDType) -> Bool;
        float_greater_equal(lhs: Float, rhs: Float, out_dtype: BoolDType) -> Bool;
        float_greater_equal_elem(lhs: Float, rhs: Scalar, out_dtype: BoolDType) -> Bool;
        float_lower(lhs: Float, rhs: Float, out_dtype: BoolDType) -> Bool;
        float_lower_elem(lhs: Float, rhs: Scalar, out_dtype: BoolDType) -> Bool;
        float_lower_equal(lhs: Float, rhs: Float, out_dtype: BoolDType) -> Bool;
        float_lower_equal_elem(lhs: Float, rhs: Scalar, out_dtype: BoolDType) -> Bool;
        float_sum(tensor: Float) -> Float;
        float_sum_dim(tensor: Float, dim: usize) -> Float;
        float_prod(tensor: Float) -> Float;
        float_prod_dim(tensor: Float, dim: usize) -> Float;
        float_mean(tensor: Float) -> Float;
        float_mean_dim(tensor: Float, dim: usize) -> Float;
        float_cumsum(tensor: Float, dim: usize) -> Float;
        float_cumprod(tensor: Float, dim: usize) -> Float;
        float_cummin(tensor: Float, dim: usize) -> Float;
        float_cummax(tensor: Float, dim: usize) -> Float;
        float_cast(tensor: Float, dtype: FloatDType) -> Float;
        float_exp(tensor: Float) -> Float;
        float_log(tensor: Float) -> Float;
        float_log1p(tensor: Float) -> Float;
        float_powf(lhs: Float, rhs: Float) -> Float;
        float_powi(lhs: Float, rhs: Int) -> Float;
        float_powi_scalar(lhs: Float, rhs: Scalar) -> Float;
        float_powi_scalar_impl(lhs: Float, rhs: Scalar) -> Float;
        float_powf_scalar(tensor: Float, value: Scalar) -> Float;
        float_powf_scalar_impl(tensor: Float, value: Scalar) -> Float;
        float_sqrt(tensor: Float) -> Float;
        float_abs(tensor: Float) -> Float;
        float_cos(tensor: Float) -> Float;
        float_sin(tensor: Float) -> Float;
        float_tan(tensor: Float) -> Float;
        float_cosh(tensor: Float) -> Float;
        float_sinh(tensor: Float) -> Float;
        float_acos(tensor: Float) -> Float;
        float_acosh(tensor: Float) -> Float;
        float_asin(tensor: Float) -> Float;
        float_asinh(tensor: Float) -> Float;
        float_atan(tensor: Float) -> Float;
        float_atanh(tensor: Float) -> Float;
        float_atan2(lhs: Float, rhs: Float) -> Float;
        float_round(tensor: Float) -> Float;
        float_floor(tensor: Float) -> Float;
        float_ceil(tensor: Float) -> Float;
        float_trunc(tensor: Float) -> Float;
        float_erf(tensor: Float) -> Float;
        float_cat(tensors: Floats, dim: usize) -> Float;
        float_argmax(tensor: Float, dim: usize, out_dtype: IntDType) -> Int;
        float_argtopk(tensor: Float, dim: usize, k: usize, out_dtype: IntDType) -> Int;
        float_topk(tensor: Float, dim: usize, k: usize) -> Float;
        float_argmin(tensor: Float, dim: usize, out_dtype: IntDType) -> Int;
        float_max(tensor: Float) -> Float;
        float_max_dim(tensor: Float, dim: usize) -> Float;
        float_max_dim_with_indices(tensor: Float, dim: usize, indices_dtype: IntDType) -> (Float, Int);
        float_min(tensor: Float) -> Float;
        float_min_dim(tensor: Float, dim: usize) -> Float;
        float_min_dim_with_indices(tensor: Float, dim: usize, indices_dtype: IntDType) -> (Float, Int);
        float_max_abs(tensor: Float) -> Float;
        float_max_abs_dim(tensor: Float, dim: usize) -> Float;
        float_any(tensor: Float, out_dtype: BoolDType) -> Bool;
        float_any_dim(tensor: Float, dim: usize, out_dtype: BoolDType) -> Bool;
        float_all(tensor: Float, out_dtype: BoolDType) -> Bool;
        float_all_dim(tensor: Float, dim: usize, out_dtype: BoolDType) -> Bool;
        float_sign(tensor: Float) -> Float;
        float_expand(tensor: Float, shape: Shape) -> Float;
        float_sort(tensor: Float, dim: usize, descending: bool) -> Float;
        float_sort_with_indices(tensor: Float, dim: usize, descending: bool, indices_dtype: IntDType) -> (Float, Int);
        float_argsort(tensor: Float, dim: usize, descending: bool, out_dtype: IntDType) -> Int;
        float_grid_sample_2d(tensor: Float, grid: Float, options: GridSampleOptions) -> Float;
        float_unfold(tensor: Float, dim: usize, size: usize, step: usize) -> Float;
        float_is_nan(tensor: Float, out_dtype: BoolDType) -> Bool;
        float_is_inf(tensor: Float, out_dtype: BoolDType) -> Bool;
    }

    async fn float_into_data(tensor: FloatTensor<Self>) -> Result<TensorData, ExecutionError> {
        B::float_into_data(tensor.into_float()).await
    }

    fn float_device(tensor: &FloatTensor<Self>) -> B::Device {
        tensor.device()
    }

    fn float_to_device(tensor: FloatTensor<Self>, device: &B::Device) -> FloatTensor<Self> {
        tensor.moved_to(device)
    }

    fn float_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        if let Some(observed) = rhs.as_observed() {
            let out = lhs.clone().matmul(rhs.clone());
            observed.add(Some((&lhs, lhs.rank() - 1)), &out, |rhs| rhs.product(&lhs));
            return out;
        }
        match rhs.product(&lhs) {
            Some(product) => product,
            None => lhs.matmul(rhs),
        }
    }

    fn float_mul_scalar(lhs: FloatTensor<Self>, rhs: Scalar) -> FloatTensor<Self> {
        lhs.step(Step::Multiply(rhs), |lhs| B::float_mul_scalar(lhs, rhs))
    }

    fn float_div_scalar(lhs: FloatTensor<Self>, rhs: Scalar) -> FloatTensor<Self> {
        lhs.step(Step::Divide(rhs), |lhs| B::float_div_scalar(lhs, rhs))
    }

    fn float_mask_fill(
        tensor: FloatTensor<Self>,
        mask: BoolTensor<Self>,
        value: Scalar,
    ) -> FloatTensor<Self> {
        tensor.step(Step::Mask(mask.clone(), value), |tensor| B::float_mask_fill(tensor, mask, value))
    }

    fn float_full(shape: Shape, value: Scalar, device: &B::Device, dtype: FloatDType) -> FloatTensor<Self> {
        Int8Tensor::constant(Constant::new(shape, value, device.clone(), dtype))
    }

    fn float_slice_assign(
        tensor: FloatTensor<Self>,
        slices: &[Slice],
        value: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        tensor.slice_assign(slices, value)
    }

    fn float_add(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        lhs.add(rhs)
    }

    fn float_sub(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        lhs.combine(ChannelOp::Subtract, rhs, B::float_sub)
    }

    fn float_mul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        lhs.combine(ChannelOp::Multiply, rhs, B::float_mul)
    }

    fn float_div(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        lhs.combine(ChannelOp::Divide, rhs, B::float_div)
    }

    fn float_clamp(tensor: FloatTensor<Self>, min: Scalar, max: Scalar) -> FloatTensor<Self> {
        fused::clamp(tensor, [Some(min), Some(max)], |tensor| B::float_clamp(tensor, min, max))
    }

    fn float_clamp_min(tensor: FloatTensor<Self>, min: Scalar) -> FloatTensor<Self> {
        fused::clamp(tensor, [Some(min), None], |tensor| B::float_clamp_min(tensor, min))
    }

    fn float_clamp_max(tensor: FloatTensor<Self>, max: Scalar) -> FloatTensor<Self> {
        fused::clamp(tensor, [None, Some(max)], |tensor| B::float_clamp_max(tensor, max))
    }

    fn float_tanh(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        fused::activate(tensor, Activation::Tanh, B::float_tanh)
    }

    fn float_transpose(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        let rank = tensor.rank();
        tensor.view(|weight| weight.swapped(rank - 2, rank - 1), B::float_transpose)
    }

    fn float_swap_dims(tensor: FloatTensor<Self>, dim1: usize, dim2: usize) -> FloatTensor<Self> {
        tensor.view(|weight| weight.swapped(dim1, dim2), |float| B::float_swap_dims(float, dim1, dim2))
    }

    fn float_permute(tensor: FloatTensor<Self>, axes: &[usize]) -> FloatTensor<Self> {
        tensor.view(|weight| weight.permuted(axes), |float| B::float_permute(float, axes))
    }

    fn float_reshape(tensor: FloatTensor<Self>, shape: Shape) -> FloatTensor<Self> {
        tensor.view(|weight| weight.reshaped(&shape), |float| B::float_reshape(float, shape.clone()))
    }

    fn float_select(tensor: FloatTensor<Self>, dim: usize, indices: IntTensor<Self>) -> FloatTensor<Self> {
        if let Some(observed) = tensor.as_observed() {
            let out = tensor.clone().map(|tensor| B::float_select(tensor, dim, indices.clone()));
            observed.add(None, &out, |tensor| tensor.rows(dim, &indices));
            return out;
        }
        match tensor.rows(dim, &indices) {
            Some(rows) => rows,
            None => tensor.map(|tensor| B::float_select(tensor, dim, indices)),
        }
    }

    fn float_detach(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        tensor.view(|weight| Some(weight.clone()), B::float_detach)
    }

    fn float_set_require_grad(tensor: FloatTensor<Self>, require_grad: bool) -> FloatTensor<Self> {
        tensor.view(|weight| Some(weight.clone()), |float| B::float_set_require_grad(float, require_grad))
    }

    fn float_is_require_grad(tensor: &FloatTensor<Self>) -> bool {
        tensor.as_float().is_some_and(B::float_is_require_grad)
    }
}
