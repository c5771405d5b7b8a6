//! Gemma 3: what its `config.json` tells about the model, and its tensors' names.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::config::{Activation, ConfigFile, DecoderConfig, Span};
use crate::error::ModelError;

const FILE: ConfigFile = ConfigFile("config.json");
/// The last of every so many layers is global, where the file doesn't say.
const PATTERN: usize = 6;

/// The tokens that a layer's queries see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum LayerKind {
    /// The last `sliding_window` tokens.
    #[serde(rename = "sliding_attention")]
    Local,
    /// All tokens.
    #[serde(rename = "full_attention")]
    Global,
}

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
    pub sliding_window: usize,
    /// The base of the global layers' frequencies.
    pub rope_theta: f64,
    /// The base of the local layers' frequencies.
    pub rope_local_base_freq: f64,
    pub rms_norm_eps: f64,
    /// Scores are divided by its root.
    pub query_pre_attn_scalar: f64,
    pub max_position_embeddings: usize,
    pub bos_token_id: u32,
    /// Each of them ends an answer.
    #[serde(deserialize_with = "one_or_more")]
    pub eos_token_id: Vec<u32>,
    /// Newer files say it of each layer, older ones give a pattern.
    layer_types: Option<Vec<LayerKind>>,
    sliding_window_pattern: Option<usize>,
    _sliding_window_pattern: Option<usize>,
    model_type: String,
    hidden_activation: String,
    #[serde(flatten)]
    absent: Absent,
}

/// The entries that other models of the family have and this one hasn't.
#[derive(Clone, Debug, Default, Deserialize)]
struct Absent {
    attn_logit_softcapping: Option<Value>,
    final_logit_softcapping: Option<Value>,
    rope_scaling: Option<Value>,
    attention_bias: Option<bool>,
    use_bidirectional_attention: Option<bool>,
    tie_word_embeddings: Option<bool>,
}

fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(u32),
        More(Vec<u32>),
    }
    Ok(match Ids::deserialize(from)? {
        Ids::One(id) => vec![id],
        Ids::More(ids) => ids,
    })
}

impl GemmaConfig {
    /// The configuration in the folder's `config.json`.
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
            eos_token_id: vec![1, 106],
            layer_types: None,
            sliding_window_pattern: Some(PATTERN),
            _sliding_window_pattern: None,
            model_type: "gemma3_text".into(),
            hidden_activation: "gelu_pytorch_tanh".into(),
            absent: Absent::default(),
        }
    }

    pub fn gemma3_270m() -> Self {
        Self { hidden_size: 640, num_hidden_layers: 18, intermediate_size: 2048, ..Self::gemma3_1b() }
    }

    /// Small enough for tests and with everything in it that the large ones have.
    pub fn tiny() -> Self {
        Self {
            vocab_size: 61,
            hidden_size: 24,
            num_hidden_layers: 7,
            head_dim: 8,
            intermediate_size: 48,
            sliding_window: 4,
            query_pre_attn_scalar: 8.0,
            ..Self::gemma3_1b()
        }
    }

    /// The decoder that this describes.
    pub fn decoder(&self) -> DecoderConfig {
        let span = |kind| match kind {
            LayerKind::Local => Span { window: self.sliding_window, rope_theta: self.rope_local_base_freq },
            LayerKind::Global => Span { window: self.max_position_embeddings, rope_theta: self.rope_theta },
        };
        DecoderConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
            max_position_embeddings: self.max_position_embeddings,
            layers: self.kinds().into_iter().map(span).collect(),
            activation: Activation::GeluTanh,
            embedding_scale: (self.hidden_size as f64).sqrt(),
            attention_scale: self.query_pre_attn_scalar.sqrt().recip(),
            rms_norm_eps: self.rms_norm_eps,
            // Stored around zero.
            norm_offset: 1.0,
            head_norms: true,
            output_norms: true,
            tied_head: true,
            start: Some(self.bos_token_id),
            ends: self.eos_token_id.clone(),
        }
    }

    /// The kind of each layer, from the first.
    pub fn kinds(&self) -> Vec<LayerKind> {
        let pattern = self.pattern();
        let by_pattern = |layer| match (layer + 1) % pattern {
            0 => LayerKind::Global,
            _ => LayerKind::Local,
        };
        self.layer_types.clone().unwrap_or_else(|| (0..self.num_hidden_layers).map(by_pattern).collect())
    }

    fn pattern(&self) -> usize {
        self.sliding_window_pattern.or(self._sliding_window_pattern).unwrap_or(PATTERN)
    }

    /// Checks that this is a model that the code here computes.
    pub fn check(&self) -> Result<(), ModelError> {
        self.check_kind()?;
        self.check_sizes()?;
        self.check_numbers()?;
        FILE.check_heads(self.num_attention_heads, self.num_key_value_heads, self.head_dim)?;
        match &self.layer_types {
            Some(types) if types.len() != self.num_hidden_layers => {
                Err(ModelError::LayerTypes { found: types.len(), layers: self.num_hidden_layers })
            }
            _ => Ok(()),
        }
    }

    fn check_kind(&self) -> Result<(), ModelError> {
        let words = [
            ("model_type", &self.model_type, "gemma3_text"),
            ("hidden_activation", &self.hidden_activation, "gelu_pytorch_tanh"),
        ];
        for (key, found, supported) in words {
            if found != supported {
                return Err(FILE.unsupported(key, found, supported));
            }
        }
        let absent = &self.absent;
        let values = [
            ("attn_logit_softcapping", &absent.attn_logit_softcapping),
            ("final_logit_softcapping", &absent.final_logit_softcapping),
            ("rope_scaling", &absent.rope_scaling),
        ];
        for (key, value) in values {
            if let Some(value) = value {
                return Err(FILE.unsupported(key, value, "null"));
            }
        }
        let flags = [
            ("attention_bias", absent.attention_bias, "false"),
            ("use_bidirectional_attention", absent.use_bidirectional_attention, "false"),
            ("tie_word_embeddings", absent.tie_word_embeddings, "true"),
        ];
        for (key, flag, supported) in flags {
            if let Some(found) = flag.map(|flag| flag.to_string()).filter(|found| found != supported) {
                return Err(FILE.unsupported(key, found, supported));
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), ModelError> {
        FILE.check_layers("num_hidden_layers", self.num_hidden_layers)?;
        FILE.check_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate_size),
            ("sliding_window", self.sliding_window),
            ("sliding_window_pattern", self.pattern()),
            ("max_position_embeddings", self.max_position_embeddings),
        ])
    }

    fn check_numbers(&self) -> Result<(), ModelError> {
        FILE.check_numbers(&[
            ("rope_theta", self.rope_theta),
            ("rope_local_base_freq", self.rope_local_base_freq),
            ("rms_norm_eps", self.rms_norm_eps),
            ("query_pre_attn_scalar", self.query_pre_attn_scalar),
        ])
    }
}

/// The name that a checkpoint has for a parameter, without the `model.` in front.
pub fn tensor_name(parameter: &str) -> String {
    let names = parameter.split('.').map(|name| match name {
        "attention_norm" => "input_layernorm",
        "attention_output_norm" => "post_attention_layernorm",
        "feedforward_norm" => "pre_feedforward_layernorm",
        "feedforward_output_norm" => "post_feedforward_layernorm",
        "gamma" => "weight",
        other => other,
    });
    names.collect::<Vec<_>>().join(".")
}
