//! The rows of a table.

use cubecl::prelude::*;

use super::tile::byte;

/// Writes `[indices, width]`: the entries `first..first + columns` of a table of `entries`, where `indices` name them. One unit
/// for each four values. An index outside the table gives NaN, written with the table's first shard.
#[cube(launch_unchecked)]
pub(crate) fn embed<O: Float>(
    words: &Array<i32>,
    scales: &Array<f32>,
    indices: &Array<i32>,
    out: &mut Array<O>,
    width: u32,
    entries: u32,
    first: u32,
    columns: u32,
    total: u32,
) {
    if ABSOLUTE_POS >= total as usize {
        terminate!();
    }
    let width = width as usize;
    let of_row = width.div_ceil(4);
    let (row, word) = (ABSOLUTE_POS / of_row, ABSOLUTE_POS % of_row);
    // A negative index becomes a large one.
    let index = u32::cast_from(indices[row]);
    let known = index < entries;
    let here = index >= first && index < first + columns;
    if here || (!known && first == 0) {
        let column = select(here, index - first, 0u32) as usize;
        let stride = (columns as usize).div_ceil(4) * 4;
        let integers = words[word * stride + column];
        let nan = f32::reinterpret(select(known, 0u32, 0x7fc0_0000u32));
        let scale = scales[select(here, index, 0u32) as usize] + nan;
        #[unroll]
        for lane in 0..4usize {
            if word * 4 + lane < width {
                out[row * width + word * 4 + lane] = O::cast_from(byte::<f32>(integers, lane) * scale);
            }
        }
    }
}
