//! What a layer has to say to be swapped: the part that differs from kind to kind.

use std::fmt::Debug;

use burn::module::{Content, Initializer, Module, ModuleDisplay, Param};
use burn::prelude::*;
use burn::tensor::ops::Device;

use super::weight::WeightParam;
use crate::nn::record::LayerItem;
use burn_int8_kernels::WeightLayout;

/// The bias of a layer.
pub type Bias<B> = Param<Tensor<B, 1>>;

/// A layer of Burn's that has an INT8 form.
///
/// Implemented for Burn's layers by this crate; a model's code never names it.
pub trait FloatLayer: Module<Self::Backend> + ModuleDisplay + 'static {
    /// The backend that it runs on.
    type Backend: Backend;
    /// Its weight.
    type Weight: WeightParam<Self::Backend>;
    /// Everything of it but its numbers.
    type Options: Clone + Debug + Send + Sync + 'static;
    /// What recorders write for it, float or INT8.
    type Item: LayerItem<Weight = <Self::Weight as WeightParam<Self::Backend>>::Item>;
    /// Its name in reports.
    const KIND: &'static str;

    /// Its options; does not initialise its parameters.
    fn options(&self) -> Self::Options;

    /// What its weight is to it.
    fn form(options: &Self::Options) -> WeightLayout;

    /// Its weight.
    fn weight(&self) -> &Self::Weight;

    /// Its bias, if it has one.
    fn bias(&self) -> Option<&Bias<Self::Backend>>;

    /// The layer of these numbers.
    fn new(options: &Self::Options, weight: Self::Weight, bias: Option<Bias<Self::Backend>>) -> Self;

    /// The record of these numbers.
    fn record(weight: Self::Weight, bias: Option<Bias<Self::Backend>>) -> Self::Record;

    /// The numbers of a record.
    fn record_parts(record: Self::Record) -> (Self::Weight, Option<Bias<Self::Backend>>);

    /// Adds its options to what is displayed, as Burn does.
    fn describe(options: &Self::Options, bias: bool, content: Content) -> Content;

    /// A layer to load a float record into; allocates nothing.
    fn empty(options: &Self::Options, bias: bool, device: &Device<Self::Backend>) -> Self {
        let form = Self::form(options);
        let bias = bias.then(|| Initializer::Zeros.init([form.channels()], device));
        Self::new(options, Self::Weight::zeros(&form, device), bias)
    }

    /// The shape that its weight is saved in while it is float.
    fn saved_shape(options: &Self::Options) -> Vec<usize> {
        Self::form(options).shape()
    }
}
