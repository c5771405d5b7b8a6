//! Train, quantize, compare, save, reload: the walk of Keras' INT8 guide, on Burn.
//!
//! `cargo run --release --example quickstart`; with `-- --seeds 100` the errors over many trainings; with
//! `--features wgpu -- --backend wgpu` on a GPU; `flex` likewise.

#[path = "../common/backend.rs"]
mod backend;
#[path = "../common/exit.rs"]
mod exit;
mod model;

use std::error::Error;
use std::hint::black_box;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use backend::{BackendName, with_backend};
use burn::backend::Autodiff;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder};
use burn::tensor::Distribution;
use burn_int8::nn::LinearConfig;
use burn_int8::prelude::*;
use clap::Parser;
use indicatif::ProgressIterator;
use model::{Mlp, evaluation_rows, mse, train};

#[derive(Parser)]
struct Options {
    /// Train with this seed.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seed: u64,
    /// Train this many models, with as many seeds and Keras' initial weights, and print the errors instead.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    seeds: Option<u64>,
    /// The backend to run on; cargo's `--features flex` and `--features wgpu` add those.
    #[arg(long, value_enum, default_value_t = BackendName::Ndarray)]
    backend: BackendName,
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::code(with_backend!(options.backend, B => match options.seeds {
        Some(seeds) => over_seeds::<B>(seeds),
        None => walk::<B>(options.seed),
    }))
}

fn walk<B: Backend>(seed: u64) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let folder = tempfile::tempdir()?;

    B::seed(&device, seed);
    let model = train(Mlp::<Autodiff<B>>::new(&device), &device);
    let x = evaluation_rows::<B>(&device);
    let baseline = model.forward(x.clone());
    model.clone().save_file(folder.path().join("float"), &recorder())?;

    let (int8, report) = model.quantize(&Int8Config::new())?;
    writeln!(stdout(), "{report}\n\n{int8}\n")?;
    let output = int8.forward(x.clone());
    writeln!(stdout(), "Full-Precision vs INT8 MSE:    {:.1e}", mse(baseline, output.clone()))?;

    int8.save_file(folder.path().join("int8"), &recorder())?;
    let reloaded = Mlp::<B>::new(&device).load_file(folder.path().join("int8"), &recorder(), &device)?;
    writeln!(stdout(), "MSE (INT8 vs reloaded-INT8):   {:.1e}", mse(output, reloaded.forward(x)))?;
    writeln!(
        stdout(),
        "file: {} -> {} bytes (a small file is mostly names)",
        size(&folder, "float")?,
        size(&folder, "int8")?
    )?;

    writeln!(stdout(), "\nWhere there is something to gain:")?;
    larger_layer::<B>(1)?;
    larger_layer::<B>(64)
}

/// A layer of the size that models are made of.
fn larger_layer<B: Backend>(batch: usize) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let folder = tempfile::tempdir()?;
    let float = LinearConfig::new(1024, 1024).init::<B>(&device);
    let x = Tensor::random([batch, 1024], Distribution::Normal(0.0, 1.0), &device);
    let float_time = microseconds(|| float.forward(x.clone()));
    float.clone().save_file(folder.path().join("float"), &recorder())?;
    let (int8, report) = float.quantize(&Int8Config::new())?;
    let int8_time = microseconds(|| int8.forward(x.clone()));
    int8.save_file(folder.path().join("int8"), &recorder())?;
    let (before, after) = (size(&folder, "float")?, size(&folder, "int8")?);
    writeln!(
        stdout(),
        "Linear 1024 -> 1024, batch {batch}: {float_time:.0} -> {int8_time:.0} us ({:.1} times faster), \
         file {before} -> {after} bytes (-{:.1} %), kernel {}",
        float_time / int8_time,
        100.0 * (1.0 - after as f64 / before as f64),
        report.layers[0].kernel.as_deref().unwrap_or("none"),
    )?;
    Ok(())
}

/// The median of many calls.
fn microseconds<B: Backend>(forward: impl Fn() -> Tensor<B, 2>) -> f64 {
    let call = || {
        let start = Instant::now();
        let y = black_box(forward());
        B::sync(&y.device()).expect("a device that works"); // a GPU's call returns before it is done
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..3).for_each(|_| _ = call());
    let mut times: Vec<_> = (0..100).map(|_| call()).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn over_seeds<B: Backend>(seeds: u64) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let mut errors = Vec::new();
    for seed in (0..seeds).progress_count(seeds) {
        B::seed(&device, seed);
        let model = train(Mlp::<Autodiff<B>>::keras(&device), &device);
        let x = evaluation_rows::<B>(&device);
        let baseline = model.forward(x.clone());
        let (int8, _) = model.quantize(&Int8Config::keras())?;
        errors.push(mse(baseline, int8.forward(x)));
    }
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| errors[(share * (errors.len() - 1) as f64) as usize];
    writeln!(stdout(), "Full-Precision vs INT8 MSE over {seeds} trainings:")?;
    for (name, share) in [("smallest", 0.0), ("median", 0.5), ("largest", 1.0)] {
        writeln!(stdout(), "{name:>9}: {:.1e}", at(share))?;
    }
    Ok(())
}

fn recorder() -> NamedMpkFileRecorder<FullPrecisionSettings> {
    NamedMpkFileRecorder::new()
}

fn size(folder: impl AsRef<Path>, name: &str) -> Result<u64, Box<dyn Error>> {
    Ok(std::fs::metadata(folder.as_ref().join(name).with_extension("mpk"))?.len())
}
