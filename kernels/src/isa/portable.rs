//! Plain Rust, on every CPU: arrays that the compiler turns into whatever vectors it has.
//!
//! Codes and sizes of tiles are parameters, so that tests can give them the values of instruction sets that a CPU lacks.

use std::marker::PhantomData;

use super::conv_microkernel::{ConvMicrokernel, Shuffle, TRANSPOSED_ROWS, conv_tiles};
use super::convert::Loops;
use super::encoding::{InputEncoding, SignedI16};
use super::instruction_set::define_isa;
use super::microkernel::{Accumulator, Microkernel, tiles};
use crate::transform::rotate_lanes;
use crate::weight::NR;

/// `acc + x * w`, modulo 2^32: sums of quantized inputs that have an offset may wrap on the way.
#[inline(always)]
fn multiply_add<C: Into<i32>>(acc: i32, x: [C; 4], w: [i8; 4]) -> i32 {
    let [x0, x1, x2, x3] = x.map(Into::into);
    let [w0, w1, w2, w3] = w.map(i32::from);
    acc.wrapping_add((x0 * w0 + x1 * w1) + (x2 * w2 + x3 * w3))
}

pub(crate) struct Integers<E, const MR: usize, const VECTORS: usize>(PhantomData<E>);

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<E: InputEncoding, const MR: usize, const VECTORS: usize> Accumulator
    for Integers<E, MR, VECTORS>
{
    type Sum = i32;
    type Acc = [i32; 16];
    type W = [i8; 64];
    type X = [E::Code; 4];
    const LANES: usize = 16;
    const VECTORS: usize = VECTORS;
    const MR: usize = MR;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        [0; 16]
    }

    #[inline(always)]
    unsafe fn multiply_add(mut acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        for (acc, &w) in acc.iter_mut().zip(w.as_chunks::<4>().0) {
            *acc = self::multiply_add(*acc, x, w);
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [i32]) {
        out[..16].copy_from_slice(&acc);
    }
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<E: InputEncoding, const MR: usize, const VECTORS: usize> Microkernel
    for Integers<E, MR, VECTORS>
{
    const INPUT_BYTES: usize = size_of::<[E::Code; 4]>();

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 64 bytes; bytes have no alignment.
        unsafe { from.cast::<[i8; 64]>().read() }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for the bytes of four quantized inputs, which may have any bits; read without assuming alignment.
        unsafe { from.cast::<[E::Code; 4]>().read_unaligned() }
    }

    tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

pub(crate) struct Floats<const MR: usize, const VECTORS: usize>;

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<const MR: usize, const VECTORS: usize> Accumulator for Floats<MR, VECTORS> {
    type Sum = f32;
    type Acc = [f32; 16];
    type W = [i8; 64];
    type X = [f32; 4];
    const LANES: usize = 16;
    const VECTORS: usize = VECTORS;
    const MR: usize = MR;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        [0.0; 16]
    }

    #[inline(always)]
    unsafe fn multiply_add(mut acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        for (acc, w) in acc.iter_mut().zip(w.as_chunks::<4>().0) {
            let [w0, w1, w2, w3] = w.map(f32::from);
            *acc += (x[0] * w0 + x[1] * w1) + (x[2] * w2 + x[3] * w3);
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [f32]) {
        out[..16].copy_from_slice(&acc);
    }
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<const MR: usize, const VECTORS: usize> Microkernel for Floats<MR, VECTORS> {
    const INPUT_BYTES: usize = 16;
    const HOLDS_WEIGHTS: bool = false;

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 64 bytes; bytes have no alignment.
        unsafe { from.cast::<[i8; 64]>().read() }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for 16 bytes; read without assuming alignment.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

pub(crate) struct PixelIntegers<E, const MR: usize, const VECTORS: usize>(PhantomData<E>);

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<E: InputEncoding, const MR: usize, const VECTORS: usize> Accumulator
    for PixelIntegers<E, MR, VECTORS>
{
    type Sum = i32;
    type Acc = [i32; 16];
    type W = [i8; 4];
    type X = [[E::Code; 4]; 16];
    const LANES: usize = 16;
    const VECTORS: usize = VECTORS;
    const MR: usize = MR;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        Default::default()
    }

    #[inline(always)]
    unsafe fn multiply_add(mut acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc = self::multiply_add(*acc, x, w);
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [i32]) {
        out[..16].copy_from_slice(&acc);
    }
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<E: InputEncoding, const MR: usize, const VECTORS: usize> ConvMicrokernel
    for PixelIntegers<E, MR, VECTORS>
{
    const BLOCK_BYTES: usize = size_of::<[E::Code; 4]>();

    #[inline(always)]
    unsafe fn blocks(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for 16 blocks, whose inputs may have any bits; read without assuming alignment.
        unsafe { from.cast::<Self::X>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weight(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 4 bytes; read without assuming alignment.
        unsafe { from.cast::<Self::W>().read_unaligned() }
    }

    conv_tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

pub(crate) struct PixelFloats<const MR: usize, const VECTORS: usize>;

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<const MR: usize, const VECTORS: usize> Accumulator for PixelFloats<MR, VECTORS> {
    type Sum = f32;
    type Acc = [f32; 16];
    type W = [f32; 16];
    type X = [f32; 16];
    const LANES: usize = 16;
    const VECTORS: usize = VECTORS;
    const MR: usize = MR;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        Default::default()
    }

    #[inline(always)]
    unsafe fn multiply_add(mut acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        for (acc, (x, w)) in acc.iter_mut().zip(x.into_iter().zip(w)) {
            *acc += x * w;
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [f32]) {
        out[..16].copy_from_slice(&acc);
    }
}

/// Weights come as floats, too.
// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<const MR: usize, const VECTORS: usize> Microkernel for PixelFloats<MR, VECTORS> {
    const INPUT_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 64 bytes; read without assuming alignment.
        unsafe { from.cast::<Self::W>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for 4 bytes; read without assuming alignment.
        [unsafe { from.cast::<f32>().read_unaligned() }; 16]
    }

    tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

// SAFETY: the functions read and write as many bytes as the constants say.
unsafe impl<const MR: usize, const VECTORS: usize> ConvMicrokernel for PixelFloats<MR, VECTORS> {
    const BLOCK_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn blocks(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for 64 bytes; read without assuming alignment.
        unsafe { from.cast::<Self::X>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weight(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 4 bytes; read without assuming alignment.
        [unsafe { from.cast::<f32>().read_unaligned() }; 16]
    }

    conv_tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

pub(crate) struct Plain;

impl Shuffle for Plain {
    #[inline(always)]
    unsafe fn transpose(
        from: &[[f32; NR]; TRANSPOSED_ROWS],
        columns: usize,
        to: &mut [[f32; TRANSPOSED_ROWS]; NR],
    ) {
        for (column, to) in to.iter_mut().enumerate().take(columns) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from[column]);
        }
    }

    #[inline(always)]
    unsafe fn rotate_64(block: &[f32; 64], out: &mut [f32; 64]) {
        rotate_lanes::<4>(block, out);
    }
}

define_isa! {
    /// Every CPU has it.
    Portable = "portable",
    features: [], input: SignedI16, gemm: Integers<SignedI16, 2, 1>, weight_only: Floats<2, 1>,
    conv: PixelIntegers<SignedI16, 2, 1>, conv_float: PixelFloats<2, 1>, shuffle: Plain, convert: Loops
}

impl Portable {
    /// The instruction set, for what is not worth a better one.
    pub(crate) const NEW: Self = Self(());
}
