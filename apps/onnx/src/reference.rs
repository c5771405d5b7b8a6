//! The inputs, and what ONNX Runtime answers to them: what reference.py wrote.

use burn::tensor::{DType, TensorData};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use thiserror::Error;

const FILE: &[u8] = include_bytes!("reference.safetensors");

#[derive(Debug, Error)]
pub enum ReferenceError {
    #[error("src/reference.safetensors: {0}")]
    File(#[from] SafeTensorError),
    #[error(
        "src/reference.safetensors: {name} has values of the type {dtype}, which reference.py does not write"
    )]
    Type { name: &'static str, dtype: Dtype },
}

pub struct Reference {
    /// Sound: 16 bits for a sample, 16,000 samples a second.
    pub speech: TensorData,
    pub speech_probabilities: Vec<f32>,
    /// The state of the detector at the end.
    pub speech_state: Vec<f32>,
    /// Logarithms of power: `[frames, frequencies]`.
    pub spectra: TensorData,
    pub gains: Vec<f32>,
    /// Grey images: `[words, height, width]`.
    pub words: TensorData,
    pub scores: Vec<f32>,
    /// The class with the highest score at each place of each word.
    #[cfg(test)]
    pub classes: Vec<usize>,
    /// Inputs of an LSTM: `[steps, 1, features]`.
    pub lstm: TensorData,
    pub lstm_answers: Vec<f32>,
    /// Probabilities of text in a page.
    pub text: Vec<f32>,
}

impl Reference {
    pub fn read() -> Result<Self, ReferenceError> {
        let file = SafeTensors::deserialize(FILE)?;
        let floats = |name| Ok::<_, ReferenceError>(data(&file, name)?.iter().collect());
        Ok(Self {
            speech: data(&file, "speech")?,
            speech_probabilities: floats("silero_vad.probabilities")?,
            speech_state: floats("silero_vad.state")?,
            spectra: data(&file, "spectra")?,
            gains: floats("nsnet2.gains")?,
            words: data(&file, "words")?,
            scores: floats("ddddocr.scores")?,
            #[cfg(test)]
            classes: data(&file, "ddddocr.classes")?.iter::<i64>().map(|class| class as usize).collect(),
            lstm: data(&file, "lstm")?,
            lstm_answers: floats("lstm.answers")?,
            text: floats("ppocr_det.text")?,
        })
    }
}

/// A tensor in `f32`, which holds all its numbers exactly.
fn data(file: &SafeTensors, name: &'static str) -> Result<TensorData, ReferenceError> {
    let tensor = file.tensor(name)?;
    let dtype = match tensor.dtype() {
        Dtype::U8 => DType::U8,
        Dtype::I16 => DType::I16,
        Dtype::F16 => DType::F16,
        Dtype::F32 => DType::F32,
        dtype => return Err(ReferenceError::Type { name, dtype }),
    };
    Ok(TensorData::from_bytes_vec(tensor.data().to_vec(), tensor.shape(), dtype).convert::<f32>())
}
