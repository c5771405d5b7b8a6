//! The command line: what it refuses, and what it prints of sizes.

use burn::backend::NdArray;
use burn_int8::prelude::*;
use clap::Parser;
use clap::error::ErrorKind;

use crate::bandwidth::BYTES;
use crate::compare::Walk;
use crate::{Command, Options, show};

fn parse(line: &str) -> Result<Options, clap::Error> {
    Options::try_parse_from(line.split(' '))
}

fn refused(line: &str) -> clap::Error {
    match parse(line) {
        Ok(_) => panic!("{line}: not refused"),
        Err(error) => error,
    }
}

#[test]
fn what_would_be_ignored_is_refused() {
    for line in [
        "llm generate --record q --int8 keras",
        "llm generate --synthetic tiny --prompt Hello",
        "llm generate --synthetic tiny --chat",
        "llm compare --synthetic tiny --model folder",
        "llm evaluate --synthetic tiny --text file",
    ] {
        assert_eq!(refused(line).kind(), ErrorKind::ArgumentConflict, "{line}");
    }
    for line in ["llm quantize --int8", "llm compare --int8 nearest", "llm generate --int8"] {
        assert_eq!(refused(line).kind(), ErrorKind::InvalidValue, "{line}");
    }
    let error = refused("llm generate --prompt-tokens 8");
    assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
    for line in [
        "llm generate --int8 keras --chat --prompt Hello",
        "llm generate --synthetic tiny --record q --prompt-tokens 8",
        "llm quantize --synthetic tiny --int8 weight-only",
        "llm compare --synthetic tiny --int8 weight-only",
        "llm evaluate --synthetic tiny",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn negative_numbers_are_values() {
    assert!(parse("llm generate --temperature -1").is_ok(), "the sampler has the better message");
    assert_eq!(refused("llm generate --seed -1").kind(), ErrorKind::ValueValidation);
}

#[test]
fn small_sizes_are_in_small_units() {
    let sizes = [0, 1000, (1 << 20) - 512, 1 << 20, 3 << 19].map(show::size);
    assert_eq!(sizes, ["0.0 KiB", "1.0 KiB", "1023.5 KiB", "1.0 MiB", "1.5 MiB"]);
}

/// The buffer that the bandwidth is measured with is a thousand times the model.
#[test]
fn the_measurement_of_the_bandwidth_is_not_counted() {
    let line = "llm compare --synthetic tiny --prompt-tokens 4 --max-tokens 4";
    let Ok(Options { command: Command::Compare { source, writing, .. } }) = parse(line) else {
        panic!("{line}: refused");
    };
    let folder = tempfile::tempdir().unwrap();
    let model = source.open().unwrap();
    let walk = Walk { model: &model, writing: &writing, tokens: None, folder: folder.path() };
    let peak = walk.run::<NdArray>(&Int8Config::new()).unwrap();
    assert!(peak < BYTES, "{}", show::size(peak as u64));
}
