//! The worth of a model: how often it is right, how large and how fast it is.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use burn::prelude::*;

use crate::classifier::Classifier;
use crate::data::{Digit, images};
use crate::recorder;

/// The batch sizes that are timed.
pub const BATCHES: [usize; 2] = [1, 64];
const TURNS: usize = 10;
const CALLS: usize = 20;

pub struct Measured<M> {
    pub name: &'static str,
    model: M,
    /// Percent of the test images.
    pub accuracy: f64,
    /// A class for each test image.
    pub answers: Vec<usize>,
    pub file_bytes: u64,
    /// Microseconds per image, for each of `BATCHES`; once `time` has filled them in.
    pub times: [f64; 2],
}

impl<M: Classifier> Measured<M> {
    /// Saves the model, and goes on with the one that it reloads.
    pub fn new(name: &'static str, model: M, test: &[Digit], folder: &Path) -> Result<Self, Box<dyn Error>> {
        let device = Default::default();
        let path = folder.join(name.to_lowercase().replace(' ', "-"));
        let x = images(test, &device);
        let scores = model.forward(x.clone()).into_data();

        model.save_file(&path, &recorder())?;
        // The file has no BatchNorms: it needs a model that has none.
        let model = M::new(&device).fold()?.load_file(&path, &recorder(), &device)?;
        let reloaded = model.forward(x.clone());
        if reloaded.to_data() != scores {
            return Err(format!("{name}: the reloaded model answers differently").into());
        }

        let answers: Vec<i64> = reloaded.argmax(1).into_data().convert::<i64>().to_vec()?;
        let answers: Vec<_> = answers.into_iter().map(|class| class as usize).collect();
        let right = answers.iter().zip(test).filter(|(answer, digit)| **answer == digit.class).count();
        Ok(Self {
            name,
            accuracy: 100.0 * right as f64 / test.len() as f64,
            answers,
            file_bytes: std::fs::metadata(path.with_extension("mpk"))?.len(),
            times: [f64::NAN; 2],
            model,
        })
    }
}

/// Fills in the times: medians over turns that the models take, so that a busy moment hits all of them.
pub fn time<M: Classifier>(models: &mut [Measured<M>], test: &[Digit]) {
    for (at, batch) in BATCHES.into_iter().enumerate() {
        let x = images(&test[..batch], &Default::default());
        let mut times = vec![Vec::with_capacity(TURNS * CALLS); models.len()];
        for _ in 0..TURNS {
            for (model, times) in models.iter().zip(&mut times) {
                for _ in 0..CALLS {
                    let start = Instant::now();
                    let y = black_box(model.model.forward(x.clone()));
                    M::Backend::sync(&y.device()).expect("a device that works"); // a GPU's call returns before it is done
                    times.push(start.elapsed().as_secs_f64() * 1e6 / batch as f64);
                }
            }
        }
        for (model, mut times) in models.iter_mut().zip(times) {
            times.sort_by(f64::total_cmp);
            model.times[at] = times[times.len() / 2];
        }
    }
}
