//! Convolutions with one filter for each channel: integers as `f32`, which holds such short sums exactly, in vectors of channels.

use super::bands::{Band, Bands, position};
use super::fill::WindowFiller;
use super::window::Window;
use super::{Images, RowEpilogue};
use crate::isa::{Isa, Op};
use crate::scratch::{CacheAligned, QUANTIZED, UNPACKED, with_scratch};
use crate::uninit::Block;

/// The channels of a vector.
const LANES: usize = 16;
/// The channels whose window is in the cache at the same time.
const CHANNELS: usize = 64;
/// The neighbouring outputs that share what they read.
const PIXELS: usize = 4;
/// The bytes of a window that the second-level cache holds beside the input and the output.
const WINDOW_BYTES: usize = 192 << 10;

impl Images<'_> {
    /// Computes all outputs.
    pub(super) fn depthwise<E: RowEpilogue<f32>>(&self, epilogue: &E) -> Vec<E::Output> {
        let spec = self.geometry().spec();
        let (channels, taps) = (spec.groups, spec.taps());
        let width = channels.min(CHANNELS).next_multiple_of(LANES);
        let bands = Bands::new(self, [width * size_of::<f32>(), WINDOW_BYTES], false);
        let window = bands.window(self, 0);
        let [depth, height, columns] = spec.kernel;
        let places = (0..depth).flat_map(|z| (0..height).flat_map(move |y| (0..columns).map(move |x| [z, y, x])));
        let places: Vec<_> = places.map(|tap| window.of_tap(tap) * width).collect();
        let padded = channels.next_multiple_of(LANES);
        with_scratch(&UNPACKED, |unpacked| {
            let weights = bytemuck::cast_slice_mut(unpacked.at_least(taps * padded * size_of::<f32>()));
            self.weights().unpack(&(0..taps).collect::<Vec<_>>(), 0..channels, padded, weights);
            let weights = &*weights;
            bands.run(self, |band| {
                let window = bands.window(self, band.first);
                with_scratch(&QUANTIZED, |integers| {
                    let integers = integers.at_least(window.pixels() * width * size_of::<f32>());
                    let (axis, taps) = (bands.axis, &places[..]);
                    let filters = Filters { taps, weights, padded, width };
                    let integers = bytemuck::cast_slice_mut(integers);
                    self.kernel.run(DepthwiseBand { images: self, window, axis, filters, band, integers, epilogue });
                });
            })
        })
    }
}

/// The filters of all channels.
#[derive(Clone, Copy)]
struct Filters<'a> {
    /// The numbers of the window from the one under the first tap to that under each.
    taps: &'a [usize],
    /// The weights, a row of `padded` channels for each tap.
    weights: &'a [f32],
    padded: usize,
    /// The numbers of a pixel of the window.
    width: usize,
}

/// Computes a band.
struct DepthwiseBand<'a, 'o, E: RowEpilogue<f32>> {
    images: &'a Images<'a>,
    window: Window,
    axis: usize,
    filters: Filters<'a>,
    band: Band<'o, E::Output>,
    /// Room for the integers of some channels of the window.
    integers: &'a mut [f32],
    epilogue: &'a E,
}

impl<E: RowEpilogue<f32>> Op for DepthwiseBand<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let Self { images, window, axis, filters, mut band, integers, epilogue } = self;
        let geometry = images.geometry();
        let channels = geometry.spec().groups;
        let quantizer = images.quantizers[band.sample].as_ref();
        let scale = quantizer.map_or(f32::NAN, |quantizer| quantizer.scale);
        let filler = WindowFiller { x: images.sample(band.sample), channels, window: &window };
        let output = geometry.output();
        let line: usize = output[axis + 1..].iter().product();
        let rows_before = band.sample * output.iter().product::<usize>() + band.first * line;
        for first in (0..channels).step_by(filters.width) {
            let some = first..channels.min(first + filters.width);
            filler.integers(quantizer, some.clone(), filters.width, integers);
            for block in &mut band.blocks {
                let mut row = 0;
                while row < block.rows() {
                    // Neighbours in a line.
                    let pixel = block.first_row + row;
                    let left = output[2] - pixel % output[2];
                    let count = PIXELS.min(left).min(block.rows() - row);
                    let at = window.of_output(position(pixel, axis, output)) * filters.width;
                    let x = &integers[at..];
                    let next = if count == PIXELS { window.stride() * filters.width } else { 0 };
                    for vector in some.clone().step_by(LANES) {
                        let w = &filters.weights[vector..];
                        let x = &x[vector - first..];
                        let mut sums = CacheAligned([[0.0; LANES]; PIXELS]);
                        if count == PIXELS {
                            sum_pixels::<PIXELS>(x, next, (filters.taps, w, filters.padded), &mut sums.0);
                        } else {
                            for (i, sums) in sums.0.iter_mut().enumerate().take(count) {
                                let x = &x[i * window.stride() * filters.width..];
                                let sums = std::array::from_mut(sums);
                                sum_pixels::<1>(x, 0, (filters.taps, w, filters.padded), sums);
                            }
                        }
                        let columns = vector..channels.min(vector + LANES);
                        finish(block, (row, count), columns, (rows_before, scale), &sums.0, epilogue);
                    }
                    row += count;
                }
            }
        }
    }
}

/// The sums of `LANES` channels of pixels that are `next` numbers apart.
#[inline(always)]
fn sum_pixels<const N: usize>(
    x: &[f32],
    next: usize,
    (taps, w, padded): (&[usize], &[f32], usize),
    sums: &mut [[f32; LANES]; N],
) {
    let mut acc = [[0.0; LANES]; N];
    for (row, tap) in taps.iter().enumerate() {
        let Some(w) = w[row * padded..].first_chunk::<LANES>() else { unreachable!("a vector of weights") };
        for (i, acc) in acc.iter_mut().enumerate() {
            let Some(x) = x[tap + i * next..].first_chunk::<LANES>() else { unreachable!("a vector of inputs") };
            acc.iter_mut().zip(x).zip(w).for_each(|((acc, x), w)| *acc += x * w);
        }
    }
    *sums = acc;
}

/// Writes the outputs of some channels of neighbouring pixels.
#[inline(always)]
fn finish<E: RowEpilogue<f32>>(
    block: &mut Block<'_, E::Output>,
    (first, count): (usize, usize),
    columns: std::ops::Range<usize>,
    (rows_before, scale): (usize, f32),
    sums: &[[f32; LANES]; PIXELS],
    epilogue: &E,
) {
    let mut out = CacheAligned([E::Output::default(); LANES]);
    for (row, sums) in (first..).zip(sums).take(count) {
        epilogue.channels(rows_before + block.first_row + row, scale, columns.start, sums, &mut out.0);
        block.append_copy::<LANES>(row, columns.clone(), &out.0);
    }
}
