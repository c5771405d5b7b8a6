//! The scores of attention, put off until it is known what becomes of them.
//!
//! A model computes attention in steps: queries times keys, a factor, a mask, softmax, times values. Where the queries come from an
//! INT8 layer, the product of queries and keys is only written down, and so are the steps after it; the product with the values
//! computes all of them in one pass, in blocks that stay in the cache. Any other operation gets the scores as `B` computes them.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::ops::{BoolTensor, FloatTensor};
use burn::tensor::{DType, Scalar, TensorMetadata, TensorPrimitive};

use super::fused;
use super::once::Once;
use crate::ops::{self, AttentionOp};

/// Scores that nobody has computed yet, shared by all clones of the tensor.
#[derive(Debug)]
pub(super) struct Scores<B: Backend> {
    /// `[batch, heads, queries, width]`
    query: FloatTensor<B>,
    /// `[batch, heads, width, keys]`
    key: FloatTensor<B>,
    steps: Vec<Step<B>>,
    /// The scores after all steps, once somebody has asked for them.
    computed: Once<FloatTensor<B>>,
}

/// A step that was put off.
#[derive(Clone, Debug)]
pub(super) enum Step<B: Backend> {
    Multiply(Scalar),
    Divide(Scalar),
    /// A mask `[batch or 1, 1, queries or 1, keys]`, and the score of what it masks.
    Mask(BoolTensor<B>, Scalar),
    /// Along the keys.
    Softmax,
}

impl<B: Backend> Scores<B> {
    /// The product of queries and keys, if attention can begin with it.
    pub(super) fn new(query: &FloatTensor<B>, key: &FloatTensor<B>) -> Option<Self> {
        let device = B::float_device(query);
        let (q, k) = (query.shape(), key.shape());
        let fits = q.num_dims() == 4 && k.num_dims() == 4 && q[0] == k[0] && q[1] == k[1] && q[3] == k[2];
        let plain = query.dtype() == DType::F32 && key.dtype() == DType::F32;
        let has_values = q.num_elements() > 0 && k.num_elements() > 0;
        (fits && plain && has_values && fused::is_on::<B>(&device)).then(|| Self {
            query: query.clone(),
            key: key.clone(),
            steps: Vec::new(),
            computed: Once::new(),
        })
    }

    pub(super) fn shape(&self) -> Shape {
        let (q, k) = (self.query.shape(), self.key.shape());
        Shape::new([q[0], q[1], q[2], k[3]])
    }

    pub(super) fn dtype(&self) -> DType {
        self.query.dtype()
    }

    pub(super) fn device(&self) -> B::Device {
        B::float_device(&self.query)
    }

    /// The scores after one more step, if attention can go on with it.
    pub(super) fn then(&self, step: Step<B>) -> Option<Self> {
        let goes_on = match (&step, self.steps.last()) {
            (_, Some(Step::Softmax)) => false,
            (Step::Multiply(_) | Step::Divide(_), last) => !matches!(last, Some(Step::Mask(..))),
            (Step::Mask(mask, score), _) => {
                let masked = self.steps.iter().any(|step| matches!(step, Step::Mask(..)));
                !masked && self.is_masked_by(mask) && score.elem::<f64>().is_finite()
            }
            (Step::Softmax, _) => true,
        };
        goes_on.then(|| Self {
            query: self.query.clone(),
            key: self.key.clone(),
            steps: self.steps.iter().cloned().chain([step]).collect(),
            computed: Once::new(),
        })
    }

    fn is_masked_by(&self, mask: &BoolTensor<B>) -> bool {
        let (mask, scores) = (mask.shape(), self.shape());
        let fits = |axis: usize| mask[axis] == 1 || mask[axis] == scores[axis];
        mask.num_dims() == 4 && fits(0) && mask[1] == 1 && fits(2) && mask[3] == scores[3]
    }

    /// The weights that these scores are times values `[batch, heads, keys, width]`, in one pass; none if no softmax has made
    /// weights of them or the values are of another size.
    pub(super) fn attend(&self, value: &FloatTensor<B>) -> Option<FloatTensor<B>> {
        let (q, k, v) = (self.query.shape(), self.key.shape(), value.shape());
        let fits =
            v.num_dims() == 4 && v.as_slice() == [q[0], q[1], k[3], q[3]] && value.dtype() == DType::F32;
        if !fits || !matches!(self.steps.last(), Some(Step::Softmax)) {
            return None;
        }
        // The heads behind the rows, as a model had them before it split them.
        let key = B::float_swap_dims(self.key.clone(), 2, 3);
        let tensors = [self.query.clone(), key, value.clone()].map(|tensor| {
            let by_row = B::float_swap_dims(tensor, 1, 2);
            Tensor::<B, 4>::from_primitive(TensorPrimitive::Float(by_row))
        });
        let context = ops::attention(tensors, self.op()).into_primitive().tensor();
        Some(B::float_swap_dims(context, 1, 2))
    }

    fn op(&self) -> AttentionOp<B> {
        let (mut scale, mut mask) = (1.0f64, None);
        for step in &self.steps {
            match step {
                Step::Multiply(factor) => scale *= factor.elem::<f64>(),
                Step::Divide(divisor) => scale /= divisor.elem::<f64>(),
                Step::Mask(keys, score) => {
                    let shape = keys.shape();
                    let keys = B::bool_reshape(keys.clone(), Shape::new([shape[0], shape[2], shape[3]]));
                    mask =
                        Some((Tensor::from_primitive(keys), score.elem::<f64>().max(f32::MIN.into()) as f32));
                }
                Step::Softmax => {}
            }
        }
        AttentionOp { scale: scale as f32, mask, quiet_softmax: false }
    }

    /// The scores as `B` computes them, once for all clones.
    pub(super) fn compute(&self) -> FloatTensor<B> {
        let compute = || {
            let product = B::float_matmul(self.query.clone(), self.key.clone());
            self.steps.iter().fold(product, |scores, step| match step {
                Step::Multiply(factor) => B::float_mul_scalar(scores, *factor),
                Step::Divide(divisor) => B::float_div_scalar(scores, *divisor),
                Step::Mask(mask, score) => B::float_mask_fill(scores, mask.clone(), *score),
                Step::Softmax => B::softmax(scores, 3),
            })
        };
        self.computed.get_or_compute(compute).clone()
    }
}

/// Scores behind a tensor.
pub(super) type SharedScores<B> = Arc<Scores<B>>;
