//! The layout of `avx512-vnni` in plain Rust: its codes, cells and tiles, for tests on a CPU without it.

use super::declare::kernel;
use super::portable::{Floats, Integers, PixelFloats, PixelIntegers, Plain};

kernel! {
    /// For tests alone.
    pub(super) const KERNEL: "emulated-vnni",
    features: [], codes: u8, integers: Integers<u8, 6, 4>, floats: Floats<4, 4>,
    cells: u32, pixels: PixelIntegers<u8, 6, 4>, pixel_floats: PixelFloats<6, 4>,
    channels: Integers<u8, 6, 4>, turn: Plain
}
