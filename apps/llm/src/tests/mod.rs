//! The models against Keras' and transformers' numbers, the cache against a model without one, files, and what must be refused.

mod cache;
mod command;
mod config;
mod damaged;
mod files;
mod generate;
mod gguf;
mod gguf_file;
mod golden;
mod parts;
mod predictions;
mod reference;
mod sampler;
mod slots;
mod tokens;
mod weights;

use burn::prelude::*;

/// The difference of logits: relative to the largest, or absolute where that is below 1.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1.0, |largest: f32, logit| largest.max(logit.abs()));
    let differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    // Not `max`, which would pass over a NaN.
    differences.fold(0.0, |most, next| if next <= most { most } else { next }) / largest
}

fn ids<B: Backend>(ids: &[i32], batch: usize, device: &B::Device) -> Tensor<B, 2, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [batch, ids.len() / batch]), device)
}

fn values<B: Backend>(tensor: Tensor<B, 3>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().to_vec().unwrap()
}
