//! The network as the rest of the program knows it, whichever layers it is made of.

use burn::prelude::*;
use burn_int8::Int8Error;

pub trait Classifier: Module<Self::Backend> + 'static {
    type Backend: Backend;

    fn new(device: &Device<Self::Backend>) -> Self;

    /// The same model without its BatchNorms.
    fn fold(self) -> Result<Self, Int8Error>;

    /// Computes the scores of the classes `[n, CLASSES]` from `[n, 1, SIDE, SIDE]`.
    fn forward(&self, x: Tensor<Self::Backend, 4>) -> Tensor<Self::Backend, 2>;
}
