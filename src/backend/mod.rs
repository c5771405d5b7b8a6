//! From Burn tensors to the place where the numbers are: slices for the CPU kernels, or plain tensor operations.
//!
//! To add a backend: one file, and a line in [`Weights`] or in `host`.

#[cfg(feature = "flex")]
mod flex;
mod host;
#[cfg(feature = "ndarray")]
mod ndarray;
mod portable;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use crate::kernel::{self, Fidelity, NotFinite, Packed};
use crate::scheme::LayerScheme;
use portable::Words;

pub(crate) use host::with_floats;

/// The INT8 weight matrix of one layer, in the one copy and the layout that its backend computes with.
#[derive(Clone)]
pub(crate) enum Weights<B: Backend> {
    /// Packed in host memory, for the CPU kernels; clones share it.
    Host(Arc<Packed>),
    /// On the device, for plain tensor operations.
    Portable(Words<B>),
}

impl<B: Backend> Weights<B> {
    /// Quantizes a weight matrix `[k, n]`, one scale for each of the `n` output channels.
    pub(crate) fn quantize(weight: Tensor<B, 2>, scheme: LayerScheme) -> Result<(Self, Fidelity), NotFinite> {
        let (shape, device) = (weight.dims(), weight.device());
        let (packed, fidelity) = with_floats(weight, |w| Packed::quantize(w, shape, scheme.range.into()))?;
        Ok((Self::place(packed, &device), fidelity))
    }

    /// Takes integers `[k, n]` and one scale per column.
    pub(crate) fn from_integers(
        integers: &[i8],
        scales: &[f32],
        shape: [usize; 2],
        device: &B::Device,
    ) -> Self {
        Self::place(Packed::from_integers(integers, scales, shape), device)
    }

    fn place(packed: Packed, device: &B::Device) -> Self {
        if host::is_host::<B>() {
            Self::Host(Arc::new(packed))
        } else {
            Self::Portable(Words::new(&packed, device))
        }
    }

    /// The integers, row-major `[k, n]`.
    pub(crate) fn to_integers(&self) -> Vec<i8> {
        match self {
            Self::Host(packed) => packed.to_integers(),
            Self::Portable(words) => words.to_integers(),
        }
    }

    /// One step per column.
    pub(crate) fn scales(&self) -> Vec<f32> {
        match self {
            Self::Host(packed) => packed.scales().to_vec(),
            Self::Portable(words) => words.scales(),
        }
    }

    /// The floats that the integers stand for.
    pub(crate) fn dequantize(&self, device: &B::Device) -> Tensor<B, 2> {
        let (integers, scales) = (self.to_integers(), self.scales());
        let shape = self.shape();
        let values: Vec<f32> = integers
            .chunks_exact(shape[1].max(1))
            .flat_map(|row| row.iter().zip(&scales).map(|(&q, scale)| f32::from(q) * scale))
            .collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// `[k, n]`.
    pub(crate) fn shape(&self) -> [usize; 2] {
        match self {
            Self::Host(packed) => packed.shape(),
            Self::Portable(words) => words.shape(),
        }
    }

    /// The name of what computes with them.
    pub(crate) fn kernel(&self) -> &'static str {
        match self {
            Self::Host(_) => kernel::active().name(),
            Self::Portable(_) => "tensor operations",
        }
    }

    /// If `other` holds the same numbers, lets go of one of the two copies.
    pub(crate) fn share(&mut self, other: &Self) {
        if let (Self::Host(this), Self::Host(other)) = (self, other)
            && this == other
        {
            *this = other.clone();
        }
    }

    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Host(this), Self::Host(other)) if Arc::ptr_eq(this, other))
    }

    /// `x · weights + bias` over the last axis of `x`.
    ///
    /// On an autodiff backend the gradient of `x` is `upstream · dequantized weightsᵀ`, straight through the rounding of
    /// the activations; weights and bias have none.
    pub(crate) fn linear<const D: usize>(
        &self,
        x: Tensor<B, D>,
        scheme: LayerScheme,
        bias: Option<Tensor<B, 1>>,
    ) -> Tensor<B, D> {
        if !B::ad_enabled(&x.device()) {
            return self.product(x, scheme, bias);
        }
        let weight = self.dequantize(&x.device()).cast(x.dtype());
        let path = burn::tensor::module::linear(x.clone(), weight, None);
        let zero = path.clone() - path.detach(); // zeros, with the gradient of the float product
        self.product(x.detach(), scheme, bias.map(Tensor::detach)) + zero
    }

    fn product<const D: usize>(
        &self,
        x: Tensor<B, D>,
        scheme: LayerScheme,
        bias: Option<Tensor<B, 1>>,
    ) -> Tensor<B, D> {
        match self {
            Self::Host(packed) => host::linear(packed, x, scheme, bias),
            Self::Portable(words) => words.linear(x, scheme, bias),
        }
    }

    pub(crate) fn to_device(&self, device: &B::Device) -> Self {
        match self {
            Self::Host(packed) => Self::Host(packed.clone()),
            Self::Portable(words) => Self::Portable(words.to_device(device)),
        }
    }
}

impl<B: AutodiffBackend> Weights<B> {
    pub(crate) fn inner(&self) -> Weights<B::InnerBackend> {
        match self {
            Self::Host(packed) => Weights::Host(packed.clone()),
            Self::Portable(words) => Weights::Portable(words.inner()),
        }
    }

    pub(crate) fn from_inner(inner: Weights<B::InnerBackend>) -> Self {
        match inner {
            Weights::Host(packed) => Self::Host(packed),
            Weights::Portable(words) => Self::Portable(Words::from_inner(words)),
        }
    }
}

impl<B: Backend> std::fmt::Debug for Weights<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Int8 {:?} on {}", self.shape(), self.kernel())
    }
}
