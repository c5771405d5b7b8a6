//! The gate through which integers from outside enter.

use super::layout::WeightLayout;
use crate::range::overflow_guard;
use crate::transform::InputTransform;

/// The INT8 weights of a layer as they are saved: integers in the layout of the weight tensor, one scale per output channel.
///
/// Every constructor checks them, so that whatever reads a `QTensor` may rely on its sizes.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::{QTensor, QTensorError, WeightLayout};
///
/// let layout = WeightLayout::Linear([3, 2]);
/// let tensor = QTensor::new(vec![1, 2, 3, 4, 5, 6], vec![0.5, 0.25], layout)?;
/// assert_eq!(tensor.scales(), [0.5, 0.25]);
///
/// let error = QTensor::new(vec![1, 2, 3], vec![0.5, 0.25], layout).unwrap_err();
/// assert_eq!(error, QTensorError::Length { expected: 6, got: 3 });
/// # Ok::<(), QTensorError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QTensor {
    values: Vec<i8>,
    scales: Vec<f32>,
    layout: WeightLayout,
    transform: InputTransform,
}

/// Integers and scales that do not make the weights of a layer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QTensorError {
    /// The sizes of the layer do not belong together.
    #[error("{reason}")]
    Layout {
        /// The fault of the sizes.
        reason: String,
    },
    /// There are not as many integers as the shape says.
    #[error("the weights should be {expected} integers and are {got}")]
    Length {
        /// The product of the shape.
        expected: usize,
        /// The integers that there are.
        got: usize,
    },
    /// There is not one scale per output channel.
    #[error("{got} INT8 scales for {channels} output channels")]
    Scales {
        /// The output channels.
        channels: usize,
        /// The scales that there are.
        got: usize,
    },
    /// A scale is negative, infinite or NaN.
    #[error("the INT8 scale of output channel {channel} is {scale}")]
    Scale {
        /// The first output channel with such a scale.
        channel: usize,
        /// The scale.
        scale: f32,
    },
    /// The transform of the inputs does not suit the layer.
    #[error("{reason}")]
    Transform {
        /// The part that does not suit.
        reason: String,
    },
}

impl QTensor {
    /// Checks integers and scales against the layout.
    ///
    /// # Errors
    ///
    /// [`QTensorError`]: what does not fit.
    pub fn new(values: Vec<i8>, scales: Vec<f32>, layout: WeightLayout) -> Result<Self, QTensorError> {
        layout.check().map_err(|reason| QTensorError::Layout { reason })?;
        let (expected, channels) = (layout.len(), layout.channels());
        if values.len() != expected {
            return Err(QTensorError::Length { expected, got: values.len() });
        }
        if scales.len() != channels {
            return Err(QTensorError::Scales { channels, got: scales.len() });
        }
        Self::check_scales(&scales)?;
        Ok(Self { values, scales, layout, transform: InputTransform::default() })
    }

    /// Checks that each of these can be the scale of an output channel: finite, and not below zero.
    ///
    /// # Errors
    ///
    /// [`QTensorError::Scale`]: the first that can't.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_int8_kernels::QTensor;
    ///
    /// assert!(QTensor::check_scales(&[0.5, 0.0]).is_ok());
    /// let error = QTensor::check_scales(&[0.5, -1.0]).unwrap_err();
    /// assert_eq!(error.to_string(), "the INT8 scale of output channel 1 is -1");
    /// ```
    pub fn check_scales(scales: &[f32]) -> Result<(), QTensorError> {
        let is_scale = |scale: &f32| scale.is_finite() && *scale >= 0.0;
        match scales.iter().position(|scale| !is_scale(scale)) {
            Some(channel) => Err(QTensorError::Scale { channel, scale: scales[channel] }),
            None => Ok(()),
        }
    }

    /// The same integers for inputs that go through `transform`.
    ///
    /// # Errors
    ///
    /// [`QTensorError::Transform`] if it does not suit the layer.
    pub fn with_transform(self, transform: InputTransform) -> Result<Self, QTensorError> {
        transform.check(&self.layout).map_err(|reason| QTensorError::Transform { reason })?;
        Ok(Self { transform, ..self })
    }

    /// The floats that the integers stand for, with the transform taken back. A scale near the largest float may round a
    /// product past it: that stays finite.
    pub fn dequantize(&self) -> Vec<f32> {
        // Sums of a transform leave no room above the largest float, unless they are made of smaller values.
        let largest = self.scales.iter().fold(0f32, |largest, scale| largest.max(128.0 * scale));
        let [factor, restore] = if self.transform.is_identity() { [1.0; 2] } else { overflow_guard(largest) };
        let integers = self.values.iter().enumerate();
        let value = |(i, &q)| f32::from(q) * (self.scales[self.layout.channel_of(i)] * factor);
        let mut floats: Vec<_> = integers.map(value).collect();
        self.transform.restore(&mut floats, &self.layout);
        floats.iter_mut().for_each(|w| *w = (*w * restore).clamp(f32::MIN, f32::MAX));
        floats
    }

    /// The integers in the layout of the weight tensor.
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    /// The step of each output channel: `weight = scale * integer`.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The meaning of the weights to their layer.
    pub fn layout(&self) -> WeightLayout {
        self.layout
    }

    /// The way of inputs to what is quantized.
    pub fn transform(&self) -> &InputTransform {
        &self.transform
    }

    /// The integers and the scales.
    pub fn into_parts(self) -> (Vec<i8>, Vec<f32>) {
        (self.values, self.scales)
    }
}

impl TryFrom<(Vec<i8>, Vec<f32>, WeightLayout)> for QTensor {
    type Error = QTensorError;

    fn try_from((values, scales, layout): (Vec<i8>, Vec<f32>, WeightLayout)) -> Result<Self, QTensorError> {
        Self::new(values, scales, layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weight::ConvSpec;

    const SPEC: ConvSpec = ConvSpec {
        axes: 1,
        channels: [4, 4],
        groups: 2,
        kernel: [1, 1, 3],
        stride: [1; 3],
        dilation: [1; 3],
        transposed: false,
    };

    #[test]
    fn scales_that_are_no_steps_are_refused() {
        for scale in [-1.0, f32::NAN, f32::INFINITY] {
            let error = QTensor::new(vec![0; 4], vec![1.0, scale], WeightLayout::Linear([2, 2])).unwrap_err();
            assert!(matches!(error, QTensorError::Scale { channel: 1, .. }), "{error}");
        }
        assert!(QTensor::new(vec![0; 4], vec![1.0, 0.0], WeightLayout::Linear([2, 2])).is_ok());
        let error = QTensor::try_from((vec![0; 4], vec![1.0], WeightLayout::Table([2, 2]))).unwrap_err();
        assert_eq!(error, QTensorError::Scales { channels: 2, got: 1 });
    }

    #[test]
    fn layouts_that_make_no_sense_are_refused() {
        assert!(QTensor::new(vec![0; 24], vec![1.0; 4], WeightLayout::Conv(SPEC)).is_ok());
        let wrong = [
            ConvSpec { groups: 0, ..SPEC },
            ConvSpec { groups: 3, ..SPEC },
            ConvSpec { axes: 4, ..SPEC },
            ConvSpec { kernel: [1, 2, 3], ..SPEC },
            ConvSpec { channels: [usize::MAX - 1, 2], ..SPEC },
        ];
        for spec in wrong {
            let error = QTensor::new(vec![0; 24], vec![1.0; 4], WeightLayout::Conv(spec)).unwrap_err();
            assert!(matches!(error, QTensorError::Layout { .. }), "{spec:?}: {error}");
        }
        for shape in [[usize::MAX, 2], [1 << 40, 1 << 40], [usize::MAX, 0], [1 << 40, 0], [0, 1 << 40]] {
            let error = QTensor::new(vec![], vec![], WeightLayout::Linear(shape)).unwrap_err();
            assert!(matches!(error, QTensorError::Layout { .. }), "{shape:?}: {error}");
        }
    }
}
