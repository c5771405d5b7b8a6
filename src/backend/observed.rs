//! The float weight of one of Burn's own layers that also tries its INT8 forms, and adds up their errors.

use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{TensorMetadata, TensorPrimitive};
use burn_int8_kernels::WeightLayout;

use super::tensor::Int8Tensor;
use super::weight::{StockWeight, WeightView};
use crate::config::LayerScheme;
use crate::nn::observe::{InputSums, Observation};
use crate::nn::weight::Int8Weight;
use crate::ops::with_floats;

/// A float weight in a model that [`Quantize::sensitivity`](crate::Quantize::sensitivity) runs, shared by a parameter and all its clones.
#[derive(Clone, Debug)]
pub(super) struct ObservedWeight<B: Backend> {
    float: FloatTensor<B>,
    /// Zeros of the same shape, which say whether integers compute a call.
    probe: WeightView<B>,
    /// The INT8 forms that are tried; none where the weights have none, because a rotation made them infinite.
    int8: Vec<Option<WeightView<B>>>,
    observation: Observation,
}

impl<B: Backend> ObservedWeight<B> {
    /// The weight of a layer of this kind; `int8` makes its INT8 forms.
    pub(super) fn new(
        float: FloatTensor<B>,
        kind: &'static str,
        layout: WeightLayout,
        observation: &Observation,
        int8: impl Fn(LayerScheme) -> Option<Int8Weight<B>>,
    ) -> Self {
        let dtype = float.dtype();
        let view = |scheme, int8| WeightView::new(StockWeight::new(kind, dtype, scheme, int8));
        let zeros = Int8Weight::zeros(layout, LayerScheme::default(), &B::float_device(&float));
        let mut made: Vec<Option<Int8Weight<B>>> = Vec::with_capacity(observation.schemes.len());
        for scheme in &observation.schemes {
            let mut weight = int8(*scheme);
            // Schemes that differ only in the way of inputs have the same integers.
            if let Some(weight) = &mut weight {
                made.iter().flatten().for_each(|other| weight.weights.share(&other.weights));
            }
            made.push(weight);
        }
        let forms = observation.schemes.iter().zip(made);
        let int8 = forms.map(|(scheme, weight)| weight.map(|weight| view(*scheme, weight))).collect();
        Self { float, probe: view(LayerScheme::default(), zeros), int8, observation: observation.clone() }
    }

    pub(super) fn float(&self) -> &FloatTensor<B> {
        &self.float
    }

    /// Another view of the weight, if it is one of its INT8 forms, too.
    pub(super) fn view(
        &self,
        weight: impl Fn(&WeightView<B>) -> Option<WeightView<B>>,
        float: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
    ) -> Result<Self, FloatTensor<B>> {
        let Some(probe) = weight(&self.probe) else { return Err(float(self.float.clone())) };
        let int8 = self.int8.iter().map(|form| form.as_ref().and_then(&weight)).collect();
        Ok(Self { float: float(self.float.clone()), probe, int8, observation: self.observation.clone() })
    }

    /// Adds a call to the sums, if integers would compute it: its output, what `int8` makes of a form of the weight, and its input with
    /// the axis of the channels; a look-up has none.
    pub(super) fn add(
        &self,
        input: Option<(&Int8Tensor<B>, usize)>,
        output: &Int8Tensor<B>,
        int8: impl Fn(&Int8Tensor<B>) -> Option<Int8Tensor<B>>,
    ) {
        let int8 = |form: &WeightView<B>| int8(&Int8Tensor::weight(form.clone()));
        if int8(&self.probe).is_none() {
            return;
        }
        let input = match input {
            Some((x, axis)) => {
                let shape = x.shape();
                let mut sums = InputSums::new(shape[axis]);
                with_values(x, |x| sums.add_values(x, shape[axis + 1..].iter().product()));
                sums
            }
            None => InputSums::new(0),
        };
        let forms = self.int8.iter().map(|form| form.as_ref().and_then(int8));
        with_values(output, |y| self.observation.add(&input, y, forms, |out, read| with_values(&out, read)));
    }
}

fn with_values<B: Backend, R>(x: &Int8Tensor<B>, work: impl FnOnce(&[f32]) -> R) -> R {
    let float = TensorPrimitive::Float(x.clone().into_float());
    with_floats(Tensor::<B, 1>::from_primitive(float), work)
}
