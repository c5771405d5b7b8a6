//! Convolutions on a device.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeRuntime;
use cubecl::prelude::*;

use super::buffer::Buffer;
use super::context::{
    Context, DeviceOp, Lengths, Multiplicands, QueuedOp, addressable, addresses_words, assert_bias,
    assert_together, kernel_type, product, size, to_type, with_float, with_types,
};
use super::kernels::conv::{SizesLaunch, conv as conv_kernel, mixes_groups};
use super::kernels::quantize::{
    extents_of_chunks, finalize_absmax, quantize_images, room_of_samples, scales_of_pixels,
};
use super::kernels::tile::Inputs;
use crate::config::QuantMode;
use crate::ops::op::ConvOp;
use crate::ops::portable::weights::DeviceWeights;
use burn_int8_kernels::conv::ConvGeometry;

/// A convolution of `samples` images.
#[derive(Debug)]
pub(super) struct Convolution {
    pub(super) samples: usize,
    pub(super) geometry: ConvGeometry,
}

impl Convolution {
    /// The number of values of one channel of the input.
    fn plane(&self) -> usize {
        product(self.geometry.input())
    }

    /// The number of outputs of one channel of all samples.
    fn pixels(&self) -> usize {
        product(self.geometry.output().into_iter().chain([self.samples]))
    }

    /// The rows and columns of its weights: rows as [`ConvSpec::plain_row`] counts them, up to the end of the last tap.
    fn weights(&self) -> [usize; 2] {
        let ([inputs, _], taps) = (self.geometry.spec().group_channels(), self.geometry.spec().taps());
        let rows = taps.checked_sub(1).map_or(0, |last| self.geometry.spec().plain_row(last) + inputs);
        [rows, self.geometry.spec().channels[1]]
    }

    /// Says whether kernels can address every value. They find the position under a tap by additions that wrap and take what is
    /// not in the input for padding, which is right as long as no position is `2^31` or more away from the input.
    fn is_addressable(&self) -> bool {
        let Self { samples, geometry } = self;
        let spec = geometry.spec();
        // There may be three zeros behind the channels of each group.
        let channels = spec.groups.saturating_mul(3).saturating_add(spec.channels[0]);
        let padded = product([*samples, self.plane(), channels]);
        let outputs = product([self.pixels(), spec.channels[1]]);
        let farthest = (0..3).map(|axis| {
            let output = geometry.output()[axis].saturating_sub(1);
            let reach = spec.kernel[axis].saturating_sub(1).saturating_mul(spec.dilation[axis]);
            if spec.transposed {
                output.saturating_add(geometry.padding()[axis]).saturating_add(reach)
            } else {
                output.saturating_mul(spec.stride[axis]).saturating_add(reach)
            }
        });
        let steps = [spec.kernel, spec.stride, spec.dilation, geometry.padding(), geometry.output()].concat();
        padded > 0
            && addressable([padded, outputs])
            && addressable(steps)
            && addressable(farthest)
            && !spec.stride.contains(&0)
    }
}

/// Says whether kernels can address the input and the output of a convolution; not if there is nothing to compute.
pub(in crate::ops) fn addresses_conv<B: Backend>(
    weights: &DeviceWeights<B>,
    op: &ConvOp<B>,
    samples: usize,
) -> bool {
    let convolution = Convolution { samples, geometry: op.geometry };
    convolution.is_addressable() && addresses_words(weights)
}

/// The convolution of `x` `[samples, channels, ..]`.
///
/// # Panics
///
/// Unless [`addresses_conv`], and input, weights and bias belong together.
pub(in crate::ops) fn conv<B: Backend, const D: usize>(
    weights: &DeviceWeights<B>,
    x: Tensor<B, D>,
    op: ConvOp<B>,
) -> Tensor<B, D> {
    let (shape, dtype, found) = (op.output(&x.shape()), x.dtype(), x.shape().num_elements());
    let ConvOp { geometry, scheme, bias } = op;
    let spec = *geometry.spec();
    let kind = Convolution { samples: shape[0], geometry };
    assert_eq!(
        found,
        product([kind.samples, spec.channels[0], kind.plane()]),
        "an input of another shape than the geometry's"
    );
    assert_eq!(weights.shape(), kind.weights(), "weights of another shape than the filter's");
    assert_together(&x.device(), weights);
    assert_bias(bias.as_ref(), spec.channels[1]);
    let x = to_type(x, kernel_type(dtype));
    let queued = QueuedOp::new(kind, scheme, weights, shape, x.dtype());
    to_type(queued.run(x.into(), weights, bias), dtype)
}

impl DeviceOp for Convolution {
    #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
    fn launch<R: CubeRuntime>(&self, context: &Context<'_, R>) {
        let Self { samples, geometry } = self;
        let spec = geometry.spec();
        let pixels = self.pixels();
        context.assert_lengths(&Lengths {
            x: samples * spec.channels[0] * self.plane(),
            weights: self.weights(),
            out: pixels * spec.channels[1],
        });
        assert!(
            self.is_addressable() && pixels > 0,
            "kernels count in 32 bits, and take the last pixel for those past the end"
        );
        let x = self.multiplicands(context);
        let x_scales = x.scales.as_ref().unwrap_or(&context.scales);
        let sizes = |[d, h, w]: [usize; 3]| SizesLaunch::new(size(d), size(h), size(w));
        let vectors = match (spec.groups, context.is_wide()) {
            (1, true) => 2,
            (1, false) => 4,
            _ => 1, // each vector of a group of its own
        };
        for (shard, words) in &context.shards {
            let most = if mixes_groups(spec) { 2 } else { 8 };
            let tile = context.tile(pixels, shard.columns, [most, vectors], x.inputs);
            let across = shard.columns.div_ceil(4).div_ceil(tile.units[0] * tile.vectors);
            let bands = pixels.div_ceil(tile.rows).div_ceil(tile.units[1]);
            let dim = CubeDim::new_2d(size(tile.units[0]), size(tile.units[1]));
            with_types!(context, x.inputs, A N O => {
                // SAFETY: a unit takes pixels up to `pixels - 1` of `samples` planes of outputs, and reads `x` at channels of
                // the filter and at positions that it has found to be in `input`, or at position 0: `x` holds all of these
                // (`assert_lengths`), as floats or as the words that `quantized` was made for. It reads words of rows below
                // the filter's at columns of the shard, a scale or factor of each sample or of each pixel that is read if `inputs` says so, and a scale and
                // a bias for columns `first..first + columns`; and writes pixels below `pixels` at such columns.
                // `assert_lengths` has compared every buffer with these sizes; `is_addressable` says that no position wraps.
                // Units past the end take the last pixel and the last vector and write nothing.
                unsafe {
                    conv_kernel::launch_unchecked::<A, N, O, R>(
                        context.client, context.cubes(across * bands), dim,
                        x.values.arg(1), words.arg(4), x_scales.arg(1), context.scales.arg(1),
                        context.bias_or_any().arg(1), context.out.arg(1),
                        sizes(geometry.input()), sizes(geometry.output()), sizes(geometry.padding()),
                        size(pixels), size(shard.first), size(shard.columns), *spec, tile,
                    );
                }
            });
        }
    }
}

/// The extents of the pieces of each sample.
struct Chunks {
    /// `[samples, chunks]`
    partial: Buffer,
    chunks: usize,
    units: usize,
}

impl Convolution {
    /// The images as they are multiplied.
    fn multiplicands<R: CubeRuntime>(&self, context: &Context<'_, R>) -> Multiplicands {
        let [of_group, _] = self.geometry.spec().group_channels();
        let chunks = || self.extents_of_chunks(context);
        if context.scheme.mode == QuantMode::WeightOnly {
            return context.floats(of_group, || self.sample_factors(context, &chunks()));
        }
        let (values, scales) = self.quantized(context, &chunks());
        // The four channels in a word are inputs of four outputs where each group has a single channel.
        let dot = context.packed_dot && of_group > 1;
        Multiplicands { values, scales: Some(scales), inputs: self.words(context, dot) }
    }

    #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
    fn extents_of_chunks<R: CubeRuntime>(&self, context: &Context<'_, R>) -> Chunks {
        let sample = self.geometry.spec().channels[0] * self.plane();
        let units = context.row_units(sample);
        let chunks = sample.div_ceil(units * 64).clamp(1, 256);
        let partial = Buffer::new(context.client, self.samples * chunks, size_of::<u32>());
        with_float!(context.x_type, F => {
            // SAFETY: each cube reads values within one of `samples` samples of `sample` values in `x`, which holds that many
            // (`assert_lengths`), and writes one of `samples * chunks` extents, for which the buffer was made. Cubes past
            // the last piece take the last one again.
            unsafe {
                extents_of_chunks::launch_unchecked::<F, R>(
                    context.client, context.cubes(self.samples * chunks), CubeDim::new_1d(size(units)),
                    context.x.arg(1), partial.arg(1), size(self.samples), size(sample), size(chunks), units,
                );
            }
        });
        Chunks { partial, chunks, units }
    }

    /// The factor of each sample of floats that leaves room for its sums.
    #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
    fn sample_factors<R: CubeRuntime>(&self, context: &Context<'_, R>, chunks: &Chunks) -> Buffer {
        let Chunks { partial, chunks, units } = chunks;
        let factors = Buffer::new(context.client, self.samples, size_of::<f32>());
        // SAFETY: each cube reads the `chunks` extents of one of `samples` samples, which `partial` was made for, and writes
        // one of `samples` factors, which `factors` was made for. Cubes past the last sample take the last one again.
        unsafe {
            room_of_samples::launch_unchecked::<R>(
                context.client,
                context.cubes(self.samples),
                CubeDim::new_1d(size(*units)),
                partial.arg(1),
                factors.arg(1),
                size(self.samples),
                size(*chunks),
                *units,
            );
        }
        factors
    }

    /// The integers of the images as they are multiplied.
    fn words<R: CubeRuntime>(&self, context: &Context<'_, R>, dot: bool) -> Inputs {
        let auto = context.codes().auto;
        Inputs::Words { dot, auto, of_pixels: auto && self.geometry.is_pointwise() }
    }

    /// One scale for each sample, and the factors of its values.
    #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
    fn scales_of_samples<R: CubeRuntime>(&self, context: &Context<'_, R>, chunks: &Chunks) -> [Buffer; 2] {
        let Chunks { partial, chunks, units } = chunks;
        let (samples, codes) = (self.samples, context.codes());
        let scales = Buffer::new(context.client, samples, size_of::<f32>());
        let factors = Buffer::new(context.client, samples * 2, size_of::<f32>());
        // SAFETY: each cube reads the `chunks` extents of one of `samples` samples, which `partial` was made for, and writes
        // one of `samples` scales and two factors, which those buffers were made for. Cubes past the last sample take the last
        // one again.
        unsafe {
            finalize_absmax::launch_unchecked::<R>(
                context.client,
                context.cubes(samples),
                CubeDim::new_1d(size(*units)),
                partial.arg(1),
                scales.arg(1),
                factors.arg(1),
                size(samples),
                size(*chunks),
                *units,
                codes,
            );
        }
        [scales, factors]
    }

    /// One scale for each pixel, and the factors of its values, given the scales of the samples.
    #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
    fn scales_of_pixels<R: CubeRuntime>(&self, context: &Context<'_, R>, of_samples: &Buffer) -> [Buffer; 2] {
        let (channels, plane) = (self.geometry.spec().channels[0], self.plane());
        let pixels = self.samples * plane;
        let scales = Buffer::new(context.client, pixels, size_of::<f32>());
        let factors = Buffer::new(context.client, pixels * 2, size_of::<f32>());
        with_float!(context.x_type, F => {
            // SAFETY: each unit below `pixels` reads the scale of one of `samples` samples, which `of_samples` was made for, and one
            // value of each of its channels in `x`, which holds `samples * channels * plane` (`assert_lengths`); it writes one scale
            // and two factors, which the buffers were made for. Units past the last pixel stop at once.
            unsafe {
                scales_of_pixels::launch_unchecked::<F, R>(
                    context.client, context.cubes(pixels.div_ceil(64)), CubeDim::new_1d(64),
                    context.x.arg(1), of_samples.arg(1), scales.arg(1), factors.arg(1),
                    size(channels), size(plane), size(pixels), context.codes(),
                );
            }
        });
        [scales, factors]
    }

    /// The integers of the images, and one scale for each sample or pixel.
    #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
    fn quantized<R: CubeRuntime>(&self, context: &Context<'_, R>, chunks: &Chunks) -> (Buffer, Buffer) {
        let (samples, plane, codes) = (self.samples, self.plane(), context.codes());
        let (channels, [of_group, _]) =
            (self.geometry.spec().channels[0], self.geometry.spec().group_channels());
        let of_pixels = self.words(context, false).have_pixel_scales();
        let [mut scales, mut factors] = self.scales_of_samples(context, chunks);
        if of_pixels {
            [scales, factors] = self.scales_of_pixels(context, &scales);
        }
        // Channels that stand alone are read four at once, as if they were of one group.
        let groups = if of_group == 1 { 1 } else { self.geometry.spec().groups };
        let words = samples * plane * groups * (channels / groups).div_ceil(4);
        let values = Buffer::new(context.client, words, size_of::<i32>());
        with_float!(context.x_type, F => {
            // SAFETY: each unit below `words` writes one word, which `values` was made for, reads a scale and two factors of one
            // of `samples` samples or of its pixel, and up to four values of that sample at channels of its group in `x`, which holds
            // `samples * channels * plane` (`assert_lengths`). Units past the last word stop at once.
            unsafe {
                quantize_images::launch_unchecked::<F, R>(
                    context.client, context.cubes(words.div_ceil(64)), CubeDim::new_1d(64),
                    context.x.arg(1), scales.arg(1), factors.arg(1), values.arg(1),
                    size(channels), size(groups), size(plane), size(words), codes, of_pixels,
                );
            }
        });
        (values, scales)
    }
}
