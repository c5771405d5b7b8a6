//! Transposition and rotation of floats between the lanes of registers: in 256 bits, which all sets share, and rotation in 512.

use std::arch::x86_64::*;
use std::array::from_fn;

use crate::isa::conv_microkernel::{Shuffle, TRANSPOSED_ROWS};
use crate::weight::NR;

/// Registers of eight floats.
pub(crate) struct Shuffle256;

impl Shuffle for Shuffle256 {
    #[inline(always)]
    unsafe fn transpose(
        from: &[[f32; NR]; TRANSPOSED_ROWS],
        columns: usize,
        to: &mut [[f32; TRANSPOSED_ROWS]; NR],
    ) {
        assert!(columns <= NR && columns.is_multiple_of(8));
        for column in (0..columns).step_by(8) {
            // SAFETY: the caller vouches for AVX2. By the assert `column + 8` is at most the length of a row of `from` and the
            // number of rows of `to`, and these are of eight.
            unsafe {
                let rows: [__m256; TRANSPOSED_ROWS] =
                    from_fn(|row| _mm256_loadu_ps(from[row].as_ptr().add(column)));
                for (to, transposed) in to[column..].iter_mut().zip(transpose_8x8(rows)) {
                    _mm256_storeu_ps(to.as_mut_ptr(), transposed);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn rotate_64(block: &[f32; 64], out: &mut [f32; 64]) {
        let (block, out) = (block.as_chunks::<8>().0, out.as_chunks_mut::<8>().0);
        // SAFETY: the caller vouches for AVX2. Eight registers of eight floats are the 64 of each array.
        unsafe {
            let mut x = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                x[i] = neighbours(_mm256_loadu_ps(block[i].as_ptr()));
            }
            for i in 0..4 {
                [x[2 * i], x[2 * i + 1]] = halves(x[2 * i], x[2 * i + 1]);
            }
            for i in 0..2 {
                [x[i], x[i + 2], x[i + 4], x[i + 6]] = registers([x[i], x[i + 2], x[i + 4], x[i + 6]]);
            }
            for i in 0..8 {
                _mm256_storeu_ps(out[i].as_mut_ptr(), x[i]);
            }
        }
    }
}

/// Registers of sixteen floats for rotations; transpositions are those of eight.
pub(crate) struct Shuffle512;

impl Shuffle for Shuffle512 {
    #[inline(always)]
    unsafe fn transpose(
        from: &[[f32; NR]; TRANSPOSED_ROWS],
        columns: usize,
        to: &mut [[f32; TRANSPOSED_ROWS]; NR],
    ) {
        // SAFETY: the caller vouches for AVX-512F, which no CPU has without AVX2.
        unsafe { Shuffle256::transpose(from, columns, to) }
    }

    #[inline(always)]
    unsafe fn rotate_64(block: &[f32; 64], out: &mut [f32; 64]) {
        let (block, out) = (block.as_chunks::<16>().0, out.as_chunks_mut::<16>().0);
        // SAFETY: the caller vouches for AVX-512F. Four registers of sixteen floats are the 64 of each array.
        unsafe {
            let mut x = [_mm512_setzero_ps(); 4];
            for i in 0..4 {
                x[i] = quarters_512(neighbours_512(_mm512_loadu_ps(block[i].as_ptr())));
            }
            let sums = _mm512_add_ps(_mm512_add_ps(x[0], x[1]), _mm512_add_ps(x[2], x[3]));
            let half = _mm512_mul_ps(sums, _mm512_set1_ps(0.5));
            for i in 0..4 {
                _mm512_storeu_ps(out[i].as_mut_ptr(), _mm512_sub_ps(half, x[3 - i]));
            }
        }
    }
}

/// Multiplies each four neighbouring lanes by the matrix of four.
///
/// # Safety
///
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn neighbours_512(x: __m512) -> __m512 {
    // SAFETY: the caller vouches for AVX-512F.
    unsafe {
        let pairs = _mm512_add_ps(x, _mm512_permute_ps::<0b10_11_00_01>(x));
        let sums = _mm512_add_ps(pairs, _mm512_permute_ps::<0b01_00_11_10>(pairs));
        _mm512_sub_ps(_mm512_mul_ps(sums, _mm512_set1_ps(0.5)), _mm512_permute_ps::<0b00_01_10_11>(x))
    }
}

/// Multiplies each four lanes that are four apart by the matrix of four.
///
/// # Safety
///
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn quarters_512(x: __m512) -> __m512 {
    // SAFETY: the caller vouches for AVX-512F.
    unsafe {
        let pairs = _mm512_add_ps(x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
        let sums = _mm512_add_ps(pairs, _mm512_shuffle_f32x4::<0b01_00_11_10>(pairs, pairs));
        _mm512_sub_ps(_mm512_mul_ps(sums, _mm512_set1_ps(0.5)), _mm512_shuffle_f32x4::<0b00_01_10_11>(x, x))
    }
}

/// Multiplies each four neighbouring lanes by the matrix of four.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn neighbours(x: __m256) -> __m256 {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let pairs = _mm256_add_ps(x, _mm256_permute_ps::<0b10_11_00_01>(x));
        let sums = _mm256_add_ps(pairs, _mm256_permute_ps::<0b01_00_11_10>(pairs));
        _mm256_sub_ps(_mm256_mul_ps(sums, _mm256_set1_ps(0.5)), _mm256_permute_ps::<0b00_01_10_11>(x))
    }
}

/// Multiplies each four lanes of two registers that are four apart by the matrix of four.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn halves(a: __m256, b: __m256) -> [__m256; 2] {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let (swapped_a, swapped_b) = (_mm256_permute2f128_ps::<1>(a, a), _mm256_permute2f128_ps::<1>(b, b));
        let sums = _mm256_add_ps(_mm256_add_ps(a, swapped_a), _mm256_add_ps(b, swapped_b));
        let half = _mm256_mul_ps(sums, _mm256_set1_ps(0.5));
        [_mm256_sub_ps(half, swapped_b), _mm256_sub_ps(half, swapped_a)]
    }
}

/// Multiplies each lane of four registers by the matrix of four.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn registers([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let sums = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
        let half = _mm256_mul_ps(sums, _mm256_set1_ps(0.5));
        [_mm256_sub_ps(half, d), _mm256_sub_ps(half, c), _mm256_sub_ps(half, b), _mm256_sub_ps(half, a)]
    }
}

/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn transpose_8x8([a, b, c, d, e, f, g, h]: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        // Each step joins more rows: two columns of two rows in each half, then of four, then the halves of all eight.
        let low = [
            _mm256_unpacklo_ps(a, b),
            _mm256_unpacklo_ps(c, d),
            _mm256_unpacklo_ps(e, f),
            _mm256_unpacklo_ps(g, h),
        ];
        let high = [
            _mm256_unpackhi_ps(a, b),
            _mm256_unpackhi_ps(c, d),
            _mm256_unpackhi_ps(e, f),
            _mm256_unpackhi_ps(g, h),
        ];
        let four = |pairs: [__m256; 4]| {
            let [ab, cd, ef, gh] = pairs;
            const LOW: i32 = 0b01_00_01_00;
            const HIGH: i32 = 0b11_10_11_10;
            [
                [_mm256_shuffle_ps::<LOW>(ab, cd), _mm256_shuffle_ps::<LOW>(ef, gh)],
                [_mm256_shuffle_ps::<HIGH>(ab, cd), _mm256_shuffle_ps::<HIGH>(ef, gh)],
            ]
        };
        let [[c0, d0], [c1, d1]] = four(low);
        let [[c2, d2], [c3, d3]] = four(high);
        [
            _mm256_permute2f128_ps::<0x20>(c0, d0),
            _mm256_permute2f128_ps::<0x20>(c1, d1),
            _mm256_permute2f128_ps::<0x20>(c2, d2),
            _mm256_permute2f128_ps::<0x20>(c3, d3),
            _mm256_permute2f128_ps::<0x31>(c0, d0),
            _mm256_permute2f128_ps::<0x31>(c1, d1),
            _mm256_permute2f128_ps::<0x31>(c2, d2),
            _mm256_permute2f128_ps::<0x31>(c3, d3),
        ]
    }
}
