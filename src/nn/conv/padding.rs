//! The padding of a convolution, axis by axis, as Burn computes it.

use std::fmt::Debug;

use burn::module::Content;
use burn::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};

use burn_int8_kernels::ConvSpec;

/// One number per axis, as Burn's layer of that many axes has it.
pub trait PerAxis: Copy + Debug + Send + Sync + 'static {
    /// The numbers of three axes; those in front, which the layer lacks, are `filling`.
    fn widen(self, filling: usize) -> [usize; 3];

    /// The numbers of the axes that the layer has, from those of three axes.
    fn narrow(all: [usize; 3]) -> Self;
}

impl PerAxis for usize {
    fn widen(self, filling: usize) -> [usize; 3] {
        [filling, filling, self]
    }

    fn narrow([_, _, last]: [usize; 3]) -> Self {
        last
    }
}

impl<const D: usize> PerAxis for [usize; D] {
    fn widen(self, filling: usize) -> [usize; 3] {
        let mut all = [filling; 3];
        all[3 - D..].copy_from_slice(&self);
        all
    }

    fn narrow(all: [usize; 3]) -> Self {
        std::array::from_fn(|axis| all[3 - D + axis])
    }
}

/// The padding of a convolution, as its layer is told.
pub trait Padding: Clone + Debug + Send + Sync + 'static {
    /// The type in which the layer has one number per axis.
    type Axes: PerAxis;

    /// The padding that [`ConvSpec::geometry`] takes, for an input of these sizes.
    fn around(&self, spec: &ConvSpec, input: [usize; 3]) -> [[usize; 2]; 3];

    /// Adds the padding to what is displayed.
    fn describe(&self, content: Content) -> Content;
}

/// The padding in front and behind that makes the output as long as the input, or as the strides in it. Dilation is left out,
/// as Burn leaves it out.
///
/// Nothing here overflows: `(output - 1) * stride` is less than the input, and both input and kernel are axes of tensors.
fn same(spec: &ConvSpec, input: [usize; 3]) -> [[usize; 2]; 3] {
    std::array::from_fn(|axis| {
        // Without a stride there is no output, which the caller finds out.
        let (stride, kernel) = (spec.stride[axis].max(1), spec.kernel[axis]);
        let total = match input[axis].div_ceil(stride) {
            0 => 0,
            output => ((output - 1) * stride + kernel).saturating_sub(input[axis]),
        };
        [total / 2, total - total / 2]
    })
}

impl Padding for PaddingConfig1d {
    type Axes = usize;

    fn around(&self, spec: &ConvSpec, input: [usize; 3]) -> [[usize; 2]; 3] {
        match *self {
            Self::Same => same(spec, input),
            Self::Valid => [[0; 2]; 3],
            Self::Explicit(left, right) => [[0; 2], [0; 2], [left, right]],
        }
    }

    fn describe(&self, content: Content) -> Content {
        content.add_debug_attribute("padding", self)
    }
}

impl Padding for PaddingConfig2d {
    type Axes = [usize; 2];

    fn around(&self, spec: &ConvSpec, input: [usize; 3]) -> [[usize; 2]; 3] {
        match *self {
            Self::Same => same(spec, input),
            Self::Valid => [[0; 2]; 3],
            Self::Explicit(top, left, bottom, right) => [[0; 2], [top, bottom], [left, right]],
        }
    }

    fn describe(&self, content: Content) -> Content {
        content.add_debug_attribute("padding", self)
    }
}

impl Padding for PaddingConfig3d {
    type Axes = [usize; 3];

    fn around(&self, spec: &ConvSpec, input: [usize; 3]) -> [[usize; 2]; 3] {
        match *self {
            Self::Same => {
                let padding = same(spec, input);
                assert!(
                    padding.iter().all(|[front, behind]| front == behind),
                    "Asymmetric 3D 'Same' padding is not supported: an input of {input:?} with a kernel of {:?} and a stride \
                     of {:?} needs {padding:?}",
                    spec.kernel,
                    spec.stride,
                );
                padding
            }
            Self::Valid => [[0; 2]; 3],
            Self::Explicit(depth, height, width) => [[depth; 2], [height; 2], [width; 2]],
        }
    }

    fn describe(&self, content: Content) -> Content {
        content.add_debug_attribute("padding", self)
    }
}

/// The padding of a transposed convolution: outputs cut off on both sides, and outputs added behind.
#[derive(Clone, Debug)]
pub struct TransposedPadding<A> {
    pub(super) padding: A,
    pub(super) padding_out: A,
}

impl<A: PerAxis> Padding for TransposedPadding<A> {
    type Axes = A;

    fn around(&self, _: &ConvSpec, _: [usize; 3]) -> [[usize; 2]; 3] {
        let (cut, added) = (self.padding.widen(0), self.padding_out.widen(0));
        std::array::from_fn(|axis| [cut[axis], added[axis]])
    }

    fn describe(&self, content: Content) -> Content {
        content
            .add_debug_attribute("padding", &self.padding)
            .add_debug_attribute("padding_out", &self.padding_out)
    }
}
