//! An INT8 model on Burn's remote backend: quantized here, computed by a server, compared with the server's own backend.
//!
//! `cargo run --release -p remote`. More in README.md in this folder.

mod server;
#[cfg(test)]
mod tests;

/// The model of this crate's layers.
#[path = ""]
mod drop_in {
    mod nn {
        pub use burn_int8::nn::{self as conv, *};
    }
    mod model;
    pub use model::{Reader, VOCABULARY};
}

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Instant;

use burn::backend::NdArray;
use burn::module::Module;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn_int8::prelude::*;
use burn_remote::RemoteBackend;

use drop_in::{Reader, VOCABULARY};

type Mpk = NamedMpkBytesRecorder<FullPrecisionSettings>;

/// The bytes of a model's file.
fn file<B: Backend, M: Module<B>>(model: M) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(Recorder::<B>::record(&Mpk::default(), model.into_record(), ())?)
}

/// The model with what is in a file.
fn loaded<B: Backend, M: Module<B>>(
    model: M,
    file: Vec<u8>,
    device: &B::Device,
) -> Result<M, Box<dyn Error>> {
    Ok(model.load_record(Recorder::<B>::load(&Mpk::default(), file, device)?))
}

/// Tokens `[2, 20]`.
fn tokens<B: Backend>(device: &B::Device) -> Tensor<B, 2, Int> {
    let tokens: Vec<_> = (0..40).map(|i| (i * 7919 % VOCABULARY) as i32).collect();
    Tensor::from_data(TensorData::new(tokens, [2, 20]), device)
}

fn scores<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>, Box<dyn Error>> {
    Ok(tensor.into_data().to_vec().map_err(|error| format!("{error:?}"))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (here, there) = (Default::default(), server::start()?);
    let (model, report) = Reader::<NdArray>::new(&here).quantize(&Int8Config::new())?;
    let remote = loaded(Reader::<RemoteBackend>::new(&there), file(model.clone())?, &there)?;
    writeln!(stdout(), "{report}")?;

    let expected = scores(model.forward(tokens(&here)))?;
    let started = Instant::now();
    let got = scores(remote.forward(tokens(&there)))?;
    let elapsed = started.elapsed();
    let largest = expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    writeln!(
        stdout(),
        "{} scores from {}: {largest:e} off at most, after {elapsed:?}",
        got.len(),
        remote.int8_report().layers[0].kernel.as_deref().unwrap_or("floats"),
    )?;
    if expected == got { Ok(()) } else { Err("the server's scores are others".into()) }
}

/// The same code, of Burn's own layers.
#[cfg(test)]
#[path = ""]
mod stock {
    use burn::nn;

    #[allow(clippy::duplicate_mod, reason = "one model, of the layers of either")]
    mod model;
    pub use model::Reader;
}
