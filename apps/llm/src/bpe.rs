//! The tokenizer that the metadata of a GGUF file describes.

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

use crate::error::ModelError;
use crate::gguf::Gguf;
use crate::llama::FILE;

/// The type of tokens that no text is split into, but that mark its parts.
const CONTROL: f64 = 3.0;

/// Byte pairs, merged within words; the file says where words end by a name only.
pub fn tokenizer(gguf: &Gguf) -> Result<Tokenizer, ModelError> {
    let entries = &gguf.metadata;
    match entries.text("tokenizer.ggml.model")? {
        "gpt2" => {}
        other => return Err(FILE.unsupported("tokenizer.ggml.model", other, "gpt2 (byte pairs)")),
    }
    let words = words(entries.text("tokenizer.ggml.pre")?)?;
    let tokens = entries.texts("tokenizer.ggml.tokens")?;
    let vocabulary: Vocab = tokens.iter().cloned().zip(0..).collect();
    if vocabulary.len() != tokens.len() {
        return Err(ModelError::RepeatedTokens { tokens: tokens.len(), different: vocabulary.len() });
    }
    let merges = entries.texts("tokenizer.ggml.merges")?.iter().map(|merge| {
        let parts = merge.split_once(' ').ok_or_else(|| ModelError::Merge { merge: merge.clone() })?;
        Ok((parts.0.to_string(), parts.1.to_string()))
    });
    let merges = merges.collect::<Result<_, ModelError>>()?;
    let invalid = |source| ModelError::Tokenizer { path: gguf.path().into(), source };
    let model = BPE::builder().vocab_and_merges(vocabulary, merges).build().map_err(invalid)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(words)).with_decoder(Some(ByteLevel::default()));
    let kinds = entries.numbers("tokenizer.ggml.token_type")?;
    let control = tokens.iter().zip(kinds).filter(|(_, kind)| **kind == CONTROL);
    let control: Vec<_> = control.map(|(token, _)| AddedToken::from(token.as_str(), true)).collect();
    tokenizer.add_special_tokens(&control);
    Ok(tokenizer)
}

/// Splits a text into words as the model's own tokenizer does.
fn words(name: &str) -> Result<PreTokenizerWrapper, ModelError> {
    let bytes = ByteLevel::new(false, true, true);
    match name {
        "gpt-2" => Ok(bytes.into()),
        "smollm" => Ok(Sequence::new(vec![Digits::new(true).into(), bytes.into()]).into()),
        other => Err(FILE.unsupported("tokenizer.ggml.pre", other, "gpt-2 or smollm")),
    }
}
