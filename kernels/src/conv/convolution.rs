//! A planned convolution: its blocks, shared among threads, and the way of each block.

use std::marker::PhantomData;

use super::direct::{ConvWeights, GroupConv};
use super::input::InputFiller;
use super::plan::{InputKind, Plan};
use super::tiles::Tiles;
use super::ways::InputWays;
use super::{ConvInput, depthwise, igemm};
use crate::epilogue::Epilogue;
use crate::isa::{Floats, InputEncoding, Integers, Isa, Kernel, Op, Role, TileSize, TileSizes};
use crate::parallel::{for_each, threads_for};
use crate::range::Quantizer;
use crate::scratch::{QUANTIZED, UNPACKED, with_scratch};
use crate::uninit::{BLOCK_ROWS, Block, UninitSlice, collect_uninit};
use crate::weight::{COLUMN_BLOCK, NR};

/// Asks for the number that the encoding adds to each quantized input of a sample.
struct InputOffset {
    unsigned: bool,
}

impl Op for InputOffset {
    type Output = i32;

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) -> i32 {
        I::Input::offset(self.unsigned)
    }
}

/// One convolution, planned.
pub(super) struct Convolution<'a, R> {
    kernel: Kernel,
    input: &'a ConvInput<'a>,
    kind: InputKind,
    ways: &'a InputWays,
    plan: Plan,
    /// The tiles of a direct convolution and of an implicit GEMM.
    sizes: [TileSize; 2],
    /// True for an implicit GEMM.
    igemm: bool,
    /// The weights of all groups as floats, where they are short and many.
    unpacked: Option<Vec<f32>>,
    role: PhantomData<R>,
}

/// The cut of a group's output into blocks.
struct BlockCut<'a> {
    /// The channels and pixels of a block.
    size: [usize; 2],
    /// The tiles of each subconvolution, if all blocks have all pixels.
    whole: &'a [Tiles],
    threads: usize,
}

/// At the end a thread waits for at most one block of another.
const BLOCKS_PER_THREAD: usize = 12;
/// The pixels of a block below which its last tile, which is seldom full, weighs too much.
const SMALLEST_STRIP: usize = 256;
/// The same for an implicit GEMM: four tiles of six.
const SMALLEST_STRIP_IGEMM: usize = 24;

impl<'a, R: ConvRole> Convolution<'a, R> {
    pub(super) fn new(
        kernel: Kernel,
        input: &'a ConvInput<'a>,
        kind: InputKind,
        ways: &'a InputWays,
    ) -> Self {
        let sizes @ [size, _] = kernel.run(TileSizes::<R>::new());
        let columns = if input.is_depthwise() { size.columns.max(depthwise::LINE) } else { size.columns };
        let plan = Plan::new(input.geometry, kind, [size.block_bytes, columns]);
        let spec = input.geometry.spec();
        let unpacked = input.is_depthwise().then(|| {
            let channels = spec.channels[1];
            let mut values = vec![0.0; plan.rows.len() * channels];
            input.weights.unpack(&plan.rows, 0..channels, channels, &mut values);
            values
        });
        let [_, outputs] = spec.group_channels();
        let igemm = !input.is_depthwise() && igemm::suits(&plan, spec.groups, outputs);
        Self { kernel, input, kind, ways, plan, sizes, igemm, unpacked, role: PhantomData }
    }

    /// Computes all groups of all samples: together if there are many, else one after the other on all threads.
    pub(super) fn run<E: Epilogue<R::Sum>>(&self, epilogue: &E) -> Vec<E::Output> {
        let ConvInput { batch, geometry, values, .. } = *self.input;
        let (spec, output) = (geometry.spec(), geometry.output());
        let pixels: usize = output.iter().product();
        let [inputs, outputs] = spec.group_channels();
        let len = batch * spec.channels[1] * pixels;
        if len == 0 {
            return Vec::new();
        }
        let work = len.saturating_mul(spec.taps()).saturating_mul(inputs);
        let threads = threads_for(work.saturating_add(values.len().saturating_mul(self.kind.fill_cost())));
        let (apart, within) = if batch * spec.groups >= 8 * threads { (threads, 1) } else { (1, threads) };
        let size = self.block_size(within);
        let mut whole = Vec::new();
        let short = self.input.is_depthwise() && self.plan.sums_are_short();
        let columns = if short { depthwise::TILE_PIXELS } else { self.sizes[0].columns };
        if size[1] == pixels && !self.igemm {
            let tiles = |subconv| Tiles::new(&self.plan, subconv, output, 0..pixels, columns);
            whole.extend(self.plan.subconvs.iter().map(tiles));
        }
        let cut = BlockCut { size, whole: &whole, threads: within };
        let groups = batch * spec.groups;
        let at_once = if apart == 1 { groups } else { groups.div_ceil(apart * BLOCKS_PER_THREAD) };
        let [out] = collect_uninit([len], |[out]| {
            for_each(apart, out.chunks(at_once * outputs * pixels).enumerate(), |(i, out)| {
                with_scratch(&QUANTIZED, |buffer| {
                    let blocks = buffer.at_least(self.plan.blocks * self.sizes[0].block_bytes);
                    let mut margins = None; // the next ones have them at the same places, perhaps with another offset
                    for (group, out) in (i * at_once..).zip(out.chunks(outputs * pixels)) {
                        let at = [group / spec.groups, group % spec.groups];
                        let offset = self.offset(at[0]);
                        self.fill(at, blocks, margins != Some(offset), cut.threads);
                        margins = Some(offset);
                        self.group(at, blocks, out, &cut, epilogue);
                    }
                });
            });
        });
        out
    }

    /// The number that the encoding adds to each input of a sample.
    fn offset(&self, sample: usize) -> i32 {
        if self.kind != InputKind::Quantized {
            return 0;
        }
        let unsigned = self.ways.quantizers[sample].as_ref().is_some_and(Quantizer::is_unsigned);
        self.kernel.run(InputOffset { unsigned })
    }

    /// Writes the blocked input of one group of one sample.
    fn fill(&self, [sample, group]: [usize; 2], blocks: &mut [u8], margins: bool, threads: usize) {
        let ConvInput { values, geometry, .. } = *self.input;
        let spec = geometry.spec();
        let len = spec.group_channels()[0] * self.plan.volume;
        let x = &values[(sample * spec.groups + group) * len..][..len];
        let filler = InputFiller {
            kernel: self.kernel,
            kind: self.kind,
            quantizer: self.ways.quantizers.get(sample).and_then(Option::as_ref),
            pixels: self.ways.pixels.as_ref().map(|pixels| pixels.of(sample)),
            factor: self.ways.factors.get(sample).copied().unwrap_or(1.0),
            offset: self.offset(sample),
            margins,
        };
        let threads = threads_for(len.saturating_mul(self.kind.fill_cost())).min(threads);
        filler.fill(&self.plan, x, blocks, self.sizes[0].block_bytes, threads);
    }

    /// Computes one group of one sample from its blocked input.
    fn group<E: Epilogue<R::Sum>>(
        &self,
        [sample, group]: [usize; 2],
        input: &[u8],
        out: UninitSlice<'_, E::Output>,
        cut: &BlockCut<'_>,
        epilogue: &E,
    ) {
        let geometry = self.input.geometry;
        let [_, outputs] = geometry.spec().group_channels();
        let conv = GroupConv {
            kernel: self.kernel,
            plan: &self.plan,
            size: self.sizes[0],
            input,
            packed: self.input.weights,
            offset: self.offset(sample),
            sample,
            first_channel: group * outputs,
            output: geometry.output(),
            whole: cut.whole,
            epilogue,
        };
        let pixels = out.len() / outputs;
        if cut.threads == 1 && cut.size == [outputs, pixels] {
            return self.block(&conv, &mut out.into_block(pixels));
        }
        for_each(cut.threads, out.into_blocks(pixels, cut.size), |mut block| self.block(&conv, &mut block));
    }

    /// Computes one block.
    fn block<E: Epilogue<R::Sum>>(&self, conv: &GroupConv<'_, E>, block: &mut Block<'_, E::Output>) {
        let weights = self.input.weights;
        if self.kind == InputKind::Quantized {
            self.compute(conv, &ConvWeights::Packed(weights), block);
        } else if let Some(values) = &self.unpacked {
            let columns = self.input.geometry.spec().channels[1];
            self.compute(conv, &ConvWeights::Floats { values, first: 0, columns }, block);
        } else {
            with_scratch(&UNPACKED, |buffer| {
                let first = conv.first_channel + block.first_row;
                let columns = block.rows().next_multiple_of(COLUMN_BLOCK); // whole vectors
                let bytes = buffer.at_least(self.plan.rows.len() * columns * size_of::<f32>());
                let values = bytemuck::cast_slice_mut(bytes);
                weights.unpack(&self.plan.rows, first..first + block.rows(), columns, values);
                self.compute(conv, &ConvWeights::Floats { values, first, columns }, block);
            });
        }
    }

    /// Computes one block in the way that suits the convolution.
    fn compute<E: Epilogue<R::Sum>>(
        &self,
        conv: &GroupConv<'_, E>,
        weights: &ConvWeights<'_>,
        block: &mut Block<'_, E::Output>,
    ) {
        if self.input.is_depthwise() && R::depthwise(conv, weights, block) {
            return;
        }
        if self.igemm {
            conv.igemm::<R>(self.sizes[1], weights, block);
        } else {
            conv.direct::<R>(weights, block);
        }
    }

    /// Bands of channels, cut into strips of whole lines; few channels first, so that tiles of pixels stay full.
    fn block_size(&self, threads: usize) -> [usize; 2] {
        let output = self.input.geometry.output();
        let [_, channels] = self.input.geometry.spec().group_channels();
        let pixels: usize = output.iter().product();
        let whole = [channels.min(BLOCK_ROWS), pixels];
        if threads == 1 {
            return whole;
        }
        let wanted = threads * BLOCKS_PER_THREAD;
        if self.igemm {
            let strips =
                wanted.div_ceil(channels.div_ceil(NR)).clamp(1, (pixels / SMALLEST_STRIP_IGEMM).max(1));
            let strip = pixels.div_ceil(strips).next_multiple_of(self.sizes[1].rows);
            return [channels.min(NR), strip];
        }
        let strips = (pixels / SMALLEST_STRIP).clamp(1, wanted);
        let lines = (pixels / output[2]).div_ceil(strips);
        let bands = wanted.div_ceil(strips).max(channels.div_ceil(BLOCK_ROWS));
        let rows = channels.div_ceil(bands).next_multiple_of(self.sizes[0].rows).min(whole[0]);
        [rows, lines * output[2]]
    }
}

/// A role that convolutions run in.
pub(super) trait ConvRole: Role {
    /// Computes a block of a depthwise convolution with float weights, if the role has a way of its own for that.
    fn depthwise<E: Epilogue<Self::Sum>>(
        _conv: &GroupConv<'_, E>,
        _weights: &ConvWeights<'_>,
        _block: &mut Block<'_, E::Output>,
    ) -> bool {
        false
    }
}

impl ConvRole for Integers {}

impl ConvRole for Floats {
    fn depthwise<E: Epilogue<f32>>(
        conv: &GroupConv<'_, E>,
        weights: &ConvWeights<'_>,
        block: &mut Block<'_, E::Output>,
    ) -> bool {
        let ConvWeights::Floats { values, first: 0, columns } = *weights else { return false };
        let suits = conv.plan.sums_are_short();
        if suits {
            conv.depthwise(values, columns, block);
        }
        suits
    }
}
