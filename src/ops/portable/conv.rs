//! Convolutions tap by tap: each tap is a matrix product of the channels under it.

use burn::prelude::*;
use burn::tensor::{DType, Slice};

use super::rows::{make_room, quantize_pixels, quantize_rows};
use super::total::{EXACT_IN_F32, Total, exact_in_f32};
use super::weights::DeviceWeights;
use crate::config::{InputCodes, QuantMode};
use crate::ops::op::ConvOp;
use burn_int8_kernels::ConvSpec;
use burn_int8_kernels::conv::ConvGeometry;

/// The convolution of `x` `[batch, channels, ..]`.
pub(in crate::ops) fn conv<B: Backend, const D: usize>(
    weights: &DeviceWeights<B>,
    x: Tensor<B, D>,
    op: ConvOp<B>,
) -> Tensor<B, D> {
    let (shape, dtype, device) = (op.output(&x.shape()), x.dtype(), x.device());
    let ConvOp { geometry, scheme, bias } = op;
    let spec = *geometry.spec();
    let (batch, [inputs, outputs]) = (shape[0], spec.channels);
    if shape.num_elements() == 0 {
        return Tensor::zeros(shape, (&device, dtype));
    }
    let positions: usize = geometry.output().iter().product();
    let [depth, height, width] = geometry.input();
    let planes = [batch, inputs, depth, height, width];
    let scales = weights.scales.clone().reshape([1, outputs, 1]);
    let mut y = Tensor::zeros([batch, outputs, positions], (&device, DType::F32));
    if !planes.contains(&0) {
        let x = x.cast(DType::F32).reshape([batch, planes[1..].iter().product()]);
        let of_samples = |factors: Tensor<B, 2>| factors.reshape([batch, 1, 1]);
        // The zeros are scaled, too, where no tap meets the input: a scale that is NaN must show.
        let sums = |sums: Option<Tensor<B, 3>>| match sums {
            Some(sums) => by_sample(sums, y.dims()),
            None => y.clone(),
        };
        y = match scheme.mode {
            QuantMode::Auto | QuantMode::Dynamic => {
                let (q, x_scales) = if scheme.codes == InputCodes::Auto && geometry.is_pointwise() {
                    let pixels = planes[2..].iter().product();
                    let (q, x_scales) = quantize_pixels(x.reshape([batch, inputs, pixels]), scheme.range);
                    (
                        q.reshape(planes),
                        of_outputs(x_scales.reshape([batch, 1, depth, height, width]), &geometry),
                    )
                } else {
                    let (q, x_scales) = quantize_rows(x, scheme.inputs());
                    (q.reshape(planes), of_samples(x_scales))
                };
                let mut total = Total::default();
                let add = |inputs, product| total.add(inputs, product);
                add_taps(weights, &geometry, q, exact_in_f32(scheme.codes), add);
                sums(total.finish()) * (x_scales * scales)
            }
            QuantMode::WeightOnly => {
                let (x, restore) = make_room(x);
                let mut total: Option<Tensor<B, 3>> = None;
                add_taps(weights, &geometry, x.reshape(planes), EXACT_IN_F32, |_, product| {
                    total = Some(match total.take() {
                        Some(total) => total + product,
                        None => product,
                    });
                });
                sums(total) * scales * of_samples(restore)
            }
        };
    }
    if let Some(bias) = bias {
        y = y + bias.cast(DType::F32).reshape([1, outputs, 1]);
    }
    y.reshape(shape).cast(dtype)
}

/// The scale `[batch, 1, positions]` of the pixel that each output reads, given those of all pixels.
fn of_outputs<B: Backend>(scales: Tensor<B, 5>, geometry: &ConvGeometry) -> Tensor<B, 3> {
    let (batch, stride) = (scales.dims()[0], geometry.spec().stride);
    let read = geometry.output().into_iter().zip(stride).enumerate();
    let scales = read.fold(scales, |scales, (axis, (length, stride))| {
        // A single output reads the first pixel, whatever the stride is.
        let (end, step) = if length == 1 { (1, 1) } else { ((length - 1) * stride + 1, stride) };
        scales.slice_dim(2 + axis, Slice::new(0, Some(end as isize), step as isize))
    });
    scales.reshape([batch, 1, geometry.output().iter().product()])
}

/// Turns `[groups, batch * positions, channels]` into `[batch, groups * channels, positions]`.
fn by_sample<B: Backend>(sums: Tensor<B, 3>, [batch, outputs, positions]: [usize; 3]) -> Tensor<B, 3> {
    let [groups, _, channels] = sums.dims();
    let sums = sums.reshape([groups, batch, positions, channels]).permute([1, 0, 3, 2]);
    sums.reshape([batch, outputs, positions])
}

/// Hands `add` the products `[groups, batch * positions, channels]` of each tap that meets the input, with the number of
/// inputs that each sums up: at most `at_once`.
fn add_taps<B: Backend>(
    weights: &DeviceWeights<B>,
    geometry: &ConvGeometry,
    x: Tensor<B, 5>,
    at_once: usize,
    mut add: impl FnMut(usize, Tensor<B, 3>),
) {
    let spec = geometry.spec();
    let ConvSpec { groups, kernel, .. } = *spec;
    let [inputs, outputs] = spec.group_channels();
    let [batch, ..] = x.dims();
    let positions: usize = geometry.output().iter().product();
    for tap in 0..spec.taps() {
        let at = [tap / kernel[2] / kernel[1], tap / kernel[2] % kernel[1], tap % kernel[2]];
        let [Some(z), Some(y), Some(w)] = [0, 1, 2].map(|axis| Meeting::new(spec, geometry, axis, at[axis]))
        else {
            continue;
        };
        let under = [z, y, w].into_iter().enumerate();
        let under = under
            .fold(x.clone(), |x, (axis, meeting)| meeting.move_inputs(x, 2 + axis, geometry.output()[axis]));
        let under = under.reshape([batch, groups, inputs, positions]);
        let under = under.permute([1, 0, 3, 2]).reshape([groups, batch * positions, inputs]);
        for first in (0..inputs).step_by(at_once) {
            let channels = first..inputs.min(first + at_once);
            let first = spec.plain_row(tap);
            let rows = first + channels.start..first + channels.end;
            let filters = weights.floats(rows).reshape([channels.len(), groups, outputs]).swap_dims(0, 1);
            let slice = under.clone().slice([0..groups, 0..batch * positions, channels.clone()]);
            add(channels.len(), slice.matmul(filters));
        }
    }
}

/// The inputs along one axis that a tap meets, and the outputs at which it meets them. All of these are positions in tensors
/// that are in memory, whatever stride, dilation and padding are: nothing that is computed from them can overflow.
struct Meeting {
    /// The first input, and the distance from one to the next.
    input: usize,
    input_step: usize,
    /// The first output, and the distance from one to the next.
    output: usize,
    output_step: usize,
    /// The number of inputs: at least one.
    count: usize,
}

impl Meeting {
    /// `None` if the tap meets padding alone.
    fn new(spec: &ConvSpec, geometry: &ConvGeometry, axis: usize, tap: usize) -> Option<Self> {
        let [input, output] = [geometry.input()[axis], geometry.output()[axis]];
        let stride = spec.stride[axis];
        // The stride multiplies the position in one tensor; the product and this offset give that in the other. Geometries are
        // made only where `(kernel - 1) * dilation` is a `usize`, so `i128` holds every step of this.
        let offset = tap as i128 * spec.dilation[axis] as i128 - geometry.padding()[axis] as i128;
        let (multiplied, other) = if spec.transposed { (input, output) } else { (output, input) };
        let up = |distance: i128| (distance.max(0) + stride as i128 - 1) / stride as i128;
        let first = up(-offset);
        let end = up(other as i128 - offset).min(multiplied as i128);
        let count = usize::try_from(end - first).ok().filter(|count| *count > 0)?;
        let [first, met] = [first, first * stride as i128 + offset].map(|at| usize::try_from(at).ok());
        let (first, met) = (first?, met?);
        // A single position has no next one; a stride that leads out of every tensor is left out of all that follows.
        let stride = if count == 1 { 1 } else { stride };
        Some(if spec.transposed {
            Self { input: first, input_step: 1, output: met, output_step: stride, count }
        } else {
            Self { input: met, input_step: stride, output: first, output_step: 1, count }
        })
    }

    /// The axis of `length` outputs, with each input at the output where the tap meets it, and zeros elsewhere.
    fn move_inputs<B: Backend>(&self, x: Tensor<B, 5>, axis: usize, length: usize) -> Tensor<B, 5> {
        let Self { input, input_step, output, output_step, count } = *self;
        let end = input + (count - 1) * input_step + 1;
        let x = if [input, end, input_step] == [0, x.dims()[axis], 1] {
            x
        } else {
            x.slice_dim(axis, Slice::new(input as isize, Some(end as isize), input_step as isize))
        };
        surround(dilate(x, axis, output_step), axis, output, length)
    }
}

/// Puts `step - 1` zeros between neighbours.
fn dilate<B: Backend>(x: Tensor<B, 5>, axis: usize, step: usize) -> Tensor<B, 5> {
    if step == 1 {
        return x;
    }
    let mut dims = x.dims();
    let length = (dims[axis] - 1) * step + 1;
    let x: Tensor<B, 6> = x.unsqueeze_dim(axis + 1);
    let mut zeros = x.dims();
    zeros[axis + 1] = step - 1;
    let zeros = Tensor::zeros(zeros, (&x.device(), x.dtype()));
    dims[axis] *= step;
    Tensor::cat(vec![x, zeros], axis + 1).reshape(dims).narrow(axis, 0, length)
}

/// Makes the axis `length` long: `front` zeros first, and zeros at the end.
fn surround<B: Backend>(x: Tensor<B, 5>, axis: usize, front: usize, length: usize) -> Tensor<B, 5> {
    let (dims, options) = (x.dims(), (&x.device(), x.dtype()));
    let behind = length - front - dims[axis];
    let zeros = |length| {
        let mut dims = dims;
        dims[axis] = length;
        (length > 0).then(|| Tensor::zeros(dims, options))
    };
    let mut parts: Vec<_> = [zeros(front), Some(x.clone()), zeros(behind)].into_iter().flatten().collect();
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, axis) }
}
