//! The six convolutions.

use burn::config::Config;
use burn::module::{Content, EmptyRecord, Initializer, Param};
use burn::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d, conv};
use burn::prelude::*;

use super::options::{ConvOptions, convolve};
use super::padding::{PerAxis, TransposedPadding};
use crate::nn::drop_in::DropIn;
use crate::nn::layer::{Bias, FloatLayer, LayerParts};
use crate::nn::qlayer::QLayer;
use crate::nn::record::OutputAxis;
use burn_int8_kernels::WeightLayout;

convolution! {
    /// Configuration to create a [`Conv1d`] layer using [`init`](Conv1dConfig::init); the same as
    /// [`burn::nn::conv::Conv1dConfig`].
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::Tensor};
    /// use burn_int8::{nn::{Conv1dConfig, PaddingConfig1d}, prelude::*};
    ///
    /// let device = Default::default();
    /// let config = Conv1dConfig::new(3, 8, 5).with_padding(PaddingConfig1d::Same);
    /// let (layer, _) = config.init::<NdArray>(&device).quantize(&Int8Config::new())?;
    /// assert_eq!(layer.forward(Tensor::ones([2, 3, 7], &device)).dims(), [2, 8, 7]);
    /// # Ok::<(), Int8Error>(())
    /// ```
    regular Conv1d QConv1d Conv1dConfig Conv1dRecord, "1D convolution",
    3: usize = "1",
    channels {
        /// The number of input channels.
        pub channels_in: usize,
        /// The number of output channels.
        pub channels_out: usize,
    }
    padding PaddingConfig1d {
        /// The padding configuration: zeros on both sides.
        padding: PaddingConfig1d = "PaddingConfig1d::Valid",
    }
    fields { channels_in channels_out kernel_size stride dilation groups padding bias initializer }
    initializer "conv::Conv1dConfig::new(1, 1, 1).initializer"
    shapes "length_in" -> "length_out"
}

convolution! {
    /// Configuration to create a [`Conv2d`] layer using [`init`](Conv2dConfig::init); the same as
    /// [`burn::nn::conv::Conv2dConfig`].
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::Tensor};
    /// use burn_int8::{nn::{Conv2dConfig, PaddingConfig2d}, prelude::*};
    ///
    /// let device = Default::default();
    /// let config = Conv2dConfig::new([3, 8], [3, 3]).with_padding(PaddingConfig2d::Same);
    /// let (layer, _) = config.init::<NdArray>(&device).quantize(&Int8Config::new())?;
    /// assert_eq!(layer.forward(Tensor::ones([2, 3, 7, 7], &device)).dims(), [2, 8, 7, 7]);
    /// # Ok::<(), Int8Error>(())
    /// ```
    regular Conv2d QConv2d Conv2dConfig Conv2dRecord, "2D convolution",
    4: [usize; 2] = "[1, 1]",
    channels {
        /// The number of channels, in and out.
        pub channels: [usize; 2],
    }
    padding PaddingConfig2d {
        /// The padding configuration: zeros on all sides, each its own.
        padding: PaddingConfig2d = "PaddingConfig2d::Valid",
    }
    fields { channels kernel_size stride dilation groups padding bias initializer }
    initializer "conv::Conv2dConfig::new([1, 1], [1, 1]).initializer"
    shapes "height_in, width_in" -> "height_out, width_out"
}

convolution! {
    /// Configuration to create a [`Conv3d`] layer using [`init`](Conv3dConfig::init); the same as
    /// [`burn::nn::conv::Conv3dConfig`].
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::Tensor};
    /// use burn_int8::{nn::{Conv3dConfig, PaddingConfig3d}, prelude::*};
    ///
    /// let device = Default::default();
    /// let config = Conv3dConfig::new([3, 8], [3, 3, 3]).with_padding(PaddingConfig3d::Same);
    /// let (layer, _) = config.init::<NdArray>(&device).quantize(&Int8Config::new())?;
    /// assert_eq!(layer.forward(Tensor::ones([2, 3, 7, 7, 7], &device)).dims(), [2, 8, 7, 7, 7]);
    /// # Ok::<(), Int8Error>(())
    /// ```
    regular Conv3d QConv3d Conv3dConfig Conv3dRecord, "3D convolution",
    5: [usize; 3] = "[1, 1, 1]",
    channels {
        /// The number of channels, in and out.
        pub channels: [usize; 2],
    }
    padding PaddingConfig3d {
        /// The padding configuration: zeros the same on both sides of an axis.
        padding: PaddingConfig3d = "PaddingConfig3d::Valid",
    }
    fields { channels kernel_size stride dilation groups padding bias initializer }
    initializer "conv::Conv3dConfig::new([1, 1], [1, 1, 1]).initializer"
    shapes "depth_in, height_in, width_in" -> "depth_out, height_out, width_out"
}

convolution! {
    /// Configuration to create a [`ConvTranspose1d`] layer using [`init`](ConvTranspose1dConfig::init); the same as
    /// [`burn::nn::conv::ConvTranspose1dConfig`].
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::Tensor};
    /// use burn_int8::{nn::ConvTranspose1dConfig, prelude::*};
    ///
    /// let device = Default::default();
    /// let config = ConvTranspose1dConfig::new([8, 3], 4).with_stride(2).with_padding(1);
    /// let (layer, _) = config.init::<NdArray>(&device).quantize(&Int8Config::new())?;
    /// assert_eq!(layer.forward(Tensor::ones([2, 8, 5], &device)).dims(), [2, 3, 10]);
    /// # Ok::<(), Int8Error>(())
    /// ```
    transposed ConvTranspose1d QConvTranspose1d ConvTranspose1dConfig ConvTranspose1dRecord, "1D transposed convolution",
    3: usize = "1",
    channels {
        /// The number of channels, in and out.
        pub channels: [usize; 2],
    }
    padding TransposedPadding<usize> {
        /// The number of outputs that are cut off on both sides.
        padding: usize = "0",
        /// The number of outputs that are added behind.
        padding_out: usize = "0",
    }
    fields { channels kernel_size stride dilation groups padding padding_out bias initializer }
    initializer "conv::ConvTranspose1dConfig::new([1, 1], 1).initializer"
    shapes "length_in" -> "length_out"
}

convolution! {
    /// Configuration to create a [`ConvTranspose2d`] layer using [`init`](ConvTranspose2dConfig::init); the same as
    /// [`burn::nn::conv::ConvTranspose2dConfig`].
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::Tensor};
    /// use burn_int8::{nn::ConvTranspose2dConfig, prelude::*};
    ///
    /// let device = Default::default();
    /// let config = ConvTranspose2dConfig::new([8, 3], [4, 4]).with_stride([2, 2]).with_padding([1, 1]);
    /// let (layer, _) = config.init::<NdArray>(&device).quantize(&Int8Config::new())?;
    /// assert_eq!(layer.forward(Tensor::ones([2, 8, 5, 5], &device)).dims(), [2, 3, 10, 10]);
    /// # Ok::<(), Int8Error>(())
    /// ```
    transposed ConvTranspose2d QConvTranspose2d ConvTranspose2dConfig ConvTranspose2dRecord, "2D transposed convolution",
    4: [usize; 2] = "[1, 1]",
    channels {
        /// The number of channels, in and out.
        pub channels: [usize; 2],
    }
    padding TransposedPadding<[usize; 2]> {
        /// The number of outputs that are cut off on both sides.
        padding: [usize; 2] = "[0, 0]",
        /// The number of outputs that are added behind.
        padding_out: [usize; 2] = "[0, 0]",
    }
    fields { channels kernel_size stride dilation groups padding padding_out bias initializer }
    initializer "conv::ConvTranspose2dConfig::new([1, 1], [1, 1]).initializer"
    shapes "height_in, width_in" -> "height_out, width_out"
}

convolution! {
    /// Configuration to create a [`ConvTranspose3d`] layer using [`init`](ConvTranspose3dConfig::init); the same as
    /// [`burn::nn::conv::ConvTranspose3dConfig`].
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::Tensor};
    /// use burn_int8::{nn::ConvTranspose3dConfig, prelude::*};
    ///
    /// let device = Default::default();
    /// let config = ConvTranspose3dConfig::new([8, 3], [4, 4, 4]).with_stride([2, 2, 2]).with_padding([1, 1, 1]);
    /// let (layer, _) = config.init::<NdArray>(&device).quantize(&Int8Config::new())?;
    /// assert_eq!(layer.forward(Tensor::ones([2, 8, 5, 5, 5], &device)).dims(), [2, 3, 10, 10, 10]);
    /// # Ok::<(), Int8Error>(())
    /// ```
    transposed ConvTranspose3d QConvTranspose3d ConvTranspose3dConfig ConvTranspose3dRecord, "3D transposed convolution",
    5: [usize; 3] = "[1, 1, 1]",
    channels {
        /// The number of channels, in and out.
        pub channels: [usize; 2],
    }
    padding TransposedPadding<[usize; 3]> {
        /// The number of outputs that are cut off on both sides.
        padding: [usize; 3] = "[0, 0, 0]",
        /// The number of outputs that are added behind.
        padding_out: [usize; 3] = "[0, 0, 0]",
    }
    fields { channels kernel_size stride dilation groups padding padding_out bias initializer }
    initializer "conv::ConvTranspose3dConfig::new([1, 1], [1, 1, 1]).initializer"
    shapes "depth_in, height_in, width_in" -> "depth_out, height_out, width_out"
}
