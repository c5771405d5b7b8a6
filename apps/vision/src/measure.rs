//! The worth of a model: its scores, how large and how fast it is.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder};
use image::RgbImage;

use crate::model::EfficientNet;
use crate::photos::inputs;

/// The inputs that are computed at once where nobody looks at the clock.
const BATCH: usize = 8;
const TURNS: usize = 9;

pub struct Measured<B: Backend> {
    pub name: &'static str,
    pub model: EfficientNet<B>,
    /// The scores of the classes, for each input.
    pub scores: Vec<Vec<f32>>,
    pub file_bytes: u64,
    /// Seconds for one image alone, once `time` has filled them in.
    pub seconds: f64,
}

impl<B: Backend> Measured<B> {
    /// Saves the model, and goes on with the one that a fresh model becomes when it loads that file.
    pub fn new(
        name: &'static str,
        model: EfficientNet<B>,
        images: &[RgbImage],
        device: &B::Device,
    ) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model");
        let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
        let first = &images[..1];
        let expected = scores(&model, first, device);
        model.save_file(&path, &recorder)?;
        let model = EfficientNet::new(device).fold()?.load_file(&path, &recorder, device)?;
        if scores(&model, first, device) != expected {
            return Err(format!("{name}: the reloaded model answers differently").into());
        }
        let file_bytes = bytes(&path.with_extension("mpk"))?;
        Ok(Self { name, scores: scores(&model, images, device), model, file_bytes, seconds: f64::NAN })
    }
}

fn bytes(path: &Path) -> std::io::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

/// The scores of the classes, for each image.
pub fn scores<B: Backend>(model: &EfficientNet<B>, images: &[RgbImage], device: &B::Device) -> Vec<Vec<f32>> {
    let rows = |images: &[RgbImage]| {
        let scores = model.forward(inputs(images, device));
        let [_, classes] = scores.dims();
        let scores: Vec<f32> = scores.into_data().iter().collect();
        scores.chunks(classes).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    images.chunks(BATCH).flat_map(rows).collect()
}

/// Fills in the seconds: medians over turns that the models take, so that a busy moment hits all.
pub fn time<B: Backend>(models: &mut [Measured<B>], image: &RgbImage, device: &B::Device) {
    let input = inputs::<B>(std::slice::from_ref(image), device);
    let mut times = vec![Vec::with_capacity(TURNS); models.len()];
    for _ in 0..TURNS {
        for (model, times) in models.iter().zip(&mut times) {
            let start = Instant::now();
            black_box(model.model.forward(input.clone()).into_data());
            times.push(start.elapsed().as_secs_f64());
        }
    }
    for (model, mut times) in models.iter_mut().zip(times) {
        times.sort_by(f64::total_cmp);
        model.seconds = times[TURNS / 2];
    }
}
