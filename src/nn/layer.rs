//! What a layer has to say to be swapped: the part that differs from kind to kind.

use burn::module::{Module, ModuleDisplay, ParamId};
use burn::prelude::*;
use burn::record::PrecisionSettings;
use burn::tensor::Element;
use burn::tensor::ops::Device;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::Int8Error;
use crate::record::LayerRecord;
use crate::scheme::LayerScheme;

/// A layer of Burn's that has an INT8 form.
///
/// Implemented for Burn's layers by this crate; a model's code never names it.
pub trait FloatLayer: Module<Self::Backend> + ModuleDisplay {
    /// The backend that it runs on.
    type Backend: Backend;
    /// What it becomes.
    type Int8: Int8Layer<Backend = Self::Backend, Float = Self>;
    /// What recorders write for it, float or INT8.
    type Item: Serialize + DeserializeOwned + Clone;
    /// Its name in reports.
    const KIND: &'static str;

    /// The shape of its weight, input channels before output channels; does not initialise it.
    fn weight_shape(&self) -> Vec<usize>;

    /// The identity of its weight, by which tied layers are recognised.
    fn weight_id(&self) -> ParamId;

    /// The first output channel with a weight that is NaN or infinite.
    fn non_finite_channel(&self) -> Option<usize>;

    /// Panics, with both shapes, if `record` was saved by a layer of other sizes.
    fn assert_fits(&self, record: &Self::Record);

    /// The INT8 layer of a record, with the options of this one.
    ///
    /// # Panics
    ///
    /// With both shapes, if the record was saved by a layer of other sizes.
    fn load_int8(self, state: <Self::Int8 as Int8Layer>::State) -> Self::Int8;

    /// From its record to what a recorder writes.
    fn record_to_item<S: PrecisionSettings>(record: LayerRecord<Self>) -> Self::Item;

    /// From what a recorder read to its record.
    fn item_to_record<S: PrecisionSettings>(
        item: Self::Item,
        device: &Device<Self::Backend>,
    ) -> LayerRecord<Self>;
}

/// The INT8 form of a layer.
pub trait Int8Layer:
    Module<Self::Backend, Record = LayerRecord<Self::Float>> + ModuleDisplay + 'static
{
    /// The backend that it runs on.
    type Backend: Backend;
    /// What it was.
    type Float: FloatLayer<Backend = Self::Backend, Int8 = Self>;
    /// What recorders carry, on no device.
    type State: Send;

    /// Quantizes a float layer.
    ///
    /// # Errors
    ///
    /// [`Int8Error::NonFiniteWeight`], with an empty path.
    fn from_float(float: &Self::Float, scheme: &LayerScheme) -> Result<Self, Int8Error>;

    /// A float layer with the sizes and options of this one, to load a float record into; allocates nothing.
    fn float_shell(&self) -> Self::Float;

    /// What the report says about it.
    fn facts(&self) -> Int8Facts;

    /// If the weights of `other` are the same numbers, keeps only one copy of them.
    fn share_weights(&mut self, other: &Self);
}

/// What the report says about an INT8 layer.
#[derive(Debug, Clone)]
pub struct Int8Facts {
    /// The shape of its weight, as [`FloatLayer::weight_shape`].
    pub weight_shape: Vec<usize>,
    /// How it was quantized.
    pub scheme: LayerScheme,
    /// Signal to quantization noise of its weights in dB, if there is a noise.
    pub sqnr_db: Option<f32>,
    /// The name of the kernel that computes it.
    pub kernel: &'static str,
    /// Bytes of a saved float layer.
    pub float_bytes: usize,
    /// Bytes of this layer as saved.
    pub int8_bytes: usize,
}

/// Bytes of `count` floats of the backend's default type.
pub(crate) fn float_bytes<B: Backend>(count: usize) -> usize {
    count * B::FloatElem::dtype().size()
}
