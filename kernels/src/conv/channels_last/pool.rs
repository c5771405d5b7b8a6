//! Pooling of images with channels last.

use crate::isa::{Isa, Kernel, Op};
use crate::parallel::{for_each, threads_for};
use crate::scratch::{CacheAligned, SCALES, with_scratch};
use crate::uninit::{BLOCK_ROWS, Block, collect_uninit};
use crate::vecmath::larger;

/// What becomes of the values under a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The largest of them; NaN does not count.
    Max,
    /// Their mean. The zeros around the image count if `count_padding`.
    Average {
        /// True if zeros around the image are counted.
        count_padding: bool,
    },
}

/// A window that slides over images `[batch, height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// What becomes of the values under it.
    pub pooling: Pooling,
    /// The samples.
    pub batch: usize,
    /// The values of a pixel.
    pub channels: usize,
    /// The height and width of the images.
    pub input: [usize; 2],
    /// The height and width of the output.
    pub output: [usize; 2],
    /// The height and width of the window.
    pub window: [usize; 2],
    /// The steps from one window to the next.
    pub stride: [usize; 2],
    /// The zeros above and on the left.
    pub padding: [usize; 2],
    /// The steps between the values of a window.
    pub dilation: [usize; 2],
}

/// The cost of a value under a window, in multiply-adds of integers.
const VALUE_COST: usize = 8;
/// The channels that are pooled at once.
const LANES: usize = 16;

/// The pooled images, `[batch, height, width, channels]`. The values under a window are taken line by line.
///
/// # Panics
///
/// If there are not so many values as the sizes say, or a size is zero.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::{Kernel, conv::channels_last::{Pool, Pooling, pool}};
///
/// let x = [1.0, 2.0, 3.0, 4.0]; // a line of four pixels
/// let max = Pool {
///     pooling: Pooling::Max,
///     batch: 1,
///     channels: 1,
///     input: [1, 4],
///     output: [1, 2],
///     window: [1, 2],
///     stride: [1, 2],
///     padding: [0, 0],
///     dilation: [1, 1],
/// };
/// assert_eq!(pool(Kernel::detect(), &x, &max), [2.0, 4.0]);
/// ```
pub fn pool(kernel: Kernel, x: &[f32], task: &Pool) -> Vec<f32> {
    let [[height, width], [lines, columns]] = [task.input, task.output];
    let sizes = [task.batch, task.channels, height, width, lines, columns, task.window[0], task.window[1]];
    assert!(!sizes.contains(&0) && !task.stride.contains(&0), "nothing to pool: {task:?}");
    let len = |sizes: [usize; 2]| {
        let mut all = [task.batch, task.channels].into_iter().chain(sizes);
        all.try_fold(1usize, |len, size| len.checked_mul(size))
    };
    assert_eq!(len(task.input), Some(x.len()), "the images do not match their shape");
    let outputs = len(task.output).expect("an output of so many values is larger than memory can be");
    let work = outputs.saturating_mul(task.window[0].saturating_mul(task.window[1]));
    let threads = threads_for(work.saturating_mul(VALUE_COST));
    let line = columns * task.channels;
    let [out] = collect_uninit([outputs], |[out]| {
        let samples = out.chunks(lines * line).zip(x.chunks(height * width * task.channels));
        let pieces = samples.flat_map(|(out, x)| {
            let lines = out.chunks(line).enumerate();
            lines.flat_map(move |(line, out)| {
                let pieces = out.chunks(BLOCK_ROWS * task.channels).zip((0..).step_by(BLOCK_ROWS));
                pieces.map(move |(out, first)| (out.into_block(task.channels), x, [line, first]))
            })
        });
        for_each(threads, pieces, |(out, x, first)| kernel.run(PoolPixels { task, x, first, out }));
    });
    out
}

/// Pools some pixels of a line of one sample, from the position `first` on.
struct PoolPixels<'a, 'o> {
    task: &'a Pool,
    x: &'a [f32],
    first: [usize; 2],
    out: Block<'o, f32>,
}

impl Op for PoolPixels<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let Self { task, x, first: [line, first], mut out } = self;
        let channels = task.channels;
        with_scratch(&SCALES, |buffer| {
            let padded = channels.next_multiple_of(LANES);
            let all: &mut [f32] = bytemuck::cast_slice_mut(buffer.at_least(padded * size_of::<f32>()));
            for row in 0..out.rows() {
                let position = [line, first + row];
                let under = [0, 1].map(|axis| task.under(axis, position[axis]));
                for (at, acc) in all.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    let lanes = LANES.min(channels - at * LANES);
                    *acc = task.fold(x, &under, at * LANES, lanes);
                }
                if let Pooling::Average { .. } = task.pooling {
                    let count = task.count(position) as f32;
                    all.iter_mut().for_each(|sum| *sum /= count);
                }
                out.append_copy::<LANES>(row, 0..channels, all);
            }
        });
    }
}

impl Pool {
    /// The first position of the input under the window at an output, how many there are, and the steps between them.
    #[inline(always)]
    fn under(&self, axis: usize, output: usize) -> (usize, usize) {
        let (start, step) = (output * self.stride[axis], self.dilation[axis]);
        let skipped = self.padding[axis].saturating_sub(start).div_ceil(step);
        let first = start + skipped * step - self.padding[axis];
        let inside = self.input[axis].saturating_sub(first).div_ceil(step);
        (first, inside.min(self.window[axis].saturating_sub(skipped)))
    }

    /// The number of values that a mean is of.
    fn count(&self, output: [usize; 2]) -> usize {
        let of = |axis: usize| {
            if self.pooling != (Pooling::Average { count_padding: true }) {
                return self.under(axis, output[axis]).1;
            }
            // Zeros behind the padding, where the output was rounded up, do not count.
            let left =
                (self.input[axis] + 2 * self.padding[axis]).saturating_sub(output[axis] * self.stride[axis]);
            left.div_ceil(self.dilation[axis]).min(self.window[axis])
        };
        of(0) * of(1)
    }

    /// The maximum or the sum of the values under a window, of up to `LANES` channels.
    #[inline(always)]
    fn fold(&self, x: &[f32], under: &[(usize, usize); 2], channel: usize, lanes: usize) -> [f32; LANES] {
        let is_max = self.pooling == Pooling::Max;
        let mut acc = CacheAligned([if is_max { f32::NEG_INFINITY } else { 0.0 }; LANES]);
        let [(line, lines), (column, columns)] = *under;
        for y in 0..lines {
            for x_at in 0..columns {
                let pixel = (line + y * self.dilation[0]) * self.input[1] + column + x_at * self.dilation[1];
                let x = &x[pixel * self.channels + channel..][..lanes];
                let mut values = [0.0; LANES];
                match x.first_chunk() {
                    Some(x) => values = *x,
                    None => values[..lanes].copy_from_slice(x),
                }
                for (acc, x) in acc.0.iter_mut().zip(values) {
                    *acc = if is_max { larger(*acc, x) } else { *acc + x };
                }
            }
        }
        acc.0
    }
}
