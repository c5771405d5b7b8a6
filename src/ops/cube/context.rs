//! One operation in the device's queue: its buffers, and what all operations need to launch their kernels.

use std::fmt::Debug;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Element, Shape, Tensor};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::server::CubeCountSelection;

use super::buffer::Buffer;
use super::capabilities::is_wide;
use super::fusion::{CustomOp, Input, run};
use super::kernels::round::Codes;
use super::kernels::tile::{Inputs, Sums, Tile};
use crate::config::{InputCodes, LayerScheme};
use crate::ops::portable::weights::DeviceWeights;

/// A block of the weights' columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardColumns {
    /// The first of the columns.
    pub(super) first: usize,
    /// The number of columns.
    pub(super) columns: usize,
}

/// An operation that has been validated. Its inputs are `x`, the scales, the words of each shard, and the bias if there is
/// one.
#[derive(Debug)]
pub(super) struct QueuedOp<K> {
    pub(super) kind: K,
    pub(super) scheme: LayerScheme,
    pub(super) shards: Vec<ShardColumns>,
    /// Says whether kernels multiply four bytes at once.
    pub(super) packed_dot: bool,
    pub(super) shape: Shape,
    pub(super) dtype: DType,
}

/// The part of an operation that differs from kind to kind.
pub(super) trait DeviceOp: Debug + Send + Sync + 'static {
    /// Puts the kernels in the device's queue.
    fn launch<R: CubeRuntime>(&self, context: &Context<'_, R>);
}

impl<K: DeviceOp> CustomOp for QueuedOp<K> {
    fn output(&self) -> (Shape, DType) {
        (self.shape.clone(), self.dtype)
    }

    fn launch<R: CubeRuntime>(&self, inputs: Vec<CubeTensor<R>>) -> CubeTensor<R> {
        let inputs: Vec<_> = inputs.into_iter().map(into_contiguous).collect();
        let (x, client) = (&inputs[0], &inputs[0].client);
        let handle = client.empty(self.shape.num_elements() * self.dtype.size());
        let device = x.device.clone();
        let out = CubeTensor::new_contiguous(client.clone(), device, self.shape.clone(), handle, self.dtype);
        self.kind.launch(&Context::new(self, &inputs, &out));
        out
    }
}

impl<K: DeviceOp> QueuedOp<K> {
    /// The operation of a layer with these weights.
    pub(super) fn new<B: Backend>(
        kind: K,
        scheme: LayerScheme,
        weights: &DeviceWeights<B>,
        shape: Shape,
        dtype: DType,
    ) -> Self {
        let columns = |shard: &crate::ops::portable::weights::Shard<B>| ShardColumns {
            first: shard.first,
            columns: shard.columns,
        };
        let shards = weights.shards.iter().map(columns).collect();
        Self { kind, scheme, shards, packed_dot: weights.packed_dot, shape, dtype }
    }

    /// Puts the operation in the queue of its backend.
    pub(super) fn run<B: Backend, const D: usize>(
        self,
        x: Input<B>,
        weights: &DeviceWeights<B>,
        bias: Option<Tensor<B, 1>>,
    ) -> Tensor<B, D> {
        let mut inputs = vec![x, weights.scales.clone().into()];
        inputs.extend(weights.shards.iter().map(|shard| shard.words.clone().into()));
        inputs.extend(bias.map(|bias| to_type(bias, DType::F32).into()));
        run(self, inputs)
    }
}

/// The buffers that an operation's kernels read and write.
pub(super) struct Context<'a, R: CubeRuntime> {
    pub(super) client: &'a ComputeClient<R>,
    pub(super) scheme: LayerScheme,
    pub(super) x: Buffer,
    pub(super) x_type: DType,
    pub(super) scales: Buffer,
    pub(super) shards: Vec<(ShardColumns, Buffer)>,
    pub(super) bias: Option<Buffer>,
    pub(super) out: Buffer,
    /// `I32` asks for the sums as they are.
    pub(super) out_type: DType,
    pub(super) packed_dot: bool,
}

/// The inputs as products read them, with their scales if they are integers, or their factors if they are prescaled floats.
pub(super) struct Multiplicands {
    pub(super) values: Buffer,
    pub(super) scales: Option<Buffer>,
    pub(super) inputs: Inputs,
}

/// The numbers of elements that the buffers of an operation must have.
pub(super) struct Lengths {
    pub(super) x: usize,
    /// Rows and columns of the weights.
    pub(super) weights: [usize; 2],
    pub(super) out: usize,
}

/// Runs `$body` with `$F` the float type that a `DType` stands for.
macro_rules! with_float {
    ($dtype:expr, $F:ident => $body:expr) => {
        match $dtype {
            DType::F16 => {
                type $F = burn::tensor::f16;
                $body
            }
            DType::BF16 => {
                type $F = burn::tensor::bf16;
                $body
            }
            _ => {
                type $F = f32;
                $body
            }
        }
    };
}

/// Runs `$body` with the types of the inputs, the sums and the outputs.
macro_rules! with_types {
    ($context:expr, $inputs:expr, $A:ident $N:ident $O:ident => $body:expr) => {
        match $inputs {
            Inputs::Words { .. } if $context.out_type == DType::I32 => {
                type $A = i32;
                type $N = i32;
                type $O = i32;
                $body
            }
            Inputs::Words { .. } => {
                type $A = i32;
                type $N = i32;
                with_float!($context.out_type, $O => $body)
            }
            Inputs::Floats { .. } => {
                type $N = f32;
                with_float!($context.x_type, $A => {
                    type $O = $A;
                    $body
                })
            }
        }
    };
}

pub(super) use {with_float, with_types};

impl<'a, R: CubeRuntime> Context<'a, R> {
    /// `inputs` are those of the [`QueuedOp`].
    pub(super) fn new<K>(op: &QueuedOp<K>, inputs: &'a [CubeTensor<R>], out: &CubeTensor<R>) -> Self {
        let [x, scales, rest @ ..] = inputs else { unreachable!("an operation has at least two inputs") };
        let (words, bias) = rest.split_at(op.shards.len());
        Self {
            client: &x.client,
            scheme: op.scheme,
            x: Buffer::of(x),
            x_type: x.dtype,
            scales: Buffer::of(scales),
            shards: op.shards.iter().copied().zip(words.iter().map(Buffer::of)).collect(),
            bias: bias.first().map(Buffer::of),
            out: Buffer::of(out),
            out_type: out.dtype,
            packed_dot: op.packed_dot,
        }
    }

    /// Checks every buffer of the operation. Kernels compute their indices from sizes alone and look at no length: this is what
    /// their safety stands on.
    ///
    /// # Panics
    ///
    /// If a buffer is shorter or longer than the sizes say, the shards are not all columns in order, an element type is not the
    /// one that kernels read, or a length does not fit the 32 bits in which they count.
    pub(super) fn assert_lengths(&self, lengths: &Lengths) {
        let [rows, columns] = lengths.weights;
        assert_eq!(self.x.len(), lengths.x, "the input does not match its shape");
        assert_eq!(self.scales.len(), columns, "the scales do not match the columns");
        assert_eq!(self.out.len(), lengths.out, "the output does not match its shape");
        let bias = self.bias.as_ref().is_none_or(|bias| bias.len() == columns);
        assert!(bias, "the bias does not match the columns");
        let mut next = 0;
        for (shard, words) in &self.shards {
            assert_eq!(shard.first, next, "the shards are not in order");
            next += shard.columns;
            let expected = rows.div_ceil(4) * shard.columns.next_multiple_of(4);
            assert_eq!(words.len(), expected, "the words do not match their rows and columns");
            assert!(shard.columns > 0 && addressable([words.len()]), "a shard that kernels cannot read");
        }
        assert_eq!(next, columns, "the shards are not all columns");
        assert!(addressable([lengths.x, lengths.out, columns]), "more values than kernels count");
    }

    /// The integers of inputs.
    pub(super) fn codes(&self) -> Codes {
        let LayerScheme { range, codes, .. } = self.scheme;
        Codes { range, auto: codes == InputCodes::Auto }
    }

    /// The integers of inputs as they are multiplied; `dot` says whether four at once.
    pub(super) fn words(&self, dot: bool) -> Inputs {
        Inputs::Words { dot, auto: self.codes().auto, of_pixels: false }
    }

    pub(super) fn is_wide(&self) -> bool {
        is_wide(self.client)
    }

    /// The number of units that share out the values of a row.
    pub(super) fn row_units(&self, values: usize) -> usize {
        match self.is_wide() {
            true if values >= 2048 => 256,
            true => 64,
            false => 8,
        }
    }

    pub(super) fn cubes(&self, count: usize) -> CubeCount {
        CubeCountSelection::new(self.client, size(count)).cube_count()
    }

    /// The bias; the buffer that stands in for none is not read.
    pub(super) fn bias_or_any(&self) -> &Buffer {
        self.bias.as_ref().unwrap_or(&self.scales)
    }

    /// Floats as they are multiplied. Half floats are so small that no row of them needs a factor.
    pub(super) fn floats(&self, run: usize, factors: impl FnOnce() -> Buffer) -> Multiplicands {
        let prescaled = self.x_type != DType::F16;
        Multiplicands {
            values: self.x.clone(),
            scales: prescaled.then(factors),
            inputs: Inputs::Floats { ragged: !run.is_multiple_of(4), prescaled },
        }
    }

    pub(super) fn tile(&self, rows: usize, columns: usize, most: [usize; 2], inputs: Inputs) -> Tile {
        let vectors = columns.div_ceil(4);
        let wide = self.is_wide();
        let rows = rows.next_power_of_two().min(most[0]);
        let mut of_unit = vectors.next_power_of_two().min(most[1]);
        if wide && rows == 1 {
            of_unit = 1; // the more units, the more of the memory's bandwidth
        }
        let units = if wide { 64 } else { 8 };
        let across = vectors.div_ceil(of_unit).next_power_of_two().min(units.min(32));
        let sums = if self.out_type == DType::I32 {
            Sums::RawAccumulators
        } else {
            Sums::Scaled { bias: self.bias.is_some() }
        };
        Tile { rows, vectors: of_unit, units: [across, units / across], inputs, sums }
    }
}

/// A size as kernels take it.
///
/// # Panics
///
/// If it does not fit. An operation that is [`addressable`] has only sizes that do.
pub(super) fn size(size: usize) -> u32 {
    u32::try_from(size).expect("a size that fits the 32 bits in which kernels count")
}

/// Says whether device code, which counts in 32 bits, can address so many values, with one bit to spare for differences.
pub(super) fn addressable(values: impl IntoIterator<Item = usize>) -> bool {
    const MOST: usize = 1 << 31;
    values.into_iter().all(|values| values < MOST)
}

/// The product of sizes; `usize::MAX`, which is not [`addressable`], if it does not fit.
pub(super) fn product(sizes: impl IntoIterator<Item = usize>) -> usize {
    sizes.into_iter().fold(1, usize::saturating_mul)
}

/// Says whether kernels can read all words.
pub(in crate::ops) fn addresses_words<B: Backend>(weights: &DeviceWeights<B>) -> bool {
    addressable(weights.shards.iter().map(|shard| product(shard.words.dims())))
}

/// # Panics
///
/// Unless the input is where the weights are.
pub(super) fn assert_together<B: Backend>(input: &B::Device, weights: &DeviceWeights<B>) {
    let weights = weights.scales.device();
    assert!(
        *input == weights,
        "the input is on {input:?}, but the weights of this INT8 layer are on {weights:?}: move one with `to_device`",
    );
}

/// # Panics
///
/// Unless the bias has a value for each of the columns.
pub(super) fn assert_bias<B: Backend>(bias: Option<&Tensor<B, 1>>, columns: usize) {
    let found = bias.map(|bias| bias.dims()[0]);
    assert!(
        found.is_none_or(|found| found == columns),
        "a bias of {found:?} values does not fit {columns} output channels"
    );
}

/// A cast, where the type is another one.
pub(super) fn to_type<B: Backend, const D: usize>(x: Tensor<B, D>, dtype: DType) -> Tensor<B, D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// The type that kernels read and write for tensors of `dtype`: most are cast to `f32` and back.
pub(super) fn kernel_type(dtype: DType) -> DType {
    if matches!(dtype, DType::F32 | DType::F16 | DType::BF16) { dtype } else { DType::F32 }
}

/// The type that kernels write for tensors of the backend's float type.
pub(super) fn default_kernel_type<B: Backend>() -> (DType, DType) {
    let dtype = B::FloatElem::dtype();
    (kernel_type(dtype), dtype)
}
