//! The blocked input of a convolution, NC4HW4: four channels of a pixel side by side, quantized, with zeros around the image.

use bytemuck::Pod;

use super::pixels::PixelFactors;
use super::plan::{InputKind, Plan, RowSegment};
use crate::isa::{InputEncoding, Isa, Kernel, Op};
use crate::parallel::for_each;
use crate::range::Quantizer;
use crate::scratch::{PLANES, with_scratch};

/// The way in which the values of one sample enter the blocked input.
#[derive(Clone, Copy)]
pub(super) struct InputFiller<'a> {
    pub(super) kernel: Kernel,
    pub(super) kind: InputKind,
    /// `None` for floats, and for a sample that is not finite: its blocks are zeros.
    pub(super) quantizer: Option<&'a Quantizer>,
    /// The ways of the pixels, where each has its own.
    pub(super) pixels: Option<PixelFactors<'a>>,
    /// The number that the encoding adds to each quantized input.
    pub(super) offset: i32,
    /// The power of two that floats are multiplied with.
    pub(super) factor: f32,
    /// True if the zeros around the input are still to be written.
    pub(super) margins: bool,
}

impl InputFiller<'_> {
    /// Writes the blocks of one group from its channels `x`.
    pub(super) fn fill(&self, plan: &Plan, x: &[f32], out: &mut [u8], block_bytes: usize, threads: usize) {
        let (values, bytes) = (self.kind.channels() * plan.volume, (plan.channel_block * block_bytes).max(1));
        if plan.volume == 0 {
            return self.kernel.run(FillChannelBlock { filler: self, plan, x, plane: &mut [], out });
        }
        let at_once = plan.channel_blocks.div_ceil(threads * PIECES).max(1);
        let plane_bytes = if plan.staged { plan.volume * block_bytes } else { 0 };
        let some = x.chunks(values * at_once).zip(out.chunks_mut(bytes * at_once));
        for_each(threads, some, |(x, out)| {
            with_scratch(&PLANES, |plane| {
                let plane = plane.at_least(plane_bytes);
                for (x, out) in x.chunks(values).zip(out.chunks_mut(bytes)) {
                    self.kernel.run(FillChannelBlock { filler: self, plan, x, plane, out });
                }
            });
        });
    }
}

/// Pieces of work for each thread: fewer trips to the queue than channel blocks, and at the end no long wait for another.
const PIECES: usize = 6;

/// Writes one channel block from its planes `x`.
struct FillChannelBlock<'a> {
    filler: &'a InputFiller<'a>,
    plan: &'a Plan,
    x: &'a [f32],
    /// Room for a whole quantized plane, if the plan wants that.
    plane: &'a mut [u8],
    out: &'a mut [u8],
}

impl Op for FillChannelBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let (quantizer, pixels) = (self.filler.quantizer, self.filler.pixels);
        match self.filler.kind {
            InputKind::Quantized if pixels.is_some() => self.quantize::<C4<I::Input>, _>(pixels),
            InputKind::Quantized => self.quantize::<C4<I::Input>, _>(quantizer),
            InputKind::QuantizedPlanes => self.quantize::<Plane, _>(quantizer),
            InputKind::Floats => self.copy(),
        }
    }
}

impl FillChannelBlock<'_> {
    #[inline(always)]
    fn quantize<L: Lanes, Q: QuantizePixels>(self, quantizer: Option<Q>) {
        let Self { filler, plan, x, plane, out } = self;
        let out: &mut [L::Block] = bytemuck::cast_slice_mut(out);
        let (Some(quantizer), false) = (quantizer, x.is_empty()) else {
            return out.fill(L::zeros(filler.offset));
        };
        if filler.margins && plan.margins {
            out.fill(L::zeros(filler.offset));
        }
        let mut planes = [&x[..0]; 4];
        planes.iter_mut().zip(x.chunks(plan.volume)).for_each(|(plane, x)| *plane = x);
        let planes = &planes[..x.len() / plan.volume];
        if !plan.staged {
            return quantize_segments::<L, Q>(planes, &plan.segments, (quantizer, filler.offset), out);
        }
        let plane: &mut [L::Block] = bytemuck::cast_slice_mut(plane);
        let whole = RowSegment { from: 0, to: 0, len: plan.volume };
        quantize_segments::<L, Q>(planes, &[whole], (quantizer, filler.offset), plane);
        for &RowSegment { from, to, len } in &plan.segments {
            take(plan.axes[2].split, &plane[from..], &mut out[to..][..len]);
        }
    }

    #[inline(always)]
    fn copy(self) {
        let Self { filler, plan, x, out, .. } = self;
        let out: &mut [f32] = bytemuck::cast_slice_mut(out);
        if x.is_empty() || filler.margins && plan.margins {
            out.fill(0.0);
        }
        for &RowSegment { from, to, len } in plan.segments.iter().filter(|_| !x.is_empty()) {
            let out = &mut out[to..][..len];
            take(plan.axes[2].split, &x[from..], out);
            if filler.factor != 1.0 {
                out.iter_mut().for_each(|x| *x *= filler.factor);
            }
        }
    }
}

/// The way of neighbouring pixels to integers.
trait QuantizePixels: Copy {
    /// The way of the pixels from `first` on.
    fn from(self, first: usize) -> Self;
    /// The integers of one value in each of the pixels from `at` on.
    fn quantize<const N: usize>(self, at: usize, x: &[f32; N]) -> [i32; N];
}

/// One way for all.
impl QuantizePixels for &Quantizer {
    #[inline(always)]
    fn from(self, _first: usize) -> Self {
        self
    }

    #[inline(always)]
    fn quantize<const N: usize>(self, _at: usize, x: &[f32; N]) -> [i32; N] {
        let mut integers = [0; N];
        integers.iter_mut().zip(x).for_each(|(q, &x)| *q = Quantizer::quantize(self, x));
        integers
    }
}

impl QuantizePixels for PixelFactors<'_> {
    #[inline(always)]
    fn from(self, first: usize) -> Self {
        Self { prescales: &self.prescales[first..], inverses: &self.inverses[first..], ..self }
    }

    #[inline(always)]
    fn quantize<const N: usize>(self, at: usize, x: &[f32; N]) -> [i32; N] {
        PixelFactors::quantize(self, at, x)
    }
}

/// A block of the input: the values of some channels of one pixel, one to a lane.
trait Lanes {
    type Block: Pod;
    /// A block whose values are zero, in an encoding that adds `offset`.
    fn zeros(offset: i32) -> Self::Block;
    /// `block` with `q` in one of its lanes, which was zero.
    fn with_lane(block: Self::Block, lane: usize, q: i32) -> Self::Block;
}

/// Four channels in the encoding `E`.
struct C4<E>(std::marker::PhantomData<E>);

impl<E: InputEncoding> Lanes for C4<E> {
    type Block = E::C4;

    #[inline(always)]
    fn zeros(offset: i32) -> E::C4 {
        E::zeros(offset)
    }

    #[inline(always)]
    fn with_lane(block: E::C4, lane: usize, q: i32) -> E::C4 {
        E::with_lane(block, lane, q)
    }
}

/// One channel, whose integers stay `f32`.
struct Plane;

impl Lanes for Plane {
    type Block = f32;

    #[inline(always)]
    fn zeros(_offset: i32) -> f32 {
        0.0
    }

    #[inline(always)]
    fn with_lane(_block: f32, _lane: usize, q: i32) -> f32 {
        q as f32
    }
}

/// Quantizes segments of up to four planes; lanes without one are zero.
#[inline(always)]
fn quantize_segments<L: Lanes, Q: QuantizePixels>(
    planes: &[&[f32]],
    segments: &[RowSegment],
    by: (Q, i32),
    out: &mut [L::Block],
) {
    match *planes {
        [a, b, c, d] => quantize_planes::<L, Q, 4>([a, b, c, d], segments, by, out),
        [a, b, c] => quantize_planes::<L, Q, 3>([a, b, c], segments, by, out),
        [a, b] => quantize_planes::<L, Q, 2>([a, b], segments, by, out),
        [a] => quantize_planes::<L, Q, 1>([a], segments, by, out),
        _ => unreachable!("{} planes for four lanes", planes.len()),
    }
}

#[inline(always)]
fn quantize_planes<L: Lanes, Q: QuantizePixels, const PLANES: usize>(
    planes: [&[f32]; PLANES],
    segments: &[RowSegment],
    by: (Q, i32),
    out: &mut [L::Block],
) {
    for &RowSegment { from, to, len } in segments {
        let (planes, out) = (planes.map(|plane| &plane[from..][..len]), &mut out[to..][..len]);
        let by = (by.0.from(from), by.1);
        match len {
            16.. => quantize_segment::<L, Q, PLANES, 16>(planes, by, out),
            8.. => quantize_segment::<L, Q, PLANES, 8>(planes, by, out),
            _ => quantize_segment::<L, Q, PLANES, 1>(planes, by, out),
        }
    }
}

/// `N` at a time, the last of them perhaps a second time: lines of an image are short, and what remains of one after its
/// whole vectors would take longer than these.
#[inline(always)]
fn quantize_segment<L: Lanes, Q: QuantizePixels, const PLANES: usize, const N: usize>(
    planes: [&[f32]; PLANES],
    by: (Q, i32),
    out: &mut [L::Block],
) {
    let last = out.len().saturating_sub(N);
    for first in (0..out.len()).step_by(N) {
        quantize_some::<L, Q, PLANES, N>(planes, first.min(last), by, out);
    }
}

/// `N` blocks from the one `at` on.
#[inline(always)]
fn quantize_some<L: Lanes, Q: QuantizePixels, const PLANES: usize, const N: usize>(
    planes: [&[f32]; PLANES],
    at: usize,
    by: (Q, i32),
    out: &mut [L::Block],
) {
    let (quantizer, offset) = by;
    let mut some = [L::zeros(offset); N];
    for (lane, plane) in planes.iter().enumerate() {
        let Some(pixels) = plane[at..].first_chunk::<N>() else { unreachable!("{N} pixels") };
        for (block, q) in some.iter_mut().zip(quantizer.quantize(at, pixels)) {
            *block = L::with_lane(*block, lane, q);
        }
    }
    out[at..at + N].copy_from_slice(&some);
}

/// Takes every `split`-th block; the usual strides are spelt out so that they become vector code.
#[inline(always)]
fn take<T: Pod>(split: usize, from: &[T], to: &mut [T]) {
    match split {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => to.iter_mut().zip(from.chunks(2)).for_each(|(to, from)| *to = from[0]),
        split => to.iter_mut().zip(from.iter().step_by(split)).for_each(|(to, from)| *to = *from),
    }
}
