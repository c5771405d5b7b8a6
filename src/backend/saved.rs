//! INT8 weights in files that Burn's recorders write.
//!
//! Burn asks a parameter for its data and writes what it gets. The data of a parameter that is INT8 has the type of a tensor that
//! Burn calls quantized, which recorders leave as it is, and holds what [`bytes_of`] makes of the weight.

use burn::prelude::*;
use burn::tensor::{Bytes, DType, TensorData};

use super::weight::{StockWeight, WeightView};
use crate::nn::record::{PARAMETER_SCHEME, SavedParameter, bytes_of, from_bytes};
use crate::nn::weight::Int8Weight;

pub(super) fn to_data<B: Backend>(view: &WeightView<B>) -> TensorData {
    let weight = &view.weight;
    let mut saved = weight.read(|int8| int8.clone().into_saved(weight.kind));
    saved.groups = saved.groups.filter(|_| weight.knows_groups());
    let bytes = bytes_of(SavedParameter { weight: saved, swapped: view.swapped });
    TensorData {
        bytes: Bytes::from_bytes_vec(bytes),
        shape: view.shape().into(),
        dtype: DType::QFloat(PARAMETER_SCHEME),
    }
}

/// The weight that the data holds; none if its type is another.
///
/// # Panics
///
/// If the data is damaged.
pub(super) fn from_data<B: Backend>(data: &TensorData, device: &B::Device) -> Option<WeightView<B>> {
    if data.dtype != DType::QFloat(PARAMETER_SCHEME) {
        return None;
    }
    let refuse = |error: String| -> ! { panic!("this is no INT8 weight that burn-int8 can read: {error}") };
    let (SavedParameter { weight, swapped }, layout) =
        from_bytes(&data.bytes).unwrap_or_else(|error| refuse(error));
    let (kind, asked) = (weight.kind, weight.scheme);
    let dtype = burn::tensor::get_device_settings::<B>(device).float_dtype.into();
    let int8 = Int8Weight::from_saved(weight, layout, device);
    let view = WeightView { swapped, ..WeightView::new(StockWeight::new(kind, dtype, asked, int8)) };
    match view.reshaped(&data.shape) {
        Some(view) => Some(view),
        None => {
            refuse(format!("its shape is {:?}, that of its data {:?}", view.shape(), data.shape.as_slice()))
        }
    }
}
