//! Silero's detector of speech, which hears a recording in chunks of 32 ms.

use burn::prelude::*;
use burn_int8::prelude::*;

use super::{OnnxModel, Scheme, generated, values, whole_model};
use crate::reference::Reference;

generated!("silero_vad");

const RATE: i64 = 16_000;
const CHUNKS: usize = 64;
const CHUNK: usize = 512;
/// The samples before a chunk that are heard with it.
const CONTEXT: usize = 64;
/// The hidden state and the memory of an LSTM.
const STATE: [usize; 3] = [2, 1, 128];
/// Probability and state.
const ANSWER: usize = 1 + 2 * 128;

pub struct SileroVad;

impl OnnxModel for SileroVad {
    const NAME: &'static str = "silero_vad";
    const PARTS: &'static str = "Conv1d, LSTM step";
    const RUNS: usize = CHUNKS;
    /// States of up to 17, after 64 steps.
    const FLOAT_DIFFERENCE: f32 = 1e-4;
    const SCHEMES: &'static [Scheme] = &[
        Scheme { name: "default", config: Int8Config::new, least_cosine: 0.98, other_decisions: 0.02 },
        // Its memory adds up the errors of the convolutions.
        Scheme {
            name: "LSTM only",
            config: || Int8Config::new().with_exclude(vec!["conv1d*".into()]),
            least_cosine: 0.9998,
            other_decisions: 0.0,
        },
    ];

    whole_model!();

    fn answers<B: Backend>(model: &Model<B>, inputs: &Reference) -> Vec<f32> {
        let device = B::Device::default();
        let silence = Tensor::zeros([CONTEXT], &device);
        let speech = Tensor::<B, 1>::from_data(inputs.speech.clone(), &device) / 32768.0;
        let speech: Tensor<B, 1> = Tensor::cat(vec![silence, speech], 0);
        let mut state = Tensor::zeros(STATE, &device);
        let chunk = |start: usize| {
            let heard = speech.clone().slice(start..start + CONTEXT + CHUNK).unsqueeze();
            let (probability, next) = model.forward(heard, RATE, state.clone());
            state = next.clone();
            [values(probability), values(next)].concat()
        };
        (0..CHUNKS).map(|chunk| chunk * CHUNK).flat_map(chunk).collect()
    }

    fn expected(reference: &Reference) -> Vec<f32> {
        [&reference.speech_probabilities[..], &reference.speech_state].concat()
    }

    /// All probabilities, and the last state.
    fn sample(answers: &[f32]) -> Vec<f32> {
        let probabilities = answers.iter().step_by(ANSWER);
        probabilities.chain(&answers[(CHUNKS - 1) * ANSWER + 1..]).copied().collect()
    }

    /// Where somebody speaks.
    fn decisions(answers: &[f32]) -> Vec<usize> {
        answers.iter().step_by(ANSWER).map(|&probability| usize::from(probability > 0.5)).collect()
    }
}
