//! PP-OCRv4's detector of text, which makes a map of where text is.

use burn::prelude::*;
use burn_int8::prelude::*;

use super::{OnnxModel, Scheme, generated, values, whole_model};
use crate::reference::Reference;

generated!("ppocr_det");

const WIDTH: usize = 352;
const PIXEL_STEP: usize = 4;
/// RapidOCR's own.
const THRESHOLD: f32 = 0.3;

pub struct PpocrDet;

impl OnnxModel for PpocrDet {
    const NAME: &'static str = "ppocr_det";
    const PARTS: &'static str = "Conv2d, ConvTranspose2d";
    const RUNS: usize = 1;
    const FLOAT_DIFFERENCE: f32 = 1e-4;
    const SCHEMES: &'static [Scheme] = &[
        Scheme { name: "default", config: Int8Config::new, least_cosine: 0.996, other_decisions: 0.003 },
        Scheme {
            name: "weight-only",
            config: || Int8Config::new().with_mode(QuantMode::WeightOnly),
            least_cosine: 0.997,
            other_decisions: 0.003,
        },
    ];

    whole_model!();

    /// The page has two words above two words, in grey.
    fn answers<B: Backend>(model: &Model<B>, inputs: &Reference) -> Vec<f32> {
        let words = Tensor::<B, 3>::from_data(inputs.words.clone(), &Default::default());
        let [_, height, width] = words.dims();
        let lines = words.reshape([2, 2, height, width]).swap_dims(1, 2);
        let page = lines.reshape([1, 1, 2 * height, 2 * width]) / 127.5 - 1.0;
        values(model.forward(page.expand([1, 3, 2 * height, 2 * width])))
    }

    fn expected(reference: &Reference) -> Vec<f32> {
        reference.text.clone()
    }

    /// Some pixels of some rows.
    fn sample(answers: &[f32]) -> Vec<f32> {
        let rows = answers.chunks(WIDTH).step_by(PIXEL_STEP);
        rows.flat_map(|row| row.iter().step_by(PIXEL_STEP)).copied().collect()
    }

    /// Where text is.
    fn decisions(answers: &[f32]) -> Vec<usize> {
        answers.iter().map(|&probability| usize::from(probability > THRESHOLD)).collect()
    }
}
