//! From sentences to their embeddings.

use std::path::Path;

use burn::prelude::*;

use crate::config::BertConfig;
use crate::error::ModelError;
use crate::load;
use crate::tokens::{Batch, Tokens, batch};

/// The model as the rest of the program knows it, whichever layers it is made of.
pub trait SentenceModel: Module<Self::Backend> + 'static {
    type Backend: Backend;

    /// The model with no weights yet.
    fn new(config: &BertConfig, device: &Device<Self::Backend>) -> Self;

    /// `[sentences, hidden_size]`
    fn forward(&self, batch: Batch<Self::Backend>) -> Tensor<Self::Backend, 2>;
}

pub struct Encoder<M: SentenceModel> {
    config: BertConfig,
    tokens: Tokens,
    device: Device<M::Backend>,
}

impl<M: SentenceModel> Encoder<M> {
    /// An encoder with the float model of the folder.
    pub fn load(folder: &Path, device: Device<M::Backend>) -> Result<(Self, M), ModelError> {
        let (config, model) = load::load(folder, &device)?;
        let tokens = Tokens::load(folder, &config)?;
        Ok((Self { config, tokens, device }, model))
    }

    /// The model with no weights yet, to load a saved one into.
    pub fn blank(&self) -> M {
        M::new(&self.config, &self.device)
    }

    pub fn device(&self) -> &Device<M::Backend> {
        &self.device
    }

    /// One embedding for each sentence, in the order of the sentences.
    pub fn embed(
        &self,
        model: &M,
        sentences: &[String],
        batch_size: usize,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let ids: Result<Vec<_>, _> = sentences.iter().map(|text| self.tokens.split(text)).collect();
        let ids = ids?;
        // Sentences of like length together: little padding.
        let mut order: Vec<_> = (0..ids.len()).collect();
        order.sort_by_key(|&at| ids[at].len());
        let mut embeddings = vec![Vec::new(); ids.len()];
        for chunk in order.chunks(batch_size) {
            let chunk_ids: Vec<_> = chunk.iter().map(|&at| ids[at].as_slice()).collect();
            let output = model.forward(batch(&chunk_ids, &self.device));
            let [_, width] = output.dims();
            let values: Vec<f32> = output.into_data().iter().collect();
            for (&at, embedding) in chunk.iter().zip(values.chunks(width)) {
                embeddings[at] = embedding.to_vec();
            }
        }
        Ok(embeddings)
    }
}

/// The cosine of two embeddings, whose length is 1.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
