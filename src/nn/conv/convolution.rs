//! A macro, used in `layers`, for the code that the six convolutions share but for types.

/// The code that differs between convolutions and transposed ones.
macro_rules! of_kind {
    (saved: regular) => {
        const FIELDS: &'static [&'static str] =
            &["weight", "bias", "stride", "kernel_size", "dilation", "groups", "padding"];
        const OUTPUTS: OutputAxis = OutputAxis::First;
    };
    (saved: transposed) => {
        const FIELDS: &'static [&'static str] =
            &["weight", "bias", "stride", "kernel_size", "dilation", "groups", "padding", "padding_out", "channels"];
        const OUTPUTS: OutputAxis = OutputAxis::SecondOfGroups;
    };
    (options: regular $layer:ident) => { (false, $layer.padding.clone()) };
    (options: transposed $layer:ident) => {
        (true, TransposedPadding { padding: $layer.padding, padding_out: $layer.padding_out })
    };
    (new: regular $options:ident $layer:ident { $($field:ident: $value:expr,)* }) => {
        conv::$layer { $($field: $value,)* padding: $options.padding.clone() }
    };
    (new: transposed $options:ident $layer:ident { $($field:ident: $value:expr,)* }) => {
        conv::$layer {
            $($field: $value,)*
            padding: $options.padding.padding,
            padding_out: $options.padding.padding_out,
            channels: $options.spec.channels,
        }
    };
    (record: regular $record:ident $weight:ident $bias:ident) => {
        of_kind!(fields: $record $weight $bias stride kernel_size dilation groups padding)
    };
    (record: transposed $record:ident $weight:ident $bias:ident) => {
        of_kind!(fields: $record $weight $bias stride kernel_size dilation groups padding padding_out channels)
    };
    (fields: $record:ident $weight:ident $bias:ident $($constant:ident)*) => {
        conv::$record { $weight, $bias, $($constant: EmptyRecord::new(),)* }
    };
}

/// Defines one convolution: the drop-in layer, its configuration, its INT8 form.
macro_rules! convolution {
    (
        $(#[$doc:meta])*
        $kind:ident $layer:ident $int8:ident $config:ident $record:ident, $name:literal,
        $rank:literal: $axes:ty = $one:tt,
        channels { $($channels:tt)* }
        padding $padding:ty { $($(#[$pad_doc:meta])* $pad:ident: $pad_type:ty = $pad_default:tt,)* }
        fields { $($field:ident)* }
        initializer $initializer:tt
        shapes $sizes_in:literal -> $sizes_out:literal
    ) => {
        #[doc = concat!("Applies a ", $name, " over input tensors.\n\n")]
        #[doc = concat!("Burn's [`burn::nn::conv::", stringify!($layer), "`], until it is quantized: then a [`", stringify!($int8), "`].")]
        pub type $layer<B> = DropIn<conv::$layer<B>>;

        #[doc = concat!("A ", $name, " in INT8, one scale per output channel.")]
        pub type $int8<B> = QLayer<conv::$layer<B>>;

        $(#[$doc])*
        #[derive(Config, Debug)]
        pub struct $config {
            $($channels)*
            /// The size of the kernel.
            pub kernel_size: $axes,
            /// The stride of the convolution.
            #[config(default = $one)]
            pub stride: $axes,
            /// Spacing between kernel elements.
            #[config(default = $one)]
            pub dilation: $axes,
            /// Controls the connections between input and output channels.
            #[config(default = "1")]
            pub groups: usize,
            $(
                $(#[$pad_doc])*
                #[config(default = $pad_default)]
                pub $pad: $pad_type,
            )*
            /// If bias should be added to the output.
            #[config(default = true)]
            pub bias: bool,
            /// The type of function used to initialize neural network parameters.
            #[config(default = $initializer)]
            pub initializer: Initializer,
        }

        impl $config {
            #[doc = concat!("Initialize a new [`", stringify!($layer), "`] module.")]
            ///
            /// # Panics
            ///
            /// If the channels can't be parted into `groups`.
            pub fn init<B: Backend>(&self, device: &B::Device) -> $layer<B> {
                self.to_burn().init(device).into()
            }

            /// An INT8 layer with all weights zero, to load a record into.
            ///
            /// # Panics
            ///
            /// If the channels can't be parted into `groups`.
            pub fn init_int8<B: Backend>(&self, device: &B::Device) -> $int8<B> {
                QLayer::zeros(&self.to_burn().init(device))
            }

            fn to_burn(&self) -> conv::$config {
                conv::$config { $($field: self.$field.clone(),)* }
            }
        }

        impl<B: Backend> DropIn<conv::$layer<B>> {
            /// Applies the layer.
            ///
            /// # Shapes
            ///
            #[doc = concat!("- input: `[batch_size, channels_in, ", $sizes_in, "]`")]
            #[doc = concat!("- output: `[batch_size, channels_out, ", $sizes_out, "]`")]
            ///
            /// # Panics
            ///
            /// If the input has other channels, no room for a single output, or an output too large for memory.
            pub fn forward(&self, input: Tensor<B, $rank>) -> Tensor<B, $rank> {
                match self {
                    Self::Float(layer) => layer.forward(input),
                    Self::Int8(layer) => layer.forward(input),
                    Self::Observed(layer) => {
                        layer.forward(input, |float, x| float.forward(x), |int8, x| int8.forward(x))
                    }
                }
            }
        }

        impl<B: Backend> QLayer<conv::$layer<B>> {
            /// Applies the layer.
            ///
            /// # Shapes
            ///
            #[doc = concat!("- input: `[batch_size, channels_in, ", $sizes_in, "]`")]
            #[doc = concat!("- output: `[batch_size, channels_out, ", $sizes_out, "]`, of the input's float type")]
            ///
            /// # Numerics
            ///
            /// `sum as f32 * (scale_of_sample * scale_of_channel) + bias`, the sum exact in integers, each sample of the
            /// batch quantized as it comes; with 1x1 taps, no padding and one group, each pixel
            /// ([`InputCodes::Auto`](crate::InputCodes::Auto)). A sample or pixel with a NaN or an infinity gives NaN, others
            /// are not touched. With [`QuantMode::WeightOnly`](crate::QuantMode::WeightOnly) the input stays float.
            ///
            /// # Panics
            ///
            /// If the input has other channels, no room for a single output, or an output too large for memory.
            pub fn forward(&self, input: Tensor<B, $rank>) -> Tensor<B, $rank> {
                convolve(self, input, conv::$layer::forward)
            }
        }

        impl<B: Backend> FloatLayer for conv::$layer<B> {
            type Backend = B;
            const KIND: &'static str = stringify!($layer);
        }

        impl<B: Backend> LayerParts<B> for conv::$layer<B> {
            type Weight = Param<Tensor<B, $rank>>;
            type Options = ConvOptions<$padding>;
            of_kind!(saved: $kind);

            fn options(&self) -> Self::Options {
                let shape: [usize; $rank] = self.weight.lazy_shape().dims();
                let (transposed, padding) = of_kind!(options: $kind self);
                ConvOptions::new(shape, [self.stride, self.dilation], self.groups, transposed, padding)
            }

            fn layout(options: &Self::Options) -> WeightLayout {
                WeightLayout::Conv(options.spec)
            }

            fn weight(&self) -> &Self::Weight {
                &self.weight
            }

            fn bias(&self) -> Option<&Bias<B>> {
                self.bias.as_ref()
            }

            fn new(options: &Self::Options, weight: Self::Weight, bias: Option<Bias<B>>) -> Self {
                of_kind!(new: $kind options $layer {
                    weight: weight,
                    bias: bias,
                    stride: PerAxis::narrow(options.spec.stride),
                    kernel_size: PerAxis::narrow(options.spec.kernel),
                    dilation: PerAxis::narrow(options.spec.dilation),
                    groups: options.spec.groups,
                })
            }

            fn record(weight: Self::Weight, bias: Option<Bias<B>>) -> Self::Record {
                of_kind!(record: $kind $record weight bias)
            }

            fn record_parts(record: Self::Record) -> (Self::Weight, Option<Bias<B>>) {
                (record.weight, record.bias)
            }

            fn describe(options: &Self::Options, _: bool, content: Content) -> Content {
                options.describe(content)
            }
        }
    };
}
