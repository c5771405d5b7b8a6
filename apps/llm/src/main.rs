//! Language models, Gemma 3 and Llama: load, generate, quantize, generate, save, reload, evaluate, measure.
//!
//! `apps/llm/download.sh`, then `cargo run --release -p llm -- compare`. More in README.md in this folder.

mod attention;
#[path = "../../../examples/common/backend.rs"]
mod backend;
mod bandwidth;
mod block;
mod bpe;
mod cache;
mod chat;
mod checkpoint;
mod compare;
mod config;
mod error;
mod evaluate;
#[path = "../../../examples/common/exit.rs"]
mod exit;
mod gemma;
mod generate;
mod gguf;
#[path = "../../common/header.rs"]
mod header;
mod llama;
mod load;
mod model;
mod predictions;
mod record;
mod rope;
mod sampler;
mod scheme;
mod show;
mod slots;
mod source;
mod synthetic;
#[cfg(test)]
mod tests;
mod tokens;
mod turns;
mod writing;

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use backend::with_backend;
use burn::prelude::*;
use burn_int8::prelude::*;
use clap::{Parser, Subcommand};
use peak_alloc::PeakAlloc;

use compare::Walk;
use error::ModelError;
use evaluate::Texts;
use scheme::Scheme;
use source::Source;
use turns::Turns;
use writing::Writing;

/// Counts what the program takes, at most and now.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Gemma 3 and Llama in INT8.
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
        /// Quantize while loading, in this way; float without it.
        #[arg(long, value_enum)]
        int8: Option<Scheme>,
        /// A file that `quantize` wrote, instead of the checkpoint's weights. It is INT8 as it was written.
        #[arg(long, conflicts_with = "int8")]
        record: Option<PathBuf>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Make an INT8 file of a float checkpoint.
    Quantize {
        #[command(flatten)]
        source: Source,
        /// The way of quantizing.
        #[arg(long, value_enum, default_value_t = Scheme::Default)]
        int8: Scheme,
        /// The file, in a folder that is there; it gets the ending of its format.
        #[arg(long, default_value = "target/llm-int8")]
        out: PathBuf,
        /// Print what was done to each layer.
        #[arg(long)]
        report: bool,
    },
    /// Do all of it, float and INT8, and compare.
    Compare {
        #[command(flatten)]
        source: Source,
        /// The way of quantizing.
        #[arg(long, value_enum, default_value_t = Scheme::Default)]
        int8: Scheme,
        #[command(flatten)]
        writing: Writing,
    },
    /// Compare what each way of quantizing predicts with what float does, on a text and on prompts.
    Evaluate {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        texts: Texts,
    },
    /// Measure the time of a token with two ways of quantizing, which take turns.
    Turns {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        turns: Turns,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (Command::Generate { source, .. }
    | Command::Quantize { source, .. }
    | Command::Compare { source, .. }
    | Command::Evaluate { source, .. }
    | Command::Turns { source, .. }) = &options.command;
    exit::code(with_backend!(source.backend, B => run::<B>(&options.command)))
}

fn run<B: Backend>(command: &Command) -> Result<(), ModelError> {
    let peak = match command {
        Command::Generate { source, int8, record, writing } => {
            let open = source.open()?;
            let model = match record {
                Some(path) => record::load::<B>(&open.config, &open.name, path)?,
                None => open.load::<B>(int8.map(Scheme::config).as_ref())?.0,
            };
            let text = writing.run(&model, &open.config, open.tokens()?.as_ref())?;
            writeln!(stdout(), "\n{}", show::speed(&text))?;
            MEMORY.peak_usage()
        }
        Command::Quantize { source, int8, out, report } => {
            quantize::<B>(source, &int8.config(), out, *report)?;
            MEMORY.peak_usage()
        }
        Command::Compare { source, int8, writing } => {
            let model = &source.open()?;
            let folder =
                tempfile::tempdir().map_err(|source| ModelError::read(&std::env::temp_dir(), source))?;
            let walk = Walk { model, writing, tokens: model.tokens()?, folder: folder.path() };
            walk.run::<B>(&int8.config())?
        }
        Command::Evaluate { source, texts } => {
            evaluate::run::<B>(&source.open()?, texts)?;
            MEMORY.peak_usage()
        }
        Command::Turns { source, turns } => {
            turns::run::<B>(&source.open()?, turns)?;
            MEMORY.peak_usage()
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
    let (model, done) = source.open()?.load::<B>(Some(int8))?;
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
