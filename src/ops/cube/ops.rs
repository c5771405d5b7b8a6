//! What a layer computes, as one step in the device's queue.

use burn::prelude::*;
use burn::tensor::{DType, Element};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{ConvInput, Launch, Matrix, PartOf};
use super::route::{DeviceOp, Input, run};
use crate::config::LayerScheme;
use crate::ops::portable::weights::Words;
use burn_int8_kernels::{ConvGeometry, ConvSpec};

/// What all steps have in common: inputs `x`, scales, words of each part, bias if there is one; and the output.
#[derive(Debug)]
pub(super) struct Step<K> {
    pub(super) kind: K,
    pub(super) scheme: LayerScheme,
    pub(super) parts: Vec<PartOf>,
    /// Whether kernels multiply four bytes at once.
    pub(super) dot: bool,
    pub(super) shape: Shape,
    pub(super) dtype: DType,
}

/// A kind of step.
pub(super) trait Kind: std::fmt::Debug + Send + Sync + 'static {
    /// Puts its kernels in the queue.
    fn launch<R: CubeRuntime>(&self, launch: &Launch<'_, R>);
}

impl<K: Kind> DeviceOp for Step<K> {
    fn output(&self) -> (Shape, DType) {
        (self.shape.clone(), self.dtype)
    }

    fn launch<R: CubeRuntime>(&self, inputs: Vec<CubeTensor<R>>) -> CubeTensor<R> {
        let inputs: Vec<_> = inputs.into_iter().map(into_contiguous).collect();
        let (x, client) = (&inputs[0], &inputs[0].client);
        let bytes = self.shape.num_elements() * self.dtype.size();
        let handle = client.empty(bytes);
        let out = CubeTensor::new_contiguous(
            client.clone(),
            x.device.clone(),
            self.shape.clone(),
            handle,
            self.dtype,
        );
        self.kind.launch(&Launch::new(self, &inputs, &out));
        out
    }
}

impl<K: Kind> Step<K> {
    /// Puts the step in the queue of its backend.
    pub(super) fn run<B: Backend, const D: usize>(
        self,
        x: Input<B>,
        words: &Words<B>,
        bias: Option<Tensor<B, 1>>,
    ) -> Tensor<B, D> {
        let mut inputs = vec![x, words.scales.clone().into()];
        inputs.extend(words.parts.iter().map(|part| part.words.clone().into()));
        inputs.extend(bias.map(|bias| to_type(bias, DType::F32).into()));
        run(self, inputs)
    }
}

pub(super) fn parts<B: Backend>(words: &Words<B>) -> Vec<PartOf> {
    words.parts.iter().map(|part| PartOf { first: part.first, columns: part.columns }).collect()
}

/// Whether device code, which counts in 32 bits, can address so many values.
fn addressable(values: impl IntoIterator<Item = usize>) -> bool {
    const MOST: usize = 1 << 31;
    values.into_iter().all(|values| values < MOST)
}

/// # Panics
///
/// Unless the input is where the weights are.
fn assert_together<B: Backend>(input: &B::Device, words: &Words<B>) {
    let weights = words.scales.device();
    assert!(
        *input == weights,
        "the input is on {input:?}, but the weights of this INT8 layer are on {weights:?}: move one with `to_device`",
    );
}

/// A cast, where it is one.
pub(super) fn to_type<B: Backend, const D: usize>(x: Tensor<B, D>, dtype: DType) -> Tensor<B, D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// The types that kernels read and write; others take a way through `f32`.
fn of_kernels(dtype: DType) -> DType {
    if matches!(dtype, DType::F32 | DType::F16 | DType::BF16) { dtype } else { DType::F32 }
}

/// `x · words`, for the last axis of `x`.
pub(in crate::ops) fn linear<B: Backend, const D: usize>(
    words: &Words<B>,
    x: Tensor<B, D>,
    scheme: LayerScheme,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    let ([inputs, outputs], mut shape, dtype) = (words.shape(), x.shape(), x.dtype());
    let rows: usize = shape[..D - 1].iter().product();
    shape[D - 1] = outputs;
    if rows == 0 || !addressable([rows * inputs.next_multiple_of(4), rows * outputs]) {
        return words.linear(x, scheme, bias);
    }
    assert_together(&x.device(), words);
    let x = to_type(x, of_kernels(dtype));
    let kind = Matrix { rows, inputs, outputs };
    let step = Step { kind, scheme, parts: parts(words), dot: words.packed_dot, shape, dtype: x.dtype() };
    to_type(step.run(x.into(), words, bias), dtype)
}

/// The convolution of `x` `[samples, channels, ..]`.
pub(in crate::ops) fn conv<B: Backend, const D: usize>(
    words: &Words<B>,
    filter: &ConvSpec,
    x: Tensor<B, D>,
    window: &ConvGeometry,
    scheme: LayerScheme,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    let (mut shape, dtype) = (x.shape(), x.dtype());
    let (samples, plane) = (shape[0], window.input.iter().product::<usize>());
    // With up to three zeros behind the channels of each group.
    let padded = samples * plane * (filter.channels[0] + 3 * filter.groups);
    shape[1] = filter.channels[1];
    shape[2..].copy_from_slice(&window.output[5 - D..]);
    let steps = [filter.kernel, filter.stride, filter.dilation, window.padding].concat();
    if padded == 0 || !addressable([padded, shape.num_elements()]) || !addressable(steps) {
        return words.conv(filter, x, window, scheme, bias);
    }
    assert_together(&x.device(), words);
    let x = to_type(x, of_kernels(dtype));
    let kind = ConvInput { samples, filter: *filter, window: *window };
    let step = Step { kind, scheme, parts: parts(words), dot: words.packed_dot, shape, dtype: x.dtype() };
    to_type(step.run(x.into(), words, bias), dtype)
}

/// The rows of a table at `indices` `[batch, length]`; NaN for an index that is not in the table.
pub(in crate::ops) fn embed<B: Backend>(words: &Words<B>, indices: Tensor<B, 2, Int>) -> Tensor<B, 3> {
    let ([width, entries], [batch, length]) = (words.shape(), indices.dims());
    let shape = Shape::new([batch, length, width]);
    let dtype = B::FloatElem::dtype();
    if shape.num_elements() == 0 {
        return words.embed(indices);
    }
    assert_together(&indices.device(), words);
    let indices = if indices.dtype() == DType::I32 { indices } else { indices.cast(DType::I32) };
    let kind = super::launch::Table { indices: batch * length, width, entries };
    let scheme = LayerScheme::default();
    let step =
        Step { kind, scheme, parts: parts(words), dot: words.packed_dot, shape, dtype: of_kernels(dtype) };
    to_type(step.run(indices.into(), words, None), dtype)
}
