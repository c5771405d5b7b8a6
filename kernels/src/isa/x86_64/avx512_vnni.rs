//! AVX-512 VNNI: four products and their sum in one instruction, for 16 columns at a time.
//!
//! Activations come offset by 128, as for the 256-bit VNNI kernels.

use std::arch::x86_64::*;

use super::convert_512::Convert512;
use super::shuffle::Shuffle512;
use crate::isa::conv_microkernel::{ConvMicrokernel, conv_tiles};
use crate::isa::encoding::OffsetU8;
use crate::isa::instruction_set::define_isa;
use crate::isa::microkernel::{Accumulator, Microkernel, tiles};

pub(crate) struct Integers;

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Accumulator for Integers {
    type Sum = i32;
    type Acc = __m512i;
    type W = __m512i;
    type X = __m512i;
    const LANES: usize = 16;
    const VECTORS: usize = 4;
    const MR: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn multiply_add(acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        // SAFETY: the caller vouches for AVX-512 VNNI.
        unsafe { _mm512_dpbusd_epi32(acc, x, w) }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [i32]) {
        let out: &mut [i32; 16] = (&mut out[..16]).try_into().expect("sixteen columns");
        // SAFETY: the caller vouches for AVX-512F; `out` is 64 bytes.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), acc) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const i8) {
        // SAFETY: a prefetch reads nothing; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from) }
    }
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Microkernel for Integers {
    const INPUT_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX-512F and for 64 bytes.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for AVX-512F and for 4 bytes; read without assuming alignment.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl ConvMicrokernel for Integers {
    const BLOCK_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn blocks(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for AVX-512F and for 64 bytes.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn weight(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX-512F and for 4 bytes; read without assuming alignment.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    conv_tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

pub(crate) struct Floats;

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Accumulator for Floats {
    type Sum = f32;
    type Acc = __m512;
    /// One vector for each of the four inputs.
    type W = [__m512; 4];
    type X = *const f32;
    const LANES: usize = 16;
    const VECTORS: usize = 4;
    const MR: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn multiply_add(acc: Self::Acc, x: Self::X, [w0, w1, w2, w3]: Self::W) -> Self::Acc {
        // SAFETY: the caller vouches for AVX-512F and for four floats at `x`; read without assuming alignment.
        unsafe {
            let acc = _mm512_fmadd_ps(_mm512_set1_ps(x.read_unaligned()), w0, acc);
            let acc = _mm512_fmadd_ps(_mm512_set1_ps(x.add(1).read_unaligned()), w1, acc);
            let acc = _mm512_fmadd_ps(_mm512_set1_ps(x.add(2).read_unaligned()), w2, acc);
            _mm512_fmadd_ps(_mm512_set1_ps(x.add(3).read_unaligned()), w3, acc)
        }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [f32]) {
        let out: &mut [f32; 16] = (&mut out[..16]).try_into().expect("sixteen columns");
        // SAFETY: the caller vouches for AVX-512F; `out` is 64 bytes.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), acc) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const i8) {
        // SAFETY: a prefetch reads nothing; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from) }
    }
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Microkernel for Floats {
    const INPUT_BYTES: usize = 16;
    const HOLDS_WEIGHTS: bool = false;

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX-512F and for 64 bytes.
        unsafe {
            let w = _mm512_loadu_si512(from.cast());
            [
                _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(w))),
                _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<16>(w))),
                _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<8>(w))),
                _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(w)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        from.cast()
    }

    tiles!(Self: 1 2 3 4 x [1 2 3 4]);
}

pub(crate) struct PixelFloats;

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Accumulator for PixelFloats {
    type Sum = f32;
    type Acc = __m512;
    type W = __m512;
    type X = __m512;
    const LANES: usize = 16;
    const VECTORS: usize = 4;
    const MR: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn multiply_add(acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        // SAFETY: the caller vouches for AVX-512F.
        unsafe { _mm512_fmadd_ps(x, w, acc) }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [f32]) {
        let out: &mut [f32; 16] = (&mut out[..16]).try_into().expect("sixteen columns");
        // SAFETY: the caller vouches for AVX-512F; `out` is 64 bytes.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), acc) }
    }
}

/// Weights come as floats, too.
// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Microkernel for PixelFloats {
    const INPUT_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX-512F and for 64 bytes.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for AVX-512F and for 4 bytes; read without assuming alignment.
        unsafe { _mm512_set1_ps(from.cast::<f32>().read_unaligned()) }
    }

    tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl ConvMicrokernel for PixelFloats {
    const BLOCK_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn blocks(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for AVX-512F and for 64 bytes.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn weight(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX-512F and for 4 bytes; read without assuming alignment.
        unsafe { _mm512_set1_ps(from.cast::<f32>().read_unaligned()) }
    }

    conv_tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

define_isa! {
    /// Servers since 2019, desktops with Zen 4 or later.
    Avx512Vnni = "avx512-vnni",
    features: ["avx512f", "avx512bw", "avx512vl", "avx512vnni"], input: OffsetU8, gemm: Integers,
    weight_only: Floats, conv: Integers, conv_float: PixelFloats, shuffle: Shuffle512, convert: Convert512
}
