//! What the checkpoint says about its model.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::ModelError;

/// The entries of `config.json` that matter here, under the names that they have there.
#[derive(Clone, Debug, Deserialize)]
pub struct GemmaConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub intermediate_size: usize,
    /// How many tokens a local layer sees, the current one included.
    pub sliding_window: usize,
    /// The base of the rotations in global layers.
    pub rope_theta: f64,
    /// The same in local layers.
    pub rope_local_base_freq: f64,
    pub rms_norm_eps: f64,
    /// Queries are divided by its root.
    pub query_pre_attn_scalar: f64,
    /// The longest context.
    pub max_position_embeddings: usize,
    pub bos_token_id: u32,
    #[serde(default)]
    eos_token_id: Tokens,
    /// Newer files name the kind of each layer, older ones say that one in so many is global.
    layer_types: Option<Vec<String>>,
    #[serde(default = "six", alias = "_sliding_window_pattern")]
    sliding_window_pattern: usize,
    model_type: String,
    hidden_activation: String,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default)]
    attn_logit_softcapping: Value,
    #[serde(default)]
    final_logit_softcapping: Value,
    #[serde(default)]
    rope_scaling: Value,
}

/// One token or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Tokens {
    One(u32),
    Many(Vec<u32>),
}

impl Default for Tokens {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

fn six() -> usize {
    6
}

fn yes() -> bool {
    true
}

const MODEL_TYPE: &str = "gemma3_text";
const ACTIVATION: &str = "gelu_pytorch_tanh";
const LOCAL: &str = "sliding_attention";
const GLOBAL: &str = "full_attention";

impl GemmaConfig {
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let text = fs::read_to_string(&path).map_err(|source| ModelError::read(&path, source))?;
        let config: Self =
            serde_json::from_str(&text).map_err(|source| ModelError::Config { path, source })?;
        config.check()?;
        Ok(config)
    }

    pub fn gemma3_1b() -> Self {
        Self {
            vocab_size: 262_144,
            hidden_size: 1152,
            num_hidden_layers: 26,
            num_attention_heads: 4,
            num_key_value_heads: 1,
            head_dim: 256,
            intermediate_size: 6912,
            sliding_window: 512,
            rope_theta: 1e6,
            rope_local_base_freq: 1e4,
            rms_norm_eps: 1e-6,
            query_pre_attn_scalar: 256.0,
            max_position_embeddings: 32_768,
            bos_token_id: 2,
            eos_token_id: Tokens::Many(vec![1, 106]),
            layer_types: None,
            sliding_window_pattern: six(),
            model_type: MODEL_TYPE.into(),
            hidden_activation: ACTIVATION.into(),
            tie_word_embeddings: true,
            attn_logit_softcapping: Value::Null,
            final_logit_softcapping: Value::Null,
            rope_scaling: Value::Null,
        }
    }

    pub fn gemma3_270m() -> Self {
        Self { hidden_size: 640, num_hidden_layers: 18, intermediate_size: 2048, ..Self::gemma3_1b() }
    }

    /// The one whose logits Keras wrote.
    pub fn tiny() -> Self {
        Self {
            vocab_size: 61,
            hidden_size: 24,
            num_hidden_layers: 7,
            head_dim: 8,
            intermediate_size: 48,
            sliding_window: 4,
            query_pre_attn_scalar: 8.0,
            max_position_embeddings: 256,
            ..Self::gemma3_1b()
        }
    }

    /// Whether a layer sees the window only.
    pub fn is_local(&self, layer: usize) -> bool {
        match &self.layer_types {
            Some(types) => types[layer] == LOCAL,
            None => !(layer + 1).is_multiple_of(self.sliding_window_pattern),
        }
    }

    /// Whether a token ends the text.
    pub fn ends(&self, token: u32) -> bool {
        match &self.eos_token_id {
            Tokens::One(end) => *end == token,
            Tokens::Many(ends) => ends.contains(&token),
        }
    }

    /// Whether this is a model that the code here computes.
    fn check(&self) -> Result<(), ModelError> {
        self.check_kind()?;
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate_size),
            ("sliding_window", self.sliding_window),
            ("max_position_embeddings", self.max_position_embeddings),
            ("sliding_window_pattern", self.sliding_window_pattern),
        ];
        let wrong = |reason: String| Err(ModelError::Sizes { reason });
        if let Some((key, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return wrong(format!("{key} is 0"));
        }
        let (heads, shared) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(shared) {
            return wrong(format!("{heads} attention heads can't share {shared} key-value heads"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return wrong(format!("head_dim is {}, which has no halves to rotate", self.head_dim));
        }
        let (layers, types) = (self.num_hidden_layers, self.layer_types.as_deref().unwrap_or_default());
        if self.layer_types.is_some() && types.len() != layers {
            return wrong(format!("layer_types has {} entries for {layers} layers", types.len()));
        }
        match types.iter().find(|kind| ![LOCAL, GLOBAL].contains(&kind.as_str())) {
            Some(kind) => wrong(format!("layer_types has {kind:?}, which is not known")),
            None => Ok(()),
        }
    }

    fn check_kind(&self) -> Result<(), ModelError> {
        let words = [
            ("model_type", &self.model_type, MODEL_TYPE),
            ("hidden_activation", &self.hidden_activation, ACTIVATION),
        ];
        if let Some((key, found, supported)) = words.into_iter().find(|(_, found, needed)| found != needed) {
            return Err(ModelError::Unsupported { key, found: found.clone(), supported });
        }
        let absent = [
            ("attn_logit_softcapping", &self.attn_logit_softcapping),
            ("final_logit_softcapping", &self.final_logit_softcapping),
            ("rope_scaling", &self.rope_scaling),
        ];
        if let Some((key, found)) = absent.into_iter().find(|(_, value)| !value.is_null()) {
            return Err(ModelError::Unsupported { key, found: found.to_string(), supported: "null" });
        }
        if !self.tie_word_embeddings {
            let (key, found) = ("tie_word_embeddings", "false".into());
            return Err(ModelError::Unsupported { key, found, supported: "true" });
        }
        Ok(())
    }
}
