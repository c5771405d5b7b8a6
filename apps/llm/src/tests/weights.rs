//! Weights for models without a checkpoint.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::DecoderConfig;
use crate::model::Decoder;

/// A model whose every parameter is what the function says for its path and shape.
pub fn filled<B: Backend>(
    config: &DecoderConfig,
    device: &B::Device,
    values: impl FnMut(&str, &[usize]) -> Vec<f32>,
) -> Decoder<B> {
    Decoder::new(config, device).map(&mut Filler { path: Vec::new(), values })
}

/// Weights by chance, of norms around 1; the same for the same path and shape.
pub fn random(path: &str, shape: &[usize]) -> Vec<f32> {
    let seed = path.bytes().fold(0, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut random = StdRng::seed_from_u64(seed);
    let middle = if path.ends_with("gamma") { 1.0 } else { 0.0 };
    (0..shape.iter().product()).map(|_| middle + random.random_range(-0.4..0.4)).collect()
}

struct Filler<F> {
    path: Vec<String>,
    values: F,
}

impl<B: Backend, F: FnMut(&str, &[usize]) -> Vec<f32>> ModuleMapper<B> for Filler<F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        assert!(!param.is_initialized(), "a fresh model takes no memory");
        let shape: [usize; D] = param.lazy_shape().dims();
        let values = (self.values)(&self.path.join("."), &shape);
        let tensor = Tensor::from_data(TensorData::new(values, shape), &param.lazy_device());
        Param::initialized(param.id, tensor)
    }
}
