//! [`Int8`]: a backend on which models of Burn's own layers are quantized where they stand.
//!
//! | file | what it holds |
//! |---|---|
//! | `tensor`, `weight`, `conv` | the float tensor: one of the inner backend's or an INT8 weight, and what is computed with it |
//! | `quantized`, `saved` | what Burn calls a quantized tensor, and the weight in a file |
//! | `stock` | the way from a mapper to INT8 parameters |
//! | `forward` | the methods of Burn's traits |

mod conv;
mod forward;
mod quantized;
mod saved;
mod stock;
mod tensor;
mod weight;

use std::marker::PhantomData;

use burn::prelude::*;
use burn::tensor::backend::{BackendTypes, DTypeUsageSet, ExecutionError};
use burn::tensor::{DType, TensorData};

use crate::cast::as_type;
pub use quantized::Int8QTensor;
pub(crate) use stock::stock_backend;
pub use tensor::Int8Tensor;

/// The beginning of the backend's name.
const NAME: &str = "int8<";

/// A backend that computes as `B` does, and on which the layers of Burn itself can be INT8: a model is quantized as it is, without
/// layers of this crate, and its code, or that of others, does not change but for the backend.
///
/// Linear layers, embeddings and convolutions compute in INT8, and so do all modules that are made of them: attention, transformers,
/// recurrent nets. Everything else goes to `B` as it comes. The integers and the results are those of this crate's layers.
///
/// For training, put autodiff around it, `Autodiff<Int8<B>>`, and quantize the model that `valid()` returns. The weights of that
/// model are frozen: `train()` gives a model with gradients for the inputs of its INT8 layers, but none for their weights.
///
/// # Numerics
///
/// Until a model is quantized, every result is the one of `B`, bit for bit. An INT8 weight that anything but a layer or a product
/// reads, a model's own arithmetic for example, is dequantized for that, each time it is read: `int8_report()` counts such reads.
///
/// # Saving
///
/// Burn's recorders write an INT8 parameter as integers and read them into a model that was just made, on this backend; the drop-in
/// layers of this crate read them, too. Burn's other backends panic on such a file. Float files load everywhere; a float file that
/// is loaded into a quantized model makes it float again.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, nn, tensor::{Distribution, Tensor}};
/// use burn_int8::{Int8, prelude::*};
///
/// type B = Int8<NdArray>;
///
/// let device = Default::default();
/// let lstm = nn::LstmConfig::new(32, 64, true).init::<B>(&device); // Burn's own
/// let x = Tensor::<B, 3>::random([1, 20, 32], Distribution::Default, &device);
/// let (float, _) = lstm.forward(x.clone(), None);
///
/// let (lstm, report) = lstm.quantize(&Int8Config::new())?;
/// assert_eq!(report.int8_layers(), 8); // the two products of each gate
/// let (int8, _) = lstm.forward(x, None);
/// assert!((float - int8).abs().max().into_scalar() < 0.02);
/// # Ok::<(), Int8Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Int8<B>(PhantomData<B>);

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
