//! A float layer that adds up what INT8 would have made of each of its inputs.

mod statistics;

use std::sync::{Arc, Mutex, PoisonError};

use burn::prelude::*;
use burn_int8_kernels::WeightLayout;

use super::layer::FloatLayer;
use super::qlayer::QLayer;
use crate::config::LayerScheme;
use crate::distortion::ErrorSums;
use crate::ops::with_floats;
pub(crate) use statistics::{InputSums, Statistics};

/// An order to observe a layer: the schemes that are tried, and the place where the sums are kept.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    pub(crate) schemes: Vec<LayerScheme>,
    /// The largest magnitude that was seen before of each input; empty if nobody has looked.
    pub(crate) inputs: Arc<[f32]>,
    /// The layout of its weight, if more is known than a parameter of a layer of Burn's tells.
    pub(crate) layout: Option<WeightLayout>,
    statistics: Arc<Mutex<Statistics>>,
}

impl Observation {
    pub(crate) fn new(schemes: Vec<LayerScheme>, inputs: Arc<[f32]>, layout: Option<WeightLayout>) -> Self {
        let statistics = Statistics::new(schemes.len());
        Self { schemes, inputs, layout, statistics: Arc::new(Mutex::new(statistics)) }
    }

    /// Adds a call to the sums: `y` is the output, and of each scheme what its INT8 form gives, none where there is no such form. The
    /// sums are locked for the end only, so that threads wait for each other no longer.
    pub(crate) fn add<T>(
        &self,
        input: &InputSums,
        y: &[f32],
        int8: impl Iterator<Item = Option<T>>,
        read: impl Fn(T, &mut dyn FnMut(&[f32])),
    ) {
        let errors: Vec<_> = int8
            .map(|out| {
                let mut sums = ErrorSums::default();
                match out {
                    Some(out) => read(out, &mut |int8| sums.add_values(y, int8)),
                    None => sums.add_infinite(y.len()),
                }
                sums
            })
            .collect();
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner).add(input, &errors);
    }

    /// The sums up to now.
    pub(crate) fn statistics(&self) -> Statistics {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A float layer in a model that [`Quantize::sensitivity`](crate::Quantize::sensitivity) runs. Clones add to the same sums.
#[derive(Debug, Clone)]
pub struct ObservedLayer<L: FloatLayer> {
    pub(super) float: L,
    /// The INT8 forms that are tried; none where the weights have none, because a rotation made them infinite.
    pub(super) int8: Vec<Option<QLayer<L>>>,
    observation: Observation,
}

impl<L: FloatLayer> ObservedLayer<L> {
    pub(crate) fn new(float: L, observation: Observation) -> Self {
        let mut int8: Vec<Option<QLayer<L>>> = Vec::with_capacity(observation.schemes.len());
        for scheme in &observation.schemes {
            let mut layer = QLayer::quantized_seen(&float, *scheme, &observation.inputs).ok();
            // Schemes that differ only in the way of inputs have the same integers.
            if let Some(layer) = &mut layer {
                int8.iter().flatten().for_each(|other| layer.share_weights(other));
            }
            int8.push(layer);
        }
        Self { float, int8, observation }
    }

    /// The same layers elsewhere, which add to the same sums.
    pub(super) fn moved<T: FloatLayer>(
        self,
        float: impl FnOnce(L) -> T,
        int8: impl Fn(QLayer<L>) -> QLayer<T>,
    ) -> ObservedLayer<T> {
        let moved = self.int8.into_iter().map(|layer| layer.map(&int8)).collect();
        ObservedLayer { float: float(self.float), int8: moved, observation: self.observation }
    }

    /// The output of the float layer. `forward_int8` is the same for an INT8 layer.
    pub(super) fn forward<const D: usize>(
        &self,
        x: Tensor<L::Backend, D>,
        forward: impl FnOnce(&L, Tensor<L::Backend, D>) -> Tensor<L::Backend, D>,
        forward_int8: impl Fn(&QLayer<L>, Tensor<L::Backend, D>) -> Tensor<L::Backend, D>,
    ) -> Tensor<L::Backend, D> {
        let y = forward(&self.float, x.clone());
        let (shape, x) = (x.dims(), x.detach());
        let axis = if let WeightLayout::Conv(_) = L::layout(&self.float.options()) { 1 } else { D - 1 };
        let mut input = InputSums::new(shape[axis]);
        with_floats(x.clone(), |x| input.add_values(x, shape[axis + 1..].iter().product()));
        self.add(input, &y, |layer| forward_int8(layer, x.clone()));
        y
    }

    /// The rows of the float table, looked up by `look_up`. Indices have no range.
    pub(super) fn look_up<const D: usize>(
        &self,
        look_up: impl FnOnce(&L) -> Tensor<L::Backend, D>,
        look_up_int8: impl Fn(&QLayer<L>) -> Tensor<L::Backend, D>,
    ) -> Tensor<L::Backend, D> {
        let y = look_up(&self.float);
        self.add(InputSums::new(0), &y, look_up_int8);
        y
    }

    /// Adds a call to the sums.
    fn add<const D: usize>(
        &self,
        input: InputSums,
        y: &Tensor<L::Backend, D>,
        int8: impl Fn(&QLayer<L>) -> Tensor<L::Backend, D>,
    ) {
        let forms = self.int8.iter().map(|layer| layer.as_ref().map(&int8));
        with_floats(y.clone().detach(), |y| {
            self.observation.add(&input, y, forms, |out, read| with_floats(out.detach(), read));
        });
    }
}
