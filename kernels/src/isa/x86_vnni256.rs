//! 256-bit VNNI, which comes in two encodings of one instruction: AVX-VNNI and AVX-512VL with AVX-512 VNNI.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes, so activations come offset by 128, and 128 times the column sum of the
//! weights is taken out at the end. Sums may wrap on the way; modulo 2^32 the result is exact.

use std::arch::x86_64::*;

use super::declare::kernel;
use super::micro::{Accumulator, Microkernel, take_out_offset, tiles};
use super::pixels::{ConvMicrokernel, pixel_tiles};
use super::x86_avx2::{CHUNK, Floats256, PixelFloats256, Turn256, width};

/// One kernel for both encodings: they differ in the instruction alone.
macro_rules! integers {
    ($name:ident, $dot:ident) => {
        struct $name;

        impl Accumulator for $name {
            type Sum = i32;
            type Acc = __m256i;
            type W = __m256i;
            type X = __m256i;
            const COLUMNS: usize = 8;
            const WIDTH: usize = 2;
            const ROWS: usize = 6;

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

        impl Microkernel for $name {
            const INPUT_BYTES: usize = 4;
            const CHUNK: usize = CHUNK;

            #[inline(always)]
            fn width(rows: usize) -> usize {
                width(rows, Self::WIDTH)
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

            #[inline(always)]
            fn correct(sums: &mut [i32], column_sums: &[i32]) {
                take_out_offset::<u8>(sums, column_sums);
            }

            tiles!(Self: 1 2 3 4 5 6 x [2 4 6 8]);
        }

        impl ConvMicrokernel for $name {
            const CELL: usize = 4;

            #[inline(always)]
            unsafe fn cells(from: *const u8) -> Self::X {
                // SAFETY: the caller vouches for AVX2 and for 32 bytes.
                unsafe { _mm256_loadu_si256(from.cast()) }
            }

            #[inline(always)]
            unsafe fn weight(from: *const i8) -> Self::W {
                // SAFETY: the caller vouches for AVX2 and for 4 bytes; read without assuming alignment.
                unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }

            pixel_tiles!(Self: 1 2 3 4 5 6 x [1 2]);
        }
    };
}

integers!(AvxVnni, _mm256_dpbusd_avx_epi32);
integers!(Avx512VlVnni, _mm256_dpbusd_epi32);

kernel! {
    /// Recent desktop CPUs without AVX-512.
    pub(super) const AVX_VNNI: "avx-vnni",
    features: ["avx2", "fma", "avxvnni"], codes: u8, integers: AvxVnni, floats: Floats256,
    cells: u32, pixels: AvxVnni, pixel_floats: PixelFloats256,
    channels: AvxVnni, turn: Turn256
}

kernel! {
    /// The same kernel in the other encoding: how a machine with AVX-512 tests it.
    pub(super) const AVX512VL_VNNI: "avx512vl-vnni",
    features: ["avx2", "fma", "avx512vl", "avx512vnni"], codes: u8, integers: Avx512VlVnni, floats: Floats256,
    cells: u32, pixels: Avx512VlVnni, pixel_floats: PixelFloats256,
    channels: Avx512VlVnni, turn: Turn256
}
