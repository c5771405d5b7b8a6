//! The steps of a program.

use burn::prelude::*;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, FloatTensor};
use burn::tensor::{FloatDType, Slice, TensorMetadata, TensorPrimitive};

/// One step. Numbers are places in the list of values; all but the last two append their result to it.
#[derive(Clone, Debug)]
pub enum Step {
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    Softmax(usize, usize),
    Sum(usize, usize),
    Swap(usize, usize, usize),
    Permute(usize, Vec<usize>),
    Reshape(usize, Vec<usize>),
    Expand(usize, Vec<usize>),
    Slice(usize, Vec<Slice>),
    SliceAssign(usize, Vec<Slice>, usize),
    Repeat(usize, usize),
    Flip(usize, usize),
    Cat(usize, usize, usize),
    Select(usize, usize, Vec<i32>),
    Embedding(usize, Vec<i32>),
    Matmul(usize, usize),
    Linear(usize, usize, Option<usize>),
    Conv(usize, usize, Option<usize>, Call),
    ConvTranspose(usize, usize, Option<usize>, Call),
    Through(Through, usize),
    Drop(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum Unary {
    Relu,
    Gelu,
    Sigmoid,
    Tanh,
    Neg,
    Halve,
    Increment,
    Clamp,
}

#[derive(Clone, Copy, Debug)]
pub enum Binary {
    Add,
    Sub,
    Mul,
}

/// Ways that give the same numbers again.
#[derive(Clone, Copy, Debug)]
pub enum Through {
    Clone,
    Device,
    Detach,
    Data,
    DoublePrecision,
}

/// The options of a convolution, alike on all axes.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
}

/// The numbers of an instruction, which choose among what is possible.
struct Code<'a> {
    code: [u8; 6],
    shapes: &'a [Vec<usize>],
}

impl Code<'_> {
    fn pick(&self, at: usize, below: usize) -> usize {
        usize::from(self.code[at]) % below.max(1)
    }

    /// A value, one of those for which something holds.
    fn value(&self, at: usize, fits: impl Fn(&[usize]) -> bool) -> Option<usize> {
        let is_operand = |place: &usize| !self.shapes[*place].is_empty() && fits(&self.shapes[*place]);
        let fitting: Vec<_> = (0..self.shapes.len()).filter(is_operand).collect();
        (!fitting.is_empty()).then(|| fitting[self.pick(at, fitting.len())])
    }

    /// A vector of as many numbers as a layer has outputs, or none.
    fn bias(&self, at: usize, outputs: usize) -> Option<usize> {
        if self.code[at].is_multiple_of(2) { None } else { self.value(at, |shape| shape == [outputs]) }
    }

    fn slices(&self, shape: &[usize]) -> Vec<Slice> {
        let axes = shape.iter().enumerate().map(|(axis, size)| {
            let start = usize::from(self.code[2].rotate_left(axis as u32)) % size;
            let len = 1 + usize::from(self.code[3].rotate_left(axis as u32)) % (size - start);
            Slice::new(start as isize, Some((start + len) as isize), 1)
        });
        axes.collect()
    }

    fn indices(&self, below: usize) -> Vec<i32> {
        (2..6).map(|at| self.pick(at, below) as i32).collect()
    }
}

/// The greatest number of elements and of axes of a value.
const LARGEST: (usize, usize) = (2000, 5);

/// The step that an instruction is, given the shapes of the values, empty for those that no step goes on with; none if there is no
/// such step.
pub fn decode(code: [u8; 6], shapes: &[Vec<usize>]) -> Option<Step> {
    let c = Code { code, shapes };
    match code[0] % 24 {
        0..=3 => views(&c),
        4..=6 => parts(&c),
        7..=9 => arithmetic(&c),
        10..=12 => matmul(&c),
        13..=14 => linear(&c),
        15..=17 => conv(&c),
        18..=19 => conv_transpose(&c),
        20 => {
            let table = c.value(1, |shape| shape.len() == 2)?;
            Some(Step::Embedding(table, c.indices(shapes[table][0])))
        }
        21..=22 => {
            let way =
                [Through::Clone, Through::Device, Through::Detach, Through::Data, Through::DoublePrecision];
            Some(Step::Through(way[c.pick(2, way.len())], c.value(1, |_| true)?))
        }
        _ => (shapes.len() > 8).then(|| Step::Drop(c.pick(1, shapes.len()))),
    }
}

fn views(c: &Code<'_>) -> Option<Step> {
    let value = c.value(1, |_| true)?;
    let shape = &c.shapes[value];
    let rank = shape.len();
    Some(match c.code[2] % 6 {
        0 => Step::Swap(value, c.pick(3, rank), c.pick(4, rank)),
        1 => {
            let mut axes: Vec<_> = (0..rank).collect();
            axes.swap(c.pick(3, rank), c.pick(4, rank));
            axes.rotate_left(c.pick(5, rank));
            Step::Permute(value, axes)
        }
        2 if rank < LARGEST.1 => Step::Reshape(value, [&[1], &shape[..]].concat()),
        2 | 3 if rank > 1 && shape[0] == 1 => Step::Reshape(value, shape[1..].to_vec()),
        4 if rank > 1 => Step::Reshape(value, [&[shape[0] * shape[1]], &shape[2..]].concat()),
        5 => {
            let expanded: Vec<_> = shape.iter().map(|size| if *size == 1 { 2 } else { *size }).collect();
            (expanded.iter().product::<usize>() <= LARGEST.0).then_some(Step::Expand(value, expanded))?
        }
        _ => Step::Swap(value, rank.saturating_sub(2), rank - 1),
    })
}

fn parts(c: &Code<'_>) -> Option<Step> {
    let value = c.value(1, |_| true)?;
    let shape = &c.shapes[value];
    let (axis, len) = (c.pick(3, shape.len()), shape.iter().product::<usize>());
    Some(match c.code[2] % 6 {
        0 => Step::Slice(value, c.slices(shape)),
        1 => {
            let slices = c.slices(shape);
            let sizes: Vec<_> = slices.iter().map(|slice| slice.end.expect("an end") - slice.start).collect();
            let other =
                c.value(4, |shape| shape.iter().map(|size| *size as isize).eq(sizes.iter().copied()))?;
            Step::SliceAssign(value, slices, other)
        }
        2 if len * 2 <= LARGEST.0 => Step::Repeat(value, axis),
        3 => Step::Flip(value, axis),
        4 if len * 2 <= LARGEST.0 => Step::Cat(value, c.value(4, |other| other == shape)?, axis),
        _ if len / shape[axis] * 4 <= LARGEST.0 => Step::Select(value, axis, c.indices(shape[axis])),
        _ => return None,
    })
}

fn arithmetic(c: &Code<'_>) -> Option<Step> {
    let value = c.value(1, |_| true)?;
    let shape = &c.shapes[value];
    Some(match c.code[2] % 4 {
        0 => {
            use Unary::*;
            let all = [Relu, Gelu, Sigmoid, Tanh, Neg, Halve, Increment, Clamp];
            Step::Unary(all[c.pick(3, all.len())], value)
        }
        1 if c.code[3].is_multiple_of(2) => Step::Softmax(value, c.pick(4, shape.len())),
        1 => Step::Sum(value, c.pick(4, shape.len())),
        _ => {
            let fits = |other: &[usize]| {
                other.len() == shape.len() && other.iter().zip(shape).all(|(a, b)| a == b || *a == 1)
            };
            let all = [Binary::Add, Binary::Sub, Binary::Mul];
            Step::Binary(all[c.pick(3, all.len())], value, c.value(4, fits)?)
        }
    })
}

fn matmul(c: &Code<'_>) -> Option<Step> {
    let left = c.value(1, |shape| shape.len() >= 2)?;
    let a = &c.shapes[left];
    let rank = a.len();
    let fits = |b: &[usize]| {
        let outer = |shape: &[usize]| shape.len() - 2;
        b.len() == rank
            && b[rank - 2] == a[rank - 1]
            && b[..outer(b)].iter().zip(&a[..outer(a)]).all(|(b, a)| a == b || *b == 1)
    };
    let right = c.value(2, fits)?;
    let len = a.iter().product::<usize>() / a[rank - 1] * c.shapes[right][rank - 1];
    (len <= LARGEST.0).then_some(Step::Matmul(left, right))
}

fn linear(c: &Code<'_>) -> Option<Step> {
    let weight = c.value(1, |shape| shape.len() == 2)?;
    let [inputs, outputs] = [c.shapes[weight][0], c.shapes[weight][1]];
    let fits = |shape: &[usize]| {
        shape.len() >= 2
            && shape[shape.len() - 1] == inputs
            && shape.iter().product::<usize>() / inputs * outputs <= LARGEST.0
    };
    Some(Step::Linear(c.value(2, fits)?, weight, c.bias(3, outputs)))
}

impl Code<'_> {
    fn call(&self, groups: usize) -> Call {
        let (padding, dilation) = (self.pick(3, 3), 1 + usize::from(self.code[3]) / 3 % 2);
        Call { stride: 1 + self.pick(4, 2), padding, dilation, groups }
    }
}

/// Says whether a convolution of one or two axes has outputs, and not too many.
fn has_outputs(call: Call, input: &[usize], weight: &[usize], channels: usize) -> bool {
    let outputs = input[2..].iter().zip(&weight[2..]).map(|(input, kernel)| {
        let padded = input + 2 * call.padding;
        padded.checked_sub(call.dilation * (kernel - 1) + 1).map_or(0, |room| room / call.stride + 1)
    });
    let len = input[0] * channels * outputs.product::<usize>();
    len > 0 && len <= LARGEST.0
}

fn conv(c: &Code<'_>) -> Option<Step> {
    let weight = c.value(1, |shape| (3..=4).contains(&shape.len()))?;
    let w = &c.shapes[weight];
    let groups = 1 + c.pick(5, 2);
    let call = c.call(groups);
    let fits = |x: &[usize]| x.len() == w.len() && x[1] == w[1] * groups && has_outputs(call, x, w, w[0]);
    let x = c.value(2, fits).filter(|_| w[0].is_multiple_of(groups))?;
    Some(Step::Conv(x, weight, c.bias(4, w[0]), call))
}

fn conv_transpose(c: &Code<'_>) -> Option<Step> {
    let weight = c.value(1, |shape| (3..=4).contains(&shape.len()))?;
    let w = &c.shapes[weight];
    let call = Call { padding: 0, ..c.call(1 + c.pick(5, 2)) };
    let is_small = |x: &[usize]| {
        let outputs = x[2..].iter().zip(&w[2..]).map(|(x, kernel)| x * call.stride + kernel * call.dilation);
        x[0] * w[1] * call.groups * outputs.product::<usize>() <= LARGEST.0
    };
    let fits = |x: &[usize]| x.len() == w.len() && x[1] == w[0] && is_small(x);
    let x = c.value(2, fits).filter(|_| w[0].is_multiple_of(call.groups))?;
    Some(Step::ConvTranspose(x, weight, c.bias(4, w[1] * call.groups), call))
}

impl Call {
    fn conv<const N: usize>(self) -> ConvOptions<N> {
        ConvOptions::new([self.stride; N], [self.padding; N], [self.dilation; N], self.groups)
    }

    fn transposed<const N: usize>(self) -> ConvTransposeOptions<N> {
        ConvTransposeOptions::new(
            [self.stride; N],
            [self.padding; N],
            [0; N],
            [self.dilation; N],
            self.groups,
        )
    }
}

/// Integers as a tensor of a backend.
pub fn ints<B: Backend>(values: &[i32], shape: [usize; 2]) -> burn::tensor::ops::IntTensor<B> {
    Tensor::<B, 2, Int>::from_data(TensorData::new(values.to_vec(), shape), &Default::default())
        .into_primitive()
}

/// A float tensor without its rank.
pub fn erased<B: Backend>(tensor: FloatTensor<B>) -> Tensor<B, 1> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

impl Step {
    /// The places that the step reads.
    pub fn operands(&self) -> Vec<usize> {
        match self {
            Self::Unary(_, x)
            | Self::Softmax(x, _)
            | Self::Sum(x, _)
            | Self::Swap(x, ..)
            | Self::Permute(x, _)
            | Self::Reshape(x, _)
            | Self::Expand(x, _)
            | Self::Slice(x, _)
            | Self::Repeat(x, _)
            | Self::Flip(x, _)
            | Self::Select(x, ..)
            | Self::Embedding(x, _)
            | Self::Through(_, x)
            | Self::Drop(x) => vec![*x],
            Self::Binary(_, a, b) | Self::SliceAssign(a, _, b) | Self::Cat(a, b, _) | Self::Matmul(a, b) => {
                vec![*a, *b]
            }
            Self::Linear(x, w, b) | Self::Conv(x, w, b, _) | Self::ConvTranspose(x, w, b, _) => {
                [*x, *w].into_iter().chain(*b).collect()
            }
        }
    }

    /// The result on a backend; none of a step that has no result.
    pub fn result<B: Backend>(&self, values: &[FloatTensor<B>]) -> Option<FloatTensor<B>> {
        let at = |place: &usize| values[*place].clone();
        let bias = |place: &Option<usize>| place.map(|place| values[place].clone());
        Some(match self {
            Self::Unary(unary, x) => unary.result::<B>(at(x)),
            Self::Binary(Binary::Add, a, b) => B::float_add(at(a), at(b)),
            Self::Binary(Binary::Sub, a, b) => B::float_sub(at(a), at(b)),
            Self::Binary(Binary::Mul, a, b) => B::float_mul(at(a), at(b)),
            Self::Softmax(x, axis) => B::softmax(at(x), *axis),
            Self::Sum(x, axis) => B::float_sum_dim(at(x), *axis),
            Self::Swap(x, one, other) => B::float_swap_dims(at(x), *one, *other),
            Self::Permute(x, axes) => B::float_permute(at(x), axes),
            Self::Reshape(x, shape) => B::float_reshape(at(x), shape.clone().into()),
            Self::Expand(x, shape) => B::float_expand(at(x), shape.clone().into()),
            Self::Slice(x, slices) => B::float_slice(at(x), slices),
            Self::SliceAssign(x, slices, y) => B::float_slice_assign(at(x), slices, at(y)),
            Self::Repeat(x, axis) => B::float_repeat_dim(at(x), *axis, 2),
            Self::Flip(x, axis) => B::float_flip(at(x), &[*axis]),
            Self::Cat(a, b, axis) => B::float_cat(vec![at(a), at(b)], *axis),
            Self::Select(x, axis, rows) => {
                let rows = B::int_reshape(ints::<B>(rows, [1, rows.len()]), Shape::new([rows.len()]));
                B::float_select(at(x), *axis, rows)
            }
            Self::Embedding(table, rows) => B::embedding(at(table), ints::<B>(rows, [2, rows.len() / 2])),
            Self::Matmul(a, b) => B::float_matmul(at(a), at(b)),
            Self::Linear(x, w, b) => B::linear(at(x), at(w), bias(b)),
            Self::Conv(x, w, b, call) if at(x).rank() == 3 => B::conv1d(at(x), at(w), bias(b), call.conv()),
            Self::Conv(x, w, b, call) => B::conv2d(at(x), at(w), bias(b), call.conv()),
            Self::ConvTranspose(x, w, b, call) if at(x).rank() == 3 => {
                B::conv_transpose1d(at(x), at(w), bias(b), call.transposed())
            }
            Self::ConvTranspose(x, w, b, call) => {
                B::conv_transpose2d(at(x), at(w), bias(b), call.transposed())
            }
            Self::Through(way, x) => way.result::<B>(at(x)),
            Self::Drop(_) => return None,
        })
    }
}

impl Unary {
    fn result<B: Backend>(self, x: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Relu => B::relu(x),
            Self::Gelu => B::gelu(x),
            Self::Sigmoid => B::sigmoid(x),
            Self::Tanh => B::float_tanh(x),
            Self::Neg => B::float_neg(x),
            Self::Halve => B::float_mul_scalar(x, 0.5f32.into()),
            Self::Increment => B::float_add_scalar(x, 1.0f32.into()),
            Self::Clamp => B::float_clamp(x, (-0.5f32).into(), 0.7f32.into()),
        }
    }
}

impl Through {
    fn result<B: Backend>(self, x: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Clone => x,
            Self::Device => {
                let device = B::float_device(&x);
                B::float_to_device(x, &device)
            }
            Self::Detach => B::float_detach(x),
            Self::Data => {
                let device = B::float_device(&x);
                B::float_from_data(erased::<B>(x).into_data(), &device)
            }
            Self::DoublePrecision => B::float_cast(B::float_cast(x, FloatDType::F64), FloatDType::F32),
        }
    }
}
