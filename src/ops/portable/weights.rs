//! Integers on a device, four to a 32-bit word, as all of a device's ways to compute read them.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, ElementConversion};

use crate::ops::cpu::with_floats;
use crate::ops::device::packed_dot;
use burn_int8_kernels::{PackOrder, WeightLayout};

/// Weights in a word, and columns that are read together.
pub(in crate::ops) const WORD: usize = 4;

/// Integers `[rows, columns]`, four neighbours of a column in one word, the first in the lowest byte.
///
/// The rows are in the form's plain order. There are zeros after the last row and column, up to a multiple of four.
#[derive(Clone)]
pub(crate) struct Words<B: Backend> {
    shape: [usize; 2],
    /// Words `[rows / 4, columns]`, one block of columns after another: a device may bind no more than so much at once.
    pub(in crate::ops) parts: Vec<Part<B>>,
    /// `[columns]`
    pub(in crate::ops) scales: Tensor<B, 1>,
    /// Whether kernels multiply four bytes at once.
    #[cfg_attr(not(feature = "wgpu"), allow(dead_code, reason = "only kernels ask"))]
    pub(in crate::ops) packed_dot: bool,
}

/// A block of columns.
#[derive(Clone)]
pub(in crate::ops) struct Part<B: Backend> {
    /// The first of them.
    pub(in crate::ops) first: usize,
    /// How many there are, without the zeros behind them.
    pub(in crate::ops) columns: usize,
    pub(in crate::ops) words: Tensor<B, 2, Int>,
}

impl<B: Backend> Words<B> {
    /// From integers in the layout of the weight tensor, in parts of at most `limit` bytes.
    pub(in crate::ops) fn new(
        integers: &[i8],
        scales: &[f32],
        form: &WeightLayout,
        limit: usize,
        device: &B::Device,
    ) -> Self {
        let PackOrder { rows, columns, .. } = form.plain_order();
        let at_once = limit / (rows.len().div_ceil(WORD) * WORD).max(1) / WORD * WORD;
        let parts = columns.chunks(at_once.max(WORD)).scan(0, |first, columns| {
            let words = pack(integers, &rows, columns);
            let shape = [rows.len().div_ceil(WORD), columns.len().next_multiple_of(WORD)];
            let words = Tensor::from_data(TensorData::new(words, shape), (device, DType::I32));
            let part = Part { first: *first, columns: columns.len(), words };
            *first += columns.len();
            Some(part)
        });
        let (shape, parts) = ([rows.len(), columns.len()], parts.collect());
        let scales = TensorData::new(scales.to_vec(), [columns.len()]);
        let scales = Tensor::from_data(scales, (device, DType::F32));
        Self { shape, parts, scales, packed_dot: packed_dot::<B>(device) }
    }

    /// Rows and columns.
    pub(in crate::ops) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The integers in the layout of the weight tensor.
    pub(in crate::ops) fn to_integers(&self, form: &WeightLayout) -> Vec<i8> {
        let PackOrder { rows, columns, .. } = form.plain_order();
        let mut integers = vec![0; form.len()];
        for part in &self.parts {
            let [_, width] = part.words.dims();
            let words: Vec<i32> = part.words.to_data().iter().collect();
            let columns = &columns[part.first..][..part.columns];
            for (row, from) in rows.iter().enumerate().filter(|(_, from)| **from != PackOrder::PADDING) {
                let words = &words[row / WORD * width..];
                for (word, column) in words.iter().zip(columns) {
                    integers[from + column] = (word >> (8 * (row % WORD))) as i8;
                }
            }
        }
        integers
    }

    /// Bytes that it keeps on the device.
    pub(in crate::ops) fn bytes(&self) -> usize {
        let words = self.parts.iter().map(|part| part.words.shape().num_elements()).sum::<usize>();
        size_of::<u32>() * words + size_of::<f32>() * self.shape[1]
    }

    pub(in crate::ops) fn scales(&self) -> Vec<f32> {
        with_floats(self.scales.clone(), <[f32]>::to_vec)
    }

    pub(in crate::ops) fn to_device(&self, device: &B::Device) -> Self {
        let moved = self.map(|words| words.to_device(device), self.scales.clone().to_device(device));
        Self { packed_dot: packed_dot::<B>(device), ..moved }
    }

    /// The integers of `rows` as floats, `[rows, columns]`.
    pub(in crate::ops) fn floats(&self, rows: Range<usize>) -> Tensor<B, 2> {
        let words = rows.start / WORD..rows.end.div_ceil(WORD);
        let first = rows.start % WORD;
        let floats = |part: &Part<B>| {
            let [_, width] = part.words.dims();
            let words = part.words.clone().slice([words.clone(), 0..width]);
            unpack(words).slice([first..first + rows.len(), 0..part.columns])
        };
        join(self.parts.iter().map(floats).collect(), Tensor::cat)
    }

    /// Some of the columns as floats, `[rows, indices]`.
    pub(in crate::ops) fn select(&self, indices: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        let [rows, _] = self.shape;
        // Only the last part has zeros behind it, where no index points.
        let words = join(self.parts.iter().map(|part| part.words.clone()).collect(), Tensor::cat);
        let picked = indices.dims()[0];
        unpack(words.select(1, indices)).slice([0..rows, 0..picked])
    }

    fn map<C: Backend>(
        &self,
        words: impl Fn(Tensor<B, 2, Int>) -> Tensor<C, 2, Int>,
        scales: Tensor<C, 1>,
    ) -> Words<C> {
        let part = |part: &Part<B>| Part {
            first: part.first,
            columns: part.columns,
            words: words(part.words.clone()),
        };
        let parts = self.parts.iter().map(part).collect();
        Words { shape: self.shape, parts, scales, packed_dot: self.packed_dot }
    }
}

impl<B: AutodiffBackend> Words<B> {
    pub(in crate::ops) fn inner(&self) -> Words<B::InnerBackend> {
        self.map(Tensor::inner, self.scales.clone().inner())
    }

    pub(in crate::ops) fn from_inner(inner: &Words<B::InnerBackend>) -> Self {
        inner.map(Tensor::from_inner, Tensor::from_inner(inner.scales.clone()))
    }
}

/// Side by side: a single one as it is, without a copy.
fn join<T>(mut parts: Vec<T>, cat: impl Fn(Vec<T>, usize) -> T) -> T {
    if parts.len() == 1 { parts.remove(0) } else { cat(parts, 1) }
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
