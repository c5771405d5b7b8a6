//! Plain Rust, on every CPU: arrays that the compiler turns into whatever vectors it has.

use super::micro::{Dot, Micro, kernel, tiles};
use super::pixels::{ChunkOutputs, Pixels, Turn, pixel_tiles};
use crate::kernel::pack::PANEL;

struct Integers;

impl Dot for Integers {
    type Sum = i32;
    type Acc = [i32; 16];
    type W = [i8; 64];
    type X = [i16; 4];
    const COLUMNS: usize = 16;
    const WIDTH: usize = 1;
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        [0; 16]
    }

    #[inline(always)]
    unsafe fn multiply_add(mut acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        let [x0, x1, x2, x3] = x.map(i32::from);
        for (acc, w) in acc.iter_mut().zip(w.as_chunks::<4>().0) {
            let [w0, w1, w2, w3] = w.map(i32::from);
            *acc += (x0 * w0 + x1 * w1) + (x2 * w2 + x3 * w3);
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [i32]) {
        out[..16].copy_from_slice(&acc);
    }
}

impl Micro for Integers {
    const INPUT_BYTES: usize = 8;

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 64 bytes; bytes have no alignment.
        unsafe { from.cast::<[i8; 64]>().read() }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for 8 bytes; read without assuming alignment.
        unsafe { from.cast::<[i16; 4]>().read_unaligned() }
    }

    tiles!(Self: 1 2 x [1]);
}

struct Floats;

impl Dot for Floats {
    type Sum = f32;
    type Acc = [f32; 16];
    type W = [i8; 64];
    type X = [f32; 4];
    const COLUMNS: usize = 16;
    const WIDTH: usize = 1;
    const ROWS: usize = 2;

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

impl Micro for Floats {
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

    tiles!(Self: 1 2 x [1]);
}

struct PixelIntegers;

impl Dot for PixelIntegers {
    type Sum = i32;
    type Acc = [i32; 16];
    type W = [i8; 4];
    type X = [[i16; 4]; 16];
    const COLUMNS: usize = 16;
    const WIDTH: usize = 1;
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        Default::default()
    }

    #[inline(always)]
    unsafe fn multiply_add(mut acc: Self::Acc, x: Self::X, w: Self::W) -> Self::Acc {
        let [w0, w1, w2, w3] = w.map(i32::from);
        for (acc, x) in acc.iter_mut().zip(x) {
            let [x0, x1, x2, x3] = x.map(i32::from);
            *acc += (x0 * w0 + x1 * w1) + (x2 * w2 + x3 * w3);
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: &mut [i32]) {
        out[..16].copy_from_slice(&acc);
    }
}

impl Pixels for PixelIntegers {
    const CELL: usize = 8;

    #[inline(always)]
    unsafe fn cells(from: *const u8) -> Self::X {
        // SAFETY: the caller vouches for 128 bytes; read without assuming alignment.
        unsafe { from.cast::<Self::X>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weight(from: *const i8) -> Self::W {
        // SAFETY: the caller vouches for 4 bytes; read without assuming alignment.
        unsafe { from.cast::<Self::W>().read_unaligned() }
    }

    pixel_tiles!(Self: 1 2 x [1]);
}

struct PixelFloats;

impl Dot for PixelFloats {
    type Sum = f32;
    type Acc = [f32; 16];
    type W = [f32; 16];
    type X = [f32; 16];
    const COLUMNS: usize = 16;
    const WIDTH: usize = 1;
    const ROWS: usize = 2;

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
impl Micro for PixelFloats {
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

    tiles!(Self: 1 2 x [1]);
}

impl Pixels for PixelFloats {
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

    pixel_tiles!(Self: 1 2 x [1]);
}

struct Plain;

impl Turn for Plain {
    #[inline(always)]
    unsafe fn turn(from: &[[f32; PANEL]; 8], columns: usize, to: &mut ChunkOutputs<f32>, first: usize) {
        for (column, to) in to.iter_mut().enumerate().take(columns) {
            to[first..].iter_mut().zip(from).for_each(|(to, from)| *to = from[column]);
        }
    }
}

kernel! {
    /// Always supported.
    pub(super) const KERNEL: "portable",
    features: [], codes: i16, integers: Integers, floats: Floats,
    cells: u64, pixels: PixelIntegers, pixel_floats: PixelFloats,
    channels: Integers, turn: Plain
}
