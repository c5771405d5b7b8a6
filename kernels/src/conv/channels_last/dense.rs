//! Convolutions in one group: products whose rows are pixels, anywhere in the window.

use super::bands::{Band, Bands, position};
use super::fill::WindowFiller;
use super::window::Window;
use super::{Arithmetic, Images, Pixels, RowEpilogue, SampleWay};
use crate::epilogue::TileSums;
use crate::isa::{
    Accumulator, GatheredRows, InputEncoding, Integers, Isa, KSteps, LANES, MR, Microkernel, Op, Operands,
    TileSizes, gemm_tile,
};
use crate::scratch::{CacheAligned, QUANTIZED, SCALES, with_scratch};
use crate::uninit::{BLOCK_ROWS, Block};
use crate::weight::{ConvSpec, KR, NR, PackedWeights};

/// The bytes of a window's integers that leave room for weights in the second-level cache.
const WINDOW_BYTES: usize = 128 << 10;

impl Images<'_> {
    /// Computes all outputs.
    pub(super) fn dense<E: RowEpilogue<i32>>(&self, epilogue: &E) -> Vec<E::Output> {
        let spec = self.geometry().spec();
        let [_, size] = self.kernel.run(TileSizes::<Integers>::new());
        let pixel_bytes = spec.channels[0].div_ceil(KR) * size.block_bytes;
        let bands = Bands::new(self, [pixel_bytes, WINDOW_BYTES], true);
        let window = bands.window(self, 0);
        let steps = KSteps::new(steps(spec, &window, size.block_bytes));
        bands.run(self, |band| {
            let window = bands.window(self, band.first);
            with_scratch(&QUANTIZED, |codes| {
                with_scratch(&SCALES, |scales| {
                    let pixels = if self.by_pixel { window.pixels() } else { 0 };
                    let scales = bytemuck::cast_slice_mut(scales.at_least(pixels * size_of::<f32>()));
                    let codes = codes.at_least(window.pixels() * pixel_bytes);
                    let (axis, steps) = (bands.axis, &steps);
                    self.kernel.run(DenseBand {
                        images: self,
                        window,
                        axis,
                        steps,
                        band,
                        codes,
                        scales,
                        epilogue,
                    });
                });
            });
        })
    }

    /// Writes the integers of a window of a sample, and the scales of its pixels if each has its own.
    #[inline(always)]
    fn encode<I: Isa>(
        &self,
        isa: I,
        (sample, window): (usize, &Window),
        offset: i32,
        (out, scales): (&mut [<I::Input as InputEncoding>::Code], &mut [f32]),
    ) {
        let channels = self.geometry().spec().channels[0];
        match (self.input.pixels, self.input.arithmetic) {
            (Pixels::Codes(codes), _) => {
                WindowFiller { x: self.sample(&codes.codes, sample), channels, window }.recode(isa, out);
            }
            (Pixels::Floats(x), Arithmetic::Dynamic(scheme)) => {
                let filler = WindowFiller { x: self.sample(x, sample), channels, window };
                let SampleWay::Integers(quantizer) = &self.ways[sample] else {
                    unreachable!("floats become integers")
                };
                if !self.by_pixel {
                    return filler.encode(isa, quantizer.as_ref(), offset, out);
                }
                let limits = quantizer.as_ref().map(|quantizer| [quantizer.qmin, quantizer.qmax]);
                let limits = limits.unwrap_or([scheme.range.qmin(), scheme.range.qmax()]);
                let divisor = scheme.divisor(self.ways[sample].is_unsigned());
                filler.encode_pixels(isa, (limits, divisor), offset, (out, scales));
            }
            (Pixels::Floats(_), Arithmetic::WeightOnly) => unreachable!("products are of integers"),
        }
    }
}

/// The places of each step's inputs, from the pixel under the first tap on, in the order of the packed weights.
fn steps(spec: &ConvSpec, window: &Window, block_bytes: usize) -> Vec<usize> {
    let blocks = spec.channels[0].div_ceil(KR);
    let [depth, height, width] = spec.kernel;
    let taps = (0..depth).flat_map(|z| (0..height).flat_map(move |y| (0..width).map(move |x| [z, y, x])));
    let taps: Vec<_> = taps.map(|tap| window.of_tap(tap) * blocks).collect();
    (0..blocks).flat_map(|block| taps.iter().map(move |tap| (tap + block) * block_bytes)).collect()
}

/// Computes a band.
struct DenseBand<'a, 'o, E: RowEpilogue<i32>> {
    images: &'a Images<'a>,
    window: Window,
    axis: usize,
    steps: &'a KSteps,
    band: Band<'o, E::Output>,
    /// Room for the window's integers, pixel after pixel.
    codes: &'a mut [u8],
    /// Room for the scale of each pixel, if each has its own.
    scales: &'a mut [f32],
    epilogue: &'a E,
}

impl<E: RowEpilogue<i32>> Op for DenseBand<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { images, window, axis, steps, mut band, codes, scales, epilogue } = self;
        let (geometry, weights) = (images.geometry(), images.weights());
        let way = &images.ways[band.sample];
        let offset = I::Input::offset(way.is_unsigned());
        images.encode(isa, (band.sample, &window), offset, (bytemuck::cast_slice_mut(codes), scales));
        let channels = geometry.spec().channels[0];
        let line: usize = geometry.output()[axis + 1..].iter().product();
        let rows_before = band.sample * geometry.output().iter().product::<usize>() + band.first * line;
        let pixel_bytes = channels.div_ceil(KR) * I::Gemm::INPUT_BYTES;
        let mut panels = Vec::new();
        if let Some(block) = band.blocks.first() {
            let first = block.first_column..block.first_column + block.columns();
            let sums = |channel: usize| weights.sums(0).get(channel..).unwrap_or_default();
            panels.extend(first.step_by(NR).map(|channel| epilogue.panel(channel, sums(channel))));
        }
        for block in &mut band.blocks {
            let mut positions = [0; BLOCK_ROWS];
            for (i, place) in positions.iter_mut().enumerate().take(block.rows()) {
                let pixel = block.first_row + i;
                *place = window.of_output(position(pixel, axis, geometry.output())) * pixel_bytes;
            }
            let scales = Scales { by_pixel: scales, sample: way.scale() };
            let rows = BlockRows { codes, positions: &positions[..block.rows()], steps, offset, scales };
            multiply(isa, weights, &rows, rows_before, (epilogue, &panels), block);
        }
    }
}

/// The scales of a band's pixels.
#[derive(Clone, Copy)]
struct Scales<'a> {
    /// One for each; none if all have that of the sample.
    by_pixel: &'a [f32],
    sample: f32,
}

/// The inputs of a block, a row for each pixel.
struct BlockRows<'a> {
    codes: &'a [u8],
    positions: &'a [usize],
    steps: &'a KSteps,
    /// The number that the encoding adds to each input.
    offset: i32,
    scales: Scales<'a>,
}

/// Computes one block of the output; `rows_before` outputs of a channel are in front of the band. All its blocks have the same
/// panels.
#[inline(always)]
fn multiply<I: Isa, E: RowEpilogue<i32>>(
    isa: I,
    weights: &PackedWeights,
    rows: &BlockRows<'_>,
    rows_before: usize,
    (epilogue, panels): (&E, &[E::Panel]),
    block: &mut Block<'_, E::Output>,
) {
    let tiles = block.rows().div_ceil(I::Gemm::rows(block.rows()));
    let lanes = <I::Gemm as Accumulator>::LANES;
    let mut sums = CacheAligned([[0; NR]; MR]);
    let mut out = CacheAligned([[E::Output::default(); NR]; MR]);
    for (column, finish) in (0..block.columns()).step_by(NR).zip(panels) {
        let channel = block.first_column + column;
        let panel = weights.panel(channel);
        let columns = column..block.columns().min(column + panel.columns);
        let mut first = 0;
        for left in (1..=tiles).rev() {
            let count = (block.rows() - first).div_ceil(left); // even: 8 pixels are 4 + 4, not 6 + 2
            let gathered = GatheredRows::new(&rows.positions[first..first + count], rows.steps);
            let width = lanes * I::Gemm::vectors(count);
            for at in (0..panel.columns).step_by(width) {
                let w = &panel.bytes[at * KR..];
                let operands = Operands { x: rows.codes, rows: gathered, w, w_stride: panel.stride };
                let vectors = width.min(panel.columns - at) / lanes;
                gemm_tile::<I, Integers, _>(isa, [count, vectors], &operands, at, &mut sums.0);
            }
            let pixel = block.first_row + first;
            let by_pixel = rows.scales.by_pixel.get(pixel..).unwrap_or_default();
            let x_scales =
                std::array::from_fn(|row| by_pixel.get(row).copied().unwrap_or(rows.scales.sample));
            let tile = TileSums {
                first_row: rows_before + pixel,
                rows: count,
                channel,
                columns: panel.columns,
                x_scales,
                offsets: [rows.offset; MR],
                sums: &sums.0,
            };
            epilogue.tile(isa, finish, &tile, &mut out.0);
            block.append_rows::<_, LANES>(first..first + count, columns.clone(), &out.0);
            first += count;
        }
    }
}
