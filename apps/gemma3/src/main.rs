//! Gemma 3: load, generate, quantize, generate, save, reload.
//!
//! `cargo run --release --example gemma3 -- compare --synthetic 270m`. More in README.md in this folder.

mod attention;
#[path = "../../../examples/common/backend.rs"]
mod backend;
mod bandwidth;
mod block;
mod cache;
mod checkpoint;
mod compare;
mod config;
mod error;
#[path = "../../../examples/common/exit.rs"]
mod exit;
mod generate;
#[path = "../../common/header.rs"]
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

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
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
        /// Quantize while loading.
        #[arg(long)]
        int8: bool,
        #[command(flatten)]
        form: Form,
        /// A file that `quantize` wrote, instead of the checkpoint's weights. It is INT8 as it was written.
        #[arg(long, conflicts_with_all = ["int8", "weight_only"])]
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
        /// The file, in a folder that is there; it gets the ending of its format.
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
    /// Quantize weights only: activations stay float.
    #[arg(long)]
    weight_only: bool,
}

impl Form {
    fn config(&self) -> Int8Config {
        let activations = if self.weight_only { QuantMode::WeightOnly } else { QuantMode::Dynamic };
        Int8Config::new().with_mode(activations)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (Command::Generate { source, .. }
    | Command::Quantize { source, .. }
    | Command::Compare { source, .. }) = &options.command;
    exit::code(with_backend!(source.backend, B => run::<B>(&options.command)))
}

fn run<B: Backend>(command: &Command) -> Result<(), ModelError> {
    let peak = match command {
        Command::Generate { source, int8, form, record, writing } => {
            let config = source.config()?;
            let tokens = source.tokens(&config)?;
            let int8 = (*int8 || form.weight_only).then(|| form.config());
            let model = match record {
                Some(path) => record::load::<B>(&config, &source.name(), path)?,
                None => source.load::<B>(&config, int8.as_ref())?.0,
            };
            let text = writing.run(&model, &config, tokens.as_ref())?;
            writeln!(stdout(), "\n{}", show::speed(&text))?;
            MEMORY.peak_usage()
        }
        Command::Quantize { source, form, out, report } => {
            quantize::<B>(source, &form.config(), out, *report)?;
            MEMORY.peak_usage()
        }
        Command::Compare { source, form, writing } => {
            let config = source.config()?;
            let tokens = source.tokens(&config)?;
            let folder =
                tempfile::tempdir().map_err(|source| ModelError::read(&std::env::temp_dir(), source))?;
            Walk { source, writing, config, tokens, folder: folder.path() }.run::<B>(&form.config())?
        }
    };
    print_size("peak memory of the program, from start to end", peak)
}

fn quantize<B: Backend>(
    source: &Source,
    int8: &Int8Config,
    out: &Path,
    report: bool,
) -> Result<(), ModelError> {
    // The folder is checked before the work that would be lost.
    record::check_folder(out)?;
    let (model, done) = source.load::<B>(&source.config()?, Some(int8))?;
    if report {
        writeln!(stdout(), "{done}\n")?;
    }
    writeln!(stdout(), "{}", show::integers(&done))?;
    print_size("the model's numbers, as files hold them", done.bytes_after())?;
    print_size("the same in memory, as the backend holds them", done.memory_bytes())?;
    print_size("peak memory of loading and quantizing", MEMORY.peak_usage())?;
    let bytes = record::save(model, out)?;
    print_size(&format!("written to {}", record::file(out).display()), bytes as usize)
}

fn print_size(what: &str, bytes: usize) -> Result<(), ModelError> {
    Ok(writeln!(stdout(), "{what}: {}", show::size(bytes as u64))?)
}
