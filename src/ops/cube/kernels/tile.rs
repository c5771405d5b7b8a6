//! A tile of outputs that one unit computes: some rows (of the input, or pixels) by some vectors of four columns.

use cubecl::prelude::*;

use super::dot::dot;
use super::round::{is_unsigned, taken_back};

/// The sizes and types that a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    /// The number of rows of one unit.
    pub(crate) rows: usize,
    /// The number of vectors of one unit, each of four columns.
    pub(crate) vectors: usize,
    /// The number of units of a cube, along the columns and along the rows.
    pub(crate) units: [usize; 2],
    pub(crate) inputs: Inputs,
    pub(crate) sums: Sums,
}

/// The values that are multiplied by the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Inputs {
    /// Words of four integers. `dot` says whether the device multiplies them at once, `auto` whether the bytes of some rows are 128
    /// less than the integers: those with a negative scale. `of_pixels` says whether each pixel of a convolution has a scale.
    Words { dot: bool, auto: bool, of_pixels: bool },
    /// Floats. `ragged` says whether the last four may not all be there, `prescaled` whether each row has a factor that leaves
    /// room for its sum, which outputs are divided by.
    Floats { ragged: bool, prescaled: bool },
}

/// The form in which sums leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sums {
    /// They leave as `sum as f32 * (x_scale * w_scale)`. `bias` says whether there is one to add.
    Scaled { bias: bool },
    /// They leave as they are.
    #[cfg_attr(not(test), allow(dead_code, reason = "tests look at the integers"))]
    RawAccumulators,
}

/// The place of a unit's columns among the vectors of a shard.
#[derive(CubeType)]
pub(crate) struct Columns {
    /// The unit's first vector; the others follow at a distance of a cube's units, so that neighbours read neighbours.
    pub(crate) first: usize,
    /// The number of vectors of the shard.
    pub(crate) vectors: usize,
    /// The band of rows that its cube has.
    pub(crate) band: usize,
}

/// The place of the tile's outputs: column `c` of row `i` to `at[i] + c * stride`.
#[derive(CubeType)]
pub(crate) struct Outputs {
    pub(crate) at: Array<usize>,
    pub(crate) stride: usize,
    /// The number of rows that there are.
    pub(crate) rows: usize,
    /// The scale of each row, or its factor if inputs are floats.
    pub(crate) x_scales: Array<f32>,
    /// The first column of this shard.
    pub(crate) column: usize,
    /// The number of columns of this shard.
    pub(crate) columns: usize,
}

impl Inputs {
    pub(crate) fn are_words(&self) -> bool {
        matches!(self, Self::Words { .. })
    }

    /// Says whether the last four floats may not all be there.
    pub(crate) fn are_ragged(&self) -> bool {
        matches!(self, Self::Floats { ragged: true, .. })
    }

    /// Says whether rows of floats have factors.
    pub(crate) fn are_prescaled(&self) -> bool {
        matches!(self, Self::Floats { prescaled: true, .. })
    }

    /// Says whether each pixel has a scale of its own.
    pub(crate) fn have_pixel_scales(&self) -> bool {
        matches!(self, Self::Words { of_pixels: true, .. })
    }

    /// Says whether the bytes of some rows are 128 less than the integers.
    pub(crate) fn are_offset(&self) -> bool {
        matches!(self, Self::Words { auto: true, .. })
    }

    /// The number of values of a word that are multiplied one by one.
    pub(crate) fn of_word(&self) -> usize {
        if matches!(self, Self::Words { dot: true, .. }) { 1 } else { 4 }
    }
}

#[cube]
impl Columns {
    /// The columns of this unit, of so many. Cubes go along the columns first.
    pub(crate) fn of_unit(columns: usize, #[comptime] tile: Tile) -> Columns {
        let of_cube = comptime!(tile.units[0] * tile.vectors);
        let vectors = columns.div_ceil(4);
        let across = vectors.div_ceil(of_cube);
        Columns { first: CUBE_POS % across * of_cube + UNIT_POS_X as usize, vectors, band: CUBE_POS / across }
    }

    /// The vector to read for `index`: within bounds, also for a unit that has nothing to do.
    pub(crate) fn vector(&self, index: usize, #[comptime] tile: Tile) -> usize {
        usize::min(self.first + index * comptime!(tile.units[0]), self.vectors - 1)
    }
}

/// Sums that are all zero.
#[cube]
pub(crate) fn zeros<N: Numeric>(#[comptime] len: usize) -> Array<N> {
    let mut sums = Array::<N>::new(len);
    #[unroll]
    for i in 0..len {
        sums[i] = N::from_int(0);
    }
    sums
}

/// One of the four integers of a word.
#[cube]
pub(crate) fn byte<N: Numeric>(word: i32, #[comptime] index: usize) -> N {
    N::cast_from((word << comptime!(24 - 8 * index as i32)) >> 24)
}

/// The integers of one word of each of the unit's columns, four after four; the words themselves if they are multiplied as
/// such.
#[cube]
pub(crate) fn weights<N: Numeric>(
    b: &Array<Vector<i32, Const<4>>>,
    row: usize,
    columns: &Columns,
    #[comptime] tile: Tile,
) -> Array<N> {
    let each = comptime!(tile.inputs.of_word());
    let mut weights = Array::<N>::new(comptime!(tile.vectors * 4 * each));
    #[unroll]
    for v in 0..comptime!(tile.vectors) {
        let words = b[row * columns.vectors + columns.vector(v, tile)];
        #[unroll]
        for j in 0..4usize {
            if comptime!(each == 1) {
                weights[v * 4 + j] = N::cast_from(words[j]);
            } else {
                #[unroll]
                for k in 0..4usize {
                    weights[v * 16 + j * 4 + k] = byte::<N>(words[j], k);
                }
            }
        }
    }
    weights
}

/// Four inputs of one row, `stride` apart and times `factor` if they are floats, or their word if it is multiplied as such;
/// zeros unless `inside`. The factor of integers is their scale.
#[cube]
pub(crate) fn load_quad<A: Numeric, N: Numeric>(
    a: &Array<A>,
    at: usize,
    stride: usize,
    left: usize,
    inside: bool,
    factor: f32,
    #[comptime] inputs: Inputs,
) -> Array<N> {
    let mut quad = Array::<N>::new(comptime!(inputs.of_word()));
    if comptime!(inputs.are_words()) {
        let word = select(inside, i32::cast_from(a[at]), zero_word(factor, inputs));
        if comptime!(inputs.of_word() == 1) {
            quad[0] = N::cast_from(word);
        } else {
            #[unroll]
            for k in 0..4usize {
                quad[k] = byte::<N>(word, k);
            }
        }
    } else {
        #[unroll]
        for k in 0..4usize {
            if comptime!(inputs.are_ragged()) {
                let there = inside && k < left;
                let value = N::cast_from(a[select(there, at + k * stride, 0usize)]);
                quad[k] = select(there, value, N::from_int(0));
            } else {
                quad[k] = select(inside, N::cast_from(a[at + k * stride]), N::from_int(0));
            }
            if comptime!(inputs.are_prescaled()) {
                quad[k] *= N::cast_from(factor);
            }
        }
    }
    quad
}

/// Four zeros whose bytes are 128 less.
const OFFSET_ZEROS: i32 = i32::from_ne_bytes([0x80; 4]);

/// Four integers that are zero, of a row with this scale.
#[cube]
fn zero_word(scale: f32, #[comptime] inputs: Inputs) -> i32 {
    if comptime!(inputs.are_offset()) {
        select(is_unsigned(scale), comptime!(OFFSET_ZEROS), 0i32)
    } else {
        0i32.runtime()
    }
}

/// The number by which the integers of a row with this scale are more than its bytes.
#[cube]
pub(crate) fn offset_of<N: Numeric>(scale: f32) -> N {
    select(is_unsigned(scale), N::from_int(128), N::from_int(0))
}

/// Adds one word of each of the unit's columns to the sums of its columns.
#[cube]
pub(crate) fn add_columns<N: Numeric>(
    column_sums: &mut Array<N>,
    weights: &Array<N>,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for j in 0..comptime!(tile.vectors * 4) {
        if comptime!(tile.inputs.of_word() == 1) {
            column_sums[j] += N::cast_from(dot(0x0101_0101i32, i32::cast_from(weights[j])));
        } else {
            #[unroll]
            for k in 0..4usize {
                column_sums[j] += weights[j * 4 + k];
            }
        }
    }
}

/// Adds to the sums of rows of integers without a sign what their bytes lack, given the sums of the columns.
#[cube]
pub(crate) fn compensate<N: Numeric>(
    sums: &mut Array<N>,
    column_sums: &Array<N>,
    scales: &Array<f32>,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for i in 0..comptime!(tile.rows) {
        let offset = offset_of::<N>(scales[i]);
        #[unroll]
        for j in 0..comptime!(tile.vectors * 4) {
            sums[comptime!(i * tile.vectors * 4 + j)] += offset * column_sums[j];
        }
    }
}

/// Adds the products of four inputs and the weights of column `j` of the tile to its sum of row `i`.
#[cube]
pub(crate) fn multiply_add<N: Numeric>(
    sums: &mut Array<N>,
    quad: &Array<N>,
    weights: &Array<N>,
    #[comptime] i: usize,
    #[comptime] j: usize,
    #[comptime] tile: Tile,
) {
    let at = comptime!(i * tile.vectors * 4 + j);
    if comptime!(tile.inputs.of_word() == 1) {
        sums[at] += N::cast_from(dot(i32::cast_from(quad[0]), i32::cast_from(weights[j])));
    } else {
        let mut sum = sums[at];
        #[unroll]
        for k in 0..4usize {
            sum += quad[k] * weights[j * 4 + k];
        }
        sums[at] = sum;
    }
}

/// Writes the outputs of a tile.
#[cube]
pub(crate) fn finish<N: Numeric, O: Numeric>(
    sums: &Array<N>,
    w_scales: &Array<f32>,
    bias: &Array<f32>,
    out: &mut Array<O>,
    to: &Outputs,
    columns: &Columns,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for v in 0..comptime!(tile.vectors) {
        let first = (columns.first + v * comptime!(tile.units[0])) * 4;
        #[unroll]
        for j in 0..4usize {
            if first + j < to.columns {
                let column = to.column + first + j;
                #[unroll]
                for i in 0..comptime!(tile.rows) {
                    if i < to.rows {
                        let sum = sums[comptime!((i * tile.vectors + v) * 4 + j)];
                        let at = to.at[i] + column * to.stride;
                        if comptime!(tile.sums == Sums::RawAccumulators) {
                            out[at] = O::cast_from(sum);
                        } else {
                            let mut y = scaled::<N>(sum, to.x_scales[i], w_scales[column], tile.inputs);
                            if comptime!(tile.sums == Sums::Scaled { bias: true }) {
                                y += bias[column];
                            }
                            out[at] = O::cast_from(y);
                        }
                    }
                }
            }
        }
    }
}

/// `sum * (x_scale * w_scale)` of integers; of floats `sum * w_scale`, divided by the row's factor.
#[cube]
fn scaled<N: Numeric>(sum: N, x_scale: f32, w_scale: f32, #[comptime] inputs: Inputs) -> f32 {
    if comptime!(inputs.are_words()) {
        let x_scale = if comptime!(inputs.are_offset()) { x_scale.abs() } else { x_scale };
        f32::cast_from(sum) * (x_scale * w_scale)
    } else if comptime!(inputs.are_prescaled()) {
        (f32::cast_from(sum) * w_scale) * taken_back(x_scale)
    } else {
        f32::cast_from(sum) * w_scale
    }
}
