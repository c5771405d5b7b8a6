//! From Burn tensors to the place where the numbers are: slices for the CPU kernels, or plain tensor operations.
//!
//! To add a backend: one file, and a line in [`Place`] or in `host`.

mod cpu;
#[cfg(feature = "wgpu")]
mod cube;
mod device;
mod fused;
mod portable;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use crate::config::LayerScheme;
use burn_int8_kernels::{Activation, ConvGeometry, NotFinite, PackedWeights, QuantError, WeightLayout};
use portable::weights::Words;

pub(crate) use cpu::with_floats;
pub(crate) use fused::{Product, Scores, attention, fuses, layer_norm, products};

/// The INT8 weights of one layer, in the one copy and the layout that its backend computes with.
#[derive(Clone)]
pub(crate) struct Weights<B: Backend> {
    form: WeightLayout,
    place: Place<B>,
}

/// Where the numbers are.
#[derive(Clone)]
enum Place<B: Backend> {
    /// PackedWeights in host memory, for the CPU kernels; clones share it.
    Host(Arc<PackedWeights>),
    /// On the device, for its kernels or for plain tensor operations.
    Device(Arc<Words<B>>),
}

impl<B: Backend> Place<B> {
    fn on_device(integers: &[i8], scales: &[f32], form: &WeightLayout, device: &B::Device) -> Self {
        let limit = device::largest_part::<B>(device);
        Self::Device(Arc::new(Words::new(integers, scales, form, limit, device)))
    }

    /// Another handle on `other`, if it holds the same numbers.
    fn same_numbers(&self, other: &Self, form: &WeightLayout) -> Option<Self> {
        let same = match (self, other) {
            (Self::Host(this), Self::Host(other)) => this == other,
            (Self::Device(this), Self::Device(other)) => {
                this.scales.device() == other.scales.device()
                    && this.scales() == other.scales()
                    && this.to_integers(form) == other.to_integers(form)
            }
            _ => false,
        };
        same.then(|| other.clone())
    }
}

/// Indices into a table.
///
/// # Panics
///
/// If one is not in it.
fn checked<B: Backend>(form: &WeightLayout, indices: &Tensor<B, 2, Int>) -> Vec<usize> {
    let entries = form.channels();
    let checked = |index: i64| match usize::try_from(index) {
        Ok(index) if index < entries => index,
        _ => panic!("QEmbedding: index {index} is outside the vocabulary of {entries} entries"),
    };
    indices.to_data().iter::<i64>().map(checked).collect()
}

impl<B: Backend> Weights<B> {
    /// Quantizes a weight tensor of the shape that `form` has, one scale for each output channel.
    pub(crate) fn quantize<const D: usize>(
        weight: Tensor<B, D>,
        form: WeightLayout,
        scheme: LayerScheme,
    ) -> Result<(Self, QuantError), NotFinite> {
        let device = weight.device();
        let (packed, fidelity) = with_floats(weight, |w| PackedWeights::quantize(w, &form, scheme.range))?;
        let place = if cpu::is_host::<B>() {
            Place::Host(Arc::new(packed))
        } else {
            Place::on_device(&packed.to_integers(&form), packed.scales(), &form, &device)
        };
        Ok((Self { form, place }, fidelity))
    }

    /// Takes integers in the layout of the weight tensor, and one scale per output channel.
    pub(crate) fn from_integers(
        integers: &[i8],
        scales: &[f32],
        form: WeightLayout,
        device: &B::Device,
    ) -> Self {
        let place = if cpu::is_host::<B>() {
            Place::Host(Arc::new(PackedWeights::from_integers(integers, scales, &form)))
        } else {
            Place::on_device(integers, scales, &form, device)
        };
        Self { form, place }
    }

    /// The integers in the layout of the weight tensor.
    pub(crate) fn to_integers(&self) -> Vec<i8> {
        match &self.place {
            Place::Host(packed) => packed.to_integers(&self.form),
            Place::Device(words) => words.to_integers(&self.form),
        }
    }

    /// One step per output channel.
    pub(crate) fn scales(&self) -> Vec<f32> {
        match &self.place {
            Place::Host(packed) => packed.scales().to_vec(),
            Place::Device(words) => words.scales(),
        }
    }

    /// The floats that the integers stand for.
    pub(crate) fn dequantize<const D: usize>(&self, device: &B::Device) -> Tensor<B, D> {
        let scales = self.scales();
        let integers = self.to_integers().into_iter().enumerate();
        let values: Vec<f32> =
            integers.map(|(i, q)| f32::from(q) * scales[self.form.channel_of(i)]).collect();
        Tensor::from_data(TensorData::new(values, self.form.shape()), device)
    }

    /// What they are to their layer.
    pub(crate) fn form(&self) -> WeightLayout {
        self.form
    }

    /// The name of what computes with them.
    pub(crate) fn kernel(&self) -> &'static str {
        match &self.place {
            Place::Host(_) => burn_int8_kernels::active().name(),
            Place::Device(words) => device::kernel::<B>(&self.form, &words.scales.device()),
        }
    }

    /// The bytes of the copy that it computes with, and a number that tells this copy from others.
    pub(crate) fn memory(&self) -> (usize, usize) {
        match &self.place {
            Place::Host(packed) => (packed.bytes(), Arc::as_ptr(packed).addr()),
            Place::Device(words) => (words.bytes(), Arc::as_ptr(words).addr()),
        }
    }

    /// If `other` holds the same numbers, lets go of one of the two copies.
    pub(crate) fn share(&mut self, other: &Self) {
        if self.form == other.form
            && let Some(shared) = self.place.same_numbers(&other.place, &self.form)
        {
            self.place = shared;
        }
    }

    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Host(this), Place::Host(other)) => Arc::ptr_eq(this, other),
            (Place::Device(this), Place::Device(other)) => Arc::ptr_eq(this, other),
            _ => false,
        }
    }

    /// The product of the last axis of `x` with each output channel, plus bias: `x · weight`, and for a table `x · tableᵀ`.
    pub(crate) fn linear<const D: usize>(
        &self,
        x: Tensor<B, D>,
        scheme: LayerScheme,
        bias: Option<Tensor<B, 1>>,
    ) -> Tensor<B, D> {
        match &self.place {
            Place::Host(weights) => {
                let layer = cpu::Layer { weights, bias, activation: Activation::Identity };
                let [out] = cpu::linear(x, scheme, [layer]);
                out
            }
            Place::Device(words) => device::linear(words, &self.form, x, scheme, bias),
        }
    }

    /// The rows of a table at `indices` `[batch, length]`: `[batch, length, width]`.
    ///
    /// # Panics
    ///
    /// If an index is not in the table; kernels on a device give NaN instead.
    pub(crate) fn embed(&self, indices: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let ([batch, length], device) = (indices.dims(), indices.device());
        match &self.place {
            Place::Host(packed) => {
                let entries = checked(&self.form, &indices);
                cpu::embed(packed, &entries, [batch, length, self.form.inputs()], &device)
            }
            Place::Device(words) => device::embed(words, &self.form, indices),
        }
    }

    /// The convolution of `x` `[batch, channels, ..]`.
    pub(crate) fn conv<const D: usize>(
        &self,
        x: Tensor<B, D>,
        window: ConvGeometry,
        scheme: LayerScheme,
        bias: Option<Tensor<B, 1>>,
    ) -> Tensor<B, D> {
        let WeightLayout::Conv(filter) = self.form else { unreachable!("only convolutions have a window") };
        match &self.place {
            Place::Host(packed) => cpu::conv(packed, &filter, x, &window, scheme, bias),
            Place::Device(words) => device::conv(words, &filter, x, &window, scheme, bias),
        }
    }

    pub(crate) fn to_device(&self, device: &B::Device) -> Self {
        let place = match &self.place {
            Place::Host(packed) => Place::Host(packed.clone()),
            Place::Device(words) => Place::Device(Arc::new(words.to_device(device))),
        };
        Self { form: self.form, place }
    }
}

/// The integer computation, with the gradient of the float one: straight through the rounding of the activations.
pub(crate) fn straight_through<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    int8: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>,
    float: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>,
) -> Tensor<B, D> {
    if !B::ad_enabled(&x.device()) {
        return int8(x);
    }
    let path = float(x.clone());
    let zero = path.clone() - path.detach(); // zeros, with the gradient of the float computation
    int8(x.detach()) + zero
}

impl<B: AutodiffBackend> Weights<B> {
    pub(crate) fn inner(&self) -> Weights<B::InnerBackend> {
        let place = match &self.place {
            Place::Host(packed) => Place::Host(packed.clone()),
            Place::Device(words) => Place::Device(Arc::new(words.inner())),
        };
        Weights { form: self.form, place }
    }

    pub(crate) fn from_inner(inner: Weights<B::InnerBackend>) -> Self {
        let place = match inner.place {
            Place::Host(packed) => Place::Host(packed),
            Place::Device(words) => Place::Device(Arc::new(Words::from_inner(&words))),
        };
        Self { form: inner.form, place }
    }
}

impl<B: Backend> std::fmt::Debug for Weights<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Int8 {:?} on {}", self.form.shape(), self.kernel())
    }
}
