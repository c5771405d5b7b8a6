//! How sums are made, in integers or in floats, and what becomes of them.

use std::ops::Range;

use super::walk::{Filters, Part};

use crate::isa::{Active, ChannelOperands, ChunkOutputs, ChunkSums, Columns, PixelOperands, Sums, TileSize};
use crate::pack::NR;
use crate::parallel::{Block, Unwritten};

/// How sums are made and what becomes of them: in integers, or in floats.
pub(super) trait Arithmetic: Sync {
    type Sum: Copy + Default;

    fn size(kernel: Active) -> TileSize;
    fn tile(kernel: Active, size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<Self::Sum>);
    /// Writes `(sum - offset) * scale + bias`; returns how many.
    fn scale(
        kernel: Active,
        sums: &[Self::Sum],
        offset: i32,
        scale_bias: [f32; 2],
        out: Unwritten<'_, f32>,
    ) -> usize;
    /// The size of tiles whose rows are pixels.
    fn channel_size(kernel: Active) -> TileSize;
    fn channels(kernel: Active, size: [usize; 2], operands: &ChannelOperands<'_>, sums: &mut Sums<Self::Sum>);
    /// Writes `(sum - offset) * scale + bias` of a chunk; returns how many.
    fn turn(
        kernel: Active,
        sums: &ChunkSums<Self::Sum>,
        by: &Columns,
        to: ChunkOutputs<'_, '_, f32>,
    ) -> usize;
    /// Computes a block whose groups read a single channel each.
    fn single<F: Finish<Self>>(part: &Part<'_, F>, filters: &Filters<'_>, block: &mut Block<'_, F::Out>)
    where
        Self: Sized,
    {
        part.block::<Self>(filters, block);
    }
    /// `sum - offset`, for sums of integers.
    fn exact(sum: Self::Sum, offset: i32) -> i32;
    /// `sum - offset`.
    fn float(sum: Self::Sum, offset: i32) -> f32;
}

/// Sums in `i32` of codes that are offset by 128 where the kernel wants them so.
pub(super) struct InIntegers;

impl Arithmetic for InIntegers {
    type Sum = i32;

    fn size(kernel: Active) -> TileSize {
        kernel.pixel_size()
    }

    fn tile(kernel: Active, size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<i32>) {
        kernel.pixels(size, operands, sums);
    }

    fn scale(
        kernel: Active,
        sums: &[i32],
        offset: i32,
        scale_bias: [f32; 2],
        out: Unwritten<'_, f32>,
    ) -> usize {
        kernel.scale_integers(sums, offset, scale_bias, out)
    }

    fn channel_size(kernel: Active) -> TileSize {
        kernel.channel_size()
    }

    fn channels(kernel: Active, size: [usize; 2], operands: &ChannelOperands<'_>, sums: &mut Sums<i32>) {
        kernel.channels(size, operands, sums);
    }

    fn turn(kernel: Active, sums: &ChunkSums<i32>, by: &Columns, to: ChunkOutputs<'_, '_, f32>) -> usize {
        kernel.turn_integers(sums, by, to)
    }

    fn exact(sum: i32, offset: i32) -> i32 {
        sum.wrapping_sub(offset)
    }

    fn float(sum: i32, offset: i32) -> f32 {
        Self::exact(sum, offset) as f32
    }
}

/// Sums in `f32`.
pub(super) struct InFloats;

impl Arithmetic for InFloats {
    type Sum = f32;

    fn size(kernel: Active) -> TileSize {
        kernel.pixel_float_size()
    }

    fn tile(kernel: Active, size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<f32>) {
        kernel.pixel_floats(size, operands, sums);
    }

    fn scale(
        kernel: Active,
        sums: &[f32],
        _offset: i32,
        scale_bias: [f32; 2],
        out: Unwritten<'_, f32>,
    ) -> usize {
        kernel.scale_floats(sums, scale_bias, out)
    }

    fn channel_size(kernel: Active) -> TileSize {
        kernel.channel_float_size()
    }

    fn channels(kernel: Active, size: [usize; 2], operands: &ChannelOperands<'_>, sums: &mut Sums<f32>) {
        kernel.channel_floats(size, operands, sums);
    }

    fn turn(kernel: Active, sums: &ChunkSums<f32>, by: &Columns, to: ChunkOutputs<'_, '_, f32>) -> usize {
        kernel.turn_floats(sums, by, to)
    }

    fn single<F: Finish<Self>>(part: &Part<'_, F>, filters: &Filters<'_>, block: &mut Block<'_, F::Out>) {
        match *filters {
            Filters::Floats { values, first: 0, columns } if part.plan.sums_are_short() => {
                part.single(values, columns, block);
            }
            _ => part.block::<Self>(filters, block),
        }
    }

    fn exact(sum: f32, _offset: i32) -> i32 {
        sum as i32
    }

    fn float(sum: f32, _offset: i32) -> f32 {
        sum
    }
}

/// What becomes of the sums of one sample.
pub(super) trait Finish<A: Arithmetic>: Sync {
    type Out: Copy + Default + Send;

    /// Writes what the sums of one channel give; returns how many.
    fn finish(
        &self,
        kernel: Active,
        channel: usize,
        sums: &[A::Sum],
        offset: i32,
        out: Unwritten<'_, Self::Out>,
    ) -> usize;
    /// Writes what the sums of a chunk give, for these channels and what the encoding of the cells adds to each; returns how
    /// many.
    fn turn(
        &self,
        kernel: Active,
        channels: (Range<usize>, [i32; NR]),
        sums: &ChunkSums<A::Sum>,
        to: ChunkOutputs<'_, '_, Self::Out>,
    ) -> usize;
    /// What one sum gives.
    fn finish_one(&self, channel: usize, sum: A::Sum, offset: i32) -> Self::Out;
    /// What a sum gives that took more than one tile.
    fn finish_exact(&self, channel: usize, total: i64) -> Self::Out;
}

/// `sum as f32 * (x_scale * w_scale) + bias`.
pub(super) struct Scaled<'a> {
    pub(super) x_scale: f32,
    pub(super) w_scales: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
}

impl Scaled<'_> {
    fn scale_bias(&self, channel: usize) -> [f32; 2] {
        [self.x_scale * self.w_scales[channel], self.bias.map_or(0.0, |bias| bias[channel])]
    }
}

impl<A: Arithmetic> Finish<A> for Scaled<'_> {
    type Out = f32;

    fn finish(
        &self,
        kernel: Active,
        channel: usize,
        sums: &[A::Sum],
        offset: i32,
        out: Unwritten<'_, f32>,
    ) -> usize {
        A::scale(kernel, sums, offset, self.scale_bias(channel), out)
    }

    fn turn(
        &self,
        kernel: Active,
        (channels, offsets): (Range<usize>, [i32; NR]),
        sums: &ChunkSums<A::Sum>,
        to: ChunkOutputs<'_, '_, f32>,
    ) -> usize {
        let mut by = Columns { offsets, scales: [0.0; NR], biases: [0.0; NR] };
        for (channel, (scale, bias)) in channels.zip(by.scales.iter_mut().zip(&mut by.biases)) {
            [*scale, *bias] = self.scale_bias(channel);
        }
        A::turn(kernel, sums, &by, to)
    }

    fn finish_one(&self, channel: usize, sum: A::Sum, offset: i32) -> f32 {
        let [scale, bias] = self.scale_bias(channel);
        A::float(sum, offset) * scale + bias
    }

    fn finish_exact(&self, channel: usize, total: i64) -> f32 {
        let [scale, bias] = self.scale_bias(channel);
        total as f32 * scale + bias
    }
}

/// The integer sums themselves.
pub(super) struct Bare;

impl<A: Arithmetic> Finish<A> for Bare {
    type Out = i32;

    fn finish(
        &self,
        _kernel: Active,
        _channel: usize,
        sums: &[A::Sum],
        offset: i32,
        out: Unwritten<'_, i32>,
    ) -> usize {
        out.iter_mut().zip(sums).map(|(out, &sum)| _ = out.write(A::exact(sum, offset))).count()
    }

    fn turn(
        &self,
        _kernel: Active,
        (_, offsets): (Range<usize>, [i32; NR]),
        sums: &ChunkSums<A::Sum>,
        to: ChunkOutputs<'_, '_, i32>,
    ) -> usize {
        let mut written = 0;
        for ((channel, row), offset) in to.rows.iter_mut().enumerate().zip(offsets) {
            let out = row[to.columns.clone()].iter_mut().zip(sums);
            written += out.map(|(out, sums)| _ = out.write(A::exact(sums[channel], offset))).count();
        }
        written
    }

    fn finish_one(&self, _channel: usize, sum: A::Sum, offset: i32) -> i32 {
        A::exact(sum, offset)
    }

    fn finish_exact(&self, _channel: usize, total: i64) -> i32 {
        total as i32
    }
}
