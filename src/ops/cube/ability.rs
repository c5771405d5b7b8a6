//! What a device can do, asked once.

use std::any::TypeId;
use std::sync::{Mutex, PoisonError};

use burn_cubecl::CubeRuntime;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::buffer::Buffer;
use super::kernels::dot::dots;
use super::launch::launch;

/// Whether units run side by side as a GPU's do. A processor that stands in for one has planes as narrow as its vectors; what
/// it gains from is large tiles.
pub(super) fn is_wide<R: CubeRuntime>(client: &ComputeClient<R>) -> bool {
    client.properties().hardware.plane_size_max > 8
}

/// Whether kernels should multiply four bytes at once: on a GPU that has shown that it does so exactly.
pub(super) fn packed_dot<R: CubeRuntime>(client: &ComputeClient<R>, device: &R::Device) -> bool {
    static KNOWN: Mutex<Vec<(TypeId, cubecl::device::DeviceId, bool)>> = Mutex::new(Vec::new());
    if !is_wide(client) {
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
    launch!(dots::<R>(client, CubeCount::new_1d(1), CubeDim::new_1d(64), a.arg(1), b.arg(1), out.arg(1)));
    client.read_one(out.handle()).is_ok_and(|got| bytemuck::cast_slice::<u8, i32>(&got) == expected)
}
