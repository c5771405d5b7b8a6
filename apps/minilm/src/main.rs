//! Sentence embeddings with all-MiniLM-L6-v2: a real checkpoint loaded, quantized, saved, reloaded, compared.
//!
//! `examples/minilm/download.sh`, then `cargo run --release --example minilm`. More in README.md in this folder.

#[path = "../../../examples/common/backend.rs"]
mod backend;
mod checkpoint;
mod config;
mod encoder;
mod error;
#[path = "../../../examples/common/exit.rs"]
mod exit;
#[path = "../../common/header.rs"]
mod header;
mod load;
mod measure;
mod model;
mod show;
#[cfg(test)]
mod tests;
mod texts;
mod tokens;

use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use backend::{BackendName, with_backend};
use burn::prelude::*;
use burn_int8::prelude::*;
use clap::Parser;

use encoder::Encoder;
use measure::Measured;
use texts::Texts;

/// The mean cosine with the float model that INT8 must have, or the program fails.
const NEAR: f64 = 0.995;

#[derive(Parser)]
struct Options {
    /// The folder with config.json, tokenizer.json and model.safetensors.
    #[arg(long, default_value = "target/minilm")]
    model: PathBuf,
    /// The backend that it runs on; cargo's `--features flex` and `--features wgpu` add those.
    #[arg(long, value_enum, default_value_t = BackendName::Ndarray)]
    backend: BackendName,
    /// Embed this text instead and print its vector, float and INT8; may be given more than once.
    #[arg(long)]
    sentence: Vec<String>,
    /// Print what was done to each layer.
    #[arg(long)]
    report: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::code(with_backend!(options.backend, B => run::<B>(&options)))
}

fn run<B: Backend>(options: &Options) -> Result<(), Box<dyn Error>> {
    let (encoder, float) = Encoder::<B>::load(&options.model, Default::default())?;
    let (int8, report) = float.clone().quantize(&Int8Config::new())?;
    if options.report {
        writeln!(stdout(), "{report}\n")?;
    }
    if !options.sentence.is_empty() {
        let embed = |model| encoder.embed(model, &options.sentence, options.sentence.len());
        return Ok(show::vectors(&options.sentence, &embed(&float)?, &embed(&int8)?)?);
    }
    let weight_only = Int8Config::new().with_mode(QuantMode::WeightOnly);
    let (weight_only, _) = float.clone().quantize(&weight_only)?;
    let (keras, _) = float.clone().quantize(&Int8Config::keras())?;

    let texts = Texts::load()?;
    let sentences = texts.all();
    let folder = tempfile::tempdir()?;
    let models =
        [("float", float), ("INT8", int8), ("INT8 as Keras", keras), ("INT8 weight-only", weight_only)];
    let measured: Result<Vec<_>, _> = models
        .into_iter()
        .map(|(name, model)| Measured::new(name, model, &encoder, &sentences, folder.path()))
        .collect();
    let mut measured = measured?;
    // Two of each: a whole batch of the largest size.
    measure::time(&mut measured, &encoder, &[sentences.as_slice(), &sentences].concat())?;
    show::table(&measured, &texts)?;
    show::sentences(&measured, &sentences)?;
    show::answers(&measured[1], &texts)?;
    verdict(&measured, &texts)
}

fn verdict<B: Backend>(measured: &[Measured<B>], texts: &Texts) -> Result<(), Box<dyn Error>> {
    for model in &measured[1..] {
        let name = model.name;
        let [_, mean] = measure::summary(&model.cosines(&measured[0]));
        if mean.is_nan() || mean < NEAR {
            return Err(format!(
                "{name}: the mean cosine with float is {mean:.4}, at least {NEAR} is needed"
            )
            .into());
        }
        let same = texts.agreement(&model.embeddings, &measured[0].embeddings).answers;
        let queries = texts.queries.len();
        if same != queries {
            return Err(format!(
                "{name} finds the passages that float finds for {same} of {queries} queries only"
            )
            .into());
        }
    }
    Ok(())
}
