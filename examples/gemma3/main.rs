//! Gemma 3: load, generate, quantize, generate, save, reload.
//!
//! `cargo run --release --example gemma3 -- compare --synthetic 270m`. More in README.md in this folder.

mod attention;
#[path = "../common/backend.rs"]
mod backend;
mod bandwidth;
mod block;
mod cache;
mod checkpoint;
mod compare;
mod config;
mod error;
mod generate;
#[path = "../common/header.rs"]
mod header;
mod load;
mod model;
mod record;
mod rope;
mod sampler;
mod show;
mod slots;
mod source;
mod synthetic;
#[cfg(test)]
mod tests;
mod tokens;
mod writing;

use std::path::PathBuf;
use std::process::ExitCode;

use backend::with_backend;
use burn::prelude::*;
use burn_int8::prelude::*;
use clap::{Args, Parser, Subcommand};
use peak_alloc::PeakAlloc;

use compare::Walk;
use error::ModelError;
use source::Source;
use writing::Writing;

/// Counts what the program takes, at most and now.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Gemma 3 in INT8.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a text.
    Generate {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        form: Form,
        /// A file that `quantize` wrote, instead of the checkpoint's weights.
        #[arg(long)]
        record: Option<PathBuf>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Make an INT8 file of a float checkpoint.
    Quantize {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        form: Form,
        /// The file; it gets the ending of its format.
        #[arg(long, default_value = "target/gemma3-int8")]
        out: PathBuf,
        /// Print what was done to each layer.
        #[arg(long)]
        report: bool,
    },
    /// Do all of it, float and INT8, and compare.
    Compare {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        form: Form,
        #[command(flatten)]
        writing: Writing,
    },
}

#[derive(Args)]
struct Form {
    /// Quantize while loading.
    #[arg(long)]
    int8: bool,
    /// The same, but activations stay float.
    #[arg(long)]
    weight_only: bool,
}

impl Form {
    fn config(&self) -> Int8Config {
        let activations = if self.weight_only { Activations::WeightOnly } else { Activations::Dynamic };
        Int8Config::new().with_activations(activations)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (Command::Generate { source, .. }
    | Command::Quantize { source, .. }
    | Command::Compare { source, .. }) = &options.command;
    match with_backend!(source.backend, B => run::<B>(&options.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run<B: Backend>(command: &Command) -> Result<(), ModelError> {
    match command {
        Command::Generate { source, form, record, writing } => {
            let config = source.config()?;
            let tokens = source.tokens(&config)?;
            let int8 = (form.int8 || form.weight_only).then(|| form.config());
            let model = match record {
                Some(path) => record::load::<B>(&config, path)?,
                None => source.load::<B>(&config, int8.as_ref())?.0,
            };
            let text = writing.run(&model, &config, tokens.as_ref())?;
            println!("\n{}", show::speed(&text));
        }
        Command::Quantize { source, form, out, report } => {
            let (model, done) = source.load::<B>(&source.config()?, Some(&form.config()))?;
            if *report {
                println!("{done}\n");
            }
            println!("{}", show::integers(&done));
            println!("{}", size("parameters", done.bytes_after()));
            println!("{}", size("in memory", done.memory_bytes()));
            println!("{}", size("at most in memory", MEMORY.peak_usage()));
            let bytes = record::save(model, out)?;
            println!("{}", size(&record::file(out).display().to_string(), bytes as usize));
        }
        Command::Compare { source, form, writing } => {
            let config = source.config()?;
            let tokens = source.tokens(&config)?;
            let folder =
                tempfile::tempdir().map_err(|source| ModelError::read(&std::env::temp_dir(), source))?;
            Walk { source, writing, config, tokens, folder: folder.path() }.run::<B>(&form.config())?;
        }
    }
    println!("{}", size("peak memory", MEMORY.peak_usage()));
    Ok(())
}

fn size(what: &str, bytes: usize) -> String {
    format!("{what}: {}", show::mebibytes(bytes as u64))
}
