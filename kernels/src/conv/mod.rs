//! Convolutions of float images with packed filters, without copies of patches.
//!
//! Each group of a sample is quantized once, into cells with zeros around them; a tile of outputs then reads, step by
//! step, the cells under one tap and some channels, all neighbours in memory. Where there are many output channels, they
//! are the neighbours, and the pixels of a tile lie where they lie.
//!
//! | file | what it holds |
//! |---|---|
//! | `plan` | where everything is: cells, steps, outputs |
//! | `cells` | filling the cells |
//! | `tiles` | which pixels are computed together |
//! | `walk` | the walk over channels and tiles of neighbouring pixels |
//! | `across` | the walk over pixels and tiles of neighbouring channels |
//! | `single` | the walk over pixels of groups that read a single channel |
//! | `finish` | how sums are made, and from sums to outputs |

mod across;
mod cells;
mod finish;
mod plan;
mod single;
#[cfg(test)]
mod tests;
mod tiles;
mod walk;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::aligned::{CODES, UNPACKED, lend};
use super::form::{ConvGeometry, ConvSpec};
use super::isa::{Active, LINE, TileSize, written};
use super::pack::{COLUMN_BLOCK, NR, PackedWeights};
use super::parallel::{BLOCK_ROWS, Block, Blocks, for_each, threads_for};
use super::quantize::{LOOKING, QuantRange, Quantizer};
use cells::Source;
use finish::{Arithmetic, Bare, Finish, InFloats, InIntegers, Scaled};
use plan::{Cells, Plan};
use tiles::Tiles;
use walk::{Filters, Part};

/// A batch of images `[batch, channels, ..]` and the filters that slide over them.
#[derive(Clone, Copy)]
pub struct ConvInput<'a> {
    /// Row-major.
    pub values: &'a [f32],
    /// How many samples there are.
    pub batch: usize,
    /// The filters' sizes.
    pub filter: &'a ConvSpec,
    /// Where they stand.
    pub window: &'a ConvGeometry,
    /// The filters.
    pub weights: &'a PackedWeights,
}

/// Convolves with dynamically quantized activations, one scale per sample:
/// `out = sum as f32 * (x_scale * w_scale) + bias`, `[batch, channels, ..]`, the sums exact.
///
/// # Panics
///
/// If a slice does not match the shapes.
pub fn dynamic(kernel: Active, images: &ConvInput<'_>, range: QuantRange, bias: Option<&[f32]>) -> Vec<f32> {
    let quantizers = images.quantizers(kernel, range);
    let scaled = |sample: usize| Scaled {
        x_scale: quantizers[sample].map_or(f32::NAN, |q: Quantizer| q.scale),
        w_scales: images.weights.scales(),
        bias: images.checked(bias),
    };
    if images.has_planes() {
        Job::<InFloats>::new(kernel, images, Cells::Integers, &quantizers).run(scaled)
    } else {
        Job::<InIntegers>::new(kernel, images, Cells::Codes, &quantizers).run(scaled)
    }
}

/// The exact integer sums of [`dynamic`], before any scale.
///
/// # Panics
///
/// As [`dynamic`].
pub fn accumulate(kernel: Active, images: &ConvInput<'_>, range: QuantRange) -> Vec<i32> {
    let quantizers = images.quantizers(kernel, range);
    if images.has_planes() {
        Job::<InFloats>::new(kernel, images, Cells::Integers, &quantizers).run(|_| Bare)
    } else {
        Job::<InIntegers>::new(kernel, images, Cells::Codes, &quantizers).run(|_| Bare)
    }
}

/// Convolves with float activations: `out = (sum of x * q) * w_scale + bias`, a float sum in an order of the kernel's own.
///
/// # Panics
///
/// As [`dynamic`].
pub fn weight_only(kernel: Active, images: &ConvInput<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let w_scales = images.weights.scales();
    Job::<InFloats>::new(kernel, images, Cells::Floats, &[]).run(|_| Scaled {
        x_scale: 1.0,
        w_scales,
        bias: images.checked(bias),
    })
}

impl ConvInput<'_> {
    /// Whether a group reads a single channel: then there are no four channels to multiply at once, and floats, which hold
    /// such short sums exactly, are as fast.
    fn has_planes(&self) -> bool {
        self.filter.group_channels()[0] == 1
    }

    fn checked<'b>(&self, bias: Option<&'b [f32]>) -> Option<&'b [f32]> {
        let channels = self.filter.channels[1];
        assert!(
            bias.is_none_or(|bias| bias.len() == channels),
            "the bias does not match {channels} channels"
        );
        bias
    }

    /// Values of one sample.
    fn sample(&self) -> usize {
        self.filter.channels[0] * self.window.input.iter().product::<usize>()
    }

    /// How each sample becomes integers; `None` where it has a NaN or an infinity.
    fn quantizers(&self, kernel: Active, range: QuantRange) -> Vec<Option<Quantizer>> {
        const AT_ONCE: usize = 1 << 15;
        let largest: Vec<_> = (0..self.batch).map(|_| AtomicU32::new(0)).collect();
        if self.sample() > 0 {
            let samples = self.values.chunks(self.sample()).zip(&largest);
            let parts = samples.flat_map(|(x, largest)| x.chunks(AT_ONCE).map(move |x| (x, largest)));
            // Magnitudes are ordered as their bits are, NaN last.
            let work = |(x, largest): (&[f32], &AtomicU32)| {
                largest.fetch_max(kernel.absmax(x).to_bits(), Ordering::Relaxed);
            };
            for_each(threads_for(self.values.len() * LOOKING), parts, work);
        }
        largest.into_iter().map(|max| Quantizer::new(f32::from_bits(max.into_inner()), range)).collect()
    }
}

/// One convolution, checked and planned.
struct Job<'a, A> {
    kernel: Active,
    images: &'a ConvInput<'a>,
    kind: Cells,
    quantizers: &'a [Option<Quantizer>],
    plan: Plan,
    size: TileSize,
    /// Whether vectors hold neighbouring channels instead of neighbouring pixels.
    across: bool,
    /// The filters of all groups as floats, where they are short and many.
    unpacked: Option<Vec<f32>>,
    arithmetic: std::marker::PhantomData<A>,
}

/// How a part is cut into blocks.
struct Cut<'a> {
    /// Channels and pixels.
    size: [usize; 2],
    /// The tiles of each phase, if all blocks have all pixels.
    whole: &'a [Tiles],
    threads: usize,
}

/// At the end a thread waits for at most one block of another.
const BLOCKS_PER_THREAD: usize = 12;
/// ConvMicrokernel of a block below which its last tile, which is seldom full, weighs too much.
const SMALLEST_STRIP: usize = 256;
/// The same where vectors hold channels: four tiles of six.
const SMALLEST_STRIP_ACROSS: usize = 24;

impl<'a, A: Arithmetic> Job<'a, A> {
    fn new(
        kernel: Active,
        images: &'a ConvInput<'a>,
        kind: Cells,
        quantizers: &'a [Option<Quantizer>],
    ) -> Self {
        assert_eq!(
            images.values.len(),
            images.batch * images.sample(),
            "the images do not match their shape"
        );
        let size = A::size(kernel);
        let columns = if images.has_planes() { size.columns.max(LINE) } else { size.columns };
        let plan = Plan::new(images.filter, images.window, kind, [size.cell, columns]);
        let unpacked = images.has_planes().then(|| {
            let channels = images.filter.channels[1];
            let mut values = vec![0.0; plan.rows.len() * channels];
            images.weights.unpack(&plan.rows, 0..channels, channels, &mut values);
            values
        });
        let [_, outputs] = images.filter.group_channels();
        let across = !images.has_planes() && across::suits(&plan, images.filter.groups, outputs);
        let arithmetic = std::marker::PhantomData;
        Self { kernel, images, kind, quantizers, plan, size, across, unpacked, arithmetic }
    }

    /// Computes all groups of all samples: together if there are many, else one after the other on all threads.
    fn run<F: Finish<A>>(&self, finish: impl Fn(usize) -> F + Sync) -> Vec<F::Out> {
        let ConvInput { batch, filter, window, .. } = *self.images;
        let pixels: usize = window.output.iter().product();
        let [inputs, outputs] = filter.group_channels();
        let len = batch * filter.channels[1] * pixels;
        if len == 0 {
            return Vec::new();
        }
        let work = self.images.values.len() * self.kind.filling();
        let threads = threads_for(len * filter.taps() * inputs + work);
        let (apart, within) = if batch * filter.groups >= 8 * threads { (threads, 1) } else { (1, threads) };
        let size = self.block_size(within);
        let mut whole = Vec::new();
        let single = self.images.has_planes() && self.plan.sums_are_short();
        let columns = if single { single::PIXELS } else { self.size.columns };
        if size[1] == pixels && !self.across {
            let tiles = |phase| Tiles::new(&self.plan, phase, window.output, 0..pixels, columns);
            whole.extend(self.plan.phases.iter().map(tiles));
        }
        let cut = Cut { size, whole: &whole, threads: within };
        let parts = batch * filter.groups;
        let at_once = if apart == 1 { parts } else { parts.div_ceil(apart * BLOCKS_PER_THREAD) };
        let [out] = written([len], |[out]| {
            let count = AtomicUsize::new(0);
            for_each(apart, out.chunks_mut(at_once * outputs * pixels).enumerate(), |(i, out)| {
                lend(&CODES, |buffer| {
                    let cells = buffer.at_least(self.plan.cells * self.size.cell);
                    for (part, out) in (i * at_once..).zip(out.chunks_mut(outputs * pixels)) {
                        let margins = part == i * at_once; // the next ones have them at the same places
                        let sample = part / filter.groups;
                        self.fill([sample, part % filter.groups], cells, margins, cut.threads);
                        let written = self.part(part % filter.groups, cells, out, &cut, finish(sample));
                        count.fetch_add(written, Ordering::Relaxed);
                    }
                });
            });
            [count.into_inner()]
        });
        out
    }

    /// Writes the cells of one group of one sample.
    fn fill(&self, [sample, group]: [usize; 2], cells: &mut [u8], margins: bool, threads: usize) {
        let ConvInput { values, filter, .. } = *self.images;
        let x_len = filter.group_channels()[0] * self.plan.volume;
        let x = &values[(sample * filter.groups + group) * x_len..][..x_len];
        let quantizer = self.quantizers.get(sample).and_then(Option::as_ref);
        let source = Source { kernel: self.kernel, kind: self.kind, quantizer, margins };
        source.fill(
            &self.plan,
            x,
            cells,
            self.size.cell,
            threads_for(x_len * self.kind.filling()).min(threads),
        );
    }

    /// Computes one group of one sample from its cells; returns how many outputs it has written.
    fn part<F: Finish<A>>(
        &self,
        group: usize,
        cells: &[u8],
        out: &mut [std::mem::MaybeUninit<F::Out>],
        cut: &Cut<'_>,
        finish: F,
    ) -> usize {
        let [_, outputs] = self.images.filter.group_channels();
        let part = Part {
            kernel: self.kernel,
            plan: &self.plan,
            cells,
            packed: self.images.weights,
            offset: if self.kind == Cells::Codes && self.size.cell == 4 { 128 } else { 0 },
            first_channel: group * outputs,
            output: self.images.window.output,
            whole: cut.whole,
            finish: &finish,
        };
        let pixels = out.len() / outputs;
        if cut.threads == 1 && cut.size == [outputs, pixels] {
            return self.block(&part, Block::whole(out, pixels));
        }
        let count = AtomicUsize::new(0);
        for_each(cut.threads, Blocks::new(out, pixels, cut.size), |block| {
            count.fetch_add(self.block(&part, block), Ordering::Relaxed);
        });
        count.into_inner()
    }

    /// Computes one block; returns how many outputs it has written.
    fn block<F: Finish<A>>(&self, part: &Part<'_, F>, mut block: Block<'_, F::Out>) -> usize {
        let ConvInput { filter, weights, .. } = *self.images;
        if self.kind == Cells::Codes {
            self.walk(part, &Filters::Packed(weights), &mut block);
        } else if let Some(values) = &self.unpacked {
            let columns = filter.channels[1];
            self.walk(part, &Filters::Floats { values, first: 0, columns }, &mut block);
        } else {
            lend(&UNPACKED, |buffer| {
                let first = part.first_channel + block.first_row;
                let columns = block.rows().next_multiple_of(COLUMN_BLOCK); // whole vectors
                let bytes = buffer.at_least(self.plan.rows.len() * columns * size_of::<f32>());
                let values = bytemuck::cast_slice_mut(bytes);
                weights.unpack(&self.plan.rows, first..first + block.rows(), columns, values);
                self.walk(part, &Filters::Floats { values, first, columns }, &mut block);
            });
        }
        block.written()
    }

    fn walk<F: Finish<A>>(&self, part: &Part<'_, F>, filters: &Filters<'_>, block: &mut Block<'_, F::Out>) {
        if self.images.has_planes() {
            A::single(part, filters, block);
        } else if self.across {
            part.across::<A>(filters, block);
        } else {
            part.block::<A>(filters, block);
        }
    }

    /// Bands of channels, cut into strips of whole lines; few channels first, so that tiles of pixels stay full.
    fn block_size(&self, threads: usize) -> [usize; 2] {
        let ConvGeometry { output, .. } = *self.images.window;
        let [_, channels] = self.images.filter.group_channels();
        let pixels: usize = output.iter().product();
        let whole = [channels.min(BLOCK_ROWS), pixels];
        if threads == 1 {
            return whole;
        }
        let wanted = threads * BLOCKS_PER_THREAD;
        if self.across {
            let strips =
                wanted.div_ceil(channels.div_ceil(NR)).clamp(1, (pixels / SMALLEST_STRIP_ACROSS).max(1));
            let strip = pixels.div_ceil(strips).next_multiple_of(A::channel_size(self.kernel).rows);
            return [channels.min(NR), strip];
        }
        let strips = (pixels / SMALLEST_STRIP).clamp(1, wanted);
        let lines = (pixels / output[2]).div_ceil(strips);
        let bands = wanted.div_ceil(strips).max(channels.div_ceil(BLOCK_ROWS));
        let rows = channels.div_ceil(bands).next_multiple_of(self.size.rows).min(whole[0]);
        [rows, lines * output[2]]
    }
}
