//! From images with channels first to images with channels last.

use crate::isa::{Isa, Kernel, Op, TRANSPOSED_ROWS, transpose};
use crate::parallel::{for_each, threads_for};
use crate::quantize::ABSMAX_COST;
use crate::scratch::CacheAligned;
use crate::uninit::{BLOCK_ROWS, Block, collect_uninit};
use crate::weight::NR;

/// The values of `[batch, channels, pixels]` as `[batch, pixels, channels]`.
///
/// # Panics
///
/// If there are not so many values.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::{Kernel, conv::channels_last::from_channels_first};
///
/// let x = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
/// let turned = from_channels_first(Kernel::detect(), &x, [1, 2, 3]);
/// assert_eq!(turned, [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
/// ```
pub fn from_channels_first(kernel: Kernel, x: &[f32], [batch, channels, pixels]: [usize; 3]) -> Vec<f32> {
    let len = batch.checked_mul(channels).and_then(|len| len.checked_mul(pixels));
    assert_eq!(len, Some(x.len()), "the values do not match [{batch}, {channels}, {pixels}]");
    if x.is_empty() {
        return Vec::new();
    }
    let sample = channels * pixels;
    let [out] = collect_uninit([x.len()], |[out]| {
        let strips = x.chunks(sample).zip(out.chunks(sample)).flat_map(|(x, out)| {
            let strips = out.chunks(BLOCK_ROWS * channels).zip((0..).step_by(BLOCK_ROWS));
            strips.map(move |(out, first)| Turn { x, pixels, first, out: out.into_block(channels) })
        });
        for_each(threads_for(len.unwrap_or_default().saturating_mul(ABSMAX_COST)), strips, |strip| {
            kernel.run(strip)
        });
    });
    out
}

/// Turns the pixels of a block, the first of them `first`.
struct Turn<'a, 'o> {
    /// The values of a sample.
    x: &'a [f32],
    pixels: usize,
    first: usize,
    out: Block<'o, f32>,
}

impl Op for Turn<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        const { assert!(BLOCK_ROWS <= NR) };
        let Self { x, pixels, first, mut out } = self;
        let rows = out.rows();
        let mut from = CacheAligned([[0.0; NR]; TRANSPOSED_ROWS]);
        let mut to = CacheAligned([[0.0; TRANSPOSED_ROWS]; NR]);
        for column in (0..out.columns()).step_by(TRANSPOSED_ROWS) {
            let some = column..out.columns().min(column + TRANSPOSED_ROWS);
            for (from, channel) in from.0.iter_mut().zip(some.clone()) {
                from[..rows].copy_from_slice(&x[channel * pixels + first..][..rows]);
            }
            transpose(isa, &from.0, rows.next_multiple_of(8), &mut to.0);
            out.append_rows::<_, TRANSPOSED_ROWS>(0..rows, some, &to.0);
        }
    }
}
