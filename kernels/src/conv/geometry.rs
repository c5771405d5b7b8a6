//! The places of a convolution's filters on an input: every size is checked here, before it becomes an index.

use crate::weight::{ConvSpec, WeightLayout};

/// A convolution and the sizes of the input that it slides over. [`ConvSpec::geometry`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    spec: ConvSpec,
    input: [usize; 3],
    output: [usize; 3],
    padding: [usize; 3],
    sample_bytes: usize,
}

/// A convolution that can't slide over an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// The sizes of the convolution itself do not belong together.
    #[error("{reason}")]
    Spec {
        /// The fault of the sizes.
        reason: String,
    },
    /// There is no room for a single output.
    #[error("there is no room for a single output")]
    NoOutput,
    /// The input with its padding, or the output, is larger than memory can be.
    #[error("the input with its padding, or the output, is larger than memory can be")]
    TooLarge,
}

/// The largest size along an axis: sums and small multiples of such sizes do not overflow.
const LARGEST_AXIS: usize = isize::MAX as usize / 8;

impl ConvSpec {
    /// The places of the filters on an input of this size. `padding` is the zeros in front and behind; for a transposed
    /// convolution, the outputs that are cut off on both sides and those that are added behind.
    ///
    /// # Errors
    ///
    /// [`GeometryError`]: the sizes do not belong together, leave no room for an output, or are too large for memory.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_int8_kernels::{ConvSpec, conv::GeometryError};
    ///
    /// let spec = ConvSpec {
    ///     axes: 2,
    ///     channels: [3, 8],
    ///     groups: 1,
    ///     kernel: [1, 3, 3],
    ///     stride: [1, 2, 2],
    ///     dilation: [1, 1, 1],
    ///     transposed: false,
    /// };
    /// let padding = [[0, 0], [1, 1], [1, 1]];
    /// assert_eq!(spec.geometry([1, 9, 8], padding)?.output(), [1, 5, 4]);
    /// assert_eq!(spec.geometry([1, 2, 2], [[0; 2]; 3]), Err(GeometryError::NoOutput));
    /// # Ok::<(), GeometryError>(())
    /// ```
    pub fn geometry(
        &self,
        input: [usize; 3],
        padding: [[usize; 2]; 3],
    ) -> Result<ConvGeometry, GeometryError> {
        WeightLayout::Conv(*self).check().map_err(|reason| GeometryError::Spec { reason })?;
        if self.kernel.contains(&0) || self.stride.contains(&0) {
            let Self { kernel, stride, .. } = self;
            return Err(GeometryError::Spec {
                reason: format!("a kernel of {kernel:?} with a stride of {stride:?}"),
            });
        }
        let (mut output, mut extent) = ([0; 3], [0; 3]);
        for axis in 0..3 {
            let [front, behind] = padding[axis];
            let sizes = [input[axis], front, behind, self.stride[axis], self.dilation[axis]];
            if sizes.iter().any(|&size| size > LARGEST_AXIS) {
                return Err(GeometryError::TooLarge);
            }
            // The filter's extent less one.
            let reach = (self.kernel[axis] - 1).checked_mul(self.dilation[axis]);
            let reach = reach.filter(|&reach| reach < LARGEST_AXIS).ok_or(GeometryError::TooLarge)?;
            (output[axis], extent[axis]) = if self.transposed {
                let last = input[axis].checked_sub(1).ok_or(GeometryError::NoOutput)?;
                let whole =
                    last.checked_mul(self.stride[axis]).and_then(|last| last.checked_add(reach + 1 + behind));
                let whole = whole.ok_or(GeometryError::TooLarge)?;
                (whole.checked_sub(2 * front).ok_or(GeometryError::NoOutput)?, whole)
            } else {
                let padded = input[axis] + front + behind;
                let room = padded.checked_sub(reach + 1).ok_or(GeometryError::NoOutput)?;
                (room / self.stride[axis] + 1, padded)
            };
        }
        if output.contains(&0) {
            return Err(GeometryError::NoOutput);
        }
        let sample_bytes = self.sample_bytes(extent, output).ok_or(GeometryError::TooLarge)?;
        let padding = padding.map(|[front, _]| front);
        Ok(ConvGeometry { spec: *self, input, output, padding, sample_bytes })
    }

    /// The bytes of one sample's input with its padding, blocked by four channels, or of its output if that has more; `None`
    /// if there are more than addresses.
    fn sample_bytes(&self, extent: [usize; 3], output: [usize; 3]) -> Option<usize> {
        const BYTES: usize = 64; // a value has four to eight bytes, and tiles may read past the last one
        let bytes = |sizes: [usize; 3], channels: usize| {
            let sizes = sizes.into_iter().chain([channels.max(1), BYTES]);
            let round = |size: usize| size.checked_next_multiple_of(4);
            let bytes = sizes.into_iter().try_fold(1usize, |bytes, size| bytes.checked_mul(round(size)?));
            bytes.filter(|&bytes| bytes <= isize::MAX as usize)
        };
        let [inputs, outputs] = self.channels;
        let small = extent.into_iter().chain(output).all(|size| size <= LARGEST_AXIS);
        Some(bytes(extent, inputs)?.max(bytes(output, outputs)?)).filter(|_| small)
    }
}

impl ConvGeometry {
    /// The convolution.
    pub fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// The values along each axis of the input.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// The values along each axis of the output.
    pub fn output(&self) -> [usize; 3] {
        self.output
    }

    /// The zeros in front of the input; for a transposed convolution, the outputs cut off in front.
    pub fn padding(&self) -> [usize; 3] {
        self.padding
    }

    /// True if each output reads the channels of one pixel and nothing else: the convolution is a product whose rows are pixels.
    pub fn is_pointwise(&self) -> bool {
        let spec = &self.spec;
        let inside = (0..3).all(|axis| (self.output[axis] - 1) * spec.stride[axis] < self.input[axis]);
        let single = spec.kernel == [1; 3] && self.padding == [0; 3] && inside;
        single && !spec.transposed && spec.groups == 1 && spec.channels[0] > 1
    }

    /// True if a batch of so many samples, all at once, has fewer bytes than there are addresses.
    pub fn fits_batch(&self, batch: usize) -> bool {
        self.sample_bytes.checked_mul(batch).is_some_and(|bytes| bytes <= isize::MAX as usize)
    }

    /// The values of one sample of the input.
    pub(super) fn sample(&self) -> usize {
        self.spec.channels[0] * self.input.iter().product::<usize>()
    }
}
