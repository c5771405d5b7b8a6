//! The worth of a model in INT8: how far it is from float, how large and how fast it is.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use burn::module::Module;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder};
use burn_int8::Distortion;
use burn_int8::prelude::*;

use crate::error::{OnnxError, Shortfall};
use crate::models::{OnnxModel, Scheme};
use crate::reference::Reference;

const TURNS: usize = 9;

/// The rows that the table has for a model.
pub struct Measured {
    pub name: &'static str,
    pub parts: &'static str,
    pub scheme: Scheme,
    /// The largest difference between Burn's float and ONNX Runtime's, and the largest that is allowed.
    pub float_difference: [f32; 2],
    /// INT8 against float.
    pub distortion: Distortion,
    /// The decisions that are the same, and all of them.
    pub same_decisions: [usize; 2],
    pub report: Report,
    /// The sizes of the files of float and of INT8.
    pub file_bytes: [u64; 2],
    /// Seconds for one run in float and in INT8.
    pub seconds: [f64; 2],
}

impl Measured {
    /// A model with each of its schemes, in float on one backend and in INT8 on another.
    pub fn all<M: OnnxModel, F: Backend, Q: Backend>(reference: &Reference) -> Result<Vec<Self>, OnnxError> {
        M::SCHEMES.iter().map(|&scheme| Self::new::<M, F, Q>(scheme, reference)).collect()
    }

    fn new<M: OnnxModel, F: Backend, Q: Backend>(
        scheme: Scheme,
        reference: &Reference,
    ) -> Result<Self, OnnxError> {
        let float = M::load::<F>(&Default::default());
        let (int8, report) = quantized::<M, Q>(&(scheme.config)())?;
        let (_, float_bytes) = reloaded::<M, F>(float.clone())?;
        let (int8, int8_bytes) = reloaded::<M, Q>(int8)?;
        let answers = [M::answers(&float, reference), M::answers(&int8, reference)];
        let [decisions, int8_decisions] = answers.each_ref().map(|answers| M::decisions(answers));
        let same = decisions.iter().zip(&int8_decisions).filter(|(a, b)| a == b).count();
        let [float_answers, int8_answers] = &answers;
        let distortion =
            Distortion::between(float_answers, int8_answers).ok_or(OnnxError::NoAnswers(M::NAME))?;
        let seconds = medians([&|| M::answers(&float, reference), &|| M::answers(&int8, reference)]);
        Ok(Self {
            name: M::NAME,
            parts: M::PARTS,
            scheme,
            float_difference: [
                difference(&M::sample(float_answers), &M::expected(reference)),
                M::FLOAT_DIFFERENCE,
            ],
            distortion,
            same_decisions: [same, decisions.len()],
            report,
            file_bytes: [float_bytes, int8_bytes],
            seconds: seconds.map(|seconds| seconds / M::RUNS as f64),
        })
    }

    /// Says if it is worse than it may be.
    pub fn check(&self) -> Result<(), Shortfall> {
        let model = self.name;
        let [found, most] = self.float_difference;
        if found.is_nan() || found > most {
            return Err(Shortfall::Float { model, found, most });
        }
        let scheme = self.scheme;
        let (found, least) = (self.distortion.cosine(), scheme.least_cosine);
        // Minus infinity where there is no cosine.
        if found < least {
            return Err(Shortfall::Int8 { model, scheme: scheme.name, found, least });
        }
        let [same, all] = self.same_decisions;
        let others = all - same;
        if others as f64 > scheme.other_decisions * all as f64 {
            return Err(Shortfall::Decisions { model, scheme: scheme.name, others, all });
        }
        Ok(())
    }
}

/// The model as it was imported, after one call.
pub fn quantized<M: OnnxModel, B: Backend>(config: &Int8Config) -> Result<(M::Model<B>, Report), OnnxError> {
    Ok(M::load::<B>(&Default::default()).quantize(config).map_err(Int8Error::from)?)
}

/// Saves a model, and gives what a fresh one becomes when it loads that file, and the size of the file.
pub fn reloaded<M: OnnxModel, B: Backend>(model: M::Model<B>) -> Result<(M::Model<B>, u64), OnnxError> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model");
    let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
    model.save_file(&path, &recorder)?;
    let bytes = fs::metadata(path.with_extension("mpk"))?.len();
    let device = Default::default();
    Ok((M::new::<B>(&device).load_file(&path, &recorder, &device)?, bytes))
}

/// The largest difference; a NaN is the largest of all.
pub fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "answers are as many as those of the reference");
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.max_by(f32::total_cmp).unwrap_or(f32::NAN)
}

/// Seconds that two programs take: medians over turns, so that a busy moment hits both.
fn medians(programs: [&dyn Fn() -> Vec<f32>; 2]) -> [f64; 2] {
    let mut times = [[0.0; TURNS]; 2];
    for turn in 0..TURNS {
        for (program, times) in programs.iter().zip(&mut times) {
            let start = Instant::now();
            black_box(program());
            times[turn] = start.elapsed().as_secs_f64();
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TURNS / 2]
    })
}
