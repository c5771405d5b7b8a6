//! Random numbers that models.py makes, too: both compute with the same weights and inputs, and no file has to be read.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;

/// The `index`-th number of a name, in `[-1, 1)`: SplitMix64, seeded with the FNV-1a hash of the name.
fn uniform(name: &str, len: usize) -> impl Iterator<Item = f32> {
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (1..=len as u64).map(move |index| {
        let x = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let x = x ^ (x >> 31);
        // 24 bits are a float without rounding.
        (x >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// An input with a mean of 0 and a deviation of 1.
pub fn floats(name: &str, len: usize) -> Vec<f32> {
    uniform(name, len).map(|value| value * 3f32.sqrt()).collect()
}

/// An input of words from a vocabulary of so many.
pub fn tokens(name: &str, len: usize, vocabulary: usize) -> Vec<i64> {
    uniform(name, len).map(|value| ((value + 1.0) / 2.0 * vocabulary as f32) as i64).collect()
}

/// Fills the parameters of a model, each by its path.
#[derive(Default)]
pub struct Fill {
    path: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for Fill {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = self.path.join(".");
        param.map(|old| {
            let (shape, device) = (old.dims(), old.device());
            let (scale, offset) = spread(&name, &shape);
            let values = uniform(&name, shape.iter().product()).map(|value| value * scale + offset);
            Tensor::from_data(TensorData::new(values.collect(), shape), &device)
        })
    }
}

/// The largest distance of a parameter's values from their mean, and the mean: outputs get about the size of inputs, also
/// through a ReLU.
fn spread(name: &str, shape: &[usize]) -> (f32, f32) {
    match *shape {
        [_] if name.ends_with("gamma") => (0.1, 1.0),
        [_] => (0.1, 0.0),
        [inputs, _] => ((3.0 / inputs as f32).sqrt(), 0.0),
        [_, ref filter @ ..] => ((6.0 / filter.iter().product::<usize>() as f32).sqrt(), 0.0),
        [] => (1.0, 0.0),
    }
}
