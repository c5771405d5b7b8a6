//! The call of a convolution, of any number of axes.

use burn::tensor::Shape;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

use crate::nn::conv::geometry;
use burn_int8_kernels::ConvSpec;
use burn_int8_kernels::conv::ConvGeometry;

/// The options of a convolution, for three axes; those in front, which it lacks, have one position.
pub(super) struct ConvCall {
    stride: [usize; 3],
    dilation: [usize; 3],
    groups: usize,
    /// What is added around the input; of a transposed convolution, what is cut off and what is added behind.
    padding: [[usize; 2]; 3],
}

/// The numbers of `N` axes as those of three.
fn widen<const N: usize>(axes: [usize; N], filling: usize) -> [usize; 3] {
    std::array::from_fn(|axis| if axis + N < 3 { filling } else { axes[axis + N - 3] })
}

impl<const N: usize> From<&ConvOptions<N>> for ConvCall {
    fn from(options: &ConvOptions<N>) -> Self {
        Self {
            stride: widen(options.stride, 1),
            dilation: widen(options.dilation, 1),
            groups: options.groups,
            padding: widen(options.padding, 0).map(|padding| [padding; 2]),
        }
    }
}

impl<const N: usize> From<&ConvTransposeOptions<N>> for ConvCall {
    fn from(options: &ConvTransposeOptions<N>) -> Self {
        let (cut, added) = (widen(options.padding, 0), widen(options.padding_out, 0));
        Self {
            stride: widen(options.stride, 1),
            dilation: widen(options.dilation, 1),
            groups: options.groups,
            padding: std::array::from_fn(|axis| [cut[axis], added[axis]]),
        }
    }
}

impl ConvCall {
    /// The filters as they are called, of which `filter` has the shape.
    pub(super) fn spec(&self, filter: &ConvSpec) -> ConvSpec {
        let [inputs, outputs] = filter.channels;
        // The axis of the weight that is divided by the groups has what a single group has.
        let channels = if filter.transposed {
            [inputs, outputs / filter.groups * self.groups]
        } else {
            [inputs / filter.groups * self.groups, outputs]
        };
        ConvSpec { channels, groups: self.groups, stride: self.stride, dilation: self.dilation, ..*filter }
    }

    /// The places of the filters on an input of this shape.
    ///
    /// # Panics
    ///
    /// If the input has other channels, no room for a single output, or is too large for memory with its padding.
    pub(super) fn geometry(&self, kind: &str, spec: &ConvSpec, input: &Shape) -> ConvGeometry {
        geometry(kind, spec, input.as_slice(), &self.padding, |_| self.padding)
    }
}
