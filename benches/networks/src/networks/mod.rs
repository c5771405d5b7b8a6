//! The networks: Burn's own layers, written once for every backend.

mod convolution;
mod lstm;
mod minilm;
mod mobile;
mod resnet;
mod smollm2;

pub use convolution::SIDE;
pub use lstm::HIDDEN;
pub use minilm::MINILM_VOCABULARY;
pub use smollm2::{HEAD_WIDTH, KV_HEADS, LAYERS, SMOLLM2_VOCABULARY};

use burn::module::Module;
use burn::prelude::*;

use crate::case::{Array, Case, Name, Values};
use crate::contestant::{Contestant, Precision, Problem, stock};

/// A network that is timed.
pub trait Network<B: Backend>: Module<B> {
    type Input: Input<B>;

    fn forward(&self, input: Self::Input) -> Tensor<B, 2>;
}

/// What a network reads: a tensor or several.
pub trait Input<B: Backend>: Clone + 'static {
    fn new(case: &Case, device: &B::Device) -> Self;
}

impl<B: Backend, const D: usize> Input<B> for Tensor<B, D> {
    fn new(case: &Case, device: &B::Device) -> Self {
        Self::from_data(only(case), device)
    }
}

impl<B: Backend, const D: usize> Input<B> for Tensor<B, D, Int> {
    fn new(case: &Case, device: &B::Device) -> Self {
        Self::from_data(only(case), device)
    }
}

fn only(case: &Case) -> TensorData {
    data(case.inputs().pop().expect("every network has an input"))
}

fn data(array: Array) -> TensorData {
    match array.values {
        Values::Floats(values) => TensorData::new(values, array.shape),
        Values::Tokens(values) => TensorData::new(values, array.shape),
    }
}

/// The network of a case on a backend, with prepared layers.
pub fn build<B: Backend, P: Precision>(case: &Case) -> Result<Box<dyn Contestant>, Problem> {
    let device = Default::default();
    match case.name {
        Name::EfficientNetLite0 => stock::<B, _, P>(case, mobile::Mobile::<B>::efficientnet_lite0(&device)),
        Name::MobileNetV2 => stock::<B, _, P>(case, mobile::Mobile::<B>::mobilenet_v2(&device)),
        Name::ResNet50 => stock::<B, _, P>(case, resnet::ResNet::<B>::new(&device)),
        Name::MiniLm => stock::<B, _, P>(case, minilm::MiniLm::<B>::new(&device)),
        Name::Lstm => stock::<B, _, P>(case, lstm::TwoLstms::<B>::new(&device)),
        Name::SmolLm2 => stock::<B, _, P>(case, smollm2::SmolLm2::<B>::new(&device)),
    }
}
