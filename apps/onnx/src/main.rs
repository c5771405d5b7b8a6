//! ONNX models as burn-onnx imports them: stock layers, which become INT8 by the type of their backend.
//!
//! `apps/onnx/download.sh`, then `cargo run --release -p onnx --features import`. More in README.md in this folder.

mod error;
#[path = "../../../examples/common/exit.rs"]
mod exit;
mod measure;
mod models;
mod reference;
mod show;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;

use burn::backend::NdArray;
use clap::Parser;

use measure::Measured;
use models::{Ddddocr, DdddocrLstm, Nsnet2, PpocrDet, SileroVad};
use reference::Reference;

/// The backend of the float models.
type Float = NdArray;
/// The same one, where layers can be INT8.
type Int8 = burn_int8::Int8<NdArray>;

#[derive(Parser)]
struct Options {
    /// Print what was done to each layer.
    #[arg(long)]
    report: bool,
}

fn main() -> ExitCode {
    exit::code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let reference = Reference::read()?;
    let mut models = Measured::all::<SileroVad, Float, Int8>(&reference)?;
    models.extend(Measured::all::<Nsnet2, Float, Int8>(&reference)?);
    models.extend(Measured::all::<Ddddocr, Float, Int8>(&reference)?);
    models.extend(Measured::all::<DdddocrLstm, Float, Int8>(&reference)?);
    models.extend(Measured::all::<PpocrDet, Float, Int8>(&reference)?);
    if options.report {
        for model in &models {
            writeln!(stdout(), "{}, {}\n{}\n", model.name, model.scheme.name, model.report)?;
        }
    }
    show::table(&models)?;
    Ok(models.iter().try_for_each(Measured::check)?)
}
