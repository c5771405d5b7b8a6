//! The part of a layer that differs from kind to kind: what it has to say to be swapped and saved.

use std::fmt::Debug;

use burn::module::{Content, Initializer, Module, ModuleDisplay, Param};
use burn::prelude::*;
use burn::tensor::ops::Device;
use burn_int8_kernels::WeightLayout;

use super::record::OutputAxis;
use super::weight::WeightParam;

/// The bias of a layer.
pub(crate) type Bias<B> = Param<Tensor<B, 1>>;

/// A layer of Burn's that has an INT8 form.
///
/// This crate implements it for Burn's layers, and nobody else can; a model's code never names it.
#[allow(private_bounds, reason = "sealed: nobody can implement what they can't name")]
pub trait FloatLayer: LayerParts<Self::Backend> + ModuleDisplay + 'static {
    /// The backend that it runs on.
    type Backend: Backend;
    /// Its name in reports and records.
    const KIND: &'static str;
}

/// The parts of a layer.
pub(crate) trait LayerParts<B: Backend>: Module<B> {
    /// Its weight.
    type Weight: WeightParam<B>;
    /// Its shape and hyper-parameters.
    type Options: Clone + Debug + Send + Sync + 'static;
    /// The fields of Burn's record in their order; all but `weight` and `bias` are constants, which have no value there.
    const FIELDS: &'static [&'static str];
    /// The axis of its weight that has the output channels.
    const OUTPUTS: OutputAxis;

    /// Its options; does not initialise its parameters.
    fn options(&self) -> Self::Options;

    /// The layout of its weight.
    fn layout(options: &Self::Options) -> WeightLayout;

    /// Its weight.
    fn weight(&self) -> &Self::Weight;

    /// Its bias, if it has one.
    fn bias(&self) -> Option<&Bias<B>>;

    /// The layer of these numbers.
    fn new(options: &Self::Options, weight: Self::Weight, bias: Option<Bias<B>>) -> Self;

    /// The record of these numbers.
    fn record(weight: Self::Weight, bias: Option<Bias<B>>) -> Self::Record;

    /// The numbers of a record.
    fn record_parts(record: Self::Record) -> (Self::Weight, Option<Bias<B>>);

    /// Adds its options to what is displayed, as Burn does.
    fn describe(options: &Self::Options, bias: bool, content: Content) -> Content;

    /// A layer to load a float record into; allocates nothing.
    fn empty(options: &Self::Options, bias: bool, device: &Device<B>) -> Self {
        let layout = Self::layout(options);
        let bias = bias.then(|| Initializer::Zeros.init([layout.channels()], device));
        Self::new(options, Self::Weight::zeros(&layout, device), bias)
    }

    /// The shape that its weight is saved in while it is float.
    fn saved_shape(options: &Self::Options) -> Vec<usize> {
        Self::layout(options).shape()
    }
}
