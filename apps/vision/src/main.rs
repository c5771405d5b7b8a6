//! Image classification with EfficientNet-Lite0: real weights and photographs, quantized, saved, reloaded, compared.
//!
//! `apps/vision/download.sh`, then `cargo run --release -p vision`. More in README.md in this folder.

#[path = "../../../examples/common/backend.rs"]
mod backend;
mod compare;
mod error;
#[path = "../../../examples/common/exit.rs"]
mod exit;
mod load;
mod measure;
mod model;
mod photos;
mod schemes;
mod show;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use backend::{BackendName, with_backend};
use burn::prelude::*;
use burn_int8::prelude::*;
use clap::Parser;
use image::RgbImage;

use measure::Measured;
use schemes::Scheme;

#[derive(Parser)]
struct Options {
    /// The folder with the weights and the photographs.
    #[arg(long, default_value = "target/vision")]
    data: PathBuf,
    /// The backend that it runs on; cargo's `--features flex` and `--features wgpu` add those.
    #[arg(long, value_enum, default_value_t = BackendName::Ndarray)]
    backend: BackendName,
    /// Compare float with one scheme, in which the layers that match this stay float; may be given more than once.
    #[arg(long, value_name = "PATTERN")]
    float: Vec<String>,
    /// The same, where the layers that match this are weight-only.
    #[arg(long, value_name = "PATTERN")]
    weight_only: Vec<String>,
    /// The same, where the other layers are what Keras makes of them.
    #[arg(long)]
    keras: bool,
    /// Print what was done to each layer.
    #[arg(long)]
    report: bool,
}

impl Options {
    fn schemes(&self) -> Vec<Scheme> {
        if self.float.is_empty() && self.weight_only.is_empty() && !self.keras {
            return schemes::compared();
        }
        let base = if self.keras { Int8Config::keras() } else { Int8Config::new() };
        vec![schemes::asked(base, &self.float, &self.weight_only)]
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    exit::code(with_backend!(options.backend, B => run::<B>(&options)))
}

fn run<B: Backend>(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let float = load::load::<B>(&options.data, &device)?;
    let images: Vec<RgbImage> = photos::read_all(&options.data)?.iter().flat_map(photos::crops).collect();
    let schemes = options.schemes();
    let mut models = vec![Measured::new("float", float.clone(), &images, &device)?];
    for scheme in &schemes {
        let model = scheme.quantize(float.clone())?;
        if options.report {
            writeln!(stdout(), "{}\n{}\n", scheme.name, model.int8_report())?;
        }
        models.push(Measured::new(scheme.name, model, &images, &device)?);
    }
    measure::time(&mut models, &images[0], &device);
    show::table(&models)?;
    for (model, scheme) in models[1..].iter().zip(&schemes) {
        scheme.check(&models[0].scores, &model.scores)?;
    }
    Ok(())
}
