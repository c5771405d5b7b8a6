//! The models that the tests quantize: one with our layers, and its twin with Burn's.

use burn::module::Param;
use burn::nn;
use burn::prelude::*;
use burn_int8::nn::{Linear, LinearConfig, LinearLayout};

/// Values in `-1.0..1.0`, the same on every machine, no two rows or columns alike.
pub fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

pub fn tensor<B: Backend, const D: usize>(shape: [usize; D], seed: usize) -> Tensor<B, D> {
    let data = TensorData::new(values(shape.iter().product(), seed), shape);
    Tensor::from_data(data, &Default::default())
}

/// Burn's layer with weights of our own.
pub fn burns_linear<B: Backend>(k: usize, n: usize, bias: bool, seed: usize) -> nn::Linear<B> {
    nn::Linear {
        weight: Param::from_tensor(tensor([k, n], seed)),
        bias: bias.then(|| Param::from_tensor(tensor([n], seed + 1))),
    }
}

pub fn burns_embedding<B: Backend>(entries: usize, width: usize, seed: usize) -> nn::Embedding<B> {
    nn::Embedding { weight: Param::from_tensor(tensor([entries, width], seed)) }
}

/// Fields of every kind that a path can lead through.
#[derive(Module, Debug)]
pub struct Net<B: Backend> {
    pub input: Linear<B>,
    pub blocks: Vec<Block<B>>,
    pub norm: nn::LayerNorm<B>,
    pub gate: Option<Linear<B>>,
    pub head: Linear<B>,
    pub act: nn::Relu,
}

#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    pub fc1: Linear<B>,
    pub fc2: Linear<B>,
}

/// The same model with Burn's own layers: same fields, same names.
#[derive(Module, Debug)]
pub struct StockNet<B: Backend> {
    pub input: nn::Linear<B>,
    pub blocks: Vec<StockBlock<B>>,
    pub norm: nn::LayerNorm<B>,
    pub gate: Option<nn::Linear<B>>,
    pub head: nn::Linear<B>,
    pub act: nn::Relu,
}

#[derive(Module, Debug)]
pub struct StockBlock<B: Backend> {
    pub fc1: nn::Linear<B>,
    pub fc2: nn::Linear<B>,
}

impl<B: Backend> StockNet<B> {
    pub fn new(seed: usize) -> Self {
        let block = |i| StockBlock {
            fc1: burns_linear(16, 24, true, seed + i),
            fc2: burns_linear(24, 16, false, seed + i + 1),
        };
        Self {
            input: burns_linear(8, 16, true, seed),
            blocks: vec![block(10), block(20)],
            norm: nn::LayerNormConfig::new(16).init(&Default::default()),
            gate: Some(burns_linear(16, 16, false, seed + 30)),
            head: burns_linear(16, 5, true, seed + 40),
            act: nn::Relu::new(),
        }
    }
}

/// The `forward` of models that have these fields, whoever's layers are in them.
macro_rules! forward {
    ($($net:ident)*) => {$(
        impl<B: Backend> $net<B> {
            pub fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
                let mut x = self.act.forward(self.input.forward(x));
                for block in &self.blocks {
                    x = block.fc2.forward(self.act.forward(block.fc1.forward(x.clone()))) + x;
                }
                let x = self.norm.forward(x);
                let gated = match &self.gate {
                    Some(gate) => gate.forward(x.clone()) * x,
                    None => x,
                };
                self.head.forward(gated)
            }
        }
    )*};
}

forward! { StockNet Net }

impl<B: Backend> From<StockNet<B>> for Net<B> {
    fn from(stock: StockNet<B>) -> Self {
        let block = |block: StockBlock<B>| Block { fc1: block.fc1.into(), fc2: block.fc2.into() };
        Self {
            input: stock.input.into(),
            blocks: stock.blocks.into_iter().map(block).collect(),
            norm: stock.norm,
            gate: stock.gate.map(Into::into),
            head: stock.head.into(),
            act: stock.act,
        }
    }
}

impl<B: Backend> Net<B> {
    /// A model with known weights.
    pub fn new(seed: usize) -> Self {
        StockNet::new(seed).into()
    }

    /// A model as a program makes one to load a file into.
    pub fn fresh() -> Self {
        Self::fresh_with(LinearLayout::Row)
    }

    pub fn fresh_with(layout: LinearLayout) -> Self {
        let device = Default::default();
        let linear = |k, n, bias| LinearConfig::new(k, n).with_bias(bias).with_layout(layout).init(&device);
        let block = || Block { fc1: linear(16, 24, true), fc2: linear(24, 16, false) };
        Self {
            input: linear(8, 16, true),
            blocks: vec![block(), block()],
            norm: nn::LayerNormConfig::new(16).init(&device),
            gate: Some(linear(16, 16, false)),
            head: linear(16, 5, true),
            act: nn::Relu::new(),
        }
    }
}

/// A model whose second layer gets one channel that is a thousand times as large as the others, and does not use it: quantized
/// by its largest value, the input loses the others.
#[derive(Module, Debug)]
pub struct Hostile<B: Backend> {
    pub first: Linear<B>,
    pub second: Linear<B>,
    pub third: Linear<B>,
}

impl<B: Backend> Hostile<B> {
    pub fn new() -> Self {
        let scale = |factor| {
            let mut scale = vec![1.0; 32];
            scale[7] = factor;
            Tensor::<B, 1>::from_floats(&scale[..], &Default::default())
        };
        let mut first = burns_linear(32, 32, true, 1);
        first.weight = first.weight.map(|weight| weight * scale(1000.0).unsqueeze());
        let mut second = burns_linear(32, 32, true, 2);
        second.weight = second.weight.map(|weight| weight * scale(0.0).unsqueeze_dim(1));
        Self { first: first.into(), second: second.into(), third: burns_linear(32, 8, true, 3).into() }
    }

    pub fn inputs() -> Tensor<B, 2> {
        tensor([16, 32], 4)
    }

    pub fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.third.forward(self.second.forward(self.first.forward(x)))
    }
}

/// The paths of the layers of [`Net`].
pub const LAYERS: [&str; 7] =
    ["input", "blocks.0.fc1", "blocks.0.fc2", "blocks.1.fc1", "blocks.1.fc2", "gate", "head"];

pub fn floats<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().to_vec().expect("f32")
}

pub fn is_wgpu<B: Backend>() -> bool {
    cfg!(feature = "wgpu") && B::name(&Default::default()).contains("wgpu")
}

/// `sum * scale + bias` in `f32`, as the host computes it: on a device the product may go into the sum unrounded, which is
/// half an ulp (6e-8) of the product more or less. Biases in tests are below 1.
pub fn assert_outputs<B: Backend>(got: &[f32], expected: &[f32], what: &str) {
    if is_wgpu::<B>() {
        assert_eq!(got.len(), expected.len(), "{what}");
        let largest = expected.iter().fold(1.0, |max: f32, y| max.max(1.0 + y.abs()));
        let close = |(got, expected): (&f32, &f32)| (got - expected).abs() <= 1.2e-7 * largest;
        assert!(got.iter().zip(expected).all(close), "{what}: {got:?}, not {expected:?}");
    } else {
        assert_eq!(got, expected, "{what}");
    }
}

/// Makes a test of each generic function, for each backend.
macro_rules! on_every_backend {
    ($($test:ident)*) => {
        mod on_ndarray {
            $(#[test] fn $test() { super::$test::<burn::backend::NdArray>() })*
        }
        mod on_flex {
            $(#[test] fn $test() { super::$test::<burn::backend::Flex>() })*
        }
        #[cfg(feature = "wgpu")]
        mod on_wgpu {
            $(#[test] fn $test() { if crate::gpu::available() { super::$test::<crate::gpu::Fused>() } })*
        }
        #[cfg(feature = "wgpu")]
        mod on_wgpu_without_fusion {
            $(#[test] fn $test() { if crate::gpu::available() { super::$test::<crate::gpu::Plain>() } })*
        }
    };
}
pub(crate) use on_every_backend;
