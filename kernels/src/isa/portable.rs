//! Plain Rust, on every CPU: arrays that the compiler turns into whatever vectors it has.
//!
//! Codes and sizes of tiles are parameters, so that tests can give them the values of instruction sets that a CPU lacks.

use std::marker::PhantomData;

use super::declare::kernel;
use super::micro::{Accumulator, Microkernel, take_out_offset, tiles};
use super::pixels::{ConvMicrokernel, TURN, Turn, pixel_tiles};
use crate::pack::NR;
use crate::quantize::Encode;

/// `acc + x * w`, modulo 2^32: sums of codes that have an offset may wrap on the way.
#[inline(always)]
fn multiply_add<C: Into<i32>>(acc: i32, x: [C; 4], w: [i8; 4]) -> i32 {
    let [x0, x1, x2, x3] = x.map(Into::into);
    let [w0, w1, w2, w3] = w.map(i32::from);
    acc.wrapping_add((x0 * w0 + x1 * w1) + (x2 * w2 + x3 * w3))
}

pub(super) struct Integers<C, const ROWS: usize, const WIDTH: usize>(PhantomData<C>);

impl<C: Encode + Into<i32>, const ROWS: usize, const WIDTH: usize> Accumulator for Integers<C, ROWS, WIDTH> {
    type Sum = i32;
    type Acc = [i32; 16];
    type W = [i8; 64];
    type X = [C; 4];
    const COLUMNS: usize = 16;
    const WIDTH: usize = WIDTH;
    const ROWS: usize = ROWS;

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

impl<C: Encode + Into<i32>, const ROWS: usize, const WIDTH: usize> Microkernel for Integers<C, ROWS, WIDTH> {
    const INPUT_BYTES: usize = size_of::<[C; 4]>();

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 64 bytes; bytes have no alignment.
        unsafe { from.cast::<[i8; 64]>().read() }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for the bytes of four codes, which may have any bits; read without assuming alignment.
        unsafe { from.cast::<[C; 4]>().read_unaligned() }
    }

    #[inline(always)]
    fn correct(sums: &mut [i32], column_sums: &[i32]) {
        take_out_offset::<C>(sums, column_sums);
    }

    tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

pub(super) struct Floats<const ROWS: usize, const WIDTH: usize>;

impl<const ROWS: usize, const WIDTH: usize> Accumulator for Floats<ROWS, WIDTH> {
    type Sum = f32;
    type Acc = [f32; 16];
    type W = [i8; 64];
    type X = [f32; 4];
    const COLUMNS: usize = 16;
    const WIDTH: usize = WIDTH;
    const ROWS: usize = ROWS;

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

impl<const ROWS: usize, const WIDTH: usize> Microkernel for Floats<ROWS, WIDTH> {
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

pub(super) struct PixelIntegers<C, const ROWS: usize, const WIDTH: usize>(PhantomData<C>);

impl<C: Encode + Into<i32>, const ROWS: usize, const WIDTH: usize> Accumulator
    for PixelIntegers<C, ROWS, WIDTH>
{
    type Sum = i32;
    type Acc = [i32; 16];
    type W = [i8; 4];
    type X = [[C; 4]; 16];
    const COLUMNS: usize = 16;
    const WIDTH: usize = WIDTH;
    const ROWS: usize = ROWS;

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

impl<C: Encode + Into<i32>, const ROWS: usize, const WIDTH: usize> ConvMicrokernel
    for PixelIntegers<C, ROWS, WIDTH>
{
    const CELL: usize = size_of::<[C; 4]>();

    #[inline(always)]
    unsafe fn cells(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for 16 cells, whose codes may have any bits; read without assuming alignment.
        unsafe { from.cast::<Self::X>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weight(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 4 bytes; read without assuming alignment.
        unsafe { from.cast::<Self::W>().read_unaligned() }
    }

    pixel_tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

pub(super) struct PixelFloats<const ROWS: usize, const WIDTH: usize>;

impl<const ROWS: usize, const WIDTH: usize> Accumulator for PixelFloats<ROWS, WIDTH> {
    type Sum = f32;
    type Acc = [f32; 16];
    type W = [f32; 16];
    type X = [f32; 16];
    const COLUMNS: usize = 16;
    const WIDTH: usize = WIDTH;
    const ROWS: usize = ROWS;

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
impl<const ROWS: usize, const WIDTH: usize> Microkernel for PixelFloats<ROWS, WIDTH> {
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

impl<const ROWS: usize, const WIDTH: usize> ConvMicrokernel for PixelFloats<ROWS, WIDTH> {
    const CELL: usize = 4;

    #[inline(always)]
    unsafe fn cells(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for 64 bytes; read without assuming alignment.
        unsafe { from.cast::<Self::X>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weight(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 4 bytes; read without assuming alignment.
        [unsafe { from.cast::<f32>().read_unaligned() }; 16]
    }

    pixel_tiles!(Self: 1 2 3 4 5 6 x [1 2 3 4]);
}

pub(super) struct Plain;

impl Turn for Plain {
    #[inline(always)]
    unsafe fn turn(from: &[[f32; NR]; TURN], columns: usize, to: &mut [[f32; TURN]; NR]) {
        for (column, to) in to.iter_mut().enumerate().take(columns) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from[column]);
        }
    }
}

kernel! {
    /// Always supported.
    pub(super) const KERNEL: "portable",
    features: [], codes: i16, integers: Integers<i16, 2, 1>, floats: Floats<2, 1>,
    cells: u64, pixels: PixelIntegers<i16, 2, 1>, pixel_floats: PixelFloats<2, 1>,
    channels: Integers<i16, 2, 1>, turn: Plain
}
