//! The shape of a decoder, whichever family it is of, and the limits of numbers that come from a file.

use crate::error::ModelError;

/// No size may be larger, so that products of sizes don't overflow.
const LARGEST: usize = 1 << 24;
/// The layers are made before their weights are looked for, so that a file could ask for any number of them.
const MOST_LAYERS: usize = 1 << 12;

/// All that the families differ in. Each family makes one of its own file (`gemma.rs`, `llama.rs`).
#[derive(Clone, Debug)]
pub struct DecoderConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_attention_heads: usize,
    /// Each of them serves as many heads of queries.
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub max_position_embeddings: usize,
    /// The reach of each layer's attention, from the first layer.
    pub layers: Vec<Span>,
    pub activation: Activation,
    /// The factor of the embeddings.
    pub embedding_scale: f64,
    /// The factor of the scores.
    pub attention_scale: f64,
    pub rms_norm_eps: f64,
    /// The number that files leave out of the weights of norms.
    pub norm_offset: f32,
    /// True if queries and keys are normed, head by head.
    pub head_norms: bool,
    /// True if the outputs of attention and feed-forward are normed, as their inputs are.
    pub output_norms: bool,
    /// True if the table of the tokens is the output head, too.
    pub tied_head: bool,
    /// The token that starts a text; not every model has one.
    pub start: Option<u32>,
    /// Each of them ends an answer.
    pub ends: Vec<u32>,
}

/// The tokens that a layer's queries see, and how it tells their positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// A token is seen by itself and so many less one that come after it.
    pub window: usize,
    /// The base of the frequencies of rotary positions.
    pub rope_theta: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    GeluTanh,
    Silu,
}

/// A file with a configuration, as messages name it.
#[derive(Clone, Copy)]
pub struct ConfigFile(pub &'static str);

impl ConfigFile {
    pub fn check_sizes(self, sizes: &[(&'static str, usize)]) -> Result<(), ModelError> {
        sizes.iter().try_for_each(|&(key, found)| self.check_size(key, found, LARGEST))
    }

    pub fn check_layers(self, key: &'static str, found: usize) -> Result<(), ModelError> {
        self.check_size(key, found, MOST_LAYERS)
    }

    fn check_size(self, key: &'static str, found: usize, most: usize) -> Result<(), ModelError> {
        match (1..=most).contains(&found) {
            true => Ok(()),
            false => Err(ModelError::Size { file: self.0, key, found, most }),
        }
    }

    pub fn check_numbers(self, numbers: &[(&'static str, f64)]) -> Result<(), ModelError> {
        match numbers.iter().find(|(_, number)| !(*number > 0.0 && number.is_finite())) {
            Some(&(key, found)) => Err(ModelError::NotPositive { file: self.0, key, found }),
            None => Ok(()),
        }
    }

    /// Both counts of heads have been checked not to be 0.
    pub fn check_heads(self, heads: usize, kv_heads: usize, head_dim: usize) -> Result<(), ModelError> {
        if !heads.is_multiple_of(kv_heads) {
            return Err(ModelError::Heads { file: self.0, heads, kv_heads });
        }
        if !head_dim.is_multiple_of(2) {
            return Err(ModelError::OddHead { file: self.0, head_dim });
        }
        Ok(())
    }

    pub fn unsupported(self, key: &'static str, found: impl ToString, supported: &'static str) -> ModelError {
        ModelError::Unsupported { file: self.0, key, found: found.to_string(), supported }
    }
}
