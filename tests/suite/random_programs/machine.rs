//! The values that a program begins with, and the machine that runs it on `Int8<NdArray>`.

use burn::backend::NdArray;
use burn::module::Param;
use burn::nn;
use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{TensorMetadata, TensorPrimitive};
use burn_int8::Int8;
use burn_int8::prelude::*;

use super::step::{Step, erased};
use crate::support::models::tensor;

/// A layer of each kind with a small weight.
#[derive(Module, Debug)]
pub struct Weights<B: Backend> {
    pub linear: nn::Linear<B>,
    pub square: nn::Linear<B>,
    pub table: nn::Embedding<B>,
    pub conv1d: nn::conv::Conv1d<B>,
    pub conv2d: nn::conv::Conv2d<B>,
    pub conv_transpose1d: nn::conv::ConvTranspose1d<B>,
    pub conv_transpose2d: nn::conv::ConvTranspose2d<B>,
}

/// The weights in float.
pub fn weights<B: Backend>() -> Weights<B> {
    let device = Default::default();
    let mut weights = Weights {
        linear: crate::support::models::burns_linear(8, 4, false, 1),
        square: crate::support::models::burns_linear(8, 8, false, 2),
        table: crate::support::models::burns_embedding(6, 8, 3),
        conv1d: nn::conv::Conv1dConfig::new(4, 8, 2).with_bias(false).init(&device),
        conv2d: nn::conv::Conv2dConfig::new([4, 8], [2, 3]).with_bias(false).init(&device),
        conv_transpose1d: nn::conv::ConvTranspose1dConfig::new([4, 2], 2).with_bias(false).init(&device),
        conv_transpose2d: nn::conv::ConvTranspose2dConfig::new([4, 2], [2, 1]).with_bias(false).init(&device),
    };
    weights.conv1d.weight = Param::from_tensor(tensor([8, 4, 2], 4));
    weights.conv2d.weight = Param::from_tensor(tensor([8, 4, 2, 3], 5));
    weights.conv_transpose1d.weight = Param::from_tensor(tensor([4, 2, 2], 6));
    weights.conv_transpose2d.weight = Param::from_tensor(tensor([4, 2, 2, 1], 7));
    weights
}

/// The number of weights among the first values.
pub const WEIGHTS: usize = 7;

impl<B: Backend> Weights<B> {
    /// The weights as the first values of a program, each once.
    fn values(&self) -> Vec<FloatTensor<B>> {
        fn value<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> FloatTensor<B> {
            param.val().into_primitive().tensor()
        }
        vec![
            value(&self.linear.weight),
            value(&self.square.weight),
            value(&self.table.weight),
            value(&self.conv1d.weight),
            value(&self.conv2d.weight),
            value(&self.conv_transpose1d.weight),
            value(&self.conv_transpose2d.weight),
        ]
    }
}

/// The inputs that follow the weights.
pub fn inputs<B: Backend>() -> Vec<FloatTensor<B>> {
    fn input<B: Backend, const D: usize>(shape: [usize; D], seed: usize) -> FloatTensor<B> {
        tensor::<B, D>(shape, seed).into_primitive().tensor()
    }
    vec![
        input::<B, _>([3, 8], 11),
        input::<B, _>([2, 3, 8], 12),
        input::<B, _>([2, 4, 5], 13),
        input::<B, _>([1, 8, 6], 14),
        input::<B, _>([1, 4, 4, 5], 15),
        input::<B, _>([2, 8, 3, 3], 16),
        input::<B, _>([8], 17),
        input::<B, _>([4], 18),
        input::<B, _>([2], 19),
        input::<B, _>([1, 8], 20),
    ]
}

/// The values of a program on a backend.
pub struct Machine<B: Backend> {
    pub values: Vec<FloatTensor<B>>,
    shapes: Vec<Vec<usize>>,
}

impl Machine<Int8<NdArray>> {
    /// The machine whose weights are INT8.
    pub fn quantized(config: &Int8Config) -> Self {
        let (int8, report) = weights::<Int8<NdArray>>().quantize(config).expect("float layers");
        assert_eq!(report.int8_layers(), WEIGHTS, "{report}");
        Self::new(&int8)
    }
}

impl<B: Backend> Machine<B> {
    pub fn new(weights: &Weights<B>) -> Self {
        let values = [weights.values(), inputs::<B>()].concat();
        let shapes = values.iter().map(|value| value.shape().to_vec()).collect();
        Self { values, shapes }
    }

    pub fn shapes(&self) -> &[Vec<usize>] {
        &self.shapes
    }

    pub fn run(&mut self, step: &Step) {
        let result = step.result::<B>(&self.values);
        self.keep(step, result);
    }

    /// Keeps the result of a step, or does what it does to the values.
    pub fn keep(&mut self, step: &Step, result: Option<FloatTensor<B>>) {
        match (step, result) {
            (Step::Drop(place), _) => {
                self.values.swap_remove(*place);
                self.shapes.swap_remove(*place);
            }
            (_, Some(result)) => {
                self.shapes.push(result.shape().to_vec());
                self.values.push(result);
            }
            (step, None) => panic!("{step:?} has no result"),
        }
    }

    pub fn into_data(self) -> Vec<TensorData> {
        self.values.into_iter().map(|value| erased::<B>(value).into_data()).collect()
    }
}

/// The value as a tensor of a rank.
pub fn ranked<B: Backend, const D: usize>(value: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(value))
}
