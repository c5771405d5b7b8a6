//! The operations of modules. Those that have a weight compute with it where it is INT8.

use burn::tensor::TensorMetadata;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{
    AttentionModuleOptions, ConvOptions, ConvTransposeOptions, DeformConv2dBackward, DeformConvOptions,
    FloatTensor, IntTensor, InterpolateOptions, MaxPool1dBackward, MaxPool1dWithIndices, MaxPool2dBackward,
    MaxPool2dWithIndices, ModuleOps, UnfoldOptions,
};

use super::{approximates, argument, forward, lower, lowered, raised};
use crate::backend::conv::ConvCall;
use crate::backend::fused;
use crate::backend::int8::Int8;
use crate::backend::pooling::PoolCall;
use crate::backend::tensor::Int8Tensor;
use burn_int8_kernels::conv::channels_last::Pooling;

/// The methods of convolutions, each with the rank of its tensors and the type of its options.
macro_rules! convolutions {
    ($($name:ident($rank:literal, $options:ty);)*) => {$(
        fn $name(
            x: FloatTensor<Self>,
            weight: FloatTensor<Self>,
            bias: Option<FloatTensor<Self>>,
            options: $options,
        ) -> FloatTensor<Self> {
            let call = ConvCall::from(&options);
            if let Some(observed) = weight.as_observed() {
                let float = |x, weight, bias| B::$name(x, weight, bias, options);
                let out = Int8Tensor::layer(x.clone(), weight.clone(), bias.clone(), float);
                observed.add(Some((&x, 1)), &out, |weight| weight.convolution::<$rank>(x.clone(), &bias, &call).ok());
                return out;
            }
            match weight.convolution::<$rank>(x, &bias, &call) {
                Ok(out) => out,
                Err(x) => Int8Tensor::layer(x, weight, bias, |x, weight, bias| B::$name(x, weight, bias, options)),
            }
        }
    )*};
}

#[deny(clippy::missing_trait_methods, reason = "a default would take the place of what the backend does")]
impl<B: Backend> ModuleOps<Self> for Int8<B> {
    forward! {
        embedding_backward(weights: Float, output_grad: Float, indices: Int) -> Float;
        linear_x_backward(weight: Float, output_grad: Float) -> Float;
        linear_weight_backward(x: Float, output_grad: Float) -> Float;
        linear_bias_backward(output_grad: Float) -> Float;
        conv1d_x_backward(x: Float, weight: Float, output_grad: Float, options: (ConvOptions<1>)) -> Float;
        conv1d_weight_backward(x: Float, weight: Float, output_grad: Float, options: (ConvOptions<1>)) -> Float;
        conv1d_bias_backward(x: Float, bias: Float, output_grad: Float) -> Float;
        conv2d_x_backward(x: Float, weight: Float, output_grad: Float, options: (ConvOptions<2>)) -> Float;
        conv2d_weight_backward(x: Float, weight: Float, output_grad: Float, options: (ConvOptions<2>)) -> Float;
        conv2d_bias_backward(x: Float, bias: Float, output_grad: Float) -> Float;
        deform_conv2d(
            x: Float, offset: Float, weight: Float, mask: OptFloat, bias: OptFloat, options: (DeformConvOptions<2>)
        ) -> Float;
        deform_conv2d_backward(
            x: Float, offset: Float, weight: Float, mask: OptFloat, bias: OptFloat, output_grad: Float, options:
            (DeformConvOptions<2>)
        ) -> DeformConv2dBackward;
        conv3d_x_backward(x: Float, weight: Float, output_grad: Float, options: (ConvOptions<3>)) -> Float;
        conv3d_weight_backward(x: Float, weight: Float, output_grad: Float, options: (ConvOptions<3>)) -> Float;
        conv3d_bias_backward(x: Float, bias: Float, output_grad: Float) -> Float;
        conv_transpose1d_x_backward(weight: Float, output_grad: Float, options: (ConvTransposeOptions<1>)) -> Float;
        conv_transpose1d_weight_backward(
            x: Float, weight: Float, output_grad: Float, options: (ConvTransposeOptions<1>)
        ) -> Float;
        conv_transpose1d_bias_backward(x: Float, bias: Float, output_grad: Float) -> Float;
        conv_transpose2d_x_backward(weight: Float, output_grad: Float, options: (ConvTransposeOptions<2>)) -> Float;
        conv_transpose2d_weight_backward(
            x: Float, weight: Float, output_grad: Float, options: (ConvTransposeOptions<2>)
        ) -> Float;
        conv_transpose2d_bias_backward(x: Float, bias: Float, output_grad: Float) -> Float;
        conv_transpose3d_x_backward(weight: Float, output_grad: Float, options: (ConvTransposeOptions<3>)) -> Float;
        conv_transpose3d_weight_backward(
            x: Float, weight: Float, output_grad: Float, options: (ConvTransposeOptions<3>)
        ) -> Float;
        conv_transpose3d_bias_backward(x: Float, bias: Float, output_grad: Float) -> Float;
        unfold4d(x: Float, kernel_size: [usize; 2], options: UnfoldOptions) -> Float;
        avg_pool1d(
            x: Float, kernel_size: usize, stride: usize, padding: usize, count_include_pad: bool, ceil_mode: bool
        ) -> Float;
        avg_pool1d_backward(
            x: Float, grad: Float, kernel_size: usize, stride: usize, padding: usize, count_include_pad: bool,
            ceil_mode: bool
        ) -> Float;
        avg_pool2d_backward(
            x: Float, grad: Float, kernel_size: [usize; 2], stride: [usize; 2], padding: [usize; 2],
            count_include_pad: bool, ceil_mode: bool
        ) -> Float;
        adaptive_avg_pool2d_backward(x: Float, grad: Float) -> Float;
        adaptive_avg_pool1d(x: Float, output_size: usize) -> Float;
        adaptive_avg_pool1d_backward(x: Float, grad: Float) -> Float;
        max_pool1d(
            x: Float, kernel_size: usize, stride: usize, padding: usize, dilation: usize, ceil_mode: bool
        ) -> Float;
        max_pool1d_with_indices(
            x: Float, kernel_size: usize, stride: usize, padding: usize, dilation: usize, ceil_mode: bool
        ) -> MaxPool1dWithIndices;
        max_pool1d_with_indices_backward(
            x: Float, kernel_size: usize, stride: usize, padding: usize, dilation: usize, ceil_mode: bool,
            output_grad: Float, indices: Int
        ) -> MaxPool1dBackward;
        max_pool2d_with_indices(
            x: Float, kernel_size: [usize; 2], stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2],
            ceil_mode: bool
        ) -> MaxPool2dWithIndices;
        max_pool2d_with_indices_backward(
            x: Float, kernel_size: [usize; 2], stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2],
            ceil_mode: bool, output_grad: Float, indices: Int
        ) -> MaxPool2dBackward;
        interpolate(x: Float, output_size: [usize; 2], options: InterpolateOptions) -> Float;
        interpolate_backward(x: Float, grad: Float, output_size: [usize; 2], options: InterpolateOptions) -> Float;
        attention(
            query: Float, key: Float, value: Float, mask: OptBool, attn_bias: OptFloat, options:
            AttentionModuleOptions
        ) -> Float;
        ctc_loss(log_probs: Float, targets: Int, input_lengths: Int, target_lengths: Int, blank: usize) -> Float;
        has_ctc_loss_backward() -> bool;
        ctc_loss_backward(
            log_probs: Float, targets: Int, input_lengths: Int, target_lengths: Int, grad_loss: Float, blank: usize
        ) -> Float;
        rfft(signal: Float, dim: usize, n: (Option<usize>)) -> (Float, Float);
        irfft(spectrum_re: Float, spectrum_im: Float, dim: usize, n: (Option<usize>)) -> Float;
    }

    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        if let Some(observed) = weight.as_observed() {
            let out = Int8Tensor::layer(x.clone(), weight.clone(), bias.clone(), B::linear);
            observed.add(Some((&x, x.rank() - 1)), &out, |weight| weight.linear(&x, &bias));
            return out;
        }
        match weight.linear(&x, &bias) {
            Some(out) => out,
            None => Int8Tensor::layer(x, weight, bias, B::linear),
        }
    }

    fn embedding(weights: FloatTensor<Self>, indices: IntTensor<Self>) -> FloatTensor<Self> {
        if let Some(observed) = weights.as_observed() {
            let out = weights.clone().map(|weights| B::embedding(weights, indices.clone()));
            observed.add(None, &out, |weights| weights.embedding(&indices));
            return out;
        }
        match weights.embedding(&indices) {
            Some(out) => out,
            None => weights.map(|weights| B::embedding(weights, indices)),
        }
    }

    convolutions! {
        conv1d(3, ConvOptions<1>);
        conv2d(4, ConvOptions<2>);
        conv3d(5, ConvOptions<3>);
        conv_transpose1d(3, ConvTransposeOptions<1>);
        conv_transpose2d(4, ConvTransposeOptions<2>);
        conv_transpose3d(5, ConvTransposeOptions<3>);
    }

    fn max_pool2d(
        x: FloatTensor<Self>,
        window: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
        rounds_up: bool,
    ) -> FloatTensor<Self> {
        let call = PoolCall { pooling: Pooling::Max, window, stride, padding, dilation, rounds_up };
        call.run(x, |x| B::max_pool2d(x, window, stride, padding, dilation, rounds_up))
    }

    fn avg_pool2d(
        x: FloatTensor<Self>,
        window: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        count_padding: bool,
        rounds_up: bool,
    ) -> FloatTensor<Self> {
        let pooling = Pooling::Average { count_padding };
        let call = PoolCall { pooling, window, stride, padding, dilation: [1; 2], rounds_up };
        call.run(x, |x| B::avg_pool2d(x, window, stride, padding, count_padding, rounds_up))
    }

    fn adaptive_avg_pool2d(x: FloatTensor<Self>, output_size: [usize; 2]) -> FloatTensor<Self> {
        match PoolCall::global(&x.shape(), output_size) {
            Some(call) => call.run(x, |x| B::adaptive_avg_pool2d(x, output_size)),
            None => x.map(|x| B::adaptive_avg_pool2d(x, output_size)),
        }
    }

    fn layer_norm(
        tensor: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: Option<FloatTensor<Self>>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        fused::layer_norm(&tensor, &gamma, &beta, epsilon).unwrap_or_else(|| {
            let (gamma, beta) = (gamma.into_float(), lower!(OptFloat, beta));
            tensor.map(|tensor| B::layer_norm(tensor, gamma, beta, epsilon))
        })
    }
}
