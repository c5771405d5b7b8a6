//! ddddocr's reader of words: a convolutional network and an LSTM that goes both ways, and that LSTM alone.

use burn::nn::BiLstm;
use burn::prelude::*;
use burn_int8::prelude::*;

use super::{OnnxModel, Scheme, generated, largest, values, whole_model};
use crate::reference::Reference;

generated! {
    "ddddocr"
    impl<B: Backend> Model<B> {
        pub fn into_lstm(self) -> burn::nn::BiLstm<B> {
            self.lstm1
        }
    }
}

const WORDS: usize = 4;
const CLASSES: usize = 8210;
const CLASS_STEP: usize = 64;
const VALUE_STEP: usize = 8;

/// The whole model.
pub struct Ddddocr;

impl OnnxModel for Ddddocr {
    const NAME: &'static str = "ddddocr";
    const PARTS: &'static str = "Conv2d, BiLstm of 512";
    const RUNS: usize = WORDS;
    /// Scores of up to 37.
    const FLOAT_DIFFERENCE: f32 = 1e-3;
    const SCHEMES: &'static [Scheme] =
        &[Scheme { name: "default", config: Int8Config::new, least_cosine: 0.998, other_decisions: 0.0 }];

    whole_model!();

    fn answers<B: Backend>(model: &Model<B>, inputs: &Reference) -> Vec<f32> {
        let words = Tensor::<B, 3>::from_data(inputs.words.clone(), &Default::default()) / 255.0;
        words.iter_dim(0).flat_map(|word| values(model.forward(word.unsqueeze_dim(0)))).collect()
    }

    fn expected(reference: &Reference) -> Vec<f32> {
        reference.scores.clone()
    }

    /// The scores of some classes, at each place.
    fn sample(answers: &[f32]) -> Vec<f32> {
        answers.chunks(CLASSES).flat_map(|scores| scores.iter().step_by(CLASS_STEP)).copied().collect()
    }

    /// The character at each place; 0 is none.
    fn decisions(answers: &[f32]) -> Vec<usize> {
        answers.chunks(CLASSES).map(largest).collect()
    }
}

/// Its LSTM, which hears what the convolutions find in the first word.
pub struct DdddocrLstm;

impl OnnxModel for DdddocrLstm {
    const NAME: &'static str = "its LSTM alone";
    const PARTS: &'static str = "BiLstm of 512";
    const RUNS: usize = 1;
    const FLOAT_DIFFERENCE: f32 = 1e-5;
    const SCHEMES: &'static [Scheme] =
        &[Scheme { name: "default", config: Int8Config::new, least_cosine: 0.9999, other_decisions: 0.0 }];

    type Model<B: Backend> = BiLstm<B>;

    fn new<B: Backend>(device: &B::Device) -> BiLstm<B> {
        Model::new(device).into_lstm()
    }

    fn load<B: Backend>(device: &B::Device) -> BiLstm<B> {
        Model::from_file(WEIGHTS, device).into_lstm()
    }

    fn answers<B: Backend>(model: &BiLstm<B>, inputs: &Reference) -> Vec<f32> {
        let inputs = Tensor::from_data(inputs.lstm.clone(), &Default::default());
        values(model.forward(inputs, None).0)
    }

    fn expected(reference: &Reference) -> Vec<f32> {
        reference.lstm_answers.clone()
    }

    fn sample(answers: &[f32]) -> Vec<f32> {
        answers.iter().step_by(VALUE_STEP).copied().collect()
    }
}
