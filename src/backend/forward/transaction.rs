//! Reading several tensors at once.

use burn::tensor::backend::{Backend, ExecutionError};
use burn::tensor::ops::{TransactionOps, TransactionPrimitive, TransactionPrimitiveData};

use crate::backend::int8::Int8;
use crate::backend::tensor::Int8Tensor;

#[deny(clippy::missing_trait_methods, reason = "a default would take the place of what the backend does")]
impl<B: Backend> TransactionOps<Self> for Int8<B> {
    async fn tr_execute(
        transaction: TransactionPrimitive<Self>,
    ) -> Result<TransactionPrimitiveData, ExecutionError> {
        let floats = transaction.read_floats.into_iter().map(Int8Tensor::into_float).collect();
        // The transaction of the inner backend knows no INT8 weight among its quantized tensors.
        let (mut burns, mut weights) = (Vec::new(), Vec::new());
        for (place, tensor) in transaction.read_qfloats.into_iter().enumerate() {
            match tensor.data_of_weight() {
                Some(data) => weights.push((place, data)),
                None => burns.push(tensor.into_burns()),
            }
        }
        let inner =
            TransactionPrimitive::<B>::new(floats, burns, transaction.read_ints, transaction.read_bools);
        let mut data = B::tr_execute(inner).await?;
        weights.into_iter().for_each(|(place, weight)| data.read_qfloats.insert(place, weight));
        Ok(data)
    }
}
