//! From floats to codes, and from sums to floats, with AVX2: whole vectors, and loops over what is left.
//!
//! The conversion instruction rounds to the nearest integer, ties to even, as [`round_and_clip`](crate::range::round_and_clip) does.

use std::arch::x86_64::*;

use crate::isa::convert::{Convert, Encode, Loops, ShortFunction, SumRow, ToCodes, ToFloats};
use crate::isa::encoding::{InputEncoding, OffsetU8, SignedI16};
use crate::weight::NR;

/// All bits but the sign.
pub(super) const MAGNITUDE: i32 = 0x7fff_ffff;

/// What the function makes of each lane. A NaN stays.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn finish_256(y: __m256, function: ShortFunction) -> __m256 {
    // SAFETY: the caller vouches for AVX2. Of a NaN and a number `max` and `min` take what comes second.
    unsafe {
        match function {
            ShortFunction::Identity => y,
            ShortFunction::Relu => _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(y, _mm256_setzero_ps()), y),
            ShortFunction::Clamp([low, high]) => {
                _mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), y))
            }
        }
    }
}

/// The outputs of a row's sums.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn dequantize_256(sums: SumRow<'_>, columns: usize, way: &ToFloats<'_>, out: &mut [f32; NR]) {
    let columns = columns.next_multiple_of(8).min(NR);
    // SAFETY: the caller vouches for AVX2. `first + 8` is at most `NR`, the length of all arrays.
    unsafe {
        let (x_scale, offset) = (_mm256_set1_ps(way.x_scale), _mm256_set1_epi32(way.offset));
        for first in (0..columns).step_by(8) {
            let sum = match sums {
                SumRow::Floats(sums) => _mm256_loadu_ps(sums.as_ptr().add(first)),
                SumRow::Integers(sums) => {
                    let mut sum = _mm256_loadu_si256(sums.as_ptr().add(first).cast());
                    if way.offset != 0 {
                        let column_sums = _mm256_loadu_si256(way.column_sums.as_ptr().add(first).cast());
                        sum = _mm256_sub_epi32(sum, _mm256_mullo_epi32(column_sums, offset));
                    }
                    _mm256_cvtepi32_ps(sum)
                }
            };
            let scale = _mm256_mul_ps(x_scale, _mm256_loadu_ps(way.w_scales.as_ptr().add(first)));
            let mut y = _mm256_mul_ps(sum, scale);
            if let Some(biases) = way.biases {
                y = _mm256_add_ps(y, _mm256_loadu_ps(biases.as_ptr().add(first)));
            }
            _mm256_storeu_ps(out.as_mut_ptr().add(first), finish_256(y, way.function));
        }
    }
}

pub(crate) struct Convert256;

/// The integers of eight values.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn codes_256(x: &[f32; 8], way: &ToCodes) -> __m256i {
    // SAFETY: the caller vouches for AVX2; the load reads eight floats.
    unsafe {
        let [first, second] = way.factors.map(|factor| _mm256_set1_ps(factor));
        let [low, high] = way.limits.map(|limit| _mm256_set1_epi32(limit));
        let steps = _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x.as_ptr()), first), second);
        let q = _mm256_min_epi32(_mm256_max_epi32(_mm256_cvtps_epi32(steps), low), high);
        _mm256_add_epi32(q, _mm256_set1_epi32(way.offset))
    }
}

/// The largest magnitude, NaN or infinite if any value is.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn absmax_256(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<8>();
    // SAFETY: the caller vouches for AVX2; each load reads eight floats, the store writes as many.
    let lanes = unsafe {
        let magnitude = _mm256_set1_epi32(MAGNITUDE);
        let mut largest = _mm256_setzero_si256();
        for x in chunks {
            let x = _mm256_castps_si256(_mm256_loadu_ps(x.as_ptr()));
            largest = _mm256_max_epi32(largest, _mm256_and_si256(x, magnitude));
        }
        let mut lanes = [0i32; 8];
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), largest);
        lanes
    };
    let rest = rest.iter().map(|x| x.to_bits().cast_signed() & MAGNITUDE);
    f32::from_bits(lanes.into_iter().chain(rest).fold(0, i32::max).cast_unsigned())
}

/// Says whether a value is NaN.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn has_nan_256(x: &[f32]) -> bool {
    let (chunks, rest) = x.as_chunks::<8>();
    // SAFETY: the caller vouches for AVX2; each load reads eight floats.
    let found = unsafe {
        let mut found = _mm256_setzero_ps();
        for x in chunks {
            let x = _mm256_loadu_ps(x.as_ptr());
            found = _mm256_or_ps(found, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        }
        _mm256_movemask_ps(found)
    };
    found != 0 || rest.iter().any(|x| x.is_nan())
}

/// Writes each value times a factor.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn scale_256(x: &[f32], factor: f32, out: &mut [f32]) {
    let ((chunks, x), (outs, out)) = (x.as_chunks::<8>(), out.as_chunks_mut::<8>());
    for (x, out) in chunks.iter().zip(outs) {
        // SAFETY: the caller vouches for AVX2; both are of eight floats.
        unsafe {
            let scaled = _mm256_mul_ps(_mm256_loadu_ps(x.as_ptr()), _mm256_set1_ps(factor));
            _mm256_storeu_ps(out.as_mut_ptr(), scaled);
        }
    }
    out.iter_mut().zip(x).for_each(|(out, x)| *out = x * factor);
}

/// Writes each byte as a float.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn widen_256(x: &[u8], out: &mut [f32]) {
    let ((chunks, x), (outs, out)) = (x.as_chunks::<8>(), out.as_chunks_mut::<8>());
    for (x, out) in chunks.iter().zip(outs) {
        // SAFETY: the caller vouches for AVX2; the load reads eight bytes, the store writes eight floats.
        unsafe {
            let x = _mm256_cvtepu8_epi32(_mm_loadl_epi64(x.as_ptr().cast()));
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtepi32_ps(x));
        }
    }
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = f32::from(x));
}

/// Writes the codes of whole vectors with `store`, and what is left with a loop.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn encode_256<E: InputEncoding>(
    x: &[f32],
    way: &ToCodes,
    out: &mut [E::Code],
    store: impl Fn(__m256i, &mut [E::Code; 8]),
) {
    let ((chunks, x), (outs, out)) = (x.as_chunks::<8>(), out.as_chunks_mut::<8>());
    for (x, out) in chunks.iter().zip(outs) {
        // SAFETY: the caller vouches for AVX2.
        store(unsafe { codes_256(x, way) }, out);
    }
    // SAFETY: loops need no features.
    unsafe { <Loops as Encode<E>>::encode(x, way, out) }
}

// SAFETY: the functions need AVX2 and write no more than there is room for.
unsafe impl Convert for Convert256 {
    #[inline(always)]
    unsafe fn absmax(x: &[f32]) -> f32 {
        // SAFETY: the caller vouches for AVX2.
        unsafe { absmax_256(x) }
    }

    #[inline(always)]
    unsafe fn has_nan(x: &[f32]) -> bool {
        // SAFETY: the caller vouches for AVX2.
        unsafe { has_nan_256(x) }
    }

    #[inline(always)]
    unsafe fn scale(x: &[f32], factor: f32, out: &mut [f32]) {
        // SAFETY: the caller vouches for AVX2.
        unsafe { scale_256(x, factor, out) }
    }

    #[inline(always)]
    unsafe fn widen(x: &[u8], out: &mut [f32]) {
        // SAFETY: the caller vouches for AVX2.
        unsafe { widen_256(x, out) }
    }

    #[inline(always)]
    unsafe fn dequantize(sums: SumRow<'_>, columns: usize, way: &ToFloats<'_>, out: &mut [f32; NR]) {
        // SAFETY: the caller vouches for AVX2.
        unsafe { dequantize_256(sums, columns, way, out) }
    }
}

// SAFETY: it needs AVX2 and writes as many codes as there is room for.
unsafe impl Encode<SignedI16> for Convert256 {
    #[inline(always)]
    unsafe fn encode(x: &[f32], way: &ToCodes, out: &mut [i16]) {
        // SAFETY: the caller vouches for AVX2; the store writes eight 16-bit integers.
        unsafe {
            encode_256::<SignedI16>(x, way, out, |codes, out| {
                let words =
                    _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
                _mm_storeu_si128(out.as_mut_ptr().cast(), words);
            });
        }
    }
}

// SAFETY: it needs AVX2 and writes as many codes as there is room for.
unsafe impl Encode<OffsetU8> for Convert256 {
    #[inline(always)]
    unsafe fn encode(x: &[f32], way: &ToCodes, out: &mut [u8]) {
        // SAFETY: the caller vouches for AVX2; the store writes eight bytes.
        unsafe {
            encode_256::<OffsetU8>(x, way, out, |codes, out| {
                let words =
                    _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
                _mm_storel_epi64(out.as_mut_ptr().cast(), _mm_packus_epi16(words, words));
            });
        }
    }
}
