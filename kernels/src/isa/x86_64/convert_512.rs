//! From floats to codes, and from sums to floats, with AVX-512: it has masks for the values behind the last whole vector.
//!
//! The conversion instruction rounds to the nearest integer, ties to even, as [`round_and_clip`](crate::range::round_and_clip) does.

use std::arch::x86_64::*;

use super::convert_256::MAGNITUDE;
use crate::isa::convert::{Convert, Encode, LANES, ShortFunction, SumRow, ToCodes, ToFloats};
use crate::isa::encoding::OffsetU8;
use crate::weight::NR;

pub(crate) struct Convert512;

/// The lanes of a vector that the first `len` values fill.
#[inline(always)]
fn first_lanes(len: usize) -> __mmask16 {
    ((1u32 << len.min(16)) - 1) as __mmask16
}

// SAFETY: the functions need AVX-512F; masked instructions touch the lanes of their mask alone.
unsafe impl Convert for Convert512 {
    #[inline(always)]
    unsafe fn absmax(x: &[f32]) -> f32 {
        // SAFETY: the caller vouches for AVX-512F; each load reads as many values as its chunk has.
        unsafe {
            let magnitude = _mm512_set1_epi32(MAGNITUDE);
            let mut largest = [_mm512_setzero_si512(); 2];
            for (i, x) in x.chunks(16).enumerate() {
                let x = _mm512_castps_si512(_mm512_maskz_loadu_ps(first_lanes(x.len()), x.as_ptr()));
                largest[i % 2] = _mm512_max_epi32(largest[i % 2], _mm512_and_si512(x, magnitude));
            }
            f32::from_bits(_mm512_reduce_max_epi32(_mm512_max_epi32(largest[0], largest[1])).cast_unsigned())
        }
    }

    #[inline(always)]
    unsafe fn has_nan(x: &[f32]) -> bool {
        let mut found = 0;
        for x in x.chunks(16) {
            // SAFETY: the caller vouches for AVX-512F; the load reads as many values as the chunk has.
            unsafe {
                let x = _mm512_maskz_loadu_ps(first_lanes(x.len()), x.as_ptr());
                found |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            }
        }
        found != 0
    }

    #[inline(always)]
    unsafe fn scale(x: &[f32], factor: f32, out: &mut [f32]) {
        // SAFETY: the caller vouches for AVX-512F; each load and each store touches as many values as both chunks have.
        unsafe {
            let factor = _mm512_set1_ps(factor);
            for (x, out) in x.chunks(16).zip(out.chunks_mut(16)) {
                let mask = first_lanes(x.len().min(out.len()));
                let scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x.as_ptr()), factor);
                _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, scaled);
            }
        }
    }

    #[inline(always)]
    unsafe fn widen(x: &[u8], out: &mut [f32]) {
        let ((chunks, x), (outs, out)) = (x.as_chunks::<16>(), out.as_chunks_mut::<16>());
        for (x, out) in chunks.iter().zip(outs) {
            // SAFETY: the caller vouches for AVX-512F; the load reads sixteen bytes, the store writes sixteen floats.
            unsafe {
                let x = _mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast()));
                _mm512_storeu_ps(out.as_mut_ptr(), _mm512_cvtepi32_ps(x));
            }
        }
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = f32::from(x));
    }

    #[inline(always)]
    unsafe fn dequantize(sums: SumRow<'_>, columns: usize, way: &ToFloats<'_>, out: &mut [f32; NR]) {
        // SAFETY: the caller vouches for AVX-512F. Of a NaN and a number `max` and `min` take what comes second.
        unsafe {
            match way.function {
                ShortFunction::Identity => dequantize_512(sums, columns, way, out, |y| y),
                ShortFunction::Relu => dequantize_512(sums, columns, way, out, |y| {
                    let zero = _mm512_setzero_ps();
                    _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask::<_CMP_LE_OQ>(y, zero), zero)
                }),
                ShortFunction::Clamp(limits) => {
                    let [low, high] = limits.map(|limit| _mm512_set1_ps(limit));
                    dequantize_512(sums, columns, way, out, |y| _mm512_min_ps(high, _mm512_max_ps(low, y)));
                }
            }
        }
    }
}

// SAFETY: it needs AVX-512F; masked instructions touch the lanes of their mask alone.
unsafe impl Encode<OffsetU8> for Convert512 {
    #[inline(always)]
    unsafe fn encode(x: &[f32], way: &ToCodes, out: &mut [u8]) {
        // SAFETY: the caller vouches for AVX-512F; each load and each store touches as many values as both chunks have.
        unsafe {
            let factors = way.factors.map(|factor| _mm512_set1_ps(factor));
            let limits = way.limits.map(|limit| _mm512_set1_epi32(limit));
            let offset = _mm512_set1_epi32(way.offset);
            for (x, out) in x.chunks(16).zip(out.chunks_mut(16)) {
                let mask = first_lanes(x.len().min(out.len()));
                let x = _mm512_maskz_loadu_ps(mask, x.as_ptr());
                let steps = _mm512_mul_ps(_mm512_mul_ps(x, factors[0]), factors[1]);
                let q = _mm512_min_epi32(_mm512_max_epi32(_mm512_cvtps_epi32(steps), limits[0]), limits[1]);
                let code = _mm512_add_epi32(q, offset);
                _mm512_mask_cvtepi32_storeu_epi8(out.as_mut_ptr().cast(), mask, code);
            }
        }
    }
}

/// What `function` makes of a row's sums as floats.
///
/// # Safety
///
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn dequantize_512(
    sums: SumRow<'_>,
    columns: usize,
    way: &ToFloats<'_>,
    out: &mut [f32; NR],
    function: impl Fn(__m512) -> __m512,
) {
    let columns = columns.next_multiple_of(LANES).min(NR);
    // SAFETY: the caller vouches for AVX-512F. `first + LANES` is at most `NR`, the length of all arrays.
    unsafe {
        let (x_scale, offset) = (_mm512_set1_ps(way.x_scale), _mm512_set1_epi32(way.offset));
        for first in (0..columns).step_by(LANES) {
            let sum = match sums {
                SumRow::Floats(sums) => _mm512_loadu_ps(sums.as_ptr().add(first)),
                SumRow::Integers(sums) => {
                    let mut sum = _mm512_loadu_si512(sums.as_ptr().add(first).cast());
                    if way.offset != 0 {
                        let column_sums = _mm512_loadu_si512(way.column_sums.as_ptr().add(first).cast());
                        sum = _mm512_sub_epi32(sum, _mm512_mullo_epi32(column_sums, offset));
                    }
                    _mm512_cvtepi32_ps(sum)
                }
            };
            let scale = _mm512_mul_ps(x_scale, _mm512_loadu_ps(way.w_scales.as_ptr().add(first)));
            let mut y = _mm512_mul_ps(sum, scale);
            if let Some(biases) = way.biases {
                y = _mm512_add_ps(y, _mm512_loadu_ps(biases.as_ptr().add(first)));
            }
            _mm512_storeu_ps(out.as_mut_ptr().add(first), function(y));
        }
    }
}
