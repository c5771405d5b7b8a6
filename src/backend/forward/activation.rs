//! Activations.

use burn::tensor::backend::Backend;
use burn::tensor::ops::{ActivationOps, FloatTensor};
use burn::tensor::{Scalar, TensorMetadata};

use super::{approximates, argument, forward, lower, lowered, raised};
use crate::backend::fused;
use crate::backend::int8::Int8;
use crate::backend::scores::Step;
use burn_int8_kernels::Activation;

#[deny(clippy::missing_trait_methods, reason = "a default would take the place of what the backend does")]
impl<B: Backend> ActivationOps<Self> for Int8<B> {
    forward! {
        leaky_relu(tensor: Float, negative_slope: Scalar) -> Float;
        relu_backward(output: Float, grad: Float) -> Float;
        prelu(tensor: Float, alpha: Float) -> Float;
        gelu_backward(x: Float, grad: Float) -> Float;
        sigmoid_backward(output: Float, grad: Float) -> Float;
        hard_sigmoid(tensor: Float, alpha: Scalar, beta: Scalar) -> Float;
        log_sigmoid(tensor: Float) -> Float;
        log_softmax(tensor: Float, dim: usize) -> Float;
        softmin(tensor: Float, dim: usize) -> Float;
        log_sigmoid_backward(x: Float, grad: Float) -> Float;
    }

    fn relu(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        tensor.activated(Activation::Relu).unwrap_or_else(|tensor| tensor.map(B::relu))
    }

    fn gelu(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        fused::activate(tensor, Activation::Gelu, B::gelu)
    }

    fn sigmoid(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        fused::activate(tensor, Activation::Sigmoid, B::sigmoid)
    }

    fn softmax(tensor: FloatTensor<Self>, dim: usize) -> FloatTensor<Self> {
        let float = |tensor| B::softmax(tensor, dim);
        if dim + 1 == tensor.rank() { tensor.step(Step::Softmax, float) } else { tensor.map(float) }
    }
}
