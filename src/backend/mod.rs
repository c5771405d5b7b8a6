//! [`Int8`]: a backend on which models of Burn's own layers are quantized where they stand.
//!
//! | file | what it holds |
//! |---|---|
//! | `int8` | the type of the backend |
//! | `tensor`, `weight`, `conv` | the float tensor: one of the inner backend's or an INT8 weight, and what is computed with it |
//! | `pending`, `padding` | the outputs of layers, and zeros around images, put off until it is known what becomes of them |
//! | `scores`, `fused`, `pooling` | attention, functions and pooling between INT8 layers, in one pass each |
//! | `observed` | a float weight that tries its INT8 forms |
//! | `quantized`, `saved` | what Burn calls a quantized tensor, and the weight in a file |
//! | `stock` | the way from a mapper to INT8 parameters |
//! | `forward` | the methods of Burn's traits |

mod conv;
mod forward;
mod fused;
mod int8;
mod observed;
mod once;
mod padding;
mod pending;
mod pooling;
mod quantized;
mod saved;
mod scores;
mod stock;
mod tensor;
#[cfg(all(test, feature = "ndarray"))]
mod tests;
mod weight;

use burn::prelude::*;
use burn::tensor::backend::{BackendTypes, DTypeUsageSet, ExecutionError};
use burn::tensor::{DType, TensorData};

use crate::cast::as_type;
pub use fused::without_fusion;
pub use int8::Int8;
use int8::NAME;
pub use quantized::Int8QTensor;
pub(crate) use stock::{Weight, stock_backend};
pub use tensor::Int8Tensor;

impl<B: Backend> BackendTypes for Int8<B> {
    type Device = B::Device;
    type FloatTensorPrimitive = Int8Tensor<B>;
    type FloatElem = B::FloatElem;
    type IntTensorPrimitive = B::IntTensorPrimitive;
    type IntElem = B::IntElem;
    type BoolTensorPrimitive = B::BoolTensorPrimitive;
    type BoolElem = B::BoolElem;
    type QuantizedTensorPrimitive = Int8QTensor<B>;
}

#[deny(clippy::missing_trait_methods, reason = "a default would take the place of what the backend does")]
impl<B: Backend> Backend for Int8<B> {
    fn ad_enabled(device: &B::Device) -> bool {
        B::ad_enabled(device)
    }

    fn memory_persistent_allocations<Output: Send, Input: Send, Func: Fn(Input) -> Output + Send>(
        device: &B::Device,
        mut input: Input,
        func: Func,
    ) -> Output {
        if let Some(question) = as_type::<Input, stock::Question<Self>>(&mut input) {
            question.0 = Some(Box::new(stock::Answer));
            return func(input);
        }
        B::memory_persistent_allocations(device, input, func)
    }

    fn memory_cleanup(device: &B::Device) {
        B::memory_cleanup(device);
    }

    fn name(device: &B::Device) -> String {
        format!("{NAME}{}>", B::name(device))
    }

    fn seed(device: &B::Device, seed: u64) {
        B::seed(device, seed);
    }

    fn sync(device: &B::Device) -> Result<(), ExecutionError> {
        B::sync(device)
    }

    fn staging<'a, Iter>(data: Iter, device: &B::Device)
    where
        Iter: Iterator<Item = &'a mut TensorData>,
    {
        B::staging(data, device);
    }

    fn supports_dtype(device: &B::Device, dtype: DType) -> bool {
        B::supports_dtype(device, dtype)
    }

    fn dtype_usage(device: &B::Device, dtype: DType) -> DTypeUsageSet {
        B::dtype_usage(device, dtype)
    }

    fn device_count(type_id: u16) -> usize {
        B::device_count(type_id)
    }
}
