//! Text to tokens and back.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::config::GemmaConfig;
use crate::error::ModelError;

pub struct Tokens {
    tokenizer: Tokenizer,
    start: u32,
}

impl Tokens {
    pub fn load(folder: &Path, config: &GemmaConfig) -> Result<Self, ModelError> {
        let path = folder.join("tokenizer.json");
        let tokenizer =
            Tokenizer::from_file(&path).map_err(|source| ModelError::Tokenizer { path, source })?;
        let (tokens, rows) = (tokenizer.get_vocab_size(true), config.vocab_size);
        if tokens > rows {
            return Err(ModelError::Vocabulary { tokens, rows });
        }
        Ok(Self { tokenizer, start: config.bos_token_id })
    }

    /// The tokens of a text, with the one that starts it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoded = self.tokenizer.encode(text, true).map_err(ModelError::Text)?;
        let mut ids = encoded.get_ids().to_vec();
        if ids.first() != Some(&self.start) {
            ids.insert(0, self.start);
        }
        Ok(ids)
    }

    /// A function from each token to the text that it completes.
    pub fn stream(&self) -> impl FnMut(u32) -> Result<String, ModelError> {
        let mut stream = self.tokenizer.decode_stream(true);
        move |id| Ok(stream.step(id).map_err(ModelError::Text)?.unwrap_or_default())
    }
}

/// A question as the instruction-tuned models were trained to see one.
pub fn turn(question: &str) -> String {
    format!("<start_of_turn>user\n{question}<end_of_turn>\n<start_of_turn>model\n")
}
