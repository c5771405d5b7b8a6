//! The limits and the abilities of a device, asked of the client of its runtime.

use std::any::TypeId;
use std::sync::{Mutex, PoisonError};

use burn::tensor::backend::Backend;
use burn_cubecl::CubeRuntime;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::buffer::Buffer;
use super::fusion::{ClientQuery, ask, is_cube};
use super::kernels::dot::dots;
use crate::ops::portable::weights::Capabilities;
use burn_int8_kernels::{MAX_EXACT_INPUTS, WeightLayout};

/// The most values that a processor's vectors hold.
const WIDEST_VECTORS: u32 = 8;

#[cfg(test)]
thread_local! {
    /// The answer of [`is_wide`], whatever the device is.
    pub(super) static WIDE: std::cell::Cell<Option<bool>> = const { std::cell::Cell::new(None) };
}

/// Says whether kernels compute with weights of this layout on `B`.
pub(in crate::ops) fn computes<B: Backend>(layout: &WeightLayout) -> bool {
    layout.channels() > 0 && (1..=MAX_EXACT_INPUTS).contains(&layout.inputs()) && is_cube::<B>()
}

/// The name of the runtime and its compiler.
pub(in crate::ops) fn name<B: Backend>(device: &B::Device) -> &'static str {
    struct Name;
    impl ClientQuery<&'static str> for Name {
        fn ask<R: CubeRuntime>(self, client: &ComputeClient<R>, _: &R::Device) -> &'static str {
            R::name(client)
        }
    }
    ask::<B, _>(device, Name).unwrap_or("kernels of a device")
}

/// The limits and the abilities of a device, if it is one of CubeCL's.
pub(in crate::ops) fn capabilities<B: Backend>(device: &B::Device) -> Option<Capabilities> {
    struct All;
    impl ClientQuery<Capabilities> for All {
        fn ask<R: CubeRuntime>(self, client: &ComputeClient<R>, device: &R::Device) -> Capabilities {
            let bytes = client.properties().memory.max_page_size;
            Capabilities {
                binding_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                packed_dot: packed_dot(client, device),
            }
        }
    }
    ask::<B, _>(device, All)
}

/// Says whether units run side by side as a GPU's do. A processor that stands in for one has planes as narrow as its vectors; what
/// it gains from is large tiles.
pub(super) fn is_wide<R: CubeRuntime>(client: &ComputeClient<R>) -> bool {
    #[cfg(test)]
    if let Some(wide) = WIDE.get() {
        return wide;
    }
    client.properties().hardware.plane_size_max > WIDEST_VECTORS
}

/// Says whether kernels should multiply four bytes at once: on a GPU that has shown that it does so exactly.
fn packed_dot<R: CubeRuntime>(client: &ComputeClient<R>, device: &R::Device) -> bool {
    static KNOWN: Mutex<Vec<(TypeId, cubecl::device::DeviceId, bool)>> = Mutex::new(Vec::new());
    if client.properties().hardware.plane_size_max <= WIDEST_VECTORS {
        return false;
    }
    let key = (TypeId::of::<R>(), cubecl::device::Device::to_id(device));
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.iter().find(|(runtime, id, _)| (*runtime, *id) == key) {
        return found.2;
    }
    let able = multiplies_packed_bytes(client);
    known.push((key.0, key.1, able));
    able
}

/// Computes some dot products and looks at them: a driver that does not know the instruction gives something else.
pub(super) fn multiplies_packed_bytes<R: CubeRuntime>(client: &ComputeClient<R>) -> bool {
    let bytes = client.properties().supports_type(ElemType::Int(cubecl::ir::IntKind::I8));
    if !bytes || !R::name(client).contains("spirv") {
        return false;
    }
    let [a, b] = [7, 13].map(|step: i32| -> Vec<[i8; 4]> {
        let extremes = [[-128; 4], [127; 4], [-1, 1, -128, 127]];
        extremes
            .into_iter()
            .chain((0..61).map(|i| [0, 1, 2, 3].map(|j| (i * step * 5 + j * 91) as i8)))
            .collect()
    });
    let expected: Vec<i32> = a
        .iter()
        .zip(b.iter().rev())
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum())
        .collect();
    let b: Vec<_> = b.into_iter().rev().collect();
    let out = Buffer::new(client, expected.len(), size_of::<i32>());
    let [a, b] = [a, b].map(|words| Buffer::from_words(client, bytemuck::cast_slice(&words)));
    // SAFETY: a unit past the end of `out` does nothing, and `a` and `b` have as many words as `out`.
    #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
    unsafe {
        dots::launch_unchecked::<R>(
            client,
            CubeCount::new_1d(1),
            CubeDim::new_1d(64),
            a.arg(1),
            b.arg(1),
            out.arg(1),
        );
    }
    client.read_one(out.handle()).is_ok_and(|got| bytemuck::cast_slice::<u8, i32>(&got) == expected)
}
