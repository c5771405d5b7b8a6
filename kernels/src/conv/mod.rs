//! Convolutions of float images with packed INT8 weights, without copies of patches.
//!
//! Each group of a sample is quantized once, into a blocked input with zeros around it; a tile of outputs then reads, step by
//! step, the blocks under one tap and some channels, all neighbours in memory. Where there are many output channels, they
//! are the neighbours, and the pixels of a tile lie where they lie.
//!
//! | file | contents |
//! |---|---|
//! | `geometry` | where filters stand on an input; every size is checked here |
//! | `plan` | where everything is: blocks, steps, outputs |
//! | `convolution` | the blocks of a planned convolution, and who computes each |
//! | `input` | filling the blocked input |
//! | `ways` | the scales of samples, and the factors of float inputs |
//! | `pixels` | the scales of single pixels |
//! | `tiles` | the pixels that are computed together |
//! | `direct` | tiles of channels x neighbouring pixels |
//! | `igemm` | tiles of pixels x neighbouring channels |
//! | `depthwise` | groups that read a single channel |
//! | `channels_last` | images whose channels lie side by side |

pub mod channels_last;
mod convolution;
mod depthwise;
mod direct;
mod geometry;
mod igemm;
mod input;
mod pixels;
mod plan;
#[cfg(test)]
mod tests;
mod tiles;
mod ways;

use crate::epilogue::{Dequantize, RawAccumulators};
use crate::isa::{Floats, Integers, Kernel};
use crate::range::InputScheme;
use crate::weight::{MAX_EXACT_INPUTS, PackedWeights, WeightLayout};
use convolution::Convolution;
use plan::InputKind;
use ways::InputWays;

pub use geometry::{ConvGeometry, GeometryError};

/// A batch of images `[batch, channels, ..]` and the filters that slide over them.
#[derive(Clone, Copy)]
pub struct ConvInput<'a> {
    /// The values, row-major.
    pub values: &'a [f32],
    /// The samples.
    pub batch: usize,
    /// The places where the filters stand.
    pub geometry: &'a ConvGeometry,
    /// The filters.
    pub weights: &'a PackedWeights,
}

/// Convolves with dynamically quantized inputs, one scale per sample, or one per pixel if [`InputCodes::Auto`](crate::InputCodes::Auto) says so:
/// `out = sum as f32 * (x_scale * w_scale) + bias`, `[batch, channels, ..]`, the sums exact.
///
/// # Panics
///
/// If a slice does not match the shapes, or the weights are not those of the geometry's convolution.
pub fn dynamic(
    kernel: Kernel,
    input: &ConvInput<'_>,
    scheme: impl Into<InputScheme>,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    input.check(bias);
    if input.is_empty() {
        return Vec::new();
    }
    let ways = InputWays::quantized(kernel, input, scheme.into());
    let x_scales = ways.scales();
    let epilogue = input.dequantize(&x_scales, bias);
    if input.is_depthwise() {
        Convolution::<Floats>::new(kernel, input, InputKind::QuantizedPlanes, &ways).run(&epilogue)
    } else {
        Convolution::<Integers>::new(kernel, input, InputKind::Quantized, &ways).run(&epilogue)
    }
}

/// The exact integer sums of [`dynamic`], before any scale.
///
/// # Panics
///
/// The same as those of [`dynamic`]; and if there are so many inputs that a sum might not fit an `i32`.
pub fn accumulators(kernel: Kernel, input: &ConvInput<'_>, scheme: impl Into<InputScheme>) -> Vec<i32> {
    input.check(None);
    let inputs = input.weights.layout().inputs();
    assert!(inputs <= MAX_EXACT_INPUTS, "{inputs} inputs are more than an i32 sum surely holds");
    if input.is_empty() {
        return Vec::new();
    }
    let ways = InputWays::quantized(kernel, input, scheme.into());
    if input.is_depthwise() {
        Convolution::<Floats>::new(kernel, input, InputKind::QuantizedPlanes, &ways).run(&RawAccumulators)
    } else {
        Convolution::<Integers>::new(kernel, input, InputKind::Quantized, &ways).run(&RawAccumulators)
    }
}

/// Convolves with float inputs: `out = (sum of x * q) * w_scale + bias`, a float sum in an order of the kernel's own.
///
/// It overflows only where the output does, for weight scales below `2^64`: samples near the largest float are multiplied by a power of two before the sum,
/// and the sum after it.
///
/// # Panics
///
/// The same as those of [`dynamic`].
pub fn weight_only(kernel: Kernel, input: &ConvInput<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    input.check(bias);
    if input.is_empty() {
        return Vec::new();
    }
    let (ways, x_scales) = InputWays::floats(kernel, input);
    let epilogue = input.dequantize(&x_scales, bias);
    Convolution::<Floats>::new(kernel, input, InputKind::Floats, &ways).run(&epilogue)
}

impl ConvInput<'_> {
    /// True if a group reads a single channel: then there are no four channels to multiply at once, and floats, which hold
    /// such short sums exactly, are as fast.
    fn is_depthwise(&self) -> bool {
        self.geometry.spec().group_channels()[0] == 1
    }

    /// True if there is no output.
    fn is_empty(&self) -> bool {
        self.batch * self.geometry.spec().channels[1] == 0
    }

    fn check(&self, bias: Option<&[f32]>) {
        check(self.geometry, (self.values.len(), self.batch), self.weights, bias);
    }

    fn dequantize<'e>(&'e self, x_scales: &'e [f32], bias: Option<&'e [f32]>) -> Dequantize<'e> {
        let row_scales = x_scales.len() / self.batch.max(1);
        Dequantize { x_scales, row_scales, w_scales: self.weights.scales(), bias }
    }
}

/// Checks that so many values are so many images of a convolution, and that weights and bias are those of its filters.
fn check(
    geometry: &ConvGeometry,
    (values, batch): (usize, usize),
    weights: &PackedWeights,
    bias: Option<&[f32]>,
) {
    let (spec, layout) = (geometry.spec(), weights.layout());
    assert!(layout == WeightLayout::Conv(*spec), "the weights {layout:?} are not those of {spec:?}");
    let (sample, channels) = (geometry.sample(), spec.channels[1]);
    assert_eq!(batch.checked_mul(sample), Some(values), "the images do not match their shape");
    assert!(geometry.fits_batch(batch), "the batch is larger than memory can be");
    let fits = bias.is_none_or(|bias| bias.len() == channels);
    assert!(fits, "the bias does not match {channels} channels");
}
