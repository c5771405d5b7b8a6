//! Text to tokens and back, with a tokenizer of six words.

use serde_json::{Value, json};

use crate::chat::Chat;
use crate::error::ModelError;
use crate::gemma::GemmaConfig;
use crate::tokens::Tokens;

/// Gemma's has the `start` of a text put in front by itself; others leave that to us.
fn load(start: bool, change: impl FnOnce(&mut Value)) -> Result<Tokens, ModelError> {
    let template =
        json!([{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
    let processor = json!({
        "type": "TemplateProcessing", "single": template, "pair": template,
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}},
    });
    let special = |id, content| {
        let [no, yes] = [false, true];
        json!({"id": id, "content": content, "single_word": no, "lstrip": no, "rstrip": no, "normalized": no, "special": yes})
    };
    let mut tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
        "added_tokens": [special(0, "<pad>"), special(1, "<eos>"), special(2, "<bos>")],
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": if start { processor } else { Value::Null },
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab":
            {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "hello": 4, "world": 5}},
    });
    change(&mut tokenizer);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    Tokens::load(folder.path(), &GemmaConfig::tiny().decoder())
}

#[test]
fn a_text_starts_once() {
    for start in [true, false] {
        let tokens = load(start, |_| ()).unwrap();
        assert_eq!(tokens.encode("hello world hello").unwrap(), [2, 4, 5, 4]);
        assert_eq!(tokens.encode("").unwrap(), [2]);
        assert_eq!(tokens.encode("hello you").unwrap(), [2, 4, 3]);
    }
}

#[test]
fn words_come_as_their_tokens_do() {
    let tokens = load(true, |_| ()).unwrap();
    let mut stream = tokens.stream();
    let text: Vec<_> = [2, 4, 5, 1].into_iter().map(|token| stream(token).unwrap()).collect();
    assert_eq!(text.concat(), "hello world", "{text:?}");
    assert_eq!(text[1], "hello");
}

#[test]
fn a_tokenizer_of_another_model_is_an_error() {
    let larger =
        load(true, |tokenizer| tokenizer["model"]["vocab"] = (0..70).map(|i| (format!("w{i}"), i)).collect());
    assert!(matches!(larger, Err(ModelError::Vocabulary { tokens: 70.., rows: 61 })));
    assert!(matches!(load(true, |tokenizer| *tokenizer = json!({})), Err(ModelError::Tokenizer { .. })));
}

#[test]
fn a_question_is_a_turn() {
    let expected = "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n";
    assert_eq!(Chat::Gemma.turn("Why?").unwrap(), expected);
}
