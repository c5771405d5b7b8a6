//! The worth of a model: how near it is to the float model, how large and how fast it is.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder};

use crate::encoder::{Encoder, SentenceModel, cosine};

/// The batch sizes that are timed.
pub const BATCHES: [usize; 2] = [1, 32];
const TURNS: usize = 7;

pub struct Measured<M> {
    pub name: &'static str,
    model: M,
    pub embeddings: Vec<Vec<f32>>,
    pub file_bytes: u64,
    /// Sentences per second, for each of `BATCHES`; once `time` has filled them in.
    pub speeds: [f64; 2],
}

impl<M: SentenceModel> Measured<M> {
    /// Saves the model, and goes on with the one that a fresh model becomes when it loads that file.
    pub fn new(
        name: &'static str,
        model: M,
        encoder: &Encoder<M>,
        sentences: &[String],
        folder: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let path = folder.join(name.to_lowercase().replace(' ', "-"));
        let embeddings = encoder.embed(&model, sentences, sentences.len())?;
        let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
        model.save_file(&path, &recorder)?;
        let model = encoder.blank().load_file(&path, &recorder, encoder.device())?;
        if encoder.embed(&model, sentences, sentences.len())? != embeddings {
            return Err(format!("{name}: the reloaded model answers differently").into());
        }
        let file_bytes = std::fs::metadata(path.with_extension("mpk"))?.len();
        Ok(Self { name, model, embeddings, file_bytes, speeds: [f64::NAN; 2] })
    }

    /// Sentence by sentence, how near it is to another model.
    pub fn cosines(&self, other: &Self) -> Vec<f64> {
        self.embeddings.iter().zip(&other.embeddings).map(|(a, b)| cosine(a, b)).collect()
    }
}

/// Fills in the speeds, from text to embedding: medians over turns that the models take, so that a busy moment hits all.
pub fn time<M: SentenceModel>(
    models: &mut [Measured<M>],
    encoder: &Encoder<M>,
    sentences: &[String],
) -> Result<(), Box<dyn Error>> {
    for (at, batch) in BATCHES.into_iter().enumerate() {
        let mut times = vec![Vec::with_capacity(TURNS); models.len()];
        for _ in 0..TURNS {
            for (model, times) in models.iter().zip(&mut times) {
                let start = Instant::now();
                black_box(encoder.embed(&model.model, sentences, batch)?);
                times.push(start.elapsed().as_secs_f64());
            }
        }
        for (model, mut times) in models.iter_mut().zip(times) {
            times.sort_by(f64::total_cmp);
            model.speeds[at] = sentences.len() as f64 / times[TURNS / 2];
        }
    }
    Ok(())
}

/// The lowest and the mean.
pub fn summary(cosines: &[f64]) -> [f64; 2] {
    let lowest = cosines.iter().copied().fold(f64::INFINITY, f64::min);
    [lowest, cosines.iter().sum::<f64>() / cosines.len() as f64]
}
