//! Convolutions tap by tap: each tap is a matrix product of the channels under it.

use burn::prelude::*;
use burn::tensor::{DType, Slice};

use super::{EXACT_IN_F32, Total, quantize_rows};
use crate::config::{LayerScheme, QuantMode};
use crate::ops::portable::weights::Words;
use burn_int8_kernels::{ConvGeometry, ConvSpec};

impl<B: Backend> Words<B> {
    pub(in crate::ops) fn conv<const D: usize>(
        &self,
        filter: &ConvSpec,
        x: Tensor<B, D>,
        window: &ConvGeometry,
        scheme: LayerScheme,
        bias: Option<Tensor<B, 1>>,
    ) -> Tensor<B, D> {
        let (mut shape, dtype, device) = (x.shape(), x.dtype(), x.device());
        let (batch, [inputs, outputs]) = (shape[0], filter.channels);
        shape[1] = outputs;
        shape[2..].copy_from_slice(&window.output[5 - D..]);
        if shape.num_elements() == 0 {
            return Tensor::zeros(shape, (&device, dtype));
        }
        let positions: usize = window.output.iter().product();
        let [depth, height, width] = window.input;
        let planes = [batch, inputs, depth, height, width];
        let x = x.cast(DType::F32).reshape([batch, planes[1..].iter().product()]);
        let scales = self.scales.clone().reshape([1, outputs, 1]);
        let (sums, scales) = if planes.contains(&0) {
            (None, scales)
        } else if scheme.mode == QuantMode::Dynamic {
            let (q, x_scales) = quantize_rows(x, scheme.range);
            let mut total = Total::default();
            self.taps(filter, window, q.reshape(planes), |inputs, product| total.add(inputs, product));
            (total.finish(), x_scales.reshape([batch, 1, 1]) * scales)
        } else {
            let mut total: Option<Tensor<B, 3>> = None;
            self.taps(filter, window, x.reshape(planes), |_, product| {
                total = Some(total.take().map_or(product.clone(), |total| total + product));
            });
            (total, scales)
        };
        let mut y = match sums {
            None => Tensor::zeros([batch, outputs, positions], (&device, DType::F32)),
            Some(sums) => {
                let [groups, _, channels] = sums.dims();
                let sums = sums.reshape([groups, batch, positions, channels]).permute([1, 0, 3, 2]);
                sums.reshape([batch, outputs, positions]) * scales
            }
        };
        if let Some(bias) = bias {
            y = y + bias.cast(DType::F32).reshape([1, outputs, 1]);
        }
        y.reshape(shape).cast(dtype)
    }

    /// Hands `add` the products `[groups, batch * positions, channels]` of each tap, with the number of inputs that each sums
    /// up: so few that a product of integers is exact.
    fn taps(
        &self,
        filter: &ConvSpec,
        window: &ConvGeometry,
        x: Tensor<B, 5>,
        mut add: impl FnMut(usize, Tensor<B, 3>),
    ) {
        let ConvSpec { groups, kernel, dilation, transposed, .. } = *filter;
        let [inputs, outputs] = filter.group_channels();
        let stride = if transposed { [1; 3] } else { filter.stride };
        let [batch, ..] = x.dims();
        let positions: usize = window.output.iter().product();
        let x = place(filter, window, x);
        for tap in 0..filter.taps() {
            let at = [tap / kernel[2] / kernel[1], tap / kernel[2] % kernel[1], tap % kernel[2]];
            let mut slices = [Slice::full(); 5];
            for axis in 0..3 {
                let tap = if transposed { kernel[axis] - 1 - at[axis] } else { at[axis] };
                let start = tap * dilation[axis];
                let end = start + (window.output[axis] - 1) * stride[axis] + 1;
                slices[2 + axis] = Slice::new(start as isize, Some(end as isize), stride[axis] as isize);
            }
            let under = x.clone().slice(slices).reshape([batch, groups, inputs, positions]);
            let under = under.permute([1, 0, 3, 2]).reshape([groups, batch * positions, inputs]);
            for first in (0..inputs).step_by(EXACT_IN_F32) {
                let channels = first..inputs.min(first + EXACT_IN_F32);
                let first = filter.plain_row(tap);
                let rows = first + channels.start..first + channels.end;
                let weights = self.floats(rows).reshape([channels.len(), groups, outputs]).swap_dims(0, 1);
                let part = under.clone().slice([0..groups, 0..batch * positions, channels.clone()]);
                add(channels.len(), part.matmul(weights));
            }
        }
    }
}

/// The input with the zeros that belong around it and, for a transposed convolution, between its values; without what no
/// tap reads.
fn place<B: Backend>(filter: &ConvSpec, window: &ConvGeometry, mut x: Tensor<B, 5>) -> Tensor<B, 5> {
    for axis in 0..3 {
        let reach = (filter.kernel[axis] - 1) * filter.dilation[axis];
        if filter.transposed {
            x = spread(x, 2 + axis, filter.stride[axis]);
            let front = reach as isize - window.padding[axis] as isize;
            x = fit(x, 2 + axis, front, window.output[axis] + reach);
        } else {
            let length = (window.output[axis] - 1) * filter.stride[axis] + reach + 1;
            x = fit(x, 2 + axis, window.padding[axis] as isize, length);
        }
    }
    x
}

/// Puts `stride - 1` zeros between neighbours.
fn spread<B: Backend>(x: Tensor<B, 5>, axis: usize, stride: usize) -> Tensor<B, 5> {
    if stride == 1 {
        return x;
    }
    let mut dims = x.dims();
    let length = (dims[axis] - 1) * stride + 1;
    let x: Tensor<B, 6> = x.unsqueeze_dim(axis + 1);
    let mut zeros = x.dims();
    zeros[axis + 1] = stride - 1;
    let zeros = Tensor::zeros(zeros, (&x.device(), x.dtype()));
    dims[axis] *= stride;
    Tensor::cat(vec![x, zeros], axis + 1).reshape(dims).narrow(axis, 0, length)
}

/// Makes the axis `length` long: `front` zeros first, or that many values dropped if negative, and zeros at the end.
fn fit<B: Backend>(x: Tensor<B, 5>, axis: usize, front: isize, length: usize) -> Tensor<B, 5> {
    let dims = x.dims();
    let options = (&x.device(), x.dtype());
    let (zeros, dropped) = (front.max(0) as usize, (-front).max(0) as usize);
    let kept = dims[axis].saturating_sub(dropped).min(length.saturating_sub(zeros));
    if kept == dims[axis] && kept == length {
        return x;
    }
    let blank = |length| {
        let mut dims = dims;
        dims[axis] = length;
        Tensor::zeros(dims, options)
    };
    if kept == 0 {
        return blank(length);
    }
    let mut parts = vec![x.narrow(axis, dropped, kept)];
    if zeros > 0 {
        parts.insert(0, blank(zeros));
    }
    if zeros + kept < length {
        parts.push(blank(length - zeros - kept));
    }
    Tensor::cat(parts, axis)
}
