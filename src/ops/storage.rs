//! The place of a layer's INT8 weights.

use std::sync::Arc;

use burn::prelude::*;

use super::cpu;
#[cfg(feature = "wgpu")]
use super::cube;
use super::portable::weights::{Capabilities, DeviceWeights};
use burn_int8_kernels::{PackedWeights, QTensor, WeightLayout};

/// The place of the numbers, which says who computes with them. Clones share the numbers.
#[derive(Clone)]
pub(super) enum Storage<B: Backend> {
    /// They are in host memory, for the CPU's kernels.
    Cpu(Arc<PackedWeights>),
    /// They are on a device of CubeCL's, for its kernels.
    #[cfg(feature = "wgpu")]
    Cube(Arc<DeviceWeights<B>>),
    /// They are on some device, for plain tensor operations.
    Portable(Arc<DeviceWeights<B>>),
}

impl<B: Backend> Storage<B> {
    pub(super) fn new(tensor: &QTensor, device: &B::Device) -> Self {
        if cpu::is_host::<B>() {
            return Self::Cpu(Arc::new(PackedWeights::from_qtensor(tensor)));
        }
        let weights = DeviceWeights::new(tensor, capabilities::<B>(device), device);
        Self::on_device(weights, &tensor.layout())
    }

    /// The kernels of the device if it has some, plain tensor operations otherwise.
    pub(super) fn on_device(weights: DeviceWeights<B>, layout: &WeightLayout) -> Self {
        #[cfg(feature = "wgpu")]
        if cube::computes::<B>(layout) {
            return Self::Cube(Arc::new(weights));
        }
        let _ = layout;
        Self::Portable(Arc::new(weights))
    }

    fn device_weights(&self) -> Option<&Arc<DeviceWeights<B>>> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "wgpu")]
            Self::Cube(weights) => Some(weights),
            Self::Portable(weights) => Some(weights),
        }
    }

    /// Says whether `other` holds the same numbers in the same place, perhaps in another copy.
    pub(super) fn holds_the_same(&self, other: &Self, layout: &WeightLayout) -> bool {
        match (self, other) {
            (Self::Cpu(this), Self::Cpu(other)) => this == other,
            _ => match (self.device_weights(), other.device_weights()) {
                (Some(this), Some(other)) => this.holds_the_same(other, layout),
                _ => false,
            },
        }
    }

    /// An address that tells this copy from others.
    pub(super) fn address(&self) -> usize {
        match self {
            Self::Cpu(packed) => Arc::as_ptr(packed).addr(),
            #[cfg(feature = "wgpu")]
            Self::Cube(weights) => Arc::as_ptr(weights).addr(),
            Self::Portable(weights) => Arc::as_ptr(weights).addr(),
        }
    }
}

/// The limits and the abilities of a device that weights are laid out for.
pub(super) fn capabilities<B: Backend>(device: &B::Device) -> Capabilities {
    #[cfg(feature = "wgpu")]
    if let Some(capabilities) = cube::capabilities::<B>(device) {
        return capabilities;
    }
    // A server of Burn's remote backend reads messages of 16 MiB, and hangs up at a longer one.
    const MESSAGE_BYTES: usize = 8 << 20;
    let is_remote = B::name(device).contains("remote-");
    let binding_bytes = if is_remote { MESSAGE_BYTES } else { usize::MAX };
    Capabilities { binding_bytes, ..Capabilities::default() }
}
