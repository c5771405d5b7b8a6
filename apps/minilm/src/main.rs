//! Sentence embeddings with all-MiniLM-L6-v2: a real checkpoint loaded, quantized, saved, reloaded, compared.
//!
//! `apps/minilm/download.sh`, then `cargo run --release -p minilm`. More in README.md in this folder.

mod checkpoint;
mod config;
mod encoder;
mod error;
#[path = "../../../examples/common/exit.rs"]
mod exit;
#[path = "../../common/header.rs"]
mod header;
#[path = "../../../examples/common/layers.rs"]
mod layers;
mod load;
mod measure;
mod show;
#[cfg(test)]
mod tests;
mod texts;
mod tokens;

/// The model of this crate's layers.
#[path = ""]
mod drop_in {
    use burn_int8::nn;

    mod model;
    pub use model::Bert;
}

/// The same code, of Burn's own layers.
#[path = ""]
mod stock {
    use burn::nn;

    #[allow(clippy::duplicate_mod, reason = "one model, of the layers of either")]
    mod model;
    pub use model::Bert;
}

use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use burn_int8::prelude::*;
use clap::Parser;

use encoder::{Encoder, SentenceModel};
use layers::{BackendName, with_model};
use measure::Measured;
use texts::Texts;

/// The mean cosine with the float model that every scheme must have, or the program fails.
const NEAR: f64 = 0.995;
/// The lowest and the mean cosine that the default must have; 0.9996 and 0.9997 were measured.
const NEAR_BY_DEFAULT: [f64; 2] = [0.997, 0.9993];
/// The pairs that the default may rank otherwise than float: the cosines of two passages are 0.0008 apart, all others 0.0023 and more.
const TIES: usize = 1;

#[derive(Parser)]
struct Options {
    /// The folder with config.json, tokenizer.json and model.safetensors.
    #[arg(long, default_value = "target/minilm")]
    model: PathBuf,
    /// The backend that it runs on, and whose layers it is made of; cargo's `--features flex` and `--features wgpu`
    /// add those.
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
    exit::code(with_model!(options.backend, Bert => run::<Bert>(&options)))
}

fn run<M: SentenceModel>(options: &Options) -> Result<(), Box<dyn Error>> {
    let (encoder, float) = Encoder::<M>::load(&options.model, Default::default())?;
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

fn verdict<M: SentenceModel>(measured: &[Measured<M>], texts: &Texts) -> Result<(), Box<dyn Error>> {
    let float = &measured[0];
    let by_default = texts.agreement(&measured[1].embeddings, &float.embeddings);
    if by_default.pairs[0] + TIES < by_default.pairs[1] {
        return Err(format!("{:?} of the pairs are ranked as float ranks them", by_default.pairs).into());
    }
    for (at, model) in measured.iter().enumerate().skip(1) {
        let name = model.name;
        let [lowest, mean] = measure::summary(&model.cosines(float));
        let [least, near] = if at == 1 { NEAR_BY_DEFAULT } else { [0.0, NEAR] };
        // Negated, so that NaN fails.
        if !(lowest >= least && mean >= near) {
            return Err(format!(
                "{name}: the cosines with float are {lowest:.4} at least and {mean:.4} in the mean; {least} and {near} are needed"
            )
            .into());
        }
        let same = texts.agreement(&model.embeddings, &float.embeddings).answers;
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
