//! Activations.

use burn::tensor::Scalar;
use burn::tensor::backend::Backend;
use burn::tensor::ops::ActivationOps;

use super::{argument, forward, lower, lowered, raised};
use crate::backend::Int8;

#[deny(clippy::missing_trait_methods, reason = "a default would take the place of what the backend does")]
impl<B: Backend> ActivationOps<Self> for Int8<B> {
    forward! {
        leaky_relu(tensor: Float, negative_slope: Scalar) -> Float;
        relu(tensor: Float) -> Float;
        relu_backward(output: Float, grad: Float) -> Float;
        gelu(tensor: Float) -> Float;
        prelu(tensor: Float, alpha: Float) -> Float;
        gelu_backward(x: Float, grad: Float) -> Float;
        sigmoid(tensor: Float) -> Float;
        sigmoid_backward(output: Float, grad: Float) -> Float;
        hard_sigmoid(tensor: Float, alpha: Scalar, beta: Scalar) -> Float;
        log_sigmoid(tensor: Float) -> Float;
        softmax(tensor: Float, dim: usize) -> Float;
        log_softmax(tensor: Float, dim: usize) -> Float;
        softmin(tensor: Float, dim: usize) -> Float;
        log_sigmoid_backward(x: Float, grad: Float) -> Float;
    }
}
