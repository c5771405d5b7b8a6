//! The rotation of blocks of inputs: the additions of the CPU's kernels, in their order.

use std::f32::consts::FRAC_1_SQRT_2;

use cubecl::prelude::*;

use super::quantize::extent_between;
use super::round::{room_for_rotation, taken_back};

/// The inputs that a cube rotates: a multiple of every block.
pub(crate) const CHUNK: usize = 1024;

/// Rotates rows `[rows, inputs]` in blocks of `block`, and gives the power of two that takes back what each row was multiplied with.
/// One cube of `units` for each [`CHUNK`] of each row.
#[cube(launch_unchecked)]
pub(crate) fn rotate_rows<F: Float>(
    x: &Array<F>,
    out: &mut Array<f32>,
    restore: &mut Array<f32>,
    rows: u32,
    inputs: u32,
    #[comptime] units: usize,
    #[comptime] block: usize,
) {
    let (inputs, unit) = (inputs as usize, UNIT_POS as usize);
    let chunks = inputs.div_ceil(CHUNK);
    // Cubes past the last one write it once more: leaving them out would part ways before a barrier.
    let chunk = usize::min(CUBE_POS, rows as usize * chunks - 1);
    let row = chunk / chunks;
    let factor = room_for_rotation(extent_between::<F>(x, row * inputs, (row + 1) * inputs, units));
    if unit == 0 {
        restore[row] = taken_back(factor);
    }
    let within = chunk % chunks * CHUNK;
    let first = row * inputs + within;
    let len = usize::min(CHUNK, inputs - within);
    let mut shared = SharedMemory::<f32>::new(CHUNK);
    let mut i = unit;
    while i < len {
        shared[i] = f32::cast_from(x[first + i]) * factor;
        i += units;
    }
    sync_cube();
    rotate_blocks(&mut shared, len, block, units);
    let mut i = unit;
    while i < len {
        out[first + i] = shared[i];
        i += units;
    }
}

/// Rotates the blocks of the first `len` values: digit by digit of base four, and then of base two if there is one more.
#[cube]
fn rotate_blocks(
    values: &mut SharedMemory<f32>,
    len: usize,
    #[comptime] block: usize,
    #[comptime] units: usize,
) {
    #[unroll]
    for digit in 0..comptime!(block.ilog2() as usize / 2) {
        rotate_fours(values, len, comptime!(1usize << (2 * digit)), units);
    }
    if comptime!(block.ilog2() % 2 == 1) {
        rotate_twos(values, len, comptime!(block / 2), units);
    }
}

/// Multiplies each four values that are `stride` apart by the matrix of four.
#[cube]
fn rotate_fours(
    values: &mut SharedMemory<f32>,
    len: usize,
    #[comptime] stride: usize,
    #[comptime] units: usize,
) {
    let mut i = UNIT_POS as usize;
    while i < len / 4 {
        let at = i / stride * stride * 4 + i % stride;
        let (a, b) = (values[at], values[at + stride]);
        let (c, d) = (values[at + stride * 2], values[at + stride * 3]);
        let half = ((a + b) + (c + d)) * 0.5;
        values[at] = half - d;
        values[at + stride] = half - c;
        values[at + stride * 2] = half - b;
        values[at + stride * 3] = half - a;
        i += units;
    }
    sync_cube();
}

/// Multiplies each two values that are `stride` apart by the matrix of two.
#[cube]
fn rotate_twos(
    values: &mut SharedMemory<f32>,
    len: usize,
    #[comptime] stride: usize,
    #[comptime] units: usize,
) {
    let mut i = UNIT_POS as usize;
    while i < len / 2 {
        let at = i / stride * stride * 2 + i % stride;
        let (a, b) = (values[at], values[at + stride]);
        values[at] = (a + b) * FRAC_1_SQRT_2;
        values[at + stride] = (a - b) * FRAC_1_SQRT_2;
        i += units;
    }
    sync_cube();
}
