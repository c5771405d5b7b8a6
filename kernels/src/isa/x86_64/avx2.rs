//! AVX2: bytes are widened to 16 bits, and `vpmaddwd` (`_mm256_madd_epi16`) multiplies and adds them in pairs. `vpmaddubsw`
//! would saturate; `vpmaddwd` never does with these values.
//!
//! The 256-bit float kernel is here, too; the other 256-bit sets share it.

use std::arch::x86_64::*;

use super::convert_256::Convert256;
use super::shuffle::Shuffle256;
use crate::isa::conv_microkernel::{ConvMicrokernel, conv_tiles};
use crate::isa::encoding::SignedI16;
use crate::isa::instruction_set::define_isa;
use crate::isa::microkernel::{Accumulator, Microkernel, tiles};

/// The K steps of a panel that the first-level cache holds.
pub(super) const KC: usize = 32;

/// Accumulators side by side: a tile of few rows has registers left, and reads more of a panel at a time.
#[inline(always)]
pub(super) fn vectors(rows: usize, full: usize) -> usize {
    match rows {
        1 => 8,
        2 | 3 => 4,
        _ => full,
    }
}

/// Tiles of at most `MR` rows and `VECTORS` accumulators.
pub(crate) struct Integers<const MR: usize, const VECTORS: usize>;

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<const MR: usize, const VECTORS: usize> Accumulator for Integers<MR, VECTORS> {
    type Sum = i32;
    /// Four columns, two partial sums each.
    type Acc = __m256i;
    type W = __m256i;
    type X = __m256i;
    const LANES: usize = 4;
    const VECTORS: usize = VECTORS;
    const MR: usize = MR;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn multiply_add(acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(x, w)) }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [i32]) {
        let out: &mut [i32; 4] = (&mut out[..4]).try_into().expect("four columns");
        // SAFETY: the caller vouches for AVX2; `out` is 16 bytes.
        unsafe {
            let sums = _mm256_hadd_epi32(acc, acc); // columns 0 1 0 1 | 2 3 2 3
            let sums = _mm256_permute4x64_epi64::<0b1000>(sums);
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_castsi256_si128(sums));
        }
    }
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<const MR: usize, const VECTORS: usize> Microkernel for Integers<MR, VECTORS> {
    const INPUT_BYTES: usize = 8;
    const KC: usize = KC;

    /// Two tiles of two rows read whole lines of a panel, one of four would not.
    #[inline(always)]
    fn rows(rows: usize) -> usize {
        if rows == 4 { 2 } else { MR }
    }

    #[inline(always)]
    fn vectors(rows: usize) -> usize {
        vectors(rows, VECTORS)
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX2 and for 16 bytes.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for AVX2 and for 8 bytes; read without assuming alignment.
        unsafe { _mm256_set1_epi64x(from.cast::<i64>().read_unaligned()) }
    }

    tiles!(Self: 1 2 3 4 5 6 x [2 4 8]);
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<const MR: usize, const VECTORS: usize> ConvMicrokernel for Integers<MR, VECTORS> {
    const BLOCK_BYTES: usize = 8;

    #[inline(always)]
    unsafe fn blocks(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for AVX2 and for 32 bytes.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn weight(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX2 and for 4 bytes; read without assuming alignment.
        unsafe { _mm256_cvtepi8_epi16(_mm_set1_epi32(from.cast::<i32>().read_unaligned())) }
    }

    conv_tiles!(Self: 1 2 3 x [1 2 3 4]);
}

pub(crate) struct Floats256;

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Accumulator for Floats256 {
    type Sum = f32;
    type Acc = __m256;
    /// One vector for each of the four inputs.
    type W = [__m256; 4];
    type X = *const f32;
    const LANES: usize = 8;
    const VECTORS: usize = 2;
    const MR: usize = 5;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn multiply_add(acc: Self::Acc, x: Self::X, [w0, w1, w2, w3]: Self::W) -> Self::Acc {
        // SAFETY: the caller vouches for AVX2 with FMA and for four floats at `x`; read without assuming alignment.
        unsafe {
            let acc = _mm256_fmadd_ps(_mm256_set1_ps(x.read_unaligned()), w0, acc);
            let acc = _mm256_fmadd_ps(_mm256_set1_ps(x.add(1).read_unaligned()), w1, acc);
            let acc = _mm256_fmadd_ps(_mm256_set1_ps(x.add(2).read_unaligned()), w2, acc);
            _mm256_fmadd_ps(_mm256_set1_ps(x.add(3).read_unaligned()), w3, acc)
        }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [f32]) {
        let out: &mut [f32; 8] = (&mut out[..8]).try_into().expect("eight columns");
        // SAFETY: the caller vouches for AVX2; `out` is 32 bytes.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), acc) }
    }
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Microkernel for Floats256 {
    const INPUT_BYTES: usize = 16;
    const HOLDS_WEIGHTS: bool = false;

    #[inline(always)]
    fn vectors(rows: usize) -> usize {
        match rows {
            1 => 8,
            2 => 4,
            _ => Self::VECTORS,
        }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX2 and for 32 bytes.
        unsafe {
            let w = _mm256_loadu_si256(from.cast());
            [
                _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(w))),
                _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<16>(w))),
                _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<8>(w))),
                _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(w)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        from.cast()
    }

    tiles!(Self: 1 2 3 4 5 x [2 4 6 8]);
}

pub(crate) struct PixelFloats256;

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Accumulator for PixelFloats256 {
    type Sum = f32;
    type Acc = __m256;
    type W = __m256;
    type X = __m256;
    const LANES: usize = 8;
    const VECTORS: usize = 2;
    const MR: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn multiply_add(acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        // SAFETY: the caller vouches for AVX2 with FMA.
        unsafe { _mm256_fmadd_ps(x, w, acc) }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [f32]) {
        let out: &mut [f32; 8] = (&mut out[..8]).try_into().expect("eight columns");
        // SAFETY: the caller vouches for AVX2; `out` is 32 bytes.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), acc) }
    }
}

/// Weights come as floats, too.
// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl Microkernel for PixelFloats256 {
    const INPUT_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX2 and for 32 bytes.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for AVX2 and for 4 bytes; read without assuming alignment.
        unsafe { _mm256_set1_ps(from.cast::<f32>().read_unaligned()) }
    }

    tiles!(Self: 1 2 3 4 5 6 x [2]);
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl ConvMicrokernel for PixelFloats256 {
    const BLOCK_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn blocks(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for AVX2 and for 32 bytes.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn weight(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for AVX2 and for 4 bytes; read without assuming alignment.
        unsafe { _mm256_set1_ps(from.cast::<f32>().read_unaligned()) }
    }

    conv_tiles!(Self: 1 2 3 4 5 6 x [1 2]);
}

define_isa! {
    /// Most x86 CPUs since 2013.
    Avx2 = "avx2",
    features: ["avx2", "fma"], input: SignedI16, gemm: Integers<6, 2>, weight_only: Floats256,
    conv: Integers<3, 4>, conv_float: PixelFloats256, shuffle: Shuffle256, convert: Convert256
}
