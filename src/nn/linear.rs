//! `Linear` and `QLinear`.

use burn::config::Config;
use burn::module::{Content, Initializer, Param};
use burn::nn;
use burn::prelude::*;

use super::drop_in::DropIn;
use super::layer::{Bias, FloatLayer, LayerParts};
use super::qlayer::QLayer;
use super::record::OutputAxis;
use super::straight_through::straight_through;
use super::weight::is_transposed;
use crate::ops::{LinearOp, OutputStep, Weights, fuses};
use burn_int8_kernels::{Activation, WeightLayout};

/// Applies a linear transformation to the input tensor: `O = IW + b`.
///
/// Burn's [`burn::nn::Linear`], until it is quantized: then a [`QLinear`].
pub type Linear<B> = DropIn<nn::Linear<B>>;

/// A linear layer in INT8: `O = IW + b`, one scale per output.
pub type QLinear<B> = QLayer<nn::Linear<B>>;

/// Configuration to create a [`Linear`] layer using [`init`](LinearConfig::init); the same as [`burn::nn::LinearConfig`].
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, tensor::Tensor};
/// use burn_int8::nn::LinearConfig;
///
/// let device = Default::default();
/// let linear = LinearConfig::new(4, 2).with_bias(false).init::<NdArray>(&device);
/// assert_eq!(linear.forward(Tensor::<_, 3>::ones([5, 3, 4], &device)).dims(), [5, 3, 2]);
/// ```
#[derive(Config, Debug)]
pub struct LinearConfig {
    /// The size of the input features.
    pub d_input: usize,
    /// The size of the output features.
    pub d_output: usize,
    /// If a bias should be applied during the linear transformation.
    #[config(default = true)]
    pub bias: bool,
    /// The type of function used to initialize neural network parameters.
    #[config(default = "nn::LinearConfig::new(1, 1).initializer")]
    pub initializer: Initializer,
    /// The layout in which the linear parameters are stored.
    #[config(default = "nn::LinearLayout::Row")]
    pub layout: nn::LinearLayout,
}

impl LinearConfig {
    /// Initialize a new [`Linear`] module.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Linear<B> {
        self.to_burn().init(device).into()
    }

    /// An INT8 layer with all weights zero, to load a record into.
    pub fn init_int8<B: Backend>(&self, device: &B::Device) -> QLinear<B> {
        QLayer::zeros(&self.to_burn().init(device))
    }

    fn to_burn(&self) -> nn::LinearConfig {
        nn::LinearConfig::new(self.d_input, self.d_output)
            .with_bias(self.bias)
            .with_initializer(self.initializer.clone())
            .with_layout(self.layout)
    }
}

impl<B: Backend> DropIn<nn::Linear<B>> {
    /// Applies the layer to the last axis of the input.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_input]`
    /// - output: `[..., d_output]`
    ///
    /// # Panics
    ///
    /// If the last axis of the input is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Float(linear) => linear.forward(input),
            Self::Int8(linear) => linear.forward(input),
            Self::Observed(linear) => {
                linear.forward(input, |float, x| float.forward(x), |int8, x| int8.forward(x))
            }
        }
    }

    /// Applies the layer, then the activation: one pass on the CPU, where the layer is INT8 and the activation GELU.
    ///
    /// That GELU is computed in `f32`, to 4e-7 of its input.
    ///
    /// # Shapes and panics
    ///
    /// The same as those of [`forward`](Self::forward).
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, nn::activation::ActivationConfig, tensor::Tensor};
    /// use burn_int8::nn::LinearConfig;
    ///
    /// let device = Default::default();
    /// let linear = LinearConfig::new(4, 2).init::<NdArray>(&device);
    /// let gelu = ActivationConfig::Gelu.init(&device);
    /// assert_eq!(linear.forward_activated(Tensor::<_, 2>::ones([5, 4], &device), &gelu).dims(), [5, 2]);
    /// ```
    pub fn forward_activated<const D: usize>(
        &self,
        input: Tensor<B, D>,
        activation: &nn::activation::Activation<B>,
    ) -> Tensor<B, D> {
        let fused = match activation {
            nn::activation::Activation::Gelu(gelu) if gelu.approximate => Some(Activation::GeluApproximate),
            nn::activation::Activation::Gelu(_) => Some(Activation::Gelu),
            _ => None,
        };
        if let (Some(fused), Self::Int8(linear)) = (fused, self)
            && fuses::<B>(&input.device())
            && let Some([output]) = Weights::linear_each(&input, [linear.product(&input, fused)])
        {
            return output;
        }
        activation.forward(self.forward(input))
    }

    /// Applies several layers to one input. On the CPU it is quantized once for all of them, if all are INT8, of one scheme.
    ///
    /// # Shapes and panics
    ///
    /// The same as those of [`forward`](Self::forward), for each layer.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::Tensor};
    /// use burn_int8::nn::{Linear, LinearConfig};
    ///
    /// let device = Default::default();
    /// let [query, key] = [8, 2].map(|width| LinearConfig::new(4, width).init::<NdArray>(&device));
    /// let [q, k] = Linear::forward_each([&query, &key], Tensor::<_, 2>::ones([5, 4], &device));
    /// assert_eq!((q.dims(), k.dims()), ([5, 8], [5, 2]));
    /// ```
    pub fn forward_each<const D: usize, const N: usize>(
        layers: [&Self; N],
        input: Tensor<B, D>,
    ) -> [Tensor<B, D>; N] {
        let int8 = layers.map(Self::as_int8);
        if int8.iter().all(Option::is_some) && fuses::<B>(&input.device()) {
            let all = int8.map(|layer| layer.expect("each is INT8").product(&input, Activation::Identity));
            if let Some(outputs) = Weights::linear_each(&input, all) {
                return outputs;
            }
        }
        layers.map(|layer| layer.forward(input.clone()))
    }
}

impl<B: Backend> DropIn<nn::Linear<B>> {
    /// `d_input` and `d_output`.
    pub(super) fn sizes(&self) -> [usize; 2] {
        let LinearOptions { d_input, d_output, .. } = match self {
            Self::Float(linear) => linear.options(),
            Self::Int8(linear) => linear.options.clone(),
            Self::Observed(linear) => linear.float.options(),
        };
        [d_input, d_output]
    }
}

impl<B: Backend> QLayer<nn::Linear<B>> {
    /// Applies the layer to the last axis of the input.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_input]`
    /// - output: `[..., d_output]`, of the input's float type
    ///
    /// # Numerics
    ///
    /// `O[i, j] = sum(q_I[i, :] * q_W[:, j]) as f32 * (scale_I[i] * scale_W[j]) + b[j]`, the sum exact in integers, the
    /// input quantized row by row as it comes. Rows with a NaN or an infinity give NaN, other rows are not touched. With
    /// [`QuantMode::WeightOnly`](crate::QuantMode::WeightOnly) the input stays float.
    ///
    /// # Panics
    ///
    /// If the last axis of the input is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        self.assert_fits(&input);
        let op = LinearOp::new(self.weight.scheme, self.bias());
        straight_through(self, input, |x| self.weight.weights.linear(x, op), nn::Linear::forward)
    }

    fn assert_fits<const D: usize>(&self, input: &Tensor<B, D>) {
        let LinearOptions { d_input, d_output, .. } = self.options;
        let shape = input.shape();
        assert!(
            shape[D - 1] == d_input,
            "QLinear: the last axis of an input of shape {:?} must be {d_input}, as the weight is [{d_input}, {d_output}]",
            shape.as_slice(),
        );
    }

    /// The weights and the operation of a product with `input` that goes through `activation`.
    fn product<const D: usize>(
        &self,
        input: &Tensor<B, D>,
        activation: Activation,
    ) -> (&Weights<B>, LinearOp<B>) {
        self.assert_fits(input);
        let steps = vec![OutputStep::Activate(activation)];
        let op = LinearOp { steps, ..LinearOp::new(self.weight.scheme, self.bias()) };
        (&self.weight.weights, op)
    }
}

/// Sizes and record layout of a linear layer.
#[derive(Clone, Debug)]
pub struct LinearOptions {
    d_input: usize,
    d_output: usize,
    /// The layout of its float records.
    layout: nn::LinearLayout,
}

impl<B: Backend> FloatLayer for nn::Linear<B> {
    type Backend = B;
    const KIND: &'static str = "Linear";
}

impl<B: Backend> LayerParts<B> for nn::Linear<B> {
    type Weight = Param<Tensor<B, 2>>;
    type Options = LinearOptions;
    const FIELDS: &'static [&'static str] = &["weight", "bias"];
    const OUTPUTS: OutputAxis = OutputAxis::Second;

    fn options(&self) -> LinearOptions {
        let [mut d_input, mut d_output] = self.weight.lazy_shape().dims();
        let transposed = is_transposed(&self.weight);
        // Until it is initialised, a transposed weight has the shape that it is saved in.
        if transposed && !self.weight.is_initialized() {
            (d_input, d_output) = (d_output, d_input);
        }
        let layout = if transposed { nn::LinearLayout::Col } else { nn::LinearLayout::Row };
        LinearOptions { d_input, d_output, layout }
    }

    fn layout(options: &LinearOptions) -> WeightLayout {
        WeightLayout::Linear([options.d_input, options.d_output])
    }

    fn weight(&self) -> &Self::Weight {
        &self.weight
    }

    fn bias(&self) -> Option<&Bias<B>> {
        self.bias.as_ref()
    }

    fn new(_: &LinearOptions, weight: Self::Weight, bias: Option<Bias<B>>) -> Self {
        Self { weight, bias }
    }

    fn record(weight: Self::Weight, bias: Option<Bias<B>>) -> Self::Record {
        nn::LinearRecord { weight, bias }
    }

    fn record_parts(record: Self::Record) -> (Self::Weight, Option<Bias<B>>) {
        (record.weight, record.bias)
    }

    fn describe(options: &LinearOptions, bias: bool, content: Content) -> Content {
        content.add("d_input", &options.d_input).add("d_output", &options.d_output).add("bias", &bias)
    }

    /// Calls Burn's own constructor, which alone lays out records.
    fn empty(options: &LinearOptions, bias: bool, device: &B::Device) -> Self {
        nn::LinearConfig::new(options.d_input, options.d_output)
            .with_bias(bias)
            .with_layout(options.layout)
            .init(device)
    }

    fn saved_shape(options: &LinearOptions) -> Vec<usize> {
        match options.layout {
            nn::LinearLayout::Row => vec![options.d_input, options.d_output],
            nn::LinearLayout::Col => vec![options.d_output, options.d_input],
        }
    }
}
