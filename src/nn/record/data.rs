//! Tensor data as Burn writes it, read with no more memory than the file is long.

use burn::prelude::*;
use burn::tensor::{Bytes, DType};
use serde::{Deserialize, Deserializer};

/// Tensor data that was read. Burn's own reader reserves memory for as many dimensions as a file claims to have, and
/// aborts the process where there isn't so much.
pub(super) struct ReadData(pub(super) TensorData);

/// The fields of Burn's tensor data.
#[derive(Deserialize)]
#[serde(rename = "TensorData")]
struct Fields {
    bytes: Bytes,
    shape: Vec<usize>,
    dtype: DType,
}

impl<'de> Deserialize<'de> for ReadData {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        let Fields { bytes, shape, dtype } = Fields::deserialize(deserializer)?;
        Ok(Self(TensorData { bytes, shape: shape.into(), dtype }))
    }
}

/// Reads a field that holds tensor data.
pub(super) fn read<'de, De: Deserializer<'de>>(deserializer: De) -> Result<TensorData, De::Error> {
    ReadData::deserialize(deserializer).map(|read| read.0)
}
