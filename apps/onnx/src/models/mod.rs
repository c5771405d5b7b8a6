//! The models: code that burn-onnx wrote while this program was built, and what each of them is asked.

mod ddddocr;
mod nsnet2;
mod ppocr_det;
mod silero_vad;

use burn::prelude::*;
use burn_int8::Int8Config;

pub use ddddocr::{Ddddocr, DdddocrLstm};
pub use nsnet2::Nsnet2;
pub use ppocr_det::PpocrDet;
pub use silero_vad::SileroVad;

use crate::reference::Reference;

/// A way to quantize a model.
#[derive(Clone, Copy)]
pub struct Scheme {
    pub name: &'static str,
    pub config: fn() -> Int8Config,
    /// The least cosine of INT8's answers with those of float.
    pub least_cosine: f64,
    /// The largest share of decisions that may be others than in float.
    pub other_decisions: f64,
}

/// A model as burn-onnx wrote it, for any backend.
pub trait OnnxModel {
    const NAME: &'static str;
    /// The parts that it is made of.
    const PARTS: &'static str;
    /// Runs that it takes to answer all inputs.
    const RUNS: usize;
    /// The largest difference between a value in Burn's float and in ONNX Runtime's.
    const FLOAT_DIFFERENCE: f32;
    /// The ways to quantize it.
    const SCHEMES: &'static [Scheme];

    type Model<B: Backend>: Module<B>;

    /// The model without its weights.
    fn new<B: Backend>(device: &B::Device) -> Self::Model<B>;

    /// The model with its weights.
    fn load<B: Backend>(device: &B::Device) -> Self::Model<B>;

    /// All that it answers to the inputs of the reference.
    fn answers<B: Backend>(model: &Self::Model<B>, inputs: &Reference) -> Vec<f32>;

    /// The answers that the reference has.
    fn expected(reference: &Reference) -> Vec<f32>;

    /// The answers of these that are in the reference, in its order.
    fn sample(answers: &[f32]) -> Vec<f32>;

    /// The conclusions that a program draws from the answers, such as the letters of a word; none if it uses the values themselves.
    fn decisions(_answers: &[f32]) -> Vec<usize> {
        Vec::new()
    }
}

/// The code that burn-onnx wrote for a model, whose style is not ours, and items that have to see its private fields.
macro_rules! generated {
    ($model:literal $($added:item)*) => {
        #[allow(clippy::all, unused, missing_docs)]
        mod generated {
            include!(concat!(env!("OUT_DIR"), "/models/", $model, ".rs"));
            $($added)*
        }
        use generated::Model;
        const WEIGHTS: &str = concat!(env!("OUT_DIR"), "/models/", $model, ".bpk");
    };
}
pub(crate) use generated;

/// The items of an [`OnnxModel`] that is all of a generated model.
macro_rules! whole_model {
    () => {
        type Model<B: Backend> = Model<B>;

        fn new<B: Backend>(device: &B::Device) -> Model<B> {
            Model::new(device)
        }

        fn load<B: Backend>(device: &B::Device) -> Model<B> {
            Model::from_file(WEIGHTS, device)
        }
    };
}
pub(crate) use whole_model;

/// The values of a tensor, in order.
fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

/// The first of the largest values.
fn largest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}
