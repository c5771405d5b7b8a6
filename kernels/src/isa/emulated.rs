//! Layouts of instruction sets that the CPU may lack, in plain Rust: their encodings, their blocked inputs, their tiles.

use super::convert::Loops;
use super::encoding::{OffsetU8, SignedI8};
use super::instruction_set::define_isa;
use super::portable::{Floats, Integers, PixelFloats, PixelIntegers, Plain};

define_isa! {
    /// The layout of `avx512-vnni`.
    EmulatedVnni = "emulated-vnni",
    features: [], input: OffsetU8, gemm: Integers<OffsetU8, 6, 4>, weight_only: Floats<4, 4>,
    conv: PixelIntegers<OffsetU8, 6, 4>, conv_float: PixelFloats<6, 4>, shuffle: Plain, convert: Loops
}

define_isa! {
    /// Signed bytes, as ARM multiplies them: as wide as `OffsetU8`, without its offset.
    EmulatedSigned = "emulated-signed",
    features: [], input: SignedI8, gemm: Integers<SignedI8, 6, 4>, weight_only: Floats<4, 4>,
    conv: PixelIntegers<SignedI8, 6, 4>, conv_float: PixelFloats<6, 4>, shuffle: Plain, convert: Loops
}
