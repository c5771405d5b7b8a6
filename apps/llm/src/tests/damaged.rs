//! GGUF files that are cut off, damaged or lie about their sizes.

use super::gguf_file::{GgufFile, LIST, TEXT, list, tiny, write};
use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::gguf::Gguf;
use crate::llama;
use crate::load::from_checkpoint;
use crate::model::Decoder;
use crate::tokens::Tokens;

/// Everything that is done with a file.
fn load(bytes: &[u8]) -> Result<(), ModelError> {
    let (_folder, path) = write(bytes);
    let gguf = Gguf::open(&path)?;
    let config = llama::decoder(&gguf)?;
    Tokens::from_gguf(&gguf, &config)?;
    let model = Decoder::<burn::backend::NdArray>::new(&config, &Default::default());
    from_checkpoint(model, Checkpoint::gguf(&gguf, &config), config.norm_offset, None).map(|_| ())
}

fn error(change: impl FnOnce(&mut GgufFile)) -> ModelError {
    let mut file = GgufFile::new(&tiny());
    change(&mut file);
    load(&file.bytes().0).expect_err("a damaged file")
}

fn is_no_file(error: &ModelError) -> bool {
    matches!(error, ModelError::File { format: "GGUF", .. })
}

/// Many of the lengths that a download can break off at.
#[test]
fn a_truncated_file_is_an_error() {
    let (whole, header) = GgufFile::new(&tiny()).bytes();
    load(&whole).unwrap();
    for length in (0..whole.len()).step_by(997).chain([0, 3, 7, 23, header - 1, header, whole.len() - 129]) {
        let error = load(&whole[..length]).expect_err("a truncated file");
        let named = if length < header {
            is_no_file(&error)
        } else {
            matches!(&error, ModelError::Truncated { tensor, .. } if !tensor.is_empty())
        };
        assert!(named, "{length} of {} bytes: {error}", whole.len());
    }
}

/// Bits and bytes of the header changed: an error or a model, never a panic and never much memory.
#[test]
fn a_damaged_header_is_no_panic() {
    let (whole, header) = GgufFile::new(&tiny()).bytes();
    for at in (0..64).chain((64..header).step_by(5)) {
        let mut broken = whole.clone();
        broken[at] ^= if at % 2 == 0 { 0xff } else { 1 << (at % 8) };
        let _ = load(&broken);
    }
}

/// The counts and lengths at which a reader that trusts them would allocate or go on for ever.
#[test]
fn claimed_sizes_are_not_believed() {
    const HUGE: [u64; 3] = [u64::MAX, 1 << 40, u64::MAX / 8];
    let (whole, header) = GgufFile::new(&tiny()).bytes();
    // The counts of tensors and pairs, the length of the first key.
    for at in [8, 16, 24] {
        for huge in HUGE {
            let mut broken = whole.clone();
            broken[at..at + 8].copy_from_slice(&huge.to_le_bytes());
            let error = load(&broken).expect_err("a huge count");
            assert!(is_no_file(&error), "{error}");
        }
    }
    for huge in HUGE {
        let long = [&TEXT.to_le_bytes()[..], &huge.to_le_bytes()].concat();
        assert!(is_no_file(&error(|file| file.set("a list", LIST, long))));
        assert!(is_no_file(&error(|file| file.set("a text", TEXT, huge.to_le_bytes().to_vec()))));
        let found = error(|file| file.tensor("blk.0.ffn_norm.weight").1 = vec![32, huge]);
        assert!(is_no_file(&found) || matches!(found, ModelError::Truncated { .. }), "{found}");
    }
    // The offset of the last tensor, which ends the header.
    for huge in [u64::MAX, u64::MAX - 31, 1 << 40] {
        let mut broken = whole.clone();
        broken[header - 8..header].copy_from_slice(&huge.to_le_bytes());
        let found = load(&broken).expect_err("a huge offset");
        assert!(is_no_file(&found) || matches!(found, ModelError::Truncated { .. }), "{found}");
    }
}

type Change = fn(&mut GgufFile);

#[test]
fn what_is_not_gguf_is_told() {
    let reasons: [(&str, Change); 9] = [
        ("begins with", |file| file.magic = *b"GGML"),
        ("version is 1", |file| file.version = 1),
        ("has the number 12", |file| file.tensor("output_norm.weight").2 = 12),
        ("no whole blocks", |file| {
            let tensor = file.tensor("output_norm.weight");
            (tensor.1, tensor.2) = (vec![33], 8);
        }),
        ("no whole blocks", |file| file.tensor("output_norm.weight").1 = vec![0]),
        ("5 axes", |file| file.tensor("output_norm.weight").1 = vec![1; 5]),
        ("list of lists", |file| file.set("a list", LIST, list(LIST, 1, list(TEXT, 0, vec![])))),
        ("unknown type 13", |file| file.set("a value", 13, vec![])),
        ("not UTF-8", |file| file.set("a text", TEXT, [&1u64.to_le_bytes()[..], &[0xff]].concat())),
    ];
    for (reason, change) in reasons {
        let error = error(change).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn another_alignment_is_followed_and_nonsense_refused() {
    let alignment = |value: u32| {
        let mut file = GgufFile::new(&tiny());
        file.alignment = if (8..=256).contains(&value) { value as usize } else { 32 };
        file.set("general.alignment", 4, value.to_le_bytes().to_vec());
        load(&file.bytes().0)
    };
    for value in [8, 64, 256] {
        alignment(value).unwrap();
    }
    for value in [0, 12, u32::MAX] {
        let error = alignment(value).expect_err("nonsense");
        assert!(error.to_string().contains("general.alignment"), "{error}");
    }
}
