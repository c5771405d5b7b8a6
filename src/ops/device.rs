//! The backends whose tensors are not in host memory: the device's kernels if there are any, or plain tensor operations.

use burn::prelude::*;

use crate::config::LayerScheme;
use crate::ops::portable::weights::Words;
use burn_int8_kernels::{ConvGeometry, ConvSpec, WeightLayout};

/// The name of what computes with weights of this form.
pub(super) fn kernel<B: Backend>(form: &WeightLayout, device: &B::Device) -> &'static str {
    #[cfg(feature = "wgpu")]
    if let Some(name) = super::cube::kernel::<B>(form, device) {
        return name;
    }
    let _ = form;
    let backend = B::name(device);
    let lacks = FEATURES.iter().find(|(name, enabled, _)| !enabled && backend.contains(name));
    lacks.map_or("tensor operations", |(_, _, hint)| hint)
}

/// Backends that a feature of this crate has kernels for: part of their name, whether it is on, what to say if it is not.
const FEATURES: &[(&str, bool, &str)] = &[
    ("ndarray", cfg!(feature = "ndarray"), "tensor operations (burn-int8's feature `ndarray` has kernels)"),
    ("flex", cfg!(feature = "flex"), "tensor operations (burn-int8's feature `flex` has kernels)"),
    ("wgpu", cfg!(feature = "wgpu"), "tensor operations (burn-int8's feature `wgpu` has kernels)"),
];

/// The bytes that a device of this type binds at once.
pub(super) fn largest_part<B: Backend>(device: &B::Device) -> usize {
    #[cfg(feature = "wgpu")]
    if let Some(bytes) = super::cube::largest_binding::<B>(device) {
        return bytes;
    }
    let _ = device;
    usize::MAX
}

/// Whether kernels on this device multiply four bytes at once.
pub(super) fn packed_dot<B: Backend>(device: &B::Device) -> bool {
    #[cfg(feature = "wgpu")]
    if super::cube::packed_dot::<B>(device) {
        return true;
    }
    let _ = device;
    false
}

pub(super) fn linear<B: Backend, const D: usize>(
    words: &Words<B>,
    form: &WeightLayout,
    x: Tensor<B, D>,
    scheme: LayerScheme,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    #[cfg(feature = "wgpu")]
    if super::cube::runs::<B>(form) {
        return super::cube::linear(words, x, scheme, bias);
    }
    let _ = form;
    words.linear(x, scheme, bias)
}

pub(super) fn conv<B: Backend, const D: usize>(
    words: &Words<B>,
    filter: &ConvSpec,
    x: Tensor<B, D>,
    window: &ConvGeometry,
    scheme: LayerScheme,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    #[cfg(feature = "wgpu")]
    if super::cube::runs::<B>(&WeightLayout::Conv(*filter)) {
        return super::cube::conv(words, filter, x, window, scheme, bias);
    }
    words.conv(filter, x, window, scheme, bias)
}

/// The rows of a table at `indices` `[batch, length]`. Kernels give NaN for an index that is not in it: to panic, the host
/// would have to wait for the device.
///
/// # Panics
///
/// Where there are no kernels, if an index is not in the table.
pub(super) fn embed<B: Backend>(
    words: &Words<B>,
    form: &WeightLayout,
    indices: Tensor<B, 2, Int>,
) -> Tensor<B, 3> {
    #[cfg(feature = "wgpu")]
    if super::cube::runs::<B>(form) {
        return super::cube::embed(words, indices);
    }
    super::checked(form, &indices);
    words.embed(indices)
}
