//! Floats to integers, four to a word.

use cubecl::prelude::*;

use super::round::{Codes, Quantizer, extent_of, join_extents, quantize, quantizer, room, with_sign};

/// Turns rows `[rows, inputs]` into words `[rows, inputs / 4]`, with zeros past a row's end, and one scale a row, times its `restore`
/// if rows are `rotated`. One cube of `units` for each row.
#[cube(launch_unchecked)]
pub(crate) fn quantize_rows<F: Float>(
    x: &Array<F>,
    words: &mut Array<i32>,
    scales: &mut Array<f32>,
    restore: &Array<f32>,
    rows: u32,
    inputs: u32,
    #[comptime] units: usize,
    #[comptime] codes: Codes,
    #[comptime] rotated: bool,
) {
    // Cubes past the last row write it once more: leaving them out would part ways before a barrier.
    let row = usize::min(CUBE_POS, rows as usize - 1);
    let (inputs, unit) = (inputs as usize, UNIT_POS as usize);
    let quantizer = quantizer(extent_between::<F>(x, row * inputs, (row + 1) * inputs, units), codes);
    if unit == 0 {
        scales[row] = if comptime!(rotated) { quantizer.scale * restore[row] } else { quantizer.scale };
    }
    let width = inputs.div_ceil(4);
    let mut word = unit;
    while word < width {
        let left = inputs - word * 4;
        words[row * width + word] = quantize_quad::<F>(x, row * inputs + word * 4, 1, left, quantizer, codes);
        word += units;
    }
}

/// Finds the extent of each of `chunks` pieces of each sample. One cube of `units` for each piece.
#[cube(launch_unchecked)]
pub(crate) fn extents_of_chunks<F: Float>(
    x: &Array<F>,
    partial: &mut Array<u32>,
    samples: u32,
    sample: u32,
    chunks: u32,
    #[comptime] units: usize,
) {
    let (samples, sample, chunks) = (samples as usize, sample as usize, chunks as usize);
    let piece = usize::min(CUBE_POS, samples * chunks - 1);
    let start = piece / chunks * sample;
    let length = sample.div_ceil(chunks);
    let first = piece % chunks * length;
    let end = usize::min(first + length, sample);
    let extent = extent_between::<F>(x, start + first, start + end, units);
    if UNIT_POS == 0 {
        partial[piece] = extent;
    }
}

/// Finds one scale for each sample and the factors of its values, from the extents of its chunks. One cube of
/// `units` for each sample.
#[cube(launch_unchecked)]
pub(crate) fn finalize_absmax(
    partial: &Array<u32>,
    scales: &mut Array<f32>,
    factors: &mut Array<f32>,
    samples: u32,
    chunks: u32,
    #[comptime] units: usize,
    #[comptime] codes: Codes,
) {
    let sample = usize::min(CUBE_POS, samples as usize - 1);
    let quantizer = quantizer(extent_of_sample(partial, sample, chunks as usize, units), codes);
    if UNIT_POS == 0 {
        scales[sample] = quantizer.scale;
        factors[sample * 2] = quantizer.prescale;
        factors[sample * 2 + 1] = quantizer.inverse;
    }
}

/// Finds one scale for each pixel of images `[samples, channels, plane]` and the factors of its values. Whether its integers have a sign
/// is what the scale of its sample says. One unit for each pixel.
#[cube(launch_unchecked)]
pub(crate) fn scales_of_pixels<F: Float>(
    x: &Array<F>,
    of_samples: &Array<f32>,
    scales: &mut Array<f32>,
    factors: &mut Array<f32>,
    channels: u32,
    plane: u32,
    total: u32,
    #[comptime] codes: Codes,
) {
    if ABSOLUTE_POS >= total as usize {
        terminate!();
    }
    let (channels, plane) = (channels as usize, plane as usize);
    let (sample, pixel) = (ABSOLUTE_POS / plane, ABSOLUTE_POS % plane);
    let mut extent = 0u32;
    for channel in 0..channels {
        extent =
            join_extents(extent, extent_of(f32::cast_from(x[(sample * channels + channel) * plane + pixel])));
    }
    let quantizer = quantizer(with_sign(extent, of_samples[sample]), codes);
    scales[ABSOLUTE_POS] = quantizer.scale;
    factors[ABSOLUTE_POS * 2] = quantizer.prescale;
    factors[ABSOLUTE_POS * 2 + 1] = quantizer.inverse;
}

/// Turns images `[samples, channels, plane]` into words `[samples, plane, groups, channels / groups / 4]`, with a scale for each
/// sample or, with `of_pixels`, for each pixel. One unit for each word.
#[cube(launch_unchecked)]
pub(crate) fn quantize_images<F: Float>(
    x: &Array<F>,
    scales: &Array<f32>,
    factors: &Array<f32>,
    words: &mut Array<i32>,
    channels: u32,
    groups: u32,
    plane: u32,
    total: u32,
    #[comptime] codes: Codes,
    #[comptime] of_pixels: bool,
) {
    if ABSOLUTE_POS >= total as usize {
        terminate!();
    }
    let (channels, groups, plane) = (channels as usize, groups as usize, plane as usize);
    let of_group = channels / groups;
    let width = of_group.div_ceil(4);
    // Neighbouring units take neighbouring pixels, whose floats are neighbours.
    let pixel = ABSOLUTE_POS % plane;
    let rest = ABSOLUTE_POS / plane;
    let word = rest % (groups * width);
    let sample = rest / (groups * width);
    let within = word % width * 4;
    let channel = word / width * of_group + within;
    let by = if comptime!(of_pixels) { sample * plane + pixel } else { sample };
    let quantizer = Quantizer { scale: scales[by], prescale: factors[by * 2], inverse: factors[by * 2 + 1] };
    let at = (sample * channels + channel) * plane + pixel;
    words[(sample * plane + pixel) * groups * width + word] =
        quantize_quad::<F>(x, at, plane, of_group - within, quantizer, codes);
}

/// A word of up to four values, `stride` apart; zeros for those past the `left` that are there.
#[cube]
fn quantize_quad<F: Float>(
    x: &Array<F>,
    at: usize,
    stride: usize,
    left: usize,
    quantizer: Quantizer,
    #[comptime] codes: Codes,
) -> i32 {
    let mut word = 0i32;
    #[unroll]
    for lane in 0..4usize {
        let value = if lane < left { f32::cast_from(x[at + lane * stride]) } else { 0.0f32.runtime() };
        word |= (quantize(value, quantizer, codes) & 0xff) << comptime!(8 * lane as i32);
    }
    word
}

/// Finds the factor of each row `[rows, inputs]` that leaves room for its sums. One cube of `units` for each row.
#[cube(launch_unchecked)]
pub(crate) fn room_of_rows<F: Float>(
    x: &Array<F>,
    factors: &mut Array<f32>,
    rows: u32,
    inputs: u32,
    #[comptime] units: usize,
) {
    let row = usize::min(CUBE_POS, rows as usize - 1);
    let inputs = inputs as usize;
    let extent = extent_between::<F>(x, row * inputs, (row + 1) * inputs, units);
    if UNIT_POS == 0 {
        factors[row] = room(extent);
    }
}

/// Finds the factor of each sample that leaves room for its sums, from the extents of its chunks. One cube of
/// `units` for each sample.
#[cube(launch_unchecked)]
pub(crate) fn room_of_samples(
    partial: &Array<u32>,
    factors: &mut Array<f32>,
    samples: u32,
    chunks: u32,
    #[comptime] units: usize,
) {
    let sample = usize::min(CUBE_POS, samples as usize - 1);
    let extent = extent_of_sample(partial, sample, chunks as usize, units);
    if UNIT_POS == 0 {
        factors[sample] = room(extent);
    }
}

/// The extent of the values from `start` to `end`.
#[cube]
pub(super) fn extent_between<F: Float>(
    x: &Array<F>,
    start: usize,
    end: usize,
    #[comptime] units: usize,
) -> u32 {
    let mut extent = 0u32;
    let mut i = start + UNIT_POS as usize;
    while i < end {
        extent = join_extents(extent, extent_of(f32::cast_from(x[i])));
        i += units;
    }
    extent_of_cube(extent, units)
}

/// The extent of a sample, from those of its chunks.
#[cube]
fn extent_of_sample(partial: &Array<u32>, sample: usize, chunks: usize, #[comptime] units: usize) -> u32 {
    let mut extent = 0u32;
    let mut i = UNIT_POS as usize;
    while i < chunks {
        extent = join_extents(extent, partial[sample * chunks + i]);
        i += units;
    }
    extent_of_cube(extent, units)
}

/// The extent of all that `units`, a power of two, have found.
#[cube]
fn extent_of_cube(value: u32, #[comptime] units: usize) -> u32 {
    let unit = UNIT_POS as usize;
    let mut shared = SharedMemory::<u32>::new(units);
    shared[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(units.ilog2() as usize) {
        let half = comptime!(units >> (step + 1));
        if unit < half {
            shared[unit] = join_extents(shared[unit], shared[unit + half]);
        }
        sync_cube();
    }
    shared[0]
}
