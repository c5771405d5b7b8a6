//! Configurations as they come, and those that are not of this model.

use serde_json::{Value, json};

use crate::error::ModelError;
use crate::gemma::{GemmaConfig, LayerKind};

/// The published file of the model with a billion parameters, without what does not matter here.
fn published() -> Value {
    json!({
        "architectures": ["Gemma3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "attn_logit_softcapping": null, "bos_token_id": 2, "cache_implementation": "hybrid",
        "eos_token_id": [1, 106], "final_logit_softcapping": null, "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "initializer_range": 0.02,
        "intermediate_size": 6912, "max_position_embeddings": 32768, "model_type": "gemma3_text",
        "num_attention_heads": 4, "num_hidden_layers": 26, "num_key_value_heads": 1, "pad_token_id": 0,
        "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_local_base_freq": 10000, "rope_scaling": null,
        "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6, "vocab_size": 262144,
    })
}

fn load(config: &Value) -> Result<GemmaConfig, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    GemmaConfig::load(folder.path())
}

/// The error that loading gives once an entry is something else.
fn error(key: &str, value: Value) -> ModelError {
    let mut config = published();
    config[key] = value;
    load(&config).expect_err(key)
}

fn globals(config: &GemmaConfig) -> Vec<usize> {
    let kinds = config.kinds().into_iter().enumerate();
    kinds.filter(|(_, kind)| *kind == LayerKind::Global).map(|(layer, _)| layer).collect()
}

#[test]
fn the_published_file_is_the_preset() {
    let config = load(&published()).unwrap();
    // The debug output has each field; an entry that is off counts as one that is not there.
    let fields = |config: &GemmaConfig| format!("{config:?}").replace("Some(false)", "None");
    assert_eq!(fields(&config), fields(&GemmaConfig::gemma3_1b()));
    assert_eq!(globals(&config), [5, 11, 17, 23]);
}

#[test]
fn presets_are_models_that_are_computed() {
    for preset in [GemmaConfig::gemma3_1b(), GemmaConfig::gemma3_270m(), GemmaConfig::tiny()] {
        preset.check().unwrap();
    }
    assert_eq!(globals(&GemmaConfig::gemma3_270m()), [5, 11, 17]);
    assert_eq!(globals(&GemmaConfig::tiny()), [5]);
}

#[test]
fn global_layers_are_named_in_three_ways() {
    let mut config = published();
    config.as_object_mut().unwrap().remove("sliding_window_pattern");
    assert_eq!(globals(&load(&config).unwrap()), [5, 11, 17, 23]);
    config["_sliding_window_pattern"] = 13.into();
    assert_eq!(globals(&load(&config).unwrap()), [12, 25]);
    let mut types = vec!["sliding_attention"; 26];
    types[3] = "full_attention";
    config["layer_types"] = types.into();
    assert_eq!(globals(&load(&config).unwrap()), [3]);
}

#[test]
fn a_single_end_is_a_list_of_one() {
    let mut config = published();
    config["eos_token_id"] = 1.into();
    assert_eq!(load(&config).unwrap().eos_token_id, [1]);
}

#[test]
fn other_models_are_refused() {
    let others = [
        ("model_type", json!("gemma3")),
        ("hidden_activation", json!("gelu")),
        ("attn_logit_softcapping", json!(50.0)),
        ("final_logit_softcapping", json!(30.0)),
        ("rope_scaling", json!({"factor": 8.0, "rope_type": "linear"})),
        ("attention_bias", json!(true)),
        ("use_bidirectional_attention", json!(true)),
        ("tie_word_embeddings", json!(false)),
    ];
    for (key, value) in others {
        let error = error(key, value);
        assert!(matches!(error, ModelError::Unsupported { key: found, .. } if found == key), "{error}");
    }
    let message = error("final_logit_softcapping", json!(30.0)).to_string();
    assert_eq!(message, "config.json: final_logit_softcapping is 30.0; only null is supported");
}

#[test]
fn sizes_that_make_no_model_are_refused() {
    let sizes = [
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "sliding_window",
        "sliding_window_pattern",
        "max_position_embeddings",
    ];
    for (key, size) in sizes.into_iter().flat_map(|key| [(key, 0), (key, usize::MAX)]) {
        let error = error(key, size.into());
        assert!(
            matches!(error, ModelError::Size { key: k, found, .. } if k == key && found == size),
            "{error}"
        );
    }
    for key in ["rope_theta", "rope_local_base_freq", "rms_norm_eps", "query_pre_attn_scalar"] {
        let error = error(key, 0.into());
        assert!(matches!(error, ModelError::NotPositive { key: k, .. } if k == key), "{error}");
    }
    let heads = error("num_key_value_heads", 3.into());
    assert!(matches!(heads, ModelError::Heads { heads: 4, kv_heads: 3, .. }), "{heads}");
    assert!(matches!(error("head_dim", 255.into()), ModelError::OddHead { head_dim: 255, .. }));
    let types = error("layer_types", json!(["full_attention"]));
    assert!(matches!(types, ModelError::LayerTypes { found: 1, layers: 26 }), "{types}");
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    assert!(matches!(error("hidden_size", json!("many")), ModelError::Config { .. }));
    assert!(matches!(error("eos_token_id", json!([-1])), ModelError::Config { .. }));
    let mut config = published();
    config["layer_types"] = json!(["chunked_attention"]);
    assert!(matches!(load(&config), Err(ModelError::Config { .. })));
    config.as_object_mut().unwrap().remove("head_dim");
    assert!(matches!(load(&config), Err(ModelError::Config { .. })));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(GemmaConfig::load(empty.path()), Err(ModelError::Read { .. })));
}
