//! The code that the six convolutions have in common.

use burn::module::Content;
use burn::prelude::*;

use super::padding::{Padding, PerAxis};
use crate::nn::layer::FloatLayer;
use crate::nn::qlayer::QLayer;
use crate::nn::straight_through::straight_through;
use crate::ops::ConvOp;
use burn_int8_kernels::{ConvGeometry, ConvSpec, WeightLayout};

/// Shape and hyper-parameters of a convolution.
#[derive(Clone, Debug)]
pub struct ConvOptions<P> {
    pub(super) filter: ConvSpec,
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
        let filter = ConvSpec {
            axes: D - 2,
            channels: if transposed { [first, second] } else { [second, first] },
            groups,
            kernel,
            stride: stride.widen(1),
            dilation: dilation.widen(1),
            transposed,
        };
        Self { filter, padding }
    }

    /// The places of the filters on an input of this shape.
    ///
    /// # Panics
    ///
    /// If the input has other channels, no room for a single output, or an output too large for memory.
    fn window<const D: usize>(&self, kind: &str, input: [usize; D]) -> ConvGeometry {
        let filter = &self.filter;
        let (channels, weight) = (filter.channels[0], WeightLayout::Conv(*filter).shape());
        assert!(
            input[1] == channels,
            "Q{kind}: an input of shape {input:?} must have {channels} channels, as the weight is {weight:?} in {} groups",
            filter.groups,
        );
        let mut sizes = [1; 3];
        sizes[5 - D..].copy_from_slice(&input[2..]);
        let window = (0..3)
            .all(|axis| reach(filter, axis).is_some())
            .then(|| filter.window(sizes, self.padding.around(filter, sizes)))
            .flatten();
        let refuse = |why: &str| -> ! {
            panic!(
                "Q{kind}: an input of shape {input:?} leaves no room for an output{why}; the weight is {weight:?}, with stride \
                 {:?}, dilation {:?} and padding {:?}",
                P::Axes::narrow(filter.stride),
                P::Axes::narrow(filter.dilation),
                self.padding,
            )
        };
        let Some(window) = window else { refuse("") };
        if !fits_memory(filter, &window, input[0]) {
            refuse(" in memory");
        }
        window
    }

    pub(super) fn describe(&self, content: Content) -> Content {
        let ConvSpec { channels, groups, kernel, stride, dilation, transposed, .. } = self.filter;
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

/// The distance from the first tap to the last along an axis, if a tensor can be longer.
fn reach(filter: &ConvSpec, axis: usize) -> Option<usize> {
    let reach = filter.kernel[axis].checked_sub(1)?.checked_mul(filter.dilation[axis])?;
    isize::try_from(reach).ok().map(|_| reach)
}

/// Says whether a batch of inputs with the zeros around them, and of outputs, can be addressed: then no size that is computed
/// from them overflows, whatever stride, dilation and padding are.
fn fits_memory(filter: &ConvSpec, window: &ConvGeometry, batch: usize) -> bool {
    /// Bytes for each value: a float, a few copies, and zeros up to the end of a vector or a word.
    const BYTES: usize = 64;
    let along = |axis: usize| {
        let reach = reach(filter, axis)?;
        let [input, output] = [window.input[axis], window.output[axis]];
        let walked = if filter.transposed {
            output.checked_add(window.padding[axis])?
        } else {
            output.checked_sub(1)?.checked_mul(filter.stride[axis])?
        };
        walked.checked_add(reach)?.checked_add(input)?.checked_add(output)
    };
    let channels = filter.channels[0].max(filter.channels[1]);
    let sizes = (0..3).map(along).chain([Some(batch.max(1)), Some(channels), Some(BYTES)]);
    let bytes = sizes.into_iter().try_fold(1usize, |bytes, size| bytes.checked_mul(size?));
    bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok())
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
    let op = ConvOp {
        spec: layer.options.filter,
        geometry: layer.options.window(L::KIND, input.dims()),
        scheme: layer.weight.scheme,
        bias: layer.bias(),
    };
    straight_through(layer, input, |x| layer.weight.weights.conv(x, op), float)
}
