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

use std::sync::atomic::AtomicBool;

use super::geometry::ConvGeometry;
use super::ways::extents;
use crate::epilogue::{DequantizeRows, EncodeRows, RawAccumulators, RowEpilogue, Step, check_steps};
use crate::isa::Kernel;
use crate::range::{Extent, InputCodes, InputScheme, Quantizer, overflow_guard};
use crate::weight::{ConvSpec, KR, MAX_EXACT_INPUTS, PackedWeights};

pub use pool::{Pool, Pooling, pool};
pub use turn::from_channels_first;

/// Says whether [`Arithmetic::Dynamic`] computes such a convolution: in one group, or with one filter for each channel.
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

/// Says whether [`Arithmetic::WeightOnly`] computes such a convolution: with one filter for each channel.
pub fn computes_floats(spec: &ConvSpec) -> bool {
    !spec.transposed && spec.channels[1] > 0 && is_depthwise(spec)
}

/// True if each channel has one filter, short enough that `f32` holds the sums of integers exactly.
fn is_depthwise(spec: &ConvSpec) -> bool {
    spec.groups > 0 && spec.channels == [spec.groups; 2] && spec.taps() <= super::plan::EXACT_IN_F32
}

/// The values of images `[batch, .., channels]`.
#[derive(Clone, Copy, Debug)]
pub enum Pixels<'a> {
    /// Floats, which a convolution quantizes as it is told.
    Floats(&'a [f32]),
    /// Integers already, which it takes as they are.
    Codes(&'a Codes),
}

/// Values between zero and a bound in integers: `bound / 255 * code`.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// The integers.
    pub codes: Vec<u8>,
    /// The value of the largest integer.
    pub bound: f32,
    /// Says of each sample whether one of its values was NaN: what reads it gives NaN everywhere.
    pub has_nan: Vec<bool>,
}

impl Codes {
    /// The step from one integer to the next.
    fn step(&self) -> f32 {
        self.bound / InputCodes::UNSIGNED_MAX as f32
    }
}

impl Pixels<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Codes(codes) => codes.codes.len(),
        }
    }
}

/// The inputs that a convolution multiplies with its integer weights.
#[derive(Clone, Copy, Debug)]
pub enum Arithmetic {
    /// Integers, as [`conv::dynamic`](super::dynamic) makes them of floats.
    Dynamic(InputScheme),
    /// Floats, as [`conv::weight_only`](super::weight_only) takes them; the products of a sum are added tap after tap.
    WeightOnly,
}

/// A convolution of images whose channels lie side by side, and some steps with the outputs, which lie so, too.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a> {
    /// The images.
    pub pixels: Pixels<'a>,
    /// The samples.
    pub batch: usize,
    /// The places where the filters stand.
    pub geometry: &'a ConvGeometry,
    /// The filters.
    pub weights: &'a PackedWeights,
    /// What is multiplied.
    pub arithmetic: Arithmetic,
    /// One value for each output channel.
    pub bias: Option<&'a [f32]>,
    /// The steps that outputs go through.
    pub steps: &'a [Step<'a>],
}

impl Convolution<'_> {
    /// The outputs `[batch, .., channels]`.
    ///
    /// # Panics
    ///
    /// If a slice does not match the shapes, the weights are not those of the geometry's convolution, or it is one that this
    /// way does not [compute](computes).
    pub fn floats(&self, kernel: Kernel) -> Vec<f32> {
        self.run(kernel, &self.dequantize())
    }

    /// The outputs, which lie between zero and `bound`, as the nearest integers; those outside become the integer at that end. NaN has no
    /// integer: [`Codes::has_nan`] notes its sample.
    ///
    /// # Panics
    ///
    /// As [`floats`](Self::floats), and if the bound is not above zero and finite.
    pub fn codes(&self, kernel: Kernel, bound: f32) -> Codes {
        assert!(bound > 0.0 && bound.is_finite(), "outputs up to {bound} have no integers");
        let has_nan: Vec<_> = (0..self.batch).map(|_| AtomicBool::new(false)).collect();
        let pixels = self.geometry.output().iter().product();
        let codes = self.run(kernel, &EncodeRows::new(self.dequantize(), bound, (&has_nan, pixels)));
        Codes { codes, bound, has_nan: has_nan.into_iter().map(AtomicBool::into_inner).collect() }
    }

    /// The exact integer sums, before any scale.
    ///
    /// # Panics
    ///
    /// As [`floats`](Self::floats).
    pub fn accumulators(&self, kernel: Kernel) -> Vec<i32> {
        self.run(kernel, &RawAccumulators)
    }

    fn dequantize(&self) -> DequantizeRows<'_> {
        DequantizeRows { w_scales: self.weights.scales(), bias: self.bias, steps: self.steps }
    }

    fn run<T: Copy + Default + Send, E>(&self, kernel: Kernel, epilogue: &E) -> Vec<T>
    where
        E: RowEpilogue<i32, Output = T> + RowEpilogue<f32, Output = T>,
    {
        let spec = self.geometry.spec();
        super::check(self.geometry, (self.pixels.len(), self.batch), self.weights, self.bias);
        check_steps(self.steps, self.outputs(), spec.channels[1]);
        if let Pixels::Codes(codes) = self.pixels {
            assert_eq!(codes.has_nan.len(), self.batch, "each sample says whether it has a NaN");
        }
        let computes = match self.arithmetic {
            Arithmetic::Dynamic(_) => computes(spec),
            Arithmetic::WeightOnly => computes_floats(spec),
        };
        assert!(computes, "{spec:?} is not computed with channels last");
        if self.outputs() == 0 {
            return Vec::new();
        }
        let images = Images { kernel, input: self, ways: self.ways(kernel), by_pixel: self.by_pixel() };
        if is_depthwise(spec) { images.depthwise(epilogue) } else { images.dense(epilogue) }
    }

    /// The values of all outputs.
    fn outputs(&self) -> usize {
        self.batch * self.geometry.spec().channels[1] * self.geometry.output().iter().product::<usize>()
    }

    /// The way of each sample to what is multiplied.
    fn ways(&self, kernel: Kernel) -> Vec<SampleWay> {
        let x = match self.pixels {
            Pixels::Floats(x) => x,
            Pixels::Codes(codes) => {
                let step = |has_nan: &bool| if *has_nan { f32::NAN } else { codes.step() };
                return codes
                    .has_nan
                    .iter()
                    .map(|has_nan| SampleWay::Codes { step: step(has_nan) })
                    .collect();
            }
        };
        let extents = extents(kernel, x, [self.batch, self.geometry.sample()]).into_iter();
        let way = |extent: Extent| match self.arithmetic {
            Arithmetic::Dynamic(scheme) => SampleWay::Integers(Quantizer::of_inputs(extent, scheme)),
            Arithmetic::WeightOnly => {
                let [factor, scale] = overflow_guard(extent.absmax());
                SampleWay::Floats { factor, scale }
            }
        };
        extents.map(way).collect()
    }

    /// True if each pixel gets a scale of its own; that of its sample then says whether integers have a sign.
    fn by_pixel(&self) -> bool {
        let scheme = match self.arithmetic {
            Arithmetic::Dynamic(scheme) => scheme,
            Arithmetic::WeightOnly => return false,
        };
        let are_floats = matches!(self.pixels, Pixels::Floats(_));
        are_floats && scheme.codes == InputCodes::Auto && self.geometry.is_pointwise()
    }
}

/// The way of a sample's values to what is multiplied.
#[derive(Clone, Copy)]
enum SampleWay {
    /// Integers; zeros where the sample has a NaN or an infinity.
    Integers(Option<Quantizer>),
    /// Floats, each times a power of two that leaves room for their sums; the scale takes it back.
    Floats { factor: f32, scale: f32 },
    /// Integers already, so far apart.
    Codes { step: f32 },
}

impl SampleWay {
    /// The scale of the sums.
    fn scale(&self) -> f32 {
        match self {
            Self::Integers(quantizer) => quantizer.map_or(f32::NAN, |quantizer| quantizer.scale),
            Self::Floats { scale, .. } => *scale,
            Self::Codes { step } => *step,
        }
    }

    /// True if its integers have no sign.
    fn is_unsigned(&self) -> bool {
        match self {
            Self::Integers(quantizer) => quantizer.as_ref().is_some_and(Quantizer::is_unsigned),
            Self::Floats { .. } => false,
            Self::Codes { .. } => true,
        }
    }
}

/// A batch, and how its values become what is multiplied.
struct Images<'a> {
    kernel: Kernel,
    input: &'a Convolution<'a>,
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
    fn sample<'x, T>(&self, values: &'x [T], sample: usize) -> &'x [T] {
        let len = self.geometry().sample();
        &values[sample * len..][..len]
    }
}
