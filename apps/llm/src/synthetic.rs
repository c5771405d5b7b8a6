//! Random weights, so that speed and size can be measured without a checkpoint.

use std::hash::{DefaultHasher, Hash, Hasher};

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::config::DecoderConfig;

/// Values that one thread draws at a time.
const CHUNK: usize = 1 << 16;
/// The distance of the weights of norms from one.
const NORM_SPREAD: f32 = 0.1;

/// A loader that draws each parameter by its path: the same in every order, float or INT8.
#[derive(Default)]
pub struct Synthetic {
    path: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for Synthetic {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, shape) = (param.id, param.lazy_shape());
        let mut hasher = DefaultHasher::new();
        self.path.hash(&mut hasher);
        // Outputs of about the size of the inputs; rows of the table of about one once they are multiplied by its width.
        let inputs =
            if self.path.iter().any(|name| name == "embed_tokens") { shape[D - 1] } else { shape[0] };
        let (center, spread) = if D == 1 { (1.0, NORM_SPREAD) } else { (0.0, (3.0 / inputs as f32).sqrt()) };
        let mut values = vec![0.0_f32; shape.num_elements()];
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
            let mut random = SmallRng::seed_from_u64(hasher.finish() ^ chunk as u64);
            values.iter_mut().for_each(|value| *value = center + random.random_range(-spread..spread));
        });
        let tensor = Tensor::from_data(TensorData::new(values, shape), &param.lazy_device());
        param.transform_for_load(tensor, id)
    }
}

/// Tokens that mean as little as the weights, the same each time.
pub fn tokens(count: usize, config: &DecoderConfig) -> Vec<u32> {
    (0..count).map(|at| (at * 7919 % config.vocab_size) as u32).collect()
}
