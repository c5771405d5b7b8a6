//! Text to tokens and back.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::bpe;
use crate::chat::Chat;
use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::gguf::Gguf;

pub struct Tokens {
    tokenizer: Tokenizer,
    /// The token that texts begin with; not every model has one.
    start: Option<u32>,
    chat: Chat,
}

impl Tokens {
    /// The tokenizer of a folder with `tokenizer.json`.
    pub fn load(folder: &Path, config: &DecoderConfig) -> Result<Self, ModelError> {
        let path = folder.join("tokenizer.json");
        let tokenizer =
            Tokenizer::from_file(&path).map_err(|source| ModelError::Tokenizer { path, source })?;
        Self::new(tokenizer, config, Chat::Gemma)
    }

    pub fn from_gguf(gguf: &Gguf, config: &DecoderConfig) -> Result<Self, ModelError> {
        const TEMPLATE: &str = "tokenizer.chat_template";
        let chat = match gguf.metadata.get(TEMPLATE) {
            Some(_) => Chat::Template(gguf.metadata.text(TEMPLATE)?.into()),
            None => Chat::Unknown,
        };
        Self::new(bpe::tokenizer(gguf)?, config, chat)
    }

    fn new(tokenizer: Tokenizer, config: &DecoderConfig, chat: Chat) -> Result<Self, ModelError> {
        // Ids may leave gaps.
        let ids = tokenizer.get_vocab(true).into_values().chain(config.start);
        let (tokens, rows) = (ids.max().map_or(0, |largest| largest as usize + 1), config.vocab_size);
        if tokens > rows {
            return Err(ModelError::Vocabulary { tokens, rows });
        }
        Ok(Self { tokenizer, start: config.start, chat })
    }

    /// The tokens of a text, with the one that starts it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoded = self.tokenizer.encode(text, true).map_err(ModelError::Text)?;
        let mut ids = encoded.get_ids().to_vec();
        if let Some(start) = self.start.filter(|start| ids.first() != Some(start)) {
            ids.insert(0, start);
        }
        Ok(ids)
    }

    /// A question as the instruction-tuned models were trained to see one.
    pub fn turn(&self, question: &str) -> Result<String, ModelError> {
        self.chat.turn(question)
    }

    /// A function from each token to the text that it completes.
    pub fn stream(&self) -> impl FnMut(u32) -> Result<String, ModelError> {
        let mut stream = self.tokenizer.decode_stream(true);
        move |id| Ok(stream.step(id).map_err(ModelError::Text)?.unwrap_or_default())
    }
}
