//! Devices of CubeCL's: kernels on packed words, the same source for every runtime.
//!
//! | file | what it holds |
//! |---|---|
//! | `route` | from a Burn primitive to a tensor of CubeCL's and back, with and without fusion |
//! | `ops` | what a layer computes, as one step in the device's queue |
//! | `launch` | from shapes to tiles, cubes and kernels |
//! | `ability` | what a device can do |
//! | `buffer` | device memory with its length |
//! | `kernels` | device code |

mod ability;
mod buffer;
mod kernels;
mod launch;
mod ops;
mod route;
#[cfg(test)]
mod tests;

use burn::prelude::*;
use burn_cubecl::CubeRuntime;
use cubecl::client::ComputeClient;

use burn_int8_kernels::WeightLayout;

pub(super) use ops::{conv, embed, linear};

/// Most inputs whose products surely fit an `i32` sum.
const MAX_EXACT_INPUTS: usize = 131_071;

/// Whether kernels compute with weights of this form on `B`.
pub(super) fn runs<B: Backend>(form: &WeightLayout) -> bool {
    form.channels() > 0 && (1..=MAX_EXACT_INPUTS).contains(&form.inputs()) && route::is_cube::<B>()
}

/// The name of the runtime and its compiler, if kernels compute with weights of this form.
pub(super) fn kernel<B: Backend>(form: &WeightLayout, device: &B::Device) -> Option<&'static str> {
    struct Name;
    impl route::Question<&'static str> for Name {
        fn ask<R: CubeRuntime>(self, client: &ComputeClient<R>, _: &R::Device) -> &'static str {
            R::name(client)
        }
    }
    if runs::<B>(form) { route::ask::<B, _>(device, Name) } else { None }
}

/// The bytes of a buffer that a kernel can be given, if the device is one of CubeCL's.
pub(super) fn largest_binding<B: Backend>(device: &B::Device) -> Option<usize> {
    struct Limit;
    impl route::Question<u64> for Limit {
        fn ask<R: CubeRuntime>(self, client: &ComputeClient<R>, _: &R::Device) -> u64 {
            client.properties().memory.max_page_size
        }
    }
    route::ask::<B, _>(device, Limit).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Whether kernels on this device multiply four bytes at once.
pub(super) fn packed_dot<B: Backend>(device: &B::Device) -> bool {
    struct Dot;
    impl route::Question<bool> for Dot {
        fn ask<R: CubeRuntime>(self, client: &ComputeClient<R>, device: &R::Device) -> bool {
            ability::packed_dot(client, device)
        }
    }
    route::ask::<B, _>(device, Dot).unwrap_or(false)
}
