//! A convolutional network that reads handwritten digits: trained, folded, quantized, saved, reloaded, compared.
//!
//! `cargo run --release --example digits`; with `--features wgpu -- --backend wgpu` what is trained is run on a GPU. Where the images are from: README.md in this folder.

mod chart;
mod classifier;
mod data;
#[path = "../common/exit.rs"]
mod exit;
#[path = "../common/layers.rs"]
mod layers;
mod measure;
mod show;
mod train;

/// The model of this crate's layers.
#[path = ""]
mod drop_in {
    use burn_int8::nn::{Conv2d, Conv2dConfig, Linear, LinearConfig};

    mod model;
    pub use model::Net;
}

/// The same code, of Burn's own layers.
#[path = ""]
mod stock {
    use burn::nn::conv::{Conv2d, Conv2dConfig};
    use burn::nn::{Linear, LinearConfig};

    #[allow(clippy::duplicate_mod, reason = "one model, of the layers of either")]
    mod model;
    pub use model::Net;
}

use std::error::Error;
use std::io::{self, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn::backend::{Autodiff, NdArray};
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder};
use burn_int8::prelude::*;
use clap::Parser;

use classifier::Classifier;
use data::{Digit, images};
use layers::{BackendName, with_model};
use measure::Measured;

/// Training is on the CPU: the file of the model is what goes to another backend.
type Train = Autodiff<NdArray>;

/// The file of the trained and folded model.
const TRAINED: &str = "trained";
/// The time that two shared cores take to go through the images once.
const SECONDS: usize = 3;
/// The images, of those to learn from, on which the error of each layer is seen, and how many at once.
const SEEN: usize = 256;
const BATCH: usize = 64;
/// Points of accuracy that INT8 may cost, or the program fails.
const TOLERATED: f64 = 1.0;

#[derive(Parser)]
struct Options {
    /// The number of times to go through the images.
    #[arg(long, default_value_t = 10, allow_negative_numbers = true)]
    epochs: usize,
    /// The seed of the initial weights.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seed: u64,
    /// Keep the model files in this folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The backend to run the trained model on, and whose layers it is made of; cargo's `--features flex` and
    /// `--features wgpu` add those.
    #[arg(long, value_enum, default_value_t = BackendName::Ndarray)]
    backend: BackendName,
    /// Say what error each layer makes on images to learn from, and draw a chart of it to this file, an SVG. Burn's own layers
    /// can't be observed.
    #[arg(long)]
    sensitivity: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit::code(run(Options::parse()))
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = options.out.clone().unwrap_or_else(|| temporary.path().into());
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("can't make the folder {}: {error}", folder.display()))?;
    let device = Default::default();
    let (training, test) = data::load()?;
    let epochs = options.epochs;
    writeln!(stdout(), "{} images to learn from, {} others to be tested on", training.len(), test.len())?;
    let seconds = SECONDS.saturating_mul(epochs);
    writeln!(
        stdout(),
        "training, {epochs} times through them: about {seconds} s with --release, far longer without"
    )?;

    Train::seed(&device, options.seed);
    let start = Instant::now();
    let seen = training[..SEEN].to_vec();
    let trained = train::train(drop_in::Net::<Train>::new(&device), training, epochs, &device);
    writeln!(stdout(), "trained in {:.0} s", start.elapsed().as_secs_f64())?;

    let float = trained.clone().fold()?;
    report_difference(&trained, &float, &test)?;
    float.save_file(folder.join(TRAINED), &recorder())?;
    with_model!(options.backend, Net => {
        if let Some(chart) = &options.sensitivity {
            explain::<Net>(&load(&folder)?, &seen, chart)?;
        }
        compare::<Net>(&test, &folder)
    })
}

/// The trained model, on any backend and of either layers.
fn load<M: Classifier>(folder: &Path) -> Result<M, Box<dyn Error>> {
    let device = Default::default();
    Ok(M::new(&device).fold()?.load_file(folder.join(TRAINED), &recorder(), &device)?)
}

/// Shows the error that each layer makes on some images.
fn explain<M: Classifier>(float: &M, seen: &[Digit], chart: &Path) -> Result<(), Box<dyn Error>> {
    let sensitivity = float.sensitivity(&Int8Config::new(), |float| {
        for batch in seen.chunks(BATCH) {
            float.forward(images(batch, &Default::default()));
        }
    })?;
    writeln!(stdout(), "\n{sensitivity}")?;
    chart::draw(&sensitivity, chart).map_err(|error| format!("can't draw {}: {error}", chart.display()))?;
    Ok(writeln!(stdout(), "the same as a chart: {}", chart.display())?)
}

/// Quantizes, measures and shows the trained model.
fn compare<M: Classifier>(test: &[Digit], folder: &Path) -> Result<(), Box<dyn Error>> {
    let float = load::<M>(folder)?;
    let (int8, report) = float.clone().quantize(&Int8Config::new())?;
    writeln!(stdout(), "\n{report}\n")?;
    let weight_only = Int8Config::new().with_mode(QuantMode::WeightOnly);
    let (weight_only, _) = float.clone().quantize(&weight_only)?;

    let models = [("float", float), ("INT8 dynamic", int8), ("INT8 weight-only", weight_only)];
    let measured: Result<Vec<_>, _> =
        models.into_iter().map(|(name, model)| Measured::new(name, model, test, folder)).collect();
    let mut measured = measured?;
    measure::time(&mut measured, test);
    show::table(&measured)?;
    show::confusion(&measured[1], test)?;
    show::mistakes(&measured, test)?;
    verdict(&measured)
}

/// Folding changes how the scores are computed, not what they are.
fn report_difference<M: Classifier>(trained: &M, folded: &M, test: &[Digit]) -> io::Result<()> {
    let x = images(test, &Default::default());
    let scores = trained.forward(x.clone());
    let difference: f64 = (scores.clone() - folded.forward(x)).abs().max().into_scalar().elem();
    let largest: f64 = scores.abs().max().into_scalar().elem();
    writeln!(stdout(), "BatchNorms folded: scores of up to {largest:.1} differ by {difference:.1e} at most")
}

fn verdict<M>(measured: &[Measured<M>]) -> Result<(), Box<dyn Error>> {
    for model in &measured[1..] {
        let lost = measured[0].accuracy - model.accuracy;
        if lost > TOLERATED {
            let name = model.name;
            return Err(format!("{name} lost {lost:.1} points of accuracy; {TOLERATED} is tolerated").into());
        }
    }
    Ok(())
}

fn recorder() -> NamedMpkFileRecorder<FullPrecisionSettings> {
    NamedMpkFileRecorder::new()
}
