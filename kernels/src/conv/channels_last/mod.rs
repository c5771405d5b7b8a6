//! Convolutions of images whose channels lie side by side, `[batch, .., channels]`, as their outputs do.
//!
//! A band of lines of the output is computed at a time: what it reads of the input is quantized into a window that stays in the
//! cache. Sums and outputs are those of the other ways to convolve, bit for bit.
//!
//! | file | contents |
//! |---|---|
//! | `bands` | the cut of the output into bands, and of a band into blocks |
//! | `pool` | windows that take a maximum or a mean |
//! | `turn` | from images with channels first |
//! | `window` | the part of the input that a band reads |
//! | `fill` | from the values of the input to the numbers in a window |
//! | `dense` | all channels in one product |
//! | `depthwise` | each channel by itself |

mod bands;
mod dense;
mod depthwise;
mod fill;
mod pool;
#[cfg(test)]
mod tests;
mod turn;
mod window;

use super::ConvInput;
use super::geometry::ConvGeometry;
use super::ways::InputWays;
use crate::epilogue::{DequantizeRows, RawAccumulators, RowEpilogue, Step, check_steps};
use crate::isa::Kernel;
use crate::range::{InputScheme, QuantRange, Quantizer};
use crate::weight::{ConvSpec, KR, MAX_EXACT_INPUTS, PackedWeights};

pub use pool::{Pool, Pooling, pool};
pub use turn::from_channels_first;

/// Says whether [`dynamic`] computes such a convolution: in one group, or with one filter for each channel.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::{ConvSpec, conv::channels_last};
///
/// let spec = ConvSpec {
///     axes: 2,
///     channels: [16, 32],
///     groups: 1,
///     kernel: [1, 3, 3],
///     stride: [1; 3],
///     dilation: [1; 3],
///     transposed: false,
/// };
/// assert!(channels_last::computes(&spec));
/// assert!(!channels_last::computes(&ConvSpec { groups: 2, ..spec }));
/// ```
pub fn computes(spec: &ConvSpec) -> bool {
    // One sum holds all products, those with the zeros that channels are padded with among them.
    let inputs = spec.channels[0].checked_next_multiple_of(KR).and_then(|all| all.checked_mul(spec.taps()));
    let is_exact = inputs.is_some_and(|inputs| inputs <= MAX_EXACT_INPUTS);
    let dense = spec.groups == 1 && spec.channels[0] > 1 && is_exact;
    !spec.transposed && spec.channels[1] > 0 && (dense || is_depthwise(spec))
}

/// Says whether [`weight_only`] computes such a convolution: with one filter for each channel.
pub fn computes_floats(spec: &ConvSpec) -> bool {
    !spec.transposed && spec.channels[1] > 0 && is_depthwise(spec)
}

/// True if each channel has one filter, short enough that `f32` holds the sums of integers exactly.
fn is_depthwise(spec: &ConvSpec) -> bool {
    spec.groups > 0 && spec.channels == [spec.groups; 2] && spec.taps() <= super::plan::EXACT_IN_F32
}

/// [`conv::dynamic`](super::dynamic) of images `[batch, .., channels]`, and some steps with the outputs, `[batch, .., channels]`, too.
///
/// # Panics
///
/// If a slice does not match the shapes, the weights are not those of the geometry's convolution, or it is one that this
/// way does not [compute](computes).
pub fn dynamic(
    kernel: Kernel,
    input: &ConvInput<'_>,
    scheme: impl Into<InputScheme>,
    bias: Option<&[f32]>,
    steps: &[Step<'_>],
) -> Vec<f32> {
    input.check(bias);
    check_steps(steps, input.outputs(), input.weights.scales().len());
    run(kernel, input, scheme.into(), &DequantizeRows { w_scales: input.weights.scales(), bias, steps })
}

/// [`conv::weight_only`](super::weight_only) of images `[batch, .., channels]`, and some steps with the outputs, `[batch, .., channels]`, too:
/// the products of a sum are added tap after tap.
///
/// # Panics
///
/// If a slice does not match the shapes, the weights are not those of the geometry's convolution, or it is one that this
/// way does not [compute](computes_floats).
pub fn weight_only(
    kernel: Kernel,
    input: &ConvInput<'_>,
    bias: Option<&[f32]>,
    steps: &[Step<'_>],
) -> Vec<f32> {
    input.check(bias);
    check_steps(steps, input.outputs(), input.weights.scales().len());
    let spec = input.geometry.spec();
    assert!(computes_floats(spec), "{spec:?} is not computed with channels last");
    if input.is_empty() {
        return Vec::new();
    }
    let (ways, scales) = InputWays::floats(kernel, input);
    let ways =
        ways.factors.into_iter().zip(scales).map(|(factor, scale)| SampleWay::Floats { factor, scale });
    let epilogue = DequantizeRows { w_scales: input.weights.scales(), bias, steps };
    let scheme = QuantRange::Symmetric.into(); // of no integers
    Images { kernel, input, scheme, ways: ways.collect(), by_pixel: false }.depthwise(&epilogue)
}

/// The exact integer sums of [`dynamic`], before any scale.
///
/// # Panics
///
/// The same as those of [`dynamic`].
pub fn accumulators(kernel: Kernel, input: &ConvInput<'_>, scheme: impl Into<InputScheme>) -> Vec<i32> {
    input.check(None);
    run(kernel, input, scheme.into(), &RawAccumulators)
}

fn run<T: Copy + Default + Send, E>(
    kernel: Kernel,
    input: &ConvInput<'_>,
    scheme: InputScheme,
    epilogue: &E,
) -> Vec<T>
where
    E: RowEpilogue<i32, Output = T> + RowEpilogue<f32, Output = T>,
{
    let spec = input.geometry.spec();
    assert!(computes(spec), "{spec:?} is not computed with channels last");
    if input.is_empty() {
        return Vec::new();
    }
    let (quantizers, by_pixel) = InputWays::channels_last(kernel, input, scheme);
    let ways = quantizers.into_iter().map(SampleWay::Integers).collect();
    let images = Images { kernel, input, scheme, ways, by_pixel };
    if is_depthwise(spec) { images.depthwise(epilogue) } else { images.dense(epilogue) }
}

/// The way of a sample's values to what is multiplied.
#[derive(Clone, Copy)]
enum SampleWay {
    /// Integers; zeros where the sample has a NaN or an infinity.
    Integers(Option<Quantizer>),
    /// Floats, each times a power of two that leaves room for their sums; the scale takes it back.
    Floats { factor: f32, scale: f32 },
}

impl SampleWay {
    /// The scale of the sums.
    fn scale(&self) -> f32 {
        match self {
            Self::Integers(quantizer) => quantizer.map_or(f32::NAN, |quantizer| quantizer.scale),
            Self::Floats { scale, .. } => *scale,
        }
    }
}

/// A batch, and how its values become what is multiplied.
struct Images<'a> {
    kernel: Kernel,
    input: &'a ConvInput<'a>,
    scheme: InputScheme,
    /// One a sample.
    ways: Vec<SampleWay>,
    /// True if each pixel has a scale of its own; that of its sample then says whether integers have a sign.
    by_pixel: bool,
}

impl<'a> Images<'a> {
    fn geometry(&self) -> &'a ConvGeometry {
        self.input.geometry
    }

    fn weights(&self) -> &'a PackedWeights {
        self.input.weights
    }

    /// The values of one sample.
    fn sample(&self, sample: usize) -> &'a [f32] {
        let len = self.geometry().sample();
        &self.input.values[sample * len..][..len]
    }

    /// The way of a sample to integers, if it has one.
    fn quantizer(&self, sample: usize) -> Option<&Quantizer> {
        match &self.ways[sample] {
            SampleWay::Integers(quantizer) => quantizer.as_ref(),
            SampleWay::Floats { .. } => None,
        }
    }

    /// The smallest and the largest integer of the pixels of a sample, and the steps that a largest magnitude is divided into.
    fn codes_of(&self, sample: usize) -> ([i32; 2], f32) {
        let quantizer = self.quantizer(sample);
        let range = self.scheme.range;
        let limits =
            quantizer.map_or([range.qmin(), range.qmax()], |quantizer| [quantizer.qmin, quantizer.qmax]);
        (limits, self.scheme.divisor(quantizer.is_some_and(Quantizer::is_unsigned)))
    }
}
