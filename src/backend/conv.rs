//! The call of a convolution, of any number of axes.

use burn::tensor::Shape;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

use crate::nn::conv::{PerAxis, geometry};
use burn_int8_kernels::ConvSpec;
use burn_int8_kernels::conv::ConvGeometry;

/// The options of a convolution, for three axes; those in front, which it lacks, have one position.
pub(super) struct ConvCall {
    axes: usize,
    transposed: bool,
    stride: [usize; 3],
    dilation: [usize; 3],
    groups: usize,
    /// The zeros around the input; of a transposed convolution, the outputs that are cut off and those that are added behind.
    padding: [[usize; 2]; 3],
}

impl<const N: usize> From<&ConvOptions<N>> for ConvCall {
    fn from(options: &ConvOptions<N>) -> Self {
        Self {
            axes: N,
            transposed: false,
            stride: options.stride.widen(1),
            dilation: options.dilation.widen(1),
            groups: options.groups,
            padding: options.padding.widen(0).map(|padding| [padding; 2]),
        }
    }
}

impl<const N: usize> From<&ConvTransposeOptions<N>> for ConvCall {
    fn from(options: &ConvTransposeOptions<N>) -> Self {
        let (cut, added) = (options.padding.widen(0), options.padding_out.widen(0));
        Self {
            axes: N,
            transposed: true,
            stride: options.stride.widen(1),
            dilation: options.dilation.widen(1),
            groups: options.groups,
            padding: std::array::from_fn(|axis| [cut[axis], added[axis]]),
        }
    }
}

impl ConvCall {
    /// Says whether integers compute the call: the weight must be one of such a convolution, and its scales those of the outputs.
    pub(super) fn fits(&self, filter: &ConvSpec) -> bool {
        // The scales of a transposed convolution without known groups are those of all its groups.
        let has_scales = !self.transposed || [1, self.groups].contains(&filter.groups);
        (self.axes, self.transposed) == (filter.axes, filter.transposed) && has_scales
    }

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

    /// The places of the filters on an input of this shape, with some zeros around it beside those of the call.
    ///
    /// # Panics
    ///
    /// If the input has other channels, no room for a single output, or is too large for memory with its padding.
    pub(super) fn geometry(
        &self,
        kind: &str,
        spec: &ConvSpec,
        input: &Shape,
        around: [[usize; 2]; 3],
    ) -> ConvGeometry {
        let all =
            |axis: usize| [0, 1].map(|side| self.padding[axis][side].saturating_add(around[axis][side]));
        let padding = [0, 1, 2].map(all);
        geometry(kind, spec, input.as_slice(), &padding, |_| padding)
    }
}
