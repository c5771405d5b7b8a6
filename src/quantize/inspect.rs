//! What layers a model has: a visitor that our layers recognise.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::Element;

use crate::config::LayerScheme;
use crate::nn::layer::FloatLayer;
use crate::nn::weight::WeightParam;
use crate::quantize::plan::LayerInfo;

/// Layers of Burn's that hold most of a model's weights.
const STOCK: &[&str] = &[
    "Linear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Embedding",
];

/// Modules of Burn's that have such layers inside, which are nobody's to exchange.
const COMPOUND: &[&str] = &[
    "MultiHeadAttention",
    "CrossAttention",
    "PositionWiseFeedForward",
    "SwiGlu",
    "TransformerEncoder",
    "TransformerDecoder",
    "Rnn",
    "BiRnn",
    "Gru",
    "BiGru",
    "Lstm",
    "BiLstm",
];

/// A layer as it was found.
pub(crate) struct Found {
    pub(crate) info: LayerInfo,
    pub(crate) form: Form,
    /// Bytes as saved.
    pub(crate) bytes: usize,
}

pub(crate) enum Form {
    /// Can become INT8, unless an output channel has a weight that is not finite.
    Float {
        non_finite: Option<usize>,
    },
    Int8(Int8Facts),
    /// One of Burn's own, which can't be swapped, and the module of Burn's that it is part of, if it is.
    Stock(Option<&'static str>),
}

/// What the report says about an INT8 layer.
#[derive(Debug, Clone)]
pub(crate) struct Int8Facts {
    pub(crate) weight_shape: Vec<usize>,
    pub(crate) scheme: LayerScheme,
    /// Signal to quantization noise of its weights in dB, if there is a noise.
    pub(crate) sqnr_db: Option<f32>,
    /// The name of the kernel that computes it.
    pub(crate) kernel: &'static str,
    /// Bytes of a saved float layer.
    pub(crate) float_bytes: usize,
    /// Bytes of this layer as saved.
    pub(crate) int8_bytes: usize,
    /// Bytes of this layer in memory.
    pub(crate) memory_bytes: usize,
    /// Which copy of the weights it uses; tied layers share one.
    pub(crate) copy: usize,
}

/// All layers of a model, in order, and the bytes of its other parameters.
#[derive(Default)]
pub(crate) struct Census {
    pub(crate) layers: Vec<Found>,
    pub(crate) other_bytes: usize,
    check_weights: bool,
    /// Names on the way down, each with the type that holds it.
    path: Vec<(String, String)>,
}

impl Census {
    pub(crate) fn of<B: Backend, M: Module<B>>(model: &M) -> Self {
        let mut census = Self::default();
        model.visit(&mut census);
        census
    }

    /// Also looks at every weight, which initialises them.
    pub(crate) fn with_weights_of<B: Backend, M: Module<B>>(model: &M) -> Self {
        let mut census = Self { check_weights: true, ..Self::default() };
        model.visit(&mut census);
        census
    }

    /// The paths of all layers of some forms.
    pub(crate) fn paths(&self, of: impl Fn(&Form) -> bool) -> Vec<String> {
        self.layers.iter().filter(|layer| of(&layer.form)).map(|layer| layer.info.path.clone()).collect()
    }

    /// Counts a layer that can become INT8.
    pub(crate) fn float<L: FloatLayer>(&mut self, layer: &L) {
        let form = L::form(&layer.options());
        let check = || layer.weight().non_finite_channel(&form);
        let non_finite = if self.check_weights { check() } else { None };
        let mut bytes = Bytes::default();
        layer.visit(&mut bytes);
        self.add(L::KIND, form.shape(), Form::Float { non_finite }, bytes.0, 0);
    }

    /// Counts a layer that is INT8.
    pub(crate) fn int8(&mut self, kind: &'static str, facts: Int8Facts) {
        let (shape, bytes) = (facts.weight_shape.clone(), facts.int8_bytes);
        self.add(kind, shape, Form::Int8(facts), bytes, 0);
    }

    /// The outermost module of Burn's around the current path whose layers are its own.
    fn compound(&self) -> Option<&'static str> {
        let mut names = self.path.iter().filter_map(|(_, container)| container.strip_prefix("Struct:"));
        names.find_map(|name| COMPOUND.iter().find(|compound| **compound == name)).copied()
    }

    /// Adds a layer whose path is the current one less its last `inside` names.
    fn add(&mut self, kind: &'static str, shape: Vec<usize>, form: Form, bytes: usize, inside: usize) {
        let names = &self.path[..self.path.len() - inside];
        let path = names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".");
        self.layers.push(Found { info: LayerInfo { path, kind, shape }, form, bytes });
    }
}

impl<B: Backend> ModuleVisitor<B> for Census {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push((name.into(), container.into()));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    /// A parameter of a layer that is not ours.
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let (shape, bytes) = (param.lazy_shape(), bytes_of(param));
        let holder = self.path.last().and_then(|(name, container)| {
            let kind = container.strip_prefix("Struct:")?;
            Some((name.as_str(), *STOCK.iter().find(|stock| **stock == kind)?))
        });
        match holder {
            Some(("weight", kind)) => {
                self.add(kind, shape.to_vec(), Form::Stock(self.compound()), bytes, 1);
            }
            // Its weight is the layer that was seen last.
            Some(("bias", _)) => match self.layers.last_mut() {
                Some(layer) => layer.bytes += bytes,
                None => self.other_bytes += bytes,
            },
            _ => self.other_bytes += bytes,
        }
    }
}

/// The bytes of all float parameters of one layer.
#[derive(Default)]
struct Bytes(usize);

impl<B: Backend> ModuleVisitor<B> for Bytes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0 += bytes_of(param);
    }
}

/// Bytes of `count` floats of the backend's default type.
pub(crate) fn float_bytes<B: Backend>(count: usize) -> usize {
    count * B::FloatElem::dtype().size()
}

/// Asks for the shape alone: reading the value would initialise a parameter that has never been used.
fn bytes_of<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> usize {
    float_bytes::<B>(param.lazy_shape().num_elements())
}
