//! The rows of a table on a device.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::CubeRuntime;
use cubecl::prelude::*;

use super::context::{
    Context, DeviceOp, Lengths, QueuedOp, addressable, addresses_words, assert_together, default_kernel_type,
    product, size, to_type, with_float,
};
use super::kernels::embed::embed as embed_kernel;
use crate::config::LayerScheme;
use crate::ops::portable::weights::DeviceWeights;

/// The rows of a table at `indices` places.
#[derive(Debug)]
struct Lookup {
    indices: usize,
    width: usize,
    entries: usize,
}

/// Says whether kernels can address all rows that are asked for; not if there are none.
pub(in crate::ops) fn addresses_embed<B: Backend>(weights: &DeviceWeights<B>, indices: [usize; 2]) -> bool {
    let [width, entries] = weights.shape();
    let values = product(indices.into_iter().chain([width.next_multiple_of(4)]));
    values > 0 && addressable([values, entries]) && addresses_words(weights)
}

/// The rows of a table at `indices` `[batch, length]`; NaN for an index that is not in the table.
///
/// # Panics
///
/// Unless [`addresses_embed`], and indices and weights are on one device.
pub(in crate::ops) fn embed<B: Backend>(
    weights: &DeviceWeights<B>,
    indices: Tensor<B, 2, Int>,
) -> Tensor<B, 3> {
    let ([width, entries], [batch, length]) = (weights.shape(), indices.dims());
    assert_together(&indices.device(), weights);
    let indices = if indices.dtype() == DType::I32 { indices } else { indices.cast(DType::I32) };
    let (kernel_type, dtype) = default_kernel_type::<B>();
    let (kind, shape) =
        (Lookup { indices: batch * length, width, entries }, Shape::new([batch, length, width]));
    let queued = QueuedOp::new(kind, LayerScheme::default(), weights, shape, kernel_type);
    to_type(queued.run(indices.into(), weights, None), dtype)
}

impl DeviceOp for Lookup {
    #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
    fn launch<R: CubeRuntime>(&self, context: &Context<'_, R>) {
        let Self { indices, width, entries } = *self;
        context.assert_lengths(&Lengths { x: indices, weights: [width, entries], out: indices * width });
        assert_eq!(context.x_type, DType::I32, "kernels read indices of 32 bits");
        let total = indices * width.div_ceil(4);
        for (shard, words) in &context.shards {
            with_float!(context.out_type, F => {
                // SAFETY: each unit below `total` reads one of `indices` indices; reads words of `ceil(width / 4)` rows at a
                // column of the shard, and a scale below `entries`: column and index 0 stand in for an index outside; and
                // writes up to four of `width` values of its row. `assert_lengths` has compared every buffer with these sizes.
                // Units past the last one stop at once.
                unsafe {
                    embed_kernel::launch_unchecked::<F, R>(
                        context.client, context.cubes(total.div_ceil(64)), CubeDim::new_1d(64),
                        words.arg(1), context.scales.arg(1), context.x.arg(1), context.out.arg(1),
                        size(width), size(entries), size(shard.first), size(shard.columns), size(total),
                    );
                }
            });
        }
    }
}
