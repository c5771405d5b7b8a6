//! Keras' numbers, the cache against none, and files that are not what they should be.

mod context;
mod files;
mod keras;
mod sampling;

use burn::backend::NdArray;
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};

use crate::config::GemmaConfig;
use crate::model::Gemma;
use crate::synthetic::Synthetic;

type Cpu = NdArray;

/// The tiny model with random weights.
fn synthetic() -> Gemma<Cpu> {
    Gemma::new(&GemmaConfig::tiny(), &Default::default()).map(&mut Synthetic::default())
}

fn ids(ids: &[i64]) -> Tensor<Cpu, 2, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [1, ids.len()]), &Default::default())
}

/// The largest difference, and the largest magnitude expected.
fn difference(found: &[f32], expected: &[f32]) -> (f32, f32) {
    assert_eq!(found.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
    let off = largest(&mut found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()));
    (off, largest(&mut expected.iter().map(|value| value.abs())))
}
