//! Train, quantize, compare, save, reload: the walk of Keras' INT8 guide, on Burn.
//!
//! `cargo run --release --example quickstart`; with `-- --seeds 100` the errors over many trainings.

mod model;

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use burn::backend::{Autodiff, NdArray};
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder};
use burn::tensor::Distribution;
use burn_int8::nn::LinearConfig;
use burn_int8::prelude::*;
use clap::Parser;
use indicatif::ProgressIterator;
use model::{Mlp, evaluation_rows, mse, train};

type Cpu = NdArray;
type Train = Autodiff<Cpu>;

#[derive(Parser)]
struct Options {
    /// Train with this seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Train this many models, with as many seeds and Keras' initial weights, and print the errors instead.
    #[arg(long)]
    seeds: Option<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    match options.seeds {
        Some(seeds) => over_seeds(seeds),
        None => walk(options.seed),
    }
}

fn walk(seed: u64) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let folder = tempfile::tempdir()?;

    Train::seed(&device, seed);
    let model = train(Mlp::<Train>::new(&device), &device);
    let x = evaluation_rows::<Cpu>(&device);
    let baseline = model.forward(x.clone());
    model.clone().save_file(folder.path().join("float"), &recorder())?;

    let (int8, report) = model.quantize(&Int8Config::new())?;
    println!("{report}\n\n{int8}\n");
    let output = int8.forward(x.clone());
    println!("Full-Precision vs INT8 MSE:    {:.1e}", mse(baseline, output.clone()));

    int8.save_file(folder.path().join("int8"), &recorder())?;
    let reloaded = Mlp::<Cpu>::new(&device).load_file(folder.path().join("int8"), &recorder(), &device)?;
    println!("MSE (INT8 vs reloaded-INT8):   {:.1e}", mse(output, reloaded.forward(x)));
    println!(
        "file: {} -> {} bytes (a small file is mostly names)",
        size(&folder, "float")?,
        size(&folder, "int8")?
    );

    println!("\nWhere there is something to gain:");
    larger_layer(1)?;
    larger_layer(64)
}

/// A layer of the size that models are made of.
fn larger_layer(batch: usize) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let folder = tempfile::tempdir()?;
    let float = LinearConfig::new(1024, 1024).init::<Cpu>(&device);
    let x = Tensor::random([batch, 1024], Distribution::Normal(0.0, 1.0), &device);
    let float_time = microseconds(|| float.forward(x.clone()));
    float.clone().save_file(folder.path().join("float"), &recorder())?;
    let (int8, _) = float.quantize(&Int8Config::new())?;
    let int8_time = microseconds(|| int8.forward(x.clone()));
    int8.save_file(folder.path().join("int8"), &recorder())?;
    let (before, after) = (size(&folder, "float")?, size(&folder, "int8")?);
    println!(
        "Linear 1024 -> 1024, batch {batch}: {float_time:.0} -> {int8_time:.0} us ({:.1} times faster), \
         file {before} -> {after} bytes (-{:.1} %), kernel {}",
        float_time / int8_time,
        100.0 * (1.0 - after as f64 / before as f64),
        burn_int8::cpu_kernel(),
    );
    Ok(())
}

/// The median of many calls.
fn microseconds(forward: impl Fn() -> Tensor<Cpu, 2>) -> f64 {
    let mut times: Vec<_> = (0..100)
        .map(|_| {
            let start = Instant::now();
            black_box(forward());
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn over_seeds(seeds: u64) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let mut errors = Vec::new();
    for seed in (0..seeds).progress_count(seeds) {
        Train::seed(&device, seed);
        let model = train(Mlp::<Train>::keras(&device), &device);
        let x = evaluation_rows::<Cpu>(&device);
        let baseline = model.forward(x.clone());
        let (int8, _) = model.quantize(&Int8Config::new())?;
        errors.push(mse(baseline, int8.forward(x)));
    }
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| errors.get((share * (errors.len().max(1) - 1) as f64) as usize).copied();
    println!("Full-Precision vs INT8 MSE over {seeds} trainings:");
    for (name, share) in [("smallest", 0.0), ("median", 0.5), ("largest", 1.0)] {
        println!("{name:>9}: {:.1e}", at(share).unwrap_or(f64::NAN));
    }
    Ok(())
}

fn recorder() -> NamedMpkFileRecorder<FullPrecisionSettings> {
    NamedMpkFileRecorder::new()
}

fn size(folder: impl AsRef<Path>, name: &str) -> Result<u64, Box<dyn Error>> {
    Ok(std::fs::metadata(folder.as_ref().join(name).with_extension("mpk"))?.len())
}
