//! Convolutions with one filter for each channel, in vectors of channels: of floats, or of integers as `f32`, which holds such short
//! sums exactly.

use std::ops::Range;

use super::bands::{Band, Bands, position};
use super::fill::{Scale, Widen, WindowFiller};
use super::window::Window;
use super::{Images, Pixels, RowEpilogue, SampleWay};
use crate::epilogue::TileSums;
use crate::isa::{ChannelOperands, Isa, KSteps, LANES, MR, Op, channel_tile};
use crate::scratch::{CacheAligned, QUANTIZED, UNPACKED, with_scratch};
use crate::weight::NR;

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
        let places = KSteps::new(places.map(|tap| window.of_tap(tap) * width).collect());
        let padded = channels.next_multiple_of(LANES);
        with_scratch(&UNPACKED, |unpacked| {
            let weights = bytemuck::cast_slice_mut(unpacked.at_least(taps * padded * size_of::<f32>()));
            self.weights().unpack(&(0..taps).collect::<Vec<_>>(), 0..channels, padded, weights);
            let weights = &*weights;
            bands.run(self, |band| {
                let window = bands.window(self, band.first);
                with_scratch(&QUANTIZED, |numbers| {
                    let numbers = numbers.at_least(window.pixels() * width * size_of::<f32>());
                    let (axis, taps) = (bands.axis, &places);
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
    taps: &'a KSteps,
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
    fn run<I: Isa>(self, isa: I) {
        let Self { images, window, axis, filters, mut band, numbers, epilogue } = self;
        let geometry = images.geometry();
        let channels = geometry.spec().groups;
        let x_scale = images.ways[band.sample].scale();
        let output = geometry.output();
        let line: usize = output[axis + 1..].iter().product();
        let rows_before = band.sample * output.iter().product::<usize>() + band.first * line;
        let mut sums = CacheAligned([[0.0; NR]; MR]);
        let mut out = CacheAligned([[E::Output::default(); NR]; MR]);
        for first in (0..channels).step_by(filters.width) {
            let some = first..channels.min(first + filters.width);
            let panel = epilogue.panel(first, &[]);
            images.numbers(isa, (band.sample, &window), (some.clone(), filters.width), numbers);
            for block in &mut band.blocks {
                let mut row = 0;
                while row < block.rows() {
                    // Neighbours in a line, in tiles of about the same size.
                    let pixel = block.first_row + row;
                    let left = (output[2] - pixel % output[2]).min(block.rows() - row);
                    let count = left.div_ceil(left.div_ceil(MR));
                    let at = window.of_output(position(pixel, axis, output)) * filters.width;
                    let operands = ChannelOperands {
                        x: &numbers[at..],
                        taps: filters.taps,
                        next: window.stride() * filters.width,
                        w: &filters.weights[first..],
                        w_stride: filters.padded,
                        channels: some.len().next_multiple_of(LANES),
                    };
                    channel_tile(isa, count, &operands, &mut sums.0);
                    let tile = TileSums {
                        first_row: rows_before + pixel,
                        rows: count,
                        channel: first,
                        columns: operands.channels,
                        x_scales: [x_scale; MR],
                        offsets: [0; MR],
                        sums: &sums.0,
                    };
                    epilogue.tile(isa, &panel, &tile, &mut out.0);
                    block.append_rows::<_, LANES>(row..row + count, some.clone(), &out.0);
                    row += count;
                }
            }
        }
    }
}

impl Images<'_> {
    /// Writes the numbers of some channels of a window of a sample, `width` a pixel.
    #[inline(always)]
    fn numbers<I: Isa>(
        &self,
        isa: I,
        (sample, window): (usize, &Window),
        (some, width): (Range<usize>, usize),
        out: &mut [f32],
    ) {
        let channels = self.geometry().spec().groups;
        let x = match self.input.pixels {
            Pixels::Floats(x) => self.sample(x, sample),
            Pixels::Codes(codes) => {
                let filler = WindowFiller { x: self.sample(&codes.codes, sample), channels, window };
                return filler.fill(some, (width, 0.0), out, &Widen(isa));
            }
        };
        let filler = WindowFiller { x, channels, window };
        match &self.ways[sample] {
            SampleWay::Integers(Some(quantizer)) => filler.fill(some, (width, 0.0), out, quantizer),
            &SampleWay::Floats { factor, .. } => filler.fill(some, (width, 0.0), out, &Scale(isa, factor)),
            SampleWay::Integers(None) | SampleWay::Codes { .. } => out.fill(0.0),
        }
    }
}
