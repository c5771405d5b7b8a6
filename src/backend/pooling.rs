//! Pooling between INT8 layers, by kernels that read images as convolutions write them: with their channels last.

use burn::prelude::*;
use burn::tensor::TensorMetadata;
use burn::tensor::ops::FloatTensor;
use burn::tensor::ops::conv::calculate_pool_output_size;

use super::fused::is_fused;
use super::tensor::Int8Tensor;
use crate::ops;
use burn_int8_kernels::conv::channels_last::{Pool, Pooling};

/// A window as Burn's methods describe it.
pub(super) struct PoolCall {
    pub(super) pooling: Pooling,
    pub(super) window: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// True if the last windows may reach over the padding.
    pub(super) rounds_up: bool,
}

impl PoolCall {
    /// The mean of all values of a channel, if the output has a single one.
    pub(super) fn global(input: &Shape, output: [usize; 2]) -> Option<Self> {
        let [height, width] = [input[2], input[3]];
        (output == [1; 2]).then_some(Self {
            pooling: Pooling::Average { count_padding: false },
            window: [height, width],
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            rounds_up: false,
        })
    }

    /// The pooled image: by a kernel, or as `B` computes it.
    pub(super) fn run<B: Backend>(
        self,
        x: Int8Tensor<B>,
        float: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
    ) -> Int8Tensor<B> {
        match self.task(&x.shape()).filter(|_| is_fused(&x)) {
            Some(task) => Int8Tensor::made(ops::pool::<B>(x.into_tensor(), &task)),
            None => x.map(float),
        }
    }

    /// The sizes, if there is anything to pool and each window has a value.
    fn task(&self, input: &Shape) -> Option<Pool> {
        let Self { pooling, window, stride, padding, dilation, rounds_up } = *self;
        let [height, width] = [input[2], input[3]];
        let is_usual = (0..2).all(|axis| {
            let reach = window[axis].checked_sub(1).and_then(|taps| taps.checked_mul(dilation[axis]));
            let padded = padding[axis].checked_mul(2).and_then(|all| all.checked_add([height, width][axis]));
            let fits = reach.zip(padded).is_some_and(|(reach, padded)| reach < padded);
            fits && stride[axis] > 0 && dilation[axis] > 0 && padding[axis] < window[axis]
        });
        if !is_usual || input.num_elements() == 0 {
            return None;
        }
        let output = [0, 1].map(|axis| {
            let size = [height, width][axis];
            calculate_pool_output_size(
                window[axis],
                stride[axis],
                padding[axis],
                dilation[axis],
                size,
                rounds_up,
            )
        });
        let [batch, channels] = [input[0], input[1]];
        Some(Pool {
            pooling,
            batch,
            channels,
            input: [height, width],
            output,
            window,
            stride,
            padding,
            dilation,
        })
    }
}
