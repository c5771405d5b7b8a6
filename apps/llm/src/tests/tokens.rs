//! Text to tokens and back, with a tokenizer of six words.

use serde_json::{Value, json};

use super::gguf_file::{GgufFile, tiny, vocabulary};
use crate::chat::Chat;
use crate::error::ModelError;
use crate::gemma::GemmaConfig;
use crate::gguf::Gguf;
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

/// The template of SmolLM2, which names the system first.
#[test]
fn a_template_is_rendered() {
    let template = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
        {{ '<|im_start|>system\nHi<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + \
        message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
        {{ '<|im_start|>assistant\n' }}{% endif %}";
    let expected =
        "<|im_start|>system\nHi<|im_end|>\n<|im_start|>user\nWhy <b>?<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(Chat::Template(template.into()).turn("Why <b>?").unwrap(), expected);
}

#[test]
fn templates_that_are_broken_or_endless_are_errors() {
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    for template in ["{% for %}", "{{ nothing.at.all }}", "{% include 'file' %}", endless] {
        let error = Chat::Template(template.into()).turn("Why?").expect_err(template);
        assert!(matches!(error, ModelError::ChatTemplate(_)), "{error}");
    }
    assert!(matches!(Chat::Unknown.turn("Why?"), Err(ModelError::NoChat)));
}

/// Digits are words of their own, a space begins the next word, and marks are never split.
#[test]
fn byte_pairs_are_merged_within_words() {
    let (_folder, path) = GgufFile::new(&tiny()).write();
    let gguf = Gguf::open(&path).unwrap();
    let tokens = Tokens::from_gguf(&gguf, &tiny()).unwrap();
    let words = vocabulary();
    let encode = |text| -> Vec<_> {
        tokens.encode(text).unwrap().into_iter().map(|id| words[id as usize].as_str()).collect()
    };
    assert_eq!(encode("the hat 12"), ["the", "Ġ", "h", "at", "Ġ", "1", "2"]);
    assert_eq!(encode("<|start|>the<|stop|>"), ["<|start|>", "the", "<|stop|>"]);
    let mut stream = tokens.stream();
    let ids = tokens.encode("the hat 12<|stop|>").unwrap();
    let text: Vec<_> = ids.into_iter().map(|token| stream(token).unwrap()).collect();
    assert_eq!(text.concat(), "the hat 12");
    assert!(matches!(tokens.turn("Why?"), Err(ModelError::NoChat)));
}
