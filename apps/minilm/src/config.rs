//! The facts that the checkpoint tells about its model.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::error::ModelError;

/// The entries of `config.json` that matter here, under the names that they have there.
#[derive(Clone, Debug, Deserialize)]
pub struct BertConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    pub layer_norm_eps: f64,
    model_type: String,
    hidden_act: String,
    /// Older files have none, and are absolute.
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

fn absolute() -> String {
    "absolute".into()
}

impl BertConfig {
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let text = fs::read_to_string(&path).map_err(|source| ModelError::read(&path, source))?;
        let config: Self =
            serde_json::from_str(&text).map_err(|source| ModelError::Config { path, source })?;
        config.check()?;
        Ok(config)
    }

    /// Checks that this is a model that the code here computes.
    fn check(&self) -> Result<(), ModelError> {
        let words = [
            ("model_type", &self.model_type, "bert"),
            ("hidden_act", &self.hidden_act, "gelu"),
            ("position_embedding_type", &self.position_embedding_type, "absolute"),
        ];
        for (key, found, supported) in words {
            if found != supported {
                return Err(ModelError::Unsupported { key, found: found.clone(), supported });
            }
        }
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
            return Err(ModelError::Heads { width, heads });
        }
        Ok(())
    }
}
