//! 256-bit VNNI, which comes in two encodings of one instruction: AVX-VNNI and AVX-512VL with AVX-512 VNNI.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes, so activations come offset by 128, and 128 times the column sum of the
//! weights is taken out at the end. Sums may wrap on the way; modulo 2^32 the result is exact.

use std::arch::x86_64::*;

use super::avx2::{Floats256, KC, PixelFloats256, vectors};
use super::convert_256::Convert256;
use super::shuffle::Shuffle256;
use crate::isa::conv_microkernel::{ConvMicrokernel, conv_tiles};
use crate::isa::encoding::OffsetU8;
use crate::isa::instruction_set::define_isa;
use crate::isa::microkernel::{Accumulator, Microkernel, tiles};

/// One kernel for both encodings: they differ in the instruction alone.
macro_rules! integers {
    ($name:ident, $dot:ident) => {
        pub(crate) struct $name;

        // SAFETY: the functions read and write as many bytes as the constants say.
        unsafe impl Accumulator for $name {
            type Sum = i32;
            type Acc = __m256i;
            type W = __m256i;
            type X = __m256i;
            const LANES: usize = 8;
            const VECTORS: usize = 2;
            const MR: usize = 6;

            #[inline(always)]
            unsafe fn zero() -> Self::Acc {
                // SAFETY: the caller vouches for AVX2.
                unsafe { _mm256_setzero_si256() }
            }

            #[inline(always)]
            unsafe fn multiply_add(acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
                // SAFETY: the caller vouches for this encoding of VNNI.
                unsafe { $dot(acc, x, w) }
            }

            #[inline(always)]
            unsafe fn store(acc: Self::Acc, out: &mut [i32]) {
                let out: &mut [i32; 8] = (&mut out[..8]).try_into().expect("eight columns");
                // SAFETY: the caller vouches for AVX2; `out` is 32 bytes.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), acc) }
            }
        }

        // SAFETY: the functions read and write as many bytes as the constants say.
        unsafe impl Microkernel for $name {
            const INPUT_BYTES: usize = 4;
            const KC: usize = KC;

            #[inline(always)]
            fn vectors(rows: usize) -> usize {
                vectors(rows, Self::VECTORS)
            }

            #[inline(always)]
            unsafe fn weights(from: *const i8) -> Self::W {
                // SAFETY: the caller vouches for AVX2 and for 32 bytes.
                unsafe { _mm256_loadu_si256(from.cast()) }
            }

            #[inline(always)]
            unsafe fn inputs(from: *const u8) -> Self::X {
                // SAFETY: the caller vouches for AVX2 and for 4 bytes; read without assuming alignment.
                unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }


            tiles!(Self: 1 2 3 4 5 6 x [2 4 6 8]);
        }

        // SAFETY: the functions read and write as many bytes as the constants say.
        unsafe impl ConvMicrokernel for $name {
            const BLOCK_BYTES: usize = 4;

            #[inline(always)]
            unsafe fn blocks(from: *const u8) -> Self::X {
                // SAFETY: the caller vouches for AVX2 and for 32 bytes.
                unsafe { _mm256_loadu_si256(from.cast()) }
            }

            #[inline(always)]
            unsafe fn weight(from: *const i8) -> Self::W {
                // SAFETY: the caller vouches for AVX2 and for 4 bytes; read without assuming alignment.
                unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }

            conv_tiles!(Self: 1 2 3 4 5 6 x [1 2]);
        }
    };
}

integers!(DotAvxVnni, _mm256_dpbusd_avx_epi32);
integers!(DotAvx512Vl, _mm256_dpbusd_epi32);

define_isa! {
    /// Recent desktop CPUs without AVX-512.
    AvxVnni = "avx-vnni",
    features: ["avx2", "fma", "avxvnni"], input: OffsetU8, gemm: DotAvxVnni, weight_only: Floats256,
    conv: DotAvxVnni, conv_float: PixelFloats256, shuffle: Shuffle256, convert: Convert256
}

define_isa! {
    /// The same kernel in the other encoding: how a machine with AVX-512 tests it.
    Avx512VlVnni = "avx512vl-vnni",
    features: ["avx2", "fma", "avx512vl", "avx512vnni"], input: OffsetU8, gemm: DotAvx512Vl, weight_only: Floats256,
    conv: DotAvx512Vl, conv_float: PixelFloats256, shuffle: Shuffle256, convert: Convert256
}
