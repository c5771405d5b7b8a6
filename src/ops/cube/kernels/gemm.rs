//! Matrix products.

use cubecl::prelude::*;

use super::tile::{
    Columns, Outputs, Tile, add_columns, compensate, finish, load_quad, multiply_add, weights, zeros,
};

/// `out[rows, first..first + columns] = a[rows, inputs] * b[inputs, columns]`, scaled.
///
/// `a` holds words of integers or floats `A`, sums are of type `N`. The cubes' units along the rows take rows of their own, or
/// with `split` share out the inputs of the same rows.
#[cube(launch_unchecked)]
pub(crate) fn gemm<A: Numeric, N: Numeric, O: Numeric>(
    a: &Array<A>,
    b: &Array<Vector<i32, Const<4>>>,
    x_scales: &Array<f32>,
    w_scales: &Array<f32>,
    bias: &Array<f32>,
    out: &mut Array<O>,
    rows: u32,
    inputs: u32,
    outputs: u32,
    first: u32,
    columns: u32,
    #[comptime] tile: Tile,
    #[comptime] split: bool,
) {
    let (rows, inputs) = (rows as usize, inputs as usize);
    let columns_of_unit = Columns::of_unit(columns as usize, tile);
    let unit_y = UNIT_POS_Y as usize;
    let band = if comptime!(split) {
        columns_of_unit.band
    } else {
        columns_of_unit.band * comptime!(tile.units[1]) + unit_y
    };
    let row = band * comptime!(tile.rows);
    let words = inputs.div_ceil(4);
    let stride = if comptime!(tile.inputs.are_words()) { words } else { inputs };
    let mut starts = Array::<usize>::new(comptime!(tile.rows));
    let mut at = Array::<usize>::new(comptime!(tile.rows));
    let mut scales = Array::<f32>::new(comptime!(tile.rows));
    #[unroll]
    for i in 0..comptime!(tile.rows) {
        let row = usize::min(row + i, rows - 1);
        starts[i] = row * stride;
        at[i] = row * outputs as usize;
        scales[i] = if comptime!(tile.inputs.are_words() || tile.inputs.are_prescaled()) {
            x_scales[row]
        } else {
            1.0f32.runtime()
        };
    }
    let share = if comptime!(split) { words.div_ceil(comptime!(tile.units[1])) } else { words };
    let start = if comptime!(split) { unit_y * share } else { 0usize.runtime() };
    let mut sums = zeros::<N>(comptime!(tile.rows * tile.vectors * 4));
    let mut column_sums = zeros::<N>(comptime!(tile.vectors * 4));
    for word in start..usize::min(start + share, words) {
        let weights = weights::<N>(b, word, &columns_of_unit, tile);
        if comptime!(tile.inputs.are_offset()) {
            add_columns::<N>(&mut column_sums, &weights, tile);
        }
        #[unroll]
        for i in 0..comptime!(tile.rows) {
            let word_at = starts[i] + if comptime!(tile.inputs.are_words()) { word } else { word * 4 };
            let left = inputs - word * 4;
            let quad = load_quad::<A, N>(a, word_at, 1, left, true, scales[i], tile.inputs);
            #[unroll]
            for j in 0..comptime!(tile.vectors * 4) {
                multiply_add::<N>(&mut sums, &quad, &weights, i, j, tile);
            }
        }
    }
    if comptime!(tile.inputs.are_offset()) {
        compensate::<N>(&mut sums, &column_sums, &scales, tile);
    }
    if comptime!(split) {
        gather::<N>(&mut sums, tile);
    }
    let live = if comptime!(split) { select(unit_y == 0, rows, 0usize) } else { rows };
    let to = Outputs {
        at,
        stride: 1usize,
        rows: live - usize::min(row, live),
        x_scales: scales,
        column: first as usize,
        columns: columns as usize,
    };
    finish::<N, O>(&sums, w_scales, bias, out, &to, &columns_of_unit, tile);
}

/// Adds the sums of a cube's units along the rows to those of the first.
#[cube]
fn gather<N: Numeric>(sums: &mut Array<N>, #[comptime] tile: Tile) {
    let across = comptime!(tile.units[0]);
    let len = comptime!(tile.rows * tile.vectors * 4);
    let (unit_x, unit_y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let mut shared = SharedMemory::<N>::new(comptime!(tile.units[0] * tile.units[1] * len));
    #[unroll]
    for i in 0..len {
        shared[(unit_y * len + i) * across + unit_x] = sums[i];
    }
    sync_cube();
    if unit_y == 0 {
        #[unroll]
        for other in 1..comptime!(tile.units[1]) {
            #[unroll]
            for i in 0..len {
                sums[i] += shared[(other * len + i) * across + unit_x];
            }
        }
    }
}
