//! From text to the numbers of its tokens.

use std::path::Path;

use burn::prelude::*;
use tokenizers::{Tokenizer, TruncationParams};

use crate::config::BertConfig;
use crate::error::ModelError;

/// The length that sentence-transformers cuts texts to for this model.
const LONGEST: usize = 256;

pub struct Tokens(Tokenizer);

impl Tokens {
    pub fn load(folder: &Path, config: &BertConfig) -> Result<Self, ModelError> {
        let path = folder.join("tokenizer.json");
        let invalid = |source| ModelError::Tokenizer { path: path.clone(), source };
        let mut tokenizer = Tokenizer::from_file(&path).map_err(invalid)?;
        let (tokens, rows) = (tokenizer.get_vocab_size(true), config.vocab_size);
        if tokens > rows {
            return Err(ModelError::Vocabulary { tokens, rows });
        }
        // Each batch is padded to its own longest sentence, not to what the file says.
        tokenizer.with_padding(None);
        let max_length = LONGEST.min(config.max_position_embeddings);
        let truncation = TruncationParams { max_length, ..Default::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(invalid)?;
        Ok(Self(tokenizer))
    }

    pub fn split(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        match self.0.encode_fast(text, true) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(source) => Err(ModelError::Text { text: text.into(), source }),
        }
    }
}

/// Sentences of one length; shorter ones are padded.
pub struct Batch<B: Backend> {
    /// `[sentences, tokens]`
    pub ids: Tensor<B, 2, Int>,
    /// `[sentences, tokens]`: 1 for a token, 0 for padding. None if nothing is padded.
    pub present: Option<Tensor<B, 2>>,
}

/// Pads the sentences to the longest of them.
pub fn batch<B: Backend>(sentences: &[&[u32]], device: &B::Device) -> Batch<B> {
    let longest = sentences.iter().map(|ids| ids.len()).max().unwrap_or(0);
    let mut ids = vec![0_i64; sentences.len() * longest];
    let mut present = vec![0_f32; ids.len()];
    for (row, sentence) in sentences.iter().enumerate() {
        for (column, id) in sentence.iter().enumerate() {
            ids[row * longest + column] = i64::from(*id);
            present[row * longest + column] = 1.0;
        }
    }
    let padded = sentences.iter().any(|ids| ids.len() < longest);
    let shape = [sentences.len(), longest];
    Batch {
        ids: Tensor::from_data(TensorData::new(ids, shape), device),
        present: padded.then(|| Tensor::from_data(TensorData::new(present, shape), device)),
    }
}
