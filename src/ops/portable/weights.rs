//! Integers on a device, four to a 32-bit word, as all of a device's ways to compute read them.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, ElementConversion};

use crate::ops::cpu::slices::with_floats;
use burn_int8_kernels::{InputTransform, PackOrder, QTensor, WeightLayout};

/// The number of weights in a word, and of columns that are read together.
pub(in crate::ops) const WORD: usize = 4;

/// The limits and the abilities of a device that weights are laid out for.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Capabilities {
    /// The bytes that a kernel can be given at once.
    pub(in crate::ops) binding_bytes: usize,
    /// Says whether kernels should multiply four bytes at once.
    pub(in crate::ops) packed_dot: bool,
}

impl Default for Capabilities {
    /// The limits that plain tensor operations have: none.
    fn default() -> Self {
        Self { binding_bytes: usize::MAX, packed_dot: false }
    }
}

/// Integers `[rows, columns]`, four neighbours of a column in one word, the first in the lowest byte.
///
/// The rows are in the layout's plain order. There are zeros after the last row and column, up to a multiple of four.
#[derive(Clone)]
pub(crate) struct DeviceWeights<B: Backend> {
    shape: [usize; 2],
    /// The way of inputs to what is multiplied with the integers.
    pub(in crate::ops) transform: InputTransform,
    /// Words `[rows / 4, columns]`, one block of columns after another: a device may bind no more than so much at once.
    pub(in crate::ops) shards: Vec<Shard<B>>,
    /// `[columns]`
    pub(in crate::ops) scales: Tensor<B, 1>,
    /// Says whether kernels multiply four bytes at once.
    #[cfg_attr(not(feature = "wgpu"), allow(dead_code, reason = "only kernels ask"))]
    pub(in crate::ops) packed_dot: bool,
}

/// A block of columns.
#[derive(Clone)]
pub(in crate::ops) struct Shard<B: Backend> {
    /// The first of the columns.
    pub(in crate::ops) first: usize,
    /// The number of columns, without the zeros behind them.
    pub(in crate::ops) columns: usize,
    pub(in crate::ops) words: Tensor<B, 2, Int>,
}

impl<B: Backend> DeviceWeights<B> {
    /// Takes integers in the layout of the weight tensor, and puts them in shards of at most `binding_bytes`.
    pub(in crate::ops) fn new(tensor: &QTensor, capabilities: Capabilities, device: &B::Device) -> Self {
        let PackOrder { rows, columns, .. } = tensor.layout().plain_order();
        let at_once = capabilities.binding_bytes / (rows.len().div_ceil(WORD) * WORD).max(1) / WORD * WORD;
        let shards = columns.chunks(at_once.max(WORD)).scan(0, |first, columns| {
            let words = pack(tensor.values(), &rows, columns);
            let shape = [rows.len().div_ceil(WORD), columns.len().next_multiple_of(WORD)];
            let words = Tensor::from_data(TensorData::new(words, shape), (device, DType::I32));
            let shard = Shard { first: *first, columns: columns.len(), words };
            *first += columns.len();
            Some(shard)
        });
        let (shape, shards) = ([rows.len(), columns.len()], shards.collect());
        let scales = TensorData::new(tensor.scales().to_vec(), [columns.len()]);
        let scales = Tensor::from_data(scales, (device, DType::F32));
        let transform = tensor.transform().clone();
        Self { shape, transform, shards, scales, packed_dot: capabilities.packed_dot }
    }

    /// Rows and columns.
    pub(in crate::ops) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The integers in the layout of the weight tensor.
    pub(in crate::ops) fn to_integers(&self, layout: &WeightLayout) -> Vec<i8> {
        let PackOrder { rows, columns, .. } = layout.plain_order();
        let mut integers = vec![0; layout.len()];
        for shard in &self.shards {
            let [_, width] = shard.words.dims();
            let words: Vec<i32> = shard.words.to_data().iter().collect();
            let columns = &columns[shard.first..][..shard.columns];
            for (row, from) in rows.iter().enumerate().filter(|(_, from)| **from != PackOrder::PADDING) {
                let words = &words[row / WORD * width..];
                for (word, column) in words.iter().zip(columns) {
                    integers[from + column] = (word >> (8 * (row % WORD))) as i8;
                }
            }
        }
        integers
    }

    /// Bytes that it keeps on the device, and on the host for the factors of its inputs.
    pub(in crate::ops) fn bytes(&self) -> usize {
        let words = self.shards.iter().map(|shard| shard.words.shape().num_elements()).sum::<usize>();
        size_of::<u32>() * words + size_of::<f32>() * self.shape[1] + self.transform.bytes()
    }

    /// One step per column, on the host.
    pub(in crate::ops) fn host_scales(&self) -> Vec<f32> {
        with_floats(self.scales.clone(), <[f32]>::to_vec)
    }

    /// Says whether `other` holds the same numbers on the same device.
    pub(in crate::ops) fn holds_the_same(&self, other: &Self, layout: &WeightLayout) -> bool {
        self.scales.device() == other.scales.device()
            && self.transform == other.transform
            && self.host_scales() == other.host_scales()
            && self.to_integers(layout) == other.to_integers(layout)
    }

    pub(in crate::ops) fn to_device(&self, capabilities: Capabilities, device: &B::Device) -> Self {
        let moved = self.map(|words| words.to_device(device), self.scales.clone().to_device(device));
        Self { packed_dot: capabilities.packed_dot, ..moved }
    }

    /// The integers of `rows` as floats, `[rows, columns]`.
    pub(in crate::ops) fn floats(&self, rows: Range<usize>) -> Tensor<B, 2> {
        let words = rows.start / WORD..rows.end.div_ceil(WORD);
        let first = rows.start % WORD;
        let floats = |shard: &Shard<B>| {
            let [_, width] = shard.words.dims();
            let words = shard.words.clone().slice([words.clone(), 0..width]);
            unpack(words).slice([first..first + rows.len(), 0..shard.columns])
        };
        join(self.shards.iter().map(floats).collect(), Tensor::cat)
    }

    /// The columns at `indices` as floats, `[rows, indices]`.
    pub(in crate::ops) fn select(&self, indices: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        let [rows, _] = self.shape;
        // Only the last shard has zeros behind it, where no index points.
        let words = join(self.shards.iter().map(|shard| shard.words.clone()).collect(), Tensor::cat);
        let picked = indices.dims()[0];
        unpack(words.select(1, indices)).slice([0..rows, 0..picked])
    }

    fn map<C: Backend>(
        &self,
        words: impl Fn(Tensor<B, 2, Int>) -> Tensor<C, 2, Int>,
        scales: Tensor<C, 1>,
    ) -> DeviceWeights<C> {
        let shard = |shard: &Shard<B>| Shard {
            first: shard.first,
            columns: shard.columns,
            words: words(shard.words.clone()),
        };
        let shards = self.shards.iter().map(shard).collect();
        let transform = self.transform.clone();
        DeviceWeights { shape: self.shape, transform, shards, scales, packed_dot: self.packed_dot }
    }
}

impl<B: AutodiffBackend> DeviceWeights<B> {
    pub(in crate::ops) fn inner(&self) -> DeviceWeights<B::InnerBackend> {
        self.map(Tensor::inner, self.scales.clone().inner())
    }

    pub(in crate::ops) fn from_inner(inner: &DeviceWeights<B::InnerBackend>) -> Self {
        inner.map(Tensor::from_inner, Tensor::from_inner(inner.scales.clone()))
    }
}

/// Tensors side by side; a single one stays as it is, without a copy.
fn join<T>(mut tensors: Vec<T>, cat: impl Fn(Vec<T>, usize) -> T) -> T {
    if tensors.len() == 1 { tensors.remove(0) } else { cat(tensors, 1) }
}

/// The words of some columns, row after row.
fn pack(integers: &[i8], rows: &[usize], columns: &[usize]) -> Vec<i32> {
    let width = columns.len().next_multiple_of(WORD);
    let mut words = vec![0u32; rows.len().div_ceil(WORD) * width];
    for (row, from) in rows.iter().enumerate().filter(|(_, from)| **from != PackOrder::PADDING) {
        let words = &mut words[row / WORD * width..][..columns.len()];
        for (word, column) in words.iter_mut().zip(columns) {
            *word |= u32::from(integers[from + column] as u8) << (8 * (row % WORD));
        }
    }
    bytemuck::cast_vec(words)
}

/// Words `[rows / 4, n]` to integers `[rows, n]`, as floats.
fn unpack<B: Backend>(words: Tensor<B, 2, Int>) -> Tensor<B, 2> {
    const OFFSET: i32 = 128;
    let [rows, n] = words.dims();
    // With 128 more in each byte there is no sign to extend: backends differ in how they shift one.
    let words = words.bitwise_xor_scalar(i32::from_ne_bytes([OFFSET as u8; WORD]).elem());
    let bytes = (0..WORD as i32).map(|byte| {
        let low = words.clone().bitwise_right_shift_scalar((8 * byte).elem());
        low.bitwise_and_scalar(0xff.elem())
    });
    let integers = Tensor::stack::<3>(bytes.collect(), 1).reshape([rows * WORD, n]);
    integers.float().cast(DType::F32) - OFFSET as f32
}
