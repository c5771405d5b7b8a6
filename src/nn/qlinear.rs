//! `QLinear`: the INT8 form of `Linear`.

use burn::config::Config;
use burn::module::{
    AutodiffModule, Content, Devices, DisplaySettings, HasAutodiffModule, Module, ModuleDisplay,
    ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param,
};
use burn::nn;
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::layer::{FloatLayer, Int8Facts, Int8Layer, float_bytes};
use super::linear::{Sizes, layout};
use super::weight::Int8Weight;
use crate::backend::straight_through;
use crate::cast::as_type;
use crate::census::Census;
use crate::error::Int8Error;
use crate::kernel::Form;
use crate::record::{LayerRecord, WeightState};
use crate::scheme::{Activations, LayerScheme, Range};

/// Configuration of a [`QLinear`] that a record is loaded into.
#[derive(Config, Debug)]
pub struct QLinearConfig {
    /// The size of the input features.
    pub d_input: usize,
    /// The size of the output features.
    pub d_output: usize,
    /// If a bias is added.
    #[config(default = true)]
    pub bias: bool,
    /// Which integers the activations become; a loaded record brings its own.
    #[config(default = "Range::Symmetric")]
    pub range: Range,
    /// What happens to the inputs; a loaded record brings its own.
    #[config(default = "Activations::Dynamic")]
    pub activations: Activations,
}

impl QLinearConfig {
    /// A layer with all weights zero.
    pub fn init<B: Backend>(&self, device: &B::Device) -> QLinear<B> {
        let scheme = LayerScheme { range: self.range, activations: self.activations };
        let weight = Int8Weight::zeros(Form::Linear([self.d_input, self.d_output]), scheme, device);
        let bias = self.bias.then(|| Param::from_tensor(Tensor::zeros([self.d_output], device)));
        QLinear { weight, bias: bias.map(freeze), layout: nn::LinearLayout::Row }
    }
}

/// A linear layer in INT8: `O = IW + b`, with the weights as `i8` and one `f32` scale per output.
///
/// It is what a [`Linear`](super::Linear) becomes, and a module of its own. On an autodiff backend it is frozen and lets
/// the gradient through to its input.
///
/// # Numerics
///
/// `O[i, j] = sum(q_I[i, :] * q_W[:, j]) as f32 * (scale_I[i] * scale_W[j]) + b[j]`, the sum exact in integers, the input
/// quantized row by row as it comes. Rows with a NaN or an infinity give NaN, other rows are not touched. With
/// [`Activations::WeightOnly`] the input stays float.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, nn, tensor::{Distribution, Tensor}};
/// use burn_int8::{LayerScheme, nn::QLinear};
///
/// let device = Default::default();
/// let linear = nn::LinearConfig::new(16, 8).init::<NdArray>(&device);
/// let int8 = QLinear::from_float(&linear, &LayerScheme::default())?;
///
/// let x = Tensor::<_, 2>::random([4, 16], Distribution::Default, &device);
/// let error = (linear.forward(x.clone()) - int8.forward(x)).abs().max().into_scalar();
/// assert!(error < 0.02);
/// # Ok::<(), burn_int8::Int8Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct QLinear<B: Backend> {
    weight: Int8Weight<B>,
    bias: Option<Param<Tensor<B, 1>>>,
    /// Of the float layer that it was: how that one's records are laid out.
    layout: nn::LinearLayout,
}

impl<B: Backend> QLinear<B> {
    /// Quantizes a float layer, one scale per output.
    ///
    /// # Errors
    ///
    /// [`Int8Error::NonFiniteWeight`] if a weight is NaN or infinite.
    pub fn from_float(float: &nn::Linear<B>, scheme: &LayerScheme) -> Result<Self, Int8Error> {
        let weight = Int8Weight::quantize(
            float.weight.id,
            float.weight.val(),
            Form::Linear(float.weight.dims()),
            *scheme,
        )?;
        // Not `clone`: a parameter that has not been read yet would draw its initial values again.
        let bias = float.bias.as_ref().map(|bias| freeze(Param::initialized(bias.id, bias.val())));
        Ok(Self { weight, bias, layout: layout(float) })
    }

    /// Applies the layer to the last axis of the input.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_input]`
    /// - output: `[..., d_output]`, of the input's float type
    ///
    /// # Panics
    ///
    /// If the last axis of the input is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let [d_input, d_output] = self.shape();
        let shape = input.shape();
        assert!(
            shape[D - 1] == d_input,
            "QLinear: the last axis of an input of shape {:?} must be {d_input}, as the weight is [{d_input}, {d_output}]",
            shape.as_slice(),
        );
        let bias = self.bias.as_ref().map(|bias| bias.val());
        straight_through(
            input,
            |input| self.weight.weights.linear(input, self.weight.scheme, bias),
            |input| self.dequantize().forward(input),
        )
    }

    /// The float layer that the integers stand for.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, nn};
    /// use burn_int8::{LayerScheme, nn::QLinear};
    ///
    /// let linear = nn::LinearConfig::new(4, 3).init::<NdArray>(&Default::default());
    /// let int8 = QLinear::from_float(&linear, &LayerScheme::default())?;
    /// let error = (linear.weight.val() - int8.dequantize().weight.val()).abs().max().into_scalar();
    /// assert!(error < 0.5 / 127.0);
    /// # Ok::<(), burn_int8::Int8Error>(())
    /// ```
    pub fn dequantize(&self) -> nn::Linear<B> {
        let weight = Param::initialized(self.weight.id, self.weight.dequantize());
        nn::Linear { weight, bias: self.bias.clone() }
    }

    /// The integers, row-major `[d_input, d_output]`.
    pub fn integers(&self) -> Vec<i8> {
        self.weight.weights.to_integers()
    }

    /// The step of each output: `weight = scale * integer`.
    pub fn scales(&self) -> Vec<f32> {
        self.weight.weights.scales()
    }

    /// Whether both layers use the same copy of the weights in memory, as tied layers do.
    pub fn shares_weights(&self, other: &Self) -> bool {
        self.weight.weights.is_shared_with(&other.weight.weights)
    }

    /// How it was quantized.
    pub fn scheme(&self) -> LayerScheme {
        self.weight.scheme
    }

    fn shape(&self) -> [usize; 2] {
        let form = self.weight.weights.form();
        [form.inputs(), form.channels()]
    }

    fn sizes(&self) -> Sizes {
        let shape = self.shape();
        Sizes { shape, bias: self.bias.as_ref().map(|_| shape[1]) }
    }

    /// The layer that `state` describes; panics unless it is of the given sizes.
    pub(super) fn load(
        state: QLinearState<B>,
        sizes: &Sizes,
        layout: nn::LinearLayout,
        device: &B::Device,
    ) -> Self {
        let QLinearState { weight, bias } = state;
        Sizes { shape: weight.shape, bias: bias.as_ref().map(|b| b.dims()[0]) }.assert_fit(sizes);
        let bias = bias.map(|bias| freeze(bias.map(|bias| bias.to_device(device))));
        Self { weight: Int8Weight::from_state(weight, device), bias, layout }
    }
}

/// An INT8 layer has no gradients of its own.
fn freeze<B: Backend>(bias: Param<Tensor<B, 1>>) -> Param<Tensor<B, 1>> {
    bias.map(|bias| bias.detach().set_require_grad(false))
}

/// What recorders carry of a [`QLinear`].
pub struct QLinearState<B: Backend> {
    pub(super) weight: WeightState,
    pub(super) bias: Option<Param<Tensor<B, 1>>>,
}

impl<B: Backend> Int8Layer for QLinear<B> {
    type Backend = B;
    type Float = nn::Linear<B>;
    type State = QLinearState<B>;

    fn from_float(float: &nn::Linear<B>, scheme: &LayerScheme) -> Result<Self, Int8Error> {
        Self::from_float(float, scheme)
    }

    fn float_shell(&self) -> nn::Linear<B> {
        let [d_input, d_output] = self.shape();
        nn::LinearConfig::new(d_input, d_output)
            .with_bias(self.bias.is_some())
            .with_layout(self.layout)
            .init(&self.weight.device)
    }

    fn facts(&self) -> Int8Facts {
        let [d_input, d_output] = self.shape();
        Int8Facts {
            weight_shape: vec![d_input, d_output],
            scheme: self.weight.scheme,
            sqnr_db: self.weight.sqnr_db,
            kernel: self.weight.weights.kernel(),
            float_bytes: float_bytes::<B>(Module::num_params(self)),
            int8_bytes: self.weight.saved_bytes() + float_bytes::<B>(self.sizes().bias.unwrap_or(0)),
        }
    }

    fn share_weights(&mut self, other: &Self) {
        self.weight.weights.share(&other.weight.weights);
    }
}

impl<B: Backend> Module<B> for QLinear<B> {
    type Record = LayerRecord<nn::Linear<B>>;

    fn collect_devices(&self, mut devices: Devices<B>) -> Devices<B> {
        if !devices.contains(&self.weight.device) {
            devices.push(self.weight.device.clone());
        }
        self.bias.collect_devices(devices)
    }

    fn fork(self, device: &B::Device) -> Self {
        let weight = self.weight.to_device(device);
        Self { weight, bias: self.bias.fork(device), ..self }
    }

    fn to_device(self, device: &B::Device) -> Self {
        let weight = self.weight.to_device(device);
        Self { weight, bias: self.bias.to_device(device), ..self }
    }

    fn num_params(&self) -> usize {
        let [d_input, d_output] = self.shape();
        d_input * d_output + self.sizes().bias.unwrap_or(0)
    }

    /// Shows the weight as the float parameter that it stands for, made only if the visitor reads it.
    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        if let Some(census) = as_type::<V, Census>(visitor) {
            return census.int8(nn::Linear::<B>::KIND, self.facts());
        }
        let weight = self.weight.clone();
        let weight = Param::uninitialized(
            weight.id,
            move |device, _| weight.dequantize().to_device(device),
            self.weight.device.clone(),
            false,
            Shape::from(self.shape()),
        );
        visitor.enter_module("weight", "Struct:QLinear");
        weight.visit(visitor);
        visitor.exit_module("weight", "Struct:QLinear");
        visitor.enter_module("bias", "Struct:QLinear");
        self.bias.visit(visitor);
        visitor.exit_module("bias", "Struct:QLinear");
    }

    fn map<M: ModuleMapper<B>>(self, mapper: &mut M) -> Self {
        mapper.enter_module("bias", "Struct:QLinear");
        let bias = self.bias.map(|bias| Module::map(bias, mapper));
        mapper.exit_module("bias", "Struct:QLinear");
        Self { bias, ..self }
    }

    fn load_record(self, record: Self::Record) -> Self {
        match record {
            LayerRecord::Int8(state) => Self::load(state, &self.sizes(), self.layout, &self.weight.device),
            LayerRecord::Float(_) => panic!(
                "QLinear: the record holds a float layer, but the layer is INT8 {}; load it into `burn_int8::nn::Linear`",
                self.sizes()
            ),
        }
    }

    fn into_record(self) -> Self::Record {
        let bias = self.bias.map(Module::into_record);
        LayerRecord::Int8(QLinearState { weight: self.weight.into_state(), bias })
    }
}

impl<B: AutodiffBackend> AutodiffModule<B> for QLinear<B> {
    type InnerModule = QLinear<B::InnerBackend>;

    fn valid(&self) -> Self::InnerModule {
        QLinear { weight: self.weight.inner(), bias: self.bias.valid(), layout: self.layout }
    }

    fn from_inner(inner: Self::InnerModule) -> Self {
        let bias = inner.bias.map(|bias| freeze(Param::from_inner(bias)));
        Self { weight: Int8Weight::from_inner(inner.weight), bias, layout: inner.layout }
    }
}

impl<B: AutodiffBackend> HasAutodiffModule<B> for QLinear<B::InnerBackend> {
    type TrainModule = QLinear<B>;
}

impl<B: Backend> ModuleDisplayDefault for QLinear<B> {
    fn content(&self, content: Content) -> Option<Content> {
        let [d_input, d_output] = self.shape();
        content
            .set_top_level_type("QLinear")
            .add("d_input", &d_input)
            .add("d_output", &d_output)
            .add("bias", &self.bias.is_some())
            .add_debug_attribute("activations", &self.weight.scheme.activations)
            .optional()
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl<B: Backend> ModuleDisplay for QLinear<B> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }
}

impl<B: Backend> std::fmt::Display for QLinear<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format(DisplaySettings::default()))
    }
}
