//! The type of the backend.

use std::marker::PhantomData;

/// The beginning of the backend's name.
pub(super) const NAME: &str = "int8<";

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
