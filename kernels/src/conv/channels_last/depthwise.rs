//! Convolutions with one filter for each channel, in vectors of channels: of floats, or of integers as `f32`, which holds such short
//! sums exactly.

use std::ops::Range;

use super::bands::{Band, Bands, position};
use super::fill::WindowFiller;
use super::window::Window;
use super::{Images, RowEpilogue, SampleWay};
use crate::epilogue::{LANES, TileSums};
use crate::isa::{Isa, MR, Op, Sums};
use crate::scratch::{CacheAligned, QUANTIZED, UNPACKED, with_scratch};
use crate::weight::NR;

/// The neighbouring outputs that share what they read.
const PIXELS: usize = 4;
/// The bytes of a window that the second-level cache holds beside the input and the output.
const WINDOW_BYTES: usize = 192 << 10;

impl Images<'_> {
    /// Computes all outputs.
    pub(super) fn depthwise<E: RowEpilogue<f32>>(&self, epilogue: &E) -> Vec<E::Output> {
        let spec = self.geometry().spec();
        let (channels, taps) = (spec.groups, spec.taps());
        // Even: 144 channels are three times 48.
        let width = channels.div_ceil(channels.div_ceil(NR)).next_multiple_of(LANES);
        let bands = Bands::new(self, [width * size_of::<f32>(), WINDOW_BYTES], false);
        let window = bands.window(self, 0);
        let [depth, height, columns] = spec.kernel;
        let places =
            (0..depth).flat_map(|z| (0..height).flat_map(move |y| (0..columns).map(move |x| [z, y, x])));
        let places: Vec<_> = places.map(|tap| window.of_tap(tap) * width).collect();
        let padded = channels.next_multiple_of(LANES);
        with_scratch(&UNPACKED, |unpacked| {
            let weights = bytemuck::cast_slice_mut(unpacked.at_least(taps * padded * size_of::<f32>()));
            self.weights().unpack(&(0..taps).collect::<Vec<_>>(), 0..channels, padded, weights);
            let weights = &*weights;
            bands.run(self, |band| {
                let window = bands.window(self, band.first);
                with_scratch(&QUANTIZED, |numbers| {
                    let numbers = numbers.at_least(window.pixels() * width * size_of::<f32>());
                    let (axis, taps) = (bands.axis, &places[..]);
                    let filters = Filters { taps, weights, padded, width };
                    let numbers = bytemuck::cast_slice_mut(numbers);
                    self.kernel.run(DepthwiseBand {
                        images: self,
                        window,
                        axis,
                        filters,
                        band,
                        numbers,
                        epilogue,
                    });
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
    /// Room for some channels of the window.
    numbers: &'a mut [f32],
    epilogue: &'a E,
}

impl<E: RowEpilogue<f32>> Op for DepthwiseBand<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let Self { images, window, axis, filters, mut band, numbers, epilogue } = self;
        let geometry = images.geometry();
        let channels = geometry.spec().groups;
        let way = &images.ways[band.sample];
        let scale = way.scale();
        let filler = WindowFiller { x: images.sample(band.sample), channels, window: &window };
        let output = geometry.output();
        let line: usize = output[axis + 1..].iter().product();
        let rows_before = band.sample * output.iter().product::<usize>() + band.first * line;
        let mut out = CacheAligned([[E::Output::default(); NR]; MR]);
        for first in (0..channels).step_by(filters.width) {
            let some = first..channels.min(first + filters.width);
            let panel = epilogue.panel(first, &[]);
            match way {
                SampleWay::Integers(Some(quantizer)) => {
                    filler.floats(some.clone(), filters.width, numbers, |x| quantizer.quantize(x) as f32);
                }
                SampleWay::Integers(None) => numbers.fill(0.0),
                SampleWay::Floats { factor, .. } => {
                    filler.floats(some.clone(), filters.width, numbers, |x| x * factor);
                }
            }
            for block in &mut band.blocks {
                let mut row = 0;
                while row < block.rows() {
                    // Neighbours in a line.
                    let pixel = block.first_row + row;
                    let left = (output[2] - pixel % output[2]).min(block.rows() - row);
                    let count = if left < PIXELS { 1 } else { PIXELS };
                    let at = window.of_output(position(pixel, axis, output)) * filters.width;
                    let next = window.stride() * filters.width;
                    let mut sums = CacheAligned([[0.0; NR]; MR]);
                    if count == PIXELS {
                        filters.sum_pixels::<PIXELS>(&numbers[at..], next, some.clone(), &mut sums.0);
                    } else {
                        filters.sum_pixels::<1>(&numbers[at..], next, some.clone(), &mut sums.0);
                    }
                    let tile = TileSums {
                        first_row: rows_before + pixel,
                        rows: count,
                        channel: first,
                        columns: some.len().next_multiple_of(LANES),
                        x_scales: [scale; MR],
                        offsets: [0; MR],
                        sums: &sums.0,
                    };
                    epilogue.tile(&panel, &tile, &mut out.0);
                    block.append_rows::<_, LANES>(row..row + count, some.clone(), &out.0);
                    row += count;
                }
            }
        }
    }
}

impl Filters<'_> {
    /// The sums of some channels of `N` pixels that are `next` numbers apart.
    #[inline(always)]
    fn sum_pixels<const N: usize>(
        &self,
        x: &[f32],
        next: usize,
        channels: Range<usize>,
        sums: &mut Sums<f32>,
    ) {
        for (at, channel) in (0..).step_by(LANES).zip(channels.step_by(LANES)) {
            let (x, w) = (&x[at..], &self.weights[channel..]);
            let mut acc = [[0.0; LANES]; N];
            for (tap, w) in self.taps.iter().zip(w.chunks(self.padded)) {
                let Some(w) = w.first_chunk::<LANES>() else { unreachable!("a vector of weights") };
                for (i, acc) in acc.iter_mut().enumerate() {
                    let Some(x) = x[tap + i * next..].first_chunk::<LANES>() else {
                        unreachable!("a vector of inputs")
                    };
                    acc.iter_mut().zip(x).zip(w).for_each(|((acc, x), w)| *acc += x * w);
                }
            }
            for (sums, acc) in sums.iter_mut().zip(acc) {
                sums[at..at + LANES].copy_from_slice(&acc);
            }
        }
    }
}
