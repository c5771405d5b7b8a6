//! Convolutions: matrix products whose rows are pixels, read at the inputs under the filter's taps.

use cubecl::prelude::*;

use super::tile::{
    Columns, Inputs, Outputs, Tile, add_columns, compensate, finish, load_quad, multiply_add, offset_of,
    weights, zeros,
};
use burn_int8_kernels::ConvSpec;

/// The sizes along three axes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct Sizes {
    depth: u32,
    height: u32,
    width: u32,
}

/// The places of the filters of a tile's pixels.
#[derive(CubeType)]
struct TapOrigins {
    /// The sample of each pixel.
    samples: Array<usize>,
    /// The place of each pixel in a plane of outputs.
    outputs: Array<usize>,
    /// The position of the first tap of each pixel; in a transposed convolution, of the tap that is last.
    depth: Array<u32>,
    height: Array<u32>,
    width: Array<u32>,
}

/// `out[samples, channels, plane] = x * filters`, scaled. One unit for each tile.
///
/// `a` holds words `[samples, plane, groups, channels / groups / 4]` of integers, or floats `[samples, channels, plane]`; with
/// a single channel in each group words `[samples, plane, channels / 4]`.
#[cube(launch_unchecked)]
pub(crate) fn conv<A: Numeric, N: Numeric, O: Numeric>(
    a: &Array<A>,
    b: &Array<Vector<i32, Const<4>>>,
    x_scales: &Array<f32>,
    w_scales: &Array<f32>,
    bias: &Array<f32>,
    out: &mut Array<O>,
    input: &Sizes,
    output: &Sizes,
    padding: &Sizes,
    pixels: u32,
    first: u32,
    columns: u32,
    #[comptime] filter: ConvSpec,
    #[comptime] tile: Tile,
) {
    let columns_of_unit = Columns::of_unit(columns as usize, tile);
    let band = columns_of_unit.band * comptime!(tile.units[1]) + UNIT_POS_Y as usize;
    let pixel = band * comptime!(tile.rows);
    let (pixels, plane) = (pixels as usize, (output.depth * output.height * output.width) as usize);
    let origins = tap_origins(pixel, pixels, output, padding, filter, tile);
    let mut at = Array::<usize>::new(comptime!(tile.rows));
    let mut scales = Array::<f32>::new(comptime!(tile.rows));
    #[unroll]
    for i in 0..comptime!(tile.rows) {
        let sample = origins.samples[i];
        at[i] = sample * comptime!(filter.channels[1]) * plane + origins.outputs[i];
        scales[i] = if comptime!(tile.inputs.have_pixel_scales()) {
            let pixel = input_index(0u32, &origins, i, input, filter);
            x_scales[sample * (input.depth * input.height * input.width) as usize + pixel as usize]
        } else if comptime!(tile.inputs.are_words() || tile.inputs.are_prescaled()) {
            x_scales[sample]
        } else {
            1.0f32.runtime()
        };
    }
    let first = first as usize;
    let sums = if comptime!(filter.group_channels()[0] == 1) {
        planes::<A, N>(a, b, &origins, &scales, input, &columns_of_unit, first, filter, tile)
    } else {
        channels::<A, N>(a, b, &origins, &scales, input, &columns_of_unit, first, filter, tile)
    };
    let to = Outputs {
        at,
        stride: plane,
        rows: pixels - usize::min(pixel, pixels),
        x_scales: scales,
        column: first,
        columns: columns as usize,
    };
    finish::<N, O>(&sums, w_scales, bias, out, &to, &columns_of_unit, tile);
}

/// The tile's pixels, from `pixel` on; for those past the last one, the last one.
#[cube]
fn tap_origins(
    pixel: usize,
    pixels: usize,
    output: &Sizes,
    padding: &Sizes,
    #[comptime] filter: ConvSpec,
    #[comptime] tile: Tile,
) -> TapOrigins {
    let plane = (output.depth * output.height * output.width) as usize;
    let mut origins = TapOrigins {
        samples: Array::<usize>::new(comptime!(tile.rows)),
        outputs: Array::<usize>::new(comptime!(tile.rows)),
        depth: Array::<u32>::new(comptime!(tile.rows)),
        height: Array::<u32>::new(comptime!(tile.rows)),
        width: Array::<u32>::new(comptime!(tile.rows)),
    };
    #[unroll]
    for i in 0..comptime!(tile.rows) {
        let pixel = usize::min(pixel + i, pixels - 1);
        let within = (pixel % plane) as u32;
        let z = within / (output.height * output.width);
        let y = within / output.width % output.height;
        let x = gather_residues(within % output.width, output.width, filter);
        origins.samples[i] = pixel / plane;
        origins.outputs[i] = ((z * output.height + y) * output.width + x) as usize;
        origins.depth[i] = first_tap(z, padding.depth, comptime!(filter.stride[0] as u32), filter);
        origins.height[i] = first_tap(y, padding.height, comptime!(filter.stride[1] as u32), filter);
        origins.width[i] = first_tap(x, padding.width, comptime!(filter.stride[2] as u32), filter);
    }
    origins
}

/// The sums where a group has several channels: four of them in each step.
#[cube]
fn channels<A: Numeric, N: Numeric>(
    a: &Array<A>,
    b: &Array<Vector<i32, Const<4>>>,
    origins: &TapOrigins,
    scales: &Array<f32>,
    input: &Sizes,
    columns: &Columns,
    first: usize,
    #[comptime] filter: ConvSpec,
    #[comptime] tile: Tile,
) -> Array<N> {
    let of_group = comptime!(filter.group_channels()[0]);
    let outputs = comptime!(filter.group_channels()[1]);
    let words = comptime!(of_group.div_ceil(4));
    let plane = (input.depth * input.height * input.width) as usize;
    let column = first + columns.vector(0, tile) * 4;
    // The group of each column of the unit.
    let mut groups = Array::<usize>::new(4usize);
    #[unroll]
    for j in 0..4usize {
        groups[j] = usize::min((column + j) / outputs, comptime!(filter.groups - 1));
    }
    let mut sums = zeros::<N>(comptime!(tile.rows * tile.vectors * 4));
    let mut column_sums = zeros::<N>(comptime!(tile.vectors * 4));
    let mut at = Array::<usize>::new(comptime!(tile.rows));
    let mut inside = Array::<bool>::new(comptime!(tile.rows));
    for tap in 0..comptime!(filter.taps()) {
        let mut some = false;
        #[unroll]
        for i in 0..comptime!(tile.rows) {
            let pixel = input_index(tap as u32, origins, i, input, filter);
            inside[i] = pixel < u32::MAX;
            some = some || inside[i];
            let pixel = select(inside[i], pixel, 0u32) as usize;
            at[i] = if comptime!(tile.inputs.are_words()) {
                (origins.samples[i] * plane + pixel) * comptime!(filter.groups * words)
            } else {
                origins.samples[i] * comptime!(filter.channels[0]) * plane + pixel
            };
        }
        if some {
            for word in 0..words {
                let weights = weights::<N>(b, tap * words + word, columns, tile);
                if comptime!(tile.inputs.are_offset()) {
                    add_columns::<N>(&mut column_sums, &weights, tile);
                }
                let left = of_group - word * 4;
                #[unroll]
                for i in 0..comptime!(tile.rows) {
                    if comptime!(mixes_groups(&filter)) {
                        #[unroll]
                        for j in 0..4usize {
                            let at = at[i] + offset(groups[j], word, plane, filter, tile.inputs);
                            let quad =
                                load_quad::<A, N>(a, at, plane, left, inside[i], scales[i], tile.inputs);
                            multiply_add::<N>(&mut sums, &quad, &weights, i, j, tile);
                        }
                    } else {
                        let at = at[i] + offset(groups[0], word, plane, filter, tile.inputs);
                        let quad = load_quad::<A, N>(a, at, plane, left, inside[i], scales[i], tile.inputs);
                        #[unroll]
                        for j in 0..comptime!(tile.vectors * 4) {
                            multiply_add::<N>(&mut sums, &quad, &weights, i, j, tile);
                        }
                    }
                }
            }
        }
    }
    if comptime!(tile.inputs.are_offset()) {
        compensate::<N>(&mut sums, &column_sums, scales, tile);
    }
    sums
}

/// The sums where a group has a single channel: four taps in a word of weights, four channels in a word of inputs.
#[cube]
fn planes<A: Numeric, N: Numeric>(
    a: &Array<A>,
    b: &Array<Vector<i32, Const<4>>>,
    origins: &TapOrigins,
    scales: &Array<f32>,
    input: &Sizes,
    columns: &Columns,
    first: usize,
    #[comptime] filter: ConvSpec,
    #[comptime] tile: Tile,
) -> Array<N> {
    let outputs = comptime!(filter.group_channels()[1]);
    let channels = comptime!(filter.channels[0]);
    let plane = (input.depth * input.height * input.width) as usize;
    let column = first + columns.vector(0, tile) * 4;
    let mut sums = zeros::<N>(comptime!(tile.rows * 4));
    for word in 0..comptime!(filter.taps().div_ceil(4)) {
        let weights = weights::<N>(b, word, columns, tile);
        #[unroll]
        for k in 0..4usize {
            let tap = word * 4 + k;
            if tap < comptime!(filter.taps()) {
                #[unroll]
                for i in 0..comptime!(tile.rows) {
                    let pixel = input_index(tap as u32, origins, i, input, filter);
                    let inside = pixel < u32::MAX;
                    let pixel = select(inside, pixel, 0u32) as usize;
                    #[unroll]
                    for j in 0..4usize {
                        let channel = usize::min((column + j) / outputs, channels - 1);
                        let x = load_scalar::<A, N>(
                            a,
                            origins.samples[i],
                            channel,
                            pixel,
                            plane,
                            channels,
                            tile.inputs,
                        );
                        let x = if comptime!(tile.inputs.are_offset()) {
                            x + offset_of::<N>(scales[i])
                        } else {
                            x
                        };
                        let mut x = select(inside, x, N::from_int(0));
                        if comptime!(tile.inputs.are_prescaled()) {
                            x *= N::cast_from(scales[i]);
                        }
                        sums[comptime!(i * 4 + j)] += x * weights[comptime!(j * 4 + k)];
                    }
                }
            }
        }
    }
    sums
}

/// One input: an integer out of its word, or a float.
#[cube]
fn load_scalar<A: Numeric, N: Numeric>(
    a: &Array<A>,
    sample: usize,
    channel: usize,
    pixel: usize,
    plane: usize,
    #[comptime] channels: usize,
    #[comptime] inputs: Inputs,
) -> N {
    if comptime!(inputs.are_words()) {
        let word = a[(sample * plane + pixel) * comptime!(channels.div_ceil(4)) + channel / 4];
        let shift = 24 - 8 * i32::cast_from(channel % 4);
        N::cast_from((i32::cast_from(word) << shift) >> 24)
    } else {
        N::cast_from(a[(sample * channels + channel) * plane + pixel])
    }
}

/// Says whether the four columns of a vector may be of different groups.
pub(crate) fn mixes_groups(filter: &ConvSpec) -> bool {
    filter.groups > 1 && !filter.group_channels()[1].is_multiple_of(4)
}

/// The distance from the place of a pixel to a word of the channels of a group.
#[cube]
fn offset(
    group: usize,
    word: usize,
    plane: usize,
    #[comptime] filter: ConvSpec,
    #[comptime] inputs: Inputs,
) -> usize {
    let of_group = comptime!(filter.group_channels()[0]);
    if comptime!(inputs.are_words()) {
        group * comptime!(of_group.div_ceil(4)) + word
    } else {
        (group * of_group + word * 4) * plane
    }
}

/// The output at place `x` of a row in the order in which tiles take them. In a transposed convolution outputs that share taps
/// lie a stride apart: they become neighbours in a tile.
#[cube]
fn gather_residues(x: u32, width: u32, #[comptime] filter: ConvSpec) -> u32 {
    let stride = comptime!(filter.stride[2] as u32);
    if comptime!(filter.transposed && filter.stride[2] > 1) {
        let (each, longer) = (width / stride, width % stride);
        let of_longer = longer * (each + 1);
        if x < of_longer {
            x % (each + 1) * stride + x / (each + 1)
        } else {
            (x - of_longer) % each * stride + longer + (x - of_longer) / each
        }
    } else {
        x
    }
}

/// The position of the first tap along an axis, of a transposed convolution times the stride; may be less than zero.
#[cube]
fn first_tap(output: u32, padding: u32, #[comptime] stride: u32, #[comptime] filter: ConvSpec) -> u32 {
    if comptime!(filter.transposed) { output + padding } else { output * stride - padding }
}

/// The pixel of the input's plane under a tap, or `u32::MAX` if there is none.
#[cube]
fn input_index(
    tap: u32,
    origins: &TapOrigins,
    #[comptime] i: usize,
    input: &Sizes,
    #[comptime] filter: ConvSpec,
) -> u32 {
    let along = comptime!([filter.kernel[1] as u32, filter.kernel[2] as u32]);
    let z = position_under(origins.depth[i], tap / comptime!(along[0] * along[1]), 0usize, filter);
    let y =
        position_under(origins.height[i], tap / comptime!(along[1]) % comptime!(along[0]), 1usize, filter);
    let x = position_under(origins.width[i], tap % comptime!(along[1]), 2usize, filter);
    let inside = z < input.depth && y < input.height && x < input.width;
    select(inside, (z * input.height + y) * input.width + x, u32::MAX)
}

/// The position under a tap along one axis, too large if there is none: what is less than zero wraps.
#[cube]
fn position_under(first: u32, tap: u32, #[comptime] axis: usize, #[comptime] filter: ConvSpec) -> u32 {
    let dilation = comptime!(filter.dilation[axis] as u32);
    if comptime!(filter.transposed) {
        let stride = comptime!(filter.stride[axis] as u32);
        let from = first - tap * dilation;
        let at = from / stride;
        select(at * stride == from && from < (1u32 << 31), at, u32::MAX)
    } else {
        first + tap * dilation
    }
}
