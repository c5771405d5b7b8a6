//! The bytes that recorders write for a layer.
//!
//! A float layer is written exactly as Burn writes it. An INT8 layer has the same fields, but its weight holds `i8` values
//! in the shape of Burn's, followed by how they are to be read. That part is there if and only if the values are `i8`, so
//! formats without field names find it, too.
//!
//! | file | what it holds |
//! |---|---|
//! | `layer` | the fields of a layer: weight, bias, constants |
//! | `weight` | the fields of a weight, float or INT8 |
//! | `part` | the fields of its INT8 part |
//! | `float` | the fields of a float parameter |
//! | `data` | the values of a tensor |
//! | `parameter` | an INT8 weight that stands alone, the parameter of one of Burn's own layers |
//! | `saved` | what an INT8 weight in a file must be, whatever its format and version |

mod data;
mod float;
mod layer;
mod parameter;
mod part;
mod saved;
mod weight;

use burn::module::Param;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, PrecisionSettings, Record};
use burn::tensor::ops::Device;

use crate::nn::layer::{Bias, FloatLayer, LayerParts};
use crate::nn::weight::WeightParam;

pub(crate) use float::FloatItem;
pub use layer::LayerItem;
pub(crate) use parameter::{
    PARAMETER, PARAMETER_SCHEME, SavedParameter, bytes_of, from_bytes, kind_of, layout_of, saved_kind,
};
pub use saved::RECORD_VERSION;
pub(crate) use saved::{OutputAxis, SavedWeight};
use weight::WeightItem;

/// Floats of an INT8 layer are saved like this, whatever a recorder's settings: it computes with `f32`, and a reload is exact.
type Int8Precision = FullPrecisionSettings;

/// The record of a layer that may be float or INT8: Burn's own while it is float.
pub struct LayerRecord<L: FloatLayer>(pub(crate) SavedLayer<L>);

/// The contents of a record.
#[allow(clippy::large_enum_variant, reason = "Burn's layers are as large, which the lint does not see")]
pub(crate) enum SavedLayer<L: FloatLayer> {
    /// Burn's own record.
    Float(L::Record),
    /// Integers, scales and how they were made.
    Int8 { weight: SavedWeight, bias: Option<Bias<L::Backend>> },
}

impl<L: FloatLayer> LayerRecord<L> {
    /// The record of a float layer.
    pub(crate) fn float(layer: L) -> Self {
        Self(SavedLayer::Float(layer.into_record()))
    }
}

impl<B: Backend, L: FloatLayer<Backend = B>> Record<B> for LayerRecord<L> {
    type Item<S: PrecisionSettings> = LayerItem<L>;

    fn into_item<S: PrecisionSettings>(self) -> LayerItem<L> {
        match self.0 {
            SavedLayer::Float(record) => {
                let (weight, bias) = L::record_parts(record);
                LayerItem::new(
                    WeightItem::Float(weight.into_item::<S>()),
                    bias.map(FloatItem::new::<B, S, 1>),
                )
            }
            SavedLayer::Int8 { weight, bias } => {
                LayerItem::new(WeightItem::Int8(weight), bias.map(FloatItem::new::<B, Int8Precision, 1>))
            }
        }
    }

    fn from_item<S: PrecisionSettings>(item: LayerItem<L>, device: &Device<B>) -> Self {
        let (weight, bias) = item.into_parts();
        Self(match weight {
            WeightItem::Float(weight) => {
                let bias = bias.map(|bias| bias.into_param::<B, S, 1>(device));
                SavedLayer::Float(L::record(
                    <L as LayerParts<B>>::Weight::from_item::<S>(weight, device),
                    bias,
                ))
            }
            WeightItem::Int8(weight) => {
                let bias: Option<Param<_>> = bias.map(|bias| bias.into_param::<B, Int8Precision, 1>(device));
                SavedLayer::Int8 { weight, bias }
            }
        })
    }
}
