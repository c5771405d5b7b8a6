//! A float parameter in a file, as Burn writes it.

use burn::module::{Param, ParamId};
use burn::prelude::*;
use burn::record::PrecisionSettings;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use super::data;

/// A float parameter as Burn writes it. It is read as it comes: [`check`](Self::check) it before it is used.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct FloatItem {
    pub(super) id: String,
    #[serde(deserialize_with = "data::read")]
    pub(super) param: TensorData,
}

impl FloatItem {
    pub(crate) fn new<B: Backend, S: PrecisionSettings, const D: usize>(param: Param<Tensor<B, D>>) -> Self {
        let (id, tensor, mapper) = param.consume();
        let data = mapper.on_save(tensor).into_data();
        let param = match data.dtype {
            DType::QFloat(_) => data, // quantized by Burn's own means
            _ => data.convert::<S::FloatElem>(),
        };
        Self { id: id.serialize(), param }
    }

    /// The parameter; `self` must have passed [`check`](Self::check) for this rank.
    pub(crate) fn into_param<B: Backend, S: PrecisionSettings, const D: usize>(
        self,
        device: &B::Device,
    ) -> Param<Tensor<B, D>> {
        let data = match self.param.dtype {
            DType::QFloat(_) => self.param,
            _ => self.param.convert::<S::FloatElem>().convert::<B::FloatElem>(),
        };
        let tensor = Tensor::from_data(data, device).require_grad();
        Param::initialized(ParamId::deserialize(&self.id), tensor)
    }

    /// Refuses everything that Burn would panic on.
    pub(super) fn check(&self, rank: usize) -> Result<(), String> {
        check_id(&self.id)?;
        match self.param.dtype {
            DType::QFloat(_) => check_rank(&self.param, rank), // Burn's own, read by Burn
            DType::F64 | DType::F32 | DType::Flex32 | DType::F16 | DType::BF16 => {
                check_data(&self.param, rank)
            }
            other => Err(format!("a float parameter can't hold {other:?} values")),
        }
    }
}

/// Refuses what `ParamId::deserialize` would panic on.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    const LONGEST: usize = 13; // eight bytes in base 32; what is longer must be a UUID of old Burn releases
    let readable = id.len() <= LONGEST || id.contains('-');
    match readable.then(|| ParamId::try_deserialize(id)).flatten() {
        Some(_) => Ok(()),
        None => Err(format!("`{id}` is no parameter id")),
    }
}

/// Refuses data whose rank or length is not what its shape says.
pub(super) fn check_data(data: &TensorData, rank: usize) -> Result<(), String> {
    check_rank(data, rank)?;
    let shape = data.shape.as_slice();
    let elements = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let bytes = elements.and_then(|elements| elements.checked_mul(data.dtype.size()));
    if bytes == Some(data.bytes.len()) {
        Ok(())
    } else {
        Err(format!("{} bytes are no {:?} values of shape {shape:?}", data.bytes.len(), data.dtype))
    }
}

fn check_rank(data: &TensorData, rank: usize) -> Result<(), String> {
    let shape = data.shape.as_slice();
    if shape.len() == rank {
        Ok(())
    } else {
        Err(format!("a parameter of rank {rank} can't have the shape {shape:?}"))
    }
}
