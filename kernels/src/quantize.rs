//! From float rows and images to quantized inputs in the encoding of an instruction set.

use std::sync::Mutex;

use crate::isa::{InputEncoding, Isa, Kernel, Op, encode};
use crate::parallel::{for_each, threads_for};
use crate::range::{Extent, InputScheme, QuantRange, Quantizer, absmax, extent};
use crate::scratch::{TRANSFORMED, with_scratch};
use crate::transform::InputTransform;

/// The cost of quantizing a value, in multiply-adds of the fastest kernel.
pub(crate) const QUANTIZE_COST: usize = 64;
/// The cost of looking at a value, to find the largest magnitude.
pub(crate) const ABSMAX_COST: usize = 16;

/// Finds the largest magnitude; it is NaN or infinite if any value is.
pub(crate) struct Absmax<'a>(pub(crate) &'a [f32]);

impl Op for Absmax<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) -> f32 {
        absmax(self.0)
    }
}

/// Finds how far values reach from zero, on either side.
pub(crate) struct ExtentOf<'a>(pub(crate) &'a [f32]);

impl Op for ExtentOf<'_> {
    type Output = Extent;

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) -> Extent {
        extent(self.0)
    }
}

/// An extent that several threads widen.
#[derive(Default)]
pub(crate) struct SharedExtent(Mutex<Extent>);

impl SharedExtent {
    /// Widens it so that it holds another one, too.
    pub(crate) fn join(&self, found: Extent) {
        let mut extent = self.0.lock().unwrap_or_else(|e| e.into_inner());
        *extent = extent.join(found);
    }

    /// The extent of all.
    pub(crate) fn into_extent(self) -> Extent {
        self.0.into_inner().unwrap_or_else(|e| e.into_inner())
    }
}

/// Asks for the bytes of one quantized input.
pub(crate) struct CodeBytes;

impl Op for CodeBytes {
    type Output = usize;

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) -> usize {
        size_of::<<I::Input as InputEncoding>::Code>()
    }
}

/// Quantizes one row into `out`, with zeros past the row's end; the result is its scale, NaN if a value is not finite, and the
/// number that the encoding adds to each integer.
struct QuantizeRow<'a> {
    x: &'a [f32],
    scheme: InputScheme,
    transform: &'a InputTransform,
    /// Room for a transformed row, if the transform is not the identity.
    spare: &'a mut [f32],
    /// Room for a multiple of four inputs.
    out: &'a mut [u8],
}

impl Op for QuantizeRow<'_> {
    type Output = (f32, i32);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> (f32, i32) {
        let Self { x, scheme, transform, spare, out } = self;
        let (x, restore) = if transform.is_identity() {
            (x, 1.0)
        } else {
            let restore = transform.row(isa, x, spare);
            (&*spare, restore)
        };
        let out: &mut [<I::Input as InputEncoding>::Code] = bytemuck::cast_slice_mut(out);
        let (body, padding) = out.split_at_mut(x.len());
        let Some(quantizer) = Quantizer::of_inputs(extent(x), scheme) else {
            let offset = I::Input::offset(false);
            out.fill(I::Input::encode(0, offset));
            return (f32::NAN, offset);
        };
        let offset = I::Input::offset(quantizer.is_unsigned());
        padding.fill(I::Input::encode(0, offset));
        encode(isa, x, &quantizer.to_codes(offset), body);
        (quantizer.scale * restore, offset)
    }
}

/// Transforms one row into `out`; the result is the power of two that takes back what it was multiplied with.
pub(crate) struct TransformRow<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) transform: &'a InputTransform,
    pub(crate) out: &'a mut [f32],
}

impl Op for TransformRow<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f32 {
        self.transform.row(isa, self.x, self.out)
    }
}

/// Takes a transform back from one row of weights.
pub(crate) struct RestoreRow<'a> {
    pub(crate) transform: &'a InputTransform,
    pub(crate) row: &'a mut [f32],
}

impl Op for RestoreRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.transform.restore_row(isa, self.row);
    }
}

/// Quantizes every row of `x` (`[scales.len(), k]`) into `out`, `stride` bytes a row, with a scale and an offset each.
pub(crate) fn quantize_into(
    kernel: Kernel,
    x: &[f32],
    k: usize,
    (scheme, transform): (InputScheme, &InputTransform),
    (out, stride): (&mut [u8], usize),
    (scales, offsets): (&mut [f32], &mut [i32]),
) {
    let room = if transform.is_identity() { 0 } else { k };
    let threads = threads_for(scales.len() * k * QUANTIZE_COST);
    let rows = scales.len().div_ceil(threads * 4).max(1);
    let codes = scales.chunks_mut(rows).zip(offsets.chunks_mut(rows));
    let parts = x.chunks(rows * k).zip(out.chunks_mut(rows * stride)).zip(codes);
    for_each(threads, parts, |((x, out), (scales, offsets))| {
        with_scratch(&TRANSFORMED, |spare| {
            let spare: &mut [f32] = bytemuck::cast_slice_mut(spare.at_least(room * size_of::<f32>()));
            let rows = x.chunks_exact(k).zip(out.chunks_exact_mut(stride));
            for ((x, out), (scale, offset)) in rows.zip(scales.iter_mut().zip(offsets)) {
                (*scale, *offset) = kernel.run(QuantizeRow { x, scheme, transform, spare, out });
            }
        });
    });
}

/// Quantizes the rows of `x` (`[m, k]`) as a layer quantizes inputs with a sign: the integers and one scale a row.
///
/// A row with a NaN or an infinity gets integers 0 and scale NaN.
///
/// # Panics
///
/// If `x` is not a whole number of rows.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::{QuantRange, quantize_rows};
///
/// let (integers, scales) = quantize_rows(&[127.0, 0.5, -3.4, 2.5], 4, QuantRange::Symmetric);
/// assert_eq!((integers, scales), (vec![127, 0, -3, 2], vec![1.0])); // ties go to the even integer
/// ```
pub fn quantize_rows(x: &[f32], k: usize, range: QuantRange) -> (Vec<i8>, Vec<f32>) {
    assert!(k > 0 && x.len().is_multiple_of(k), "{} values are no rows of {k}", x.len());
    let mut integers = Vec::with_capacity(x.len());
    let mut scales = Vec::with_capacity(x.len() / k);
    for row in x.chunks_exact(k) {
        let quantizer = Quantizer::new(absmax(row), range);
        scales.push(quantizer.map_or(f32::NAN, |q| q.scale));
        integers.extend(row.iter().map(|&v| quantizer.map_or(0, |q| q.quantize(v) as i8)));
    }
    (integers, scales)
}
