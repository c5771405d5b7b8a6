//! The code that the six convolutions have in common.

use std::fmt::Debug;

use burn::module::Content;
use burn::prelude::*;

use super::padding::{Padding, PerAxis};
use crate::nn::layer::FloatLayer;
use crate::nn::qlayer::QLayer;
use crate::nn::straight_through::straight_through;
use crate::ops::ConvOp;
use burn_int8_kernels::conv::{ConvGeometry, GeometryError};
use burn_int8_kernels::{ConvSpec, WeightLayout};

/// Shape and hyper-parameters of a convolution.
#[derive(Clone, Debug)]
pub struct ConvOptions<P> {
    pub(super) spec: ConvSpec,
    pub(super) padding: P,
}

impl<P: Padding> ConvOptions<P> {
    /// The options of a layer with weights `[out, in / groups, ..]`, or `[in, out / groups, ..]` if transposed.
    pub(super) fn new<const D: usize>(
        weight: [usize; D],
        [stride, dilation]: [P::Axes; 2],
        groups: usize,
        transposed: bool,
        padding: P,
    ) -> Self {
        let [first, second] = [weight[0], weight[1] * groups];
        let mut kernel = [1; 3];
        kernel[5 - D..].copy_from_slice(&weight[2..]);
        let spec = ConvSpec {
            axes: D - 2,
            channels: if transposed { [first, second] } else { [second, first] },
            groups,
            kernel,
            stride: stride.widen(1),
            dilation: dilation.widen(1),
            transposed,
        };
        Self { spec, padding }
    }

    pub(super) fn describe(&self, content: Content) -> Content {
        let ConvSpec { channels, groups, kernel, stride, dilation, transposed, .. } = self.spec;
        let content = if transposed {
            content.add_debug_attribute("channels", &channels)
        } else {
            content.add("ch_in", &channels[0]).add("ch_out", &channels[1])
        };
        let content = content
            .add_debug_attribute("stride", &P::Axes::narrow(stride))
            .add_debug_attribute("kernel_size", &P::Axes::narrow(kernel))
            .add_debug_attribute("dilation", &P::Axes::narrow(dilation))
            .add("groups", &groups);
        self.padding.describe(content)
    }
}

/// The places of filters on an input of this shape, with the padding that `around` computes for its sizes.
///
/// # Panics
///
/// If the input has other channels, no room for a single output, or is too large for memory with its padding.
pub(crate) fn geometry<P: Debug>(
    kind: &str,
    spec: &ConvSpec,
    input: &[usize],
    padding: &P,
    around: impl FnOnce([usize; 3]) -> [[usize; 2]; 3],
) -> ConvGeometry {
    let (channels, weight) = (spec.channels[0], WeightLayout::Conv(*spec).shape());
    assert!(
        input[1] == channels,
        "{kind}: an input of shape {input:?} must have {channels} channels, as the weight is {weight:?} in {} groups",
        spec.groups,
    );
    let mut sizes = [1; 3];
    sizes[5 - input.len()..].copy_from_slice(&input[2..]);
    let refuse = |error: &GeometryError| -> ! {
        let why = match error {
            GeometryError::NoOutput => String::new(),
            error => format!(" in memory: {error}"),
        };
        let axes = 3 - spec.axes..;
        panic!(
            "{kind}: an input of shape {input:?} leaves no room for an output{why}; the weight is {weight:?}, with stride {:?}, \
             dilation {:?} and padding {padding:?}",
            &spec.stride[axes.clone()],
            &spec.dilation[axes],
        )
    };
    match spec.geometry(sizes, around(sizes)) {
        Ok(geometry) if geometry.fits_batch(input[0]) => geometry,
        Ok(_) => refuse(&GeometryError::TooLarge),
        Err(error) => refuse(&error),
    }
}

/// The `forward` of an INT8 convolution. `float` is that of Burn's layer, for the gradient.
pub(super) fn convolve<B: Backend, P: Padding, L, const D: usize>(
    layer: &QLayer<L>,
    input: Tensor<B, D>,
    float: impl FnOnce(&L, Tensor<B, D>) -> Tensor<B, D>,
) -> Tensor<B, D>
where
    L: FloatLayer<Backend = B, Options = ConvOptions<P>>,
{
    let ConvOptions { spec, padding } = &layer.options;
    let kind = format!("Q{}", L::KIND);
    let around = |sizes| padding.around(spec, sizes);
    let op = ConvOp {
        geometry: geometry(&kind, spec, &input.dims(), padding, around),
        scheme: layer.weight.scheme,
        bias: layer.bias(),
    };
    straight_through(layer, input, |x| layer.weight.weights.conv(x, op), float)
}
