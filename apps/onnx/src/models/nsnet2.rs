//! NSNet2, which says how much of each frequency of a noisy recording is speech.

use burn::prelude::*;
use burn_int8::prelude::*;

use super::{OnnxModel, Scheme, generated, values, whole_model};
use crate::reference::Reference;

generated!("nsnet2");

pub struct Nsnet2;

impl OnnxModel for Nsnet2 {
    const NAME: &'static str = "nsnet2";
    const PARTS: &'static str = "Linear, 2 Gru of 400";
    const RUNS: usize = 1;
    const FLOAT_DIFFERENCE: f32 = 1e-5;
    const SCHEMES: &'static [Scheme] =
        &[Scheme { name: "default", config: Int8Config::new, least_cosine: 0.9999, other_decisions: 0.0 }];

    whole_model!();

    fn answers<B: Backend>(model: &Model<B>, inputs: &Reference) -> Vec<f32> {
        let spectra = Tensor::<B, 2>::from_data(inputs.spectra.clone(), &Default::default());
        values(model.forward(spectra.unsqueeze()))
    }

    fn expected(reference: &Reference) -> Vec<f32> {
        reference.gains.clone()
    }

    fn sample(answers: &[f32]) -> Vec<f32> {
        answers.to_vec()
    }
}
