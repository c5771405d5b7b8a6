//! Llama: what the metadata of a GGUF file tells about the model, and its tensors' names.

use crate::config::{Activation, ConfigFile, DecoderConfig, Span};
use crate::error::ModelError;
use crate::gguf::{Gguf, Metadata, Value};

pub const FILE: ConfigFile = ConfigFile("the metadata of GGUF");
const ROPE_THETA: f64 = 1e4;
/// The output head of a model whose table is not its head.
const HEAD: &str = "output.weight";

/// The decoder that a file describes.
pub fn decoder(gguf: &Gguf) -> Result<DecoderConfig, ModelError> {
    let entries = &gguf.metadata;
    check_kind(entries)?;
    let tokens = entries.texts("tokenizer.ggml.tokens")?;
    let heads = entries.size("llama.attention.head_count")?;
    let width = entries.size("llama.embedding_length")?;
    FILE.check_sizes(&[("llama.attention.head_count", heads), ("llama.embedding_length", width)])?;
    let head_dim = entries.size_or("llama.attention.key_length", width / heads)?;
    let context = entries.size("llama.context_length")?;
    let span = Span { window: context, rope_theta: entries.number_or("llama.rope.freq_base", ROPE_THETA)? };
    let blocks = entries.size("llama.block_count")?;
    FILE.check_layers("llama.block_count", blocks)?;
    let starts = entries.flag_or("tokenizer.ggml.add_bos_token", false)?;
    let config = DecoderConfig {
        vocab_size: entries.size_or("llama.vocab_size", tokens.len())?,
        hidden_size: width,
        intermediate_size: entries.size("llama.feed_forward_length")?,
        num_attention_heads: heads,
        num_key_value_heads: entries.size_or("llama.attention.head_count_kv", heads)?,
        head_dim,
        max_position_embeddings: context,
        layers: vec![span; blocks],
        activation: Activation::Silu,
        embedding_scale: 1.0,
        attention_scale: (head_dim as f64).sqrt().recip(),
        rms_norm_eps: entries.number("llama.attention.layer_norm_rms_epsilon")?,
        norm_offset: 0.0,
        head_norms: false,
        output_norms: false,
        tied_head: !gguf.tensors.contains_key(HEAD),
        start: if starts { Some(entries.token("tokenizer.ggml.bos_token_id")?) } else { None },
        ends: vec![entries.token("tokenizer.ggml.eos_token_id")?],
    };
    check(&config, entries)?;
    Ok(config)
}

/// The parts of Llama's descendants that are not computed here.
fn check_kind(entries: &Metadata) -> Result<(), ModelError> {
    for (key, supported) in [("general.architecture", "llama"), ("llama.rope.scaling.type", "none")] {
        match entries.get(key) {
            Some(Value::Text(found)) if found == supported => {}
            None if key == "llama.rope.scaling.type" => {}
            Some(found) => return Err(FILE.unsupported(key, found, supported)),
            None => return Err(ModelError::NoEntry { key }),
        }
    }
    match entries.size_or("llama.expert_count", 0)? {
        0 => Ok(()),
        found => Err(FILE.unsupported("llama.expert_count", found, "0")),
    }
}

fn check(config: &DecoderConfig, entries: &Metadata) -> Result<(), ModelError> {
    FILE.check_sizes(&[
        ("llama.vocab_size", config.vocab_size),
        ("llama.feed_forward_length", config.intermediate_size),
        ("llama.attention.head_count_kv", config.num_key_value_heads),
        ("llama.attention.key_length", config.head_dim),
        ("llama.context_length", config.max_position_embeddings),
    ])?;
    FILE.check_numbers(&[
        ("llama.rope.freq_base", config.layers[0].rope_theta),
        ("llama.attention.layer_norm_rms_epsilon", config.rms_norm_eps),
    ])?;
    FILE.check_heads(config.num_attention_heads, config.num_key_value_heads, config.head_dim)?;
    let key = "llama.rope.dimension_count";
    match entries.size_or(key, config.head_dim)? {
        turned if turned == config.head_dim => Ok(()),
        turned => Err(FILE.unsupported(key, turned, "the length of a head")),
    }
}

/// SmolLM2-135M's shape.
pub fn smollm2_135m() -> DecoderConfig {
    let span = Span { window: 8192, rope_theta: 1e5 };
    DecoderConfig {
        vocab_size: 49_152,
        hidden_size: 576,
        intermediate_size: 1536,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        max_position_embeddings: span.window,
        layers: vec![span; 30],
        activation: Activation::Silu,
        embedding_scale: 1.0,
        attention_scale: 0.125,
        rms_norm_eps: 1e-5,
        norm_offset: 0.0,
        head_norms: false,
        output_norms: false,
        tied_head: true,
        start: None,
        ends: vec![2],
    }
}

/// The name that a file has for a parameter.
pub fn tensor_name(parameter: &str) -> String {
    let names = parameter.split('.').filter(|name| !["self_attn", "mlp"].contains(name));
    let names = names.map(|name| match name {
        "embed_tokens" => "token_embd",
        "norm" => "output_norm",
        "head" => "output",
        "layers" => "blk",
        "attention_norm" => "attn_norm",
        "q_proj" => "attn_q",
        "k_proj" => "attn_k",
        "v_proj" => "attn_v",
        "o_proj" => "attn_output",
        "feedforward_norm" => "ffn_norm",
        "gate_proj" => "ffn_gate",
        "up_proj" => "ffn_up",
        "down_proj" => "ffn_down",
        "gamma" => "weight",
        other => other,
    });
    names.collect::<Vec<_>>().join(".")
}

/// The number of heads in whose rows a file has the two numbers of each rotated pair side by side; none of other tensors.
pub fn interleaved_heads(tensor: &str, config: &DecoderConfig) -> Option<usize> {
    match tensor.rsplit_once("attn_").map(|(_, name)| name) {
        Some("q.weight") => Some(config.num_attention_heads),
        Some("k.weight") => Some(config.num_key_value_heads),
        _ => None,
    }
}

/// Puts the first numbers of all pairs in front of the second ones, head by head: so `rope.rs` turns them.
pub fn deinterleave(rows: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let head = rows.len() / heads.max(1);
    let halves = rows.chunks_exact(head.max(1)).flat_map(|head| {
        let half = |start: usize| head.chunks_exact(width).skip(start).step_by(2);
        half(0).chain(half(1))
    });
    halves.flatten().copied().collect()
}
