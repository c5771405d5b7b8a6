//! The results of a program on `NdArray`: layers compute as this crate's drop-in layers do, all else on dequantized weights.

use burn::backend::NdArray;
use burn::module::Param;
use burn::nn;
use burn::nn::{PaddingConfig1d, PaddingConfig2d};
use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn_int8::nn::{FloatLayer, QLayer};
use burn_int8::prelude::*;

use super::machine::{Machine, WEIGHTS, Weights, ranked, weights};
use super::step::{Call, Step, Through, Unary, decode, ints};

type B = NdArray;

/// A value that is a weight still: which one, seen with its last two axes swapped or not, behind leading axes of size one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct View {
    weight: usize,
    rank: usize,
    swapped: bool,
}

pub struct Reference {
    machine: Machine<B>,
    views: Vec<Option<View>>,
    /// True where an INT8 weight has a part.
    approximate: Vec<bool>,
    /// True if kernels compute between layers.
    is_fused: bool,
    /// True for the values that kernels have computed in another order.
    near: Vec<bool>,
    weights: Weights<B>,
    scheme: LayerScheme,
    /// The products, convolutions, transposed convolutions and look-ups that were computed in integers.
    pub int8: [usize; 4],
}

impl Reference {
    pub fn new(config: &Int8Config, is_fused: bool) -> Self {
        let weights = weights::<B>();
        let scheme = config.scheme();
        let mut read = weights.clone();
        fn dequantized<L: FloatLayer>(layer: &mut L, scheme: &LayerScheme) {
            *layer = QLayer::from_float(layer, scheme).expect("finite weights").dequantize();
        }
        dequantized(&mut read.linear, &scheme);
        dequantized(&mut read.square, &scheme);
        dequantized(&mut read.table, &scheme);
        dequantized(&mut read.conv1d, &scheme);
        dequantized(&mut read.conv2d, &scheme);
        dequantized(&mut read.conv_transpose1d, &scheme);
        dequantized(&mut read.conv_transpose2d, &scheme);
        let machine = Machine::new(&read);
        let view = |place: usize| View { weight: place, rank: machine.shapes()[place].len(), swapped: false };
        let views: Vec<_> =
            (0..machine.values.len()).map(|place| (place < WEIGHTS).then(|| view(place))).collect();
        let approximate: Vec<_> = views.iter().map(Option::is_some).collect();
        let near = vec![false; views.len()];
        Self { machine, views, approximate, is_fused, near, weights, scheme, int8: [0; 4] }
    }

    pub fn shapes(&self) -> &[Vec<usize>] {
        self.machine.shapes()
    }

    pub fn near(&self) -> Vec<bool> {
        self.near.clone()
    }

    /// The step that an instruction is, if there is one; near values are no operands.
    pub fn decode(&self, code: [u8; 6]) -> Option<Step> {
        let shapes = self.shapes().iter().zip(&self.near);
        let shapes: Vec<_> =
            shapes.map(|(shape, near)| if *near { Vec::new() } else { shape.clone() }).collect();
        decode(code, &shapes).filter(|step| self.has_layer(step))
    }

    pub fn into_data(self) -> Vec<TensorData> {
        self.machine.into_data()
    }

    /// Says whether a drop-in layer computes the step, if it is one of a layer: none has one scale for an output of two groups, as the
    /// weight of a transposed convolution has whose groups nobody knew.
    fn has_layer(&self, step: &Step) -> bool {
        let Step::ConvTranspose(_, weight, _, call) = step else { return true };
        call.groups == 1 || self.views[*weight].is_none()
    }

    pub fn run(&mut self, step: &Step) {
        let view = self.view(step);
        let approximate = step.operands().into_iter().any(|place| self.approximate[place]);
        let result = self.layer(step).or_else(|| step.result::<B>(&self.machine.values));
        self.machine.keep(step, result);
        match step {
            Step::Drop(place) => {
                self.views.swap_remove(*place);
                self.approximate.swap_remove(*place);
                self.near.swap_remove(*place);
            }
            _ => {
                self.views.push(view);
                // Data that a tensor is made of does not say where it comes from.
                self.approximate.push(approximate && !matches!(step, Step::Through(Through::Data, _)));
                self.near.push(self.is_fused && approximate && Self::is_of_the_kernels(step));
            }
        }
    }

    fn is_of_the_kernels(step: &Step) -> bool {
        matches!(step, Step::Softmax(..) | Step::Unary(Unary::Gelu | Unary::Sigmoid | Unary::Tanh, _))
    }

    /// The view that the result of a step is.
    fn view(&self, step: &Step) -> Option<View> {
        let at = |place: &usize| self.views[*place].map(|view| (view, self.shapes()[*place].len()));
        match step {
            Step::Swap(x, one, other) => {
                let ((view, rank), axes) = (at(x)?, [*one.min(other), *one.max(other)]);
                Self::swap(view, rank, axes)
            }
            Step::Permute(x, axes) => {
                let (view, rank) = at(x)?;
                let moved: Vec<_> = (0..rank).filter(|axis| axes[*axis] != *axis).collect();
                match moved[..] {
                    [] => Some(view),
                    [one, other] => Self::swap(view, rank, [one, other]),
                    _ => None,
                }
            }
            // Reshapes of a program add an axis in front, take one away, or join two.
            Step::Reshape(x, shape) => at(x).and_then(|(view, _)| {
                let own = self.own_shape(view);
                let leading = shape.len().checked_sub(own.len())?;
                (shape[leading..] == own && shape[..leading].iter().all(|size| *size == 1)).then_some(view)
            }),
            Step::Through(Through::Clone | Through::Device | Through::Detach, x) => self.views[*x],
            _ => None,
        }
    }

    fn own_shape(&self, view: View) -> Vec<usize> {
        let mut shape = self.weight_shape(view.weight);
        if view.swapped {
            shape.reverse();
        }
        shape
    }

    fn weight_shape(&self, weight: usize) -> Vec<usize> {
        let weights = &self.weights;
        match weight {
            0 => weights.linear.weight.dims().to_vec(),
            1 => weights.square.weight.dims().to_vec(),
            2 => weights.table.weight.dims().to_vec(),
            3 => weights.conv1d.weight.dims().to_vec(),
            4 => weights.conv2d.weight.dims().to_vec(),
            5 => weights.conv_transpose1d.weight.dims().to_vec(),
            _ => weights.conv_transpose2d.weight.dims().to_vec(),
        }
    }

    fn swap(view: View, rank: usize, [one, other]: [usize; 2]) -> Option<View> {
        if one == other {
            return Some(view);
        }
        let last = view.rank == 2 && [one, other] == [rank - 2, rank - 1];
        last.then_some(View { swapped: !view.swapped, ..view })
    }

    /// The output of a layer, if the step is one.
    fn layer(&mut self, step: &Step) -> Option<FloatTensor<B>> {
        let bias = |place: &Option<usize>| place.map(|place| self.machine.values[place].clone());
        let (kind, result) = match step {
            Step::Matmul(x, w) => (0, self.product(*x, *w, None)?),
            Step::Linear(x, w, b) => (0, self.product(*x, *w, bias(b))?),
            Step::Conv(x, w, b, call) => (1, self.conv(*x, *w, bias(b), *call)?),
            Step::ConvTranspose(x, w, b, call) => (2, self.conv_transpose(*x, *w, bias(b), *call)?),
            Step::Embedding(table, rows) => (3, self.embedding(*table, rows, [2, rows.len() / 2])?),
            Step::Select(table, 0, rows) => {
                let found = self.embedding(*table, rows, [1, rows.len()])?;
                (
                    3,
                    <B as burn::tensor::ops::FloatTensorOps<B>>::float_reshape(
                        found,
                        Shape::new([rows.len(), 8]),
                    ),
                )
            }
            _ => return None,
        };
        self.int8[kind] += 1;
        Some(result)
    }

    fn int8<L: FloatLayer>(&self, layer: &L) -> QLayer<L> {
        QLayer::from_float(layer, &self.scheme).expect("finite weights")
    }

    fn product(&self, x: usize, w: usize, bias: Option<FloatTensor<B>>) -> Option<FloatTensor<B>> {
        let view = self.views[w]?;
        let (x, dims) = (self.machine.values[x].clone(), &self.shapes()[x]);
        let (rows, inputs) = (dims[..dims.len() - 1].iter().product(), dims[dims.len() - 1]);
        let x = ranked::<B, 1>(x).reshape([rows, inputs]);
        let linear = |layer: &nn::Linear<B>| {
            let bias = bias.clone().map(|bias| Param::from_tensor(ranked(bias)));
            self.int8(&nn::Linear { bias, ..layer.clone() }).forward(x.clone())
        };
        let product = match (view.weight, view.swapped) {
            (0, false) => linear(&self.weights.linear),
            (1, false) => linear(&self.weights.square),
            (2, true) => {
                let logits = self.int8(&self.weights.table).logits(x);
                bias.map_or(logits.clone(), |bias| logits + ranked::<B, 1>(bias).unsqueeze())
            }
            _ => return None,
        };
        let outputs = product.dims()[1];
        let shape = [&dims[..dims.len() - 1], &[outputs]].concat();
        let product = product.into_primitive().tensor();
        Some(<B as burn::tensor::ops::FloatTensorOps<B>>::float_reshape(product, shape.into()))
    }

    fn embedding(&self, table: usize, rows: &[i32], shape: [usize; 2]) -> Option<FloatTensor<B>> {
        let view = self.views[table]?;
        let is_table = view.weight == 2 && !view.swapped && self.shapes()[table].len() == 2;
        let rows = Tensor::from_primitive(ints::<B>(rows, shape));
        is_table.then(|| self.int8(&self.weights.table).forward(rows).into_primitive().tensor())
    }

    fn conv(&self, x: usize, w: usize, bias: Option<FloatTensor<B>>, call: Call) -> Option<FloatTensor<B>> {
        let view = self.views[w].filter(|view| view.rank == self.shapes()[w].len())?;
        let (x, bias) = (self.machine.values[x].clone(), bias.map(|bias| Param::from_tensor(ranked(bias))));
        let Call { stride, padding, dilation, groups } = call;
        Some(match view.weight {
            3 => {
                let padding = PaddingConfig1d::Explicit(padding, padding);
                let layer = self.weights.conv1d.clone();
                let layer = nn::conv::Conv1d { bias, stride, padding, dilation, groups, ..layer };
                self.int8(&layer).forward(ranked(x)).into_primitive().tensor()
            }
            4 => {
                let padding = PaddingConfig2d::Explicit(padding, padding, padding, padding);
                let ([stride, dilation], layer) = ([[stride; 2], [dilation; 2]], self.weights.conv2d.clone());
                let layer = nn::conv::Conv2d { bias, stride, padding, dilation, groups, ..layer };
                self.int8(&layer).forward(ranked(x)).into_primitive().tensor()
            }
            _ => return None,
        })
    }

    fn conv_transpose(
        &self,
        x: usize,
        w: usize,
        bias: Option<FloatTensor<B>>,
        call: Call,
    ) -> Option<FloatTensor<B>> {
        let view = self.views[w].filter(|view| view.rank == self.shapes()[w].len())?;
        let (x, bias) = (self.machine.values[x].clone(), bias.map(|bias| Param::from_tensor(ranked(bias))));
        let Call { stride, padding, dilation, .. } = call;
        Some(match view.weight {
            5 => {
                let layer = self.weights.conv_transpose1d.clone();
                let layer = nn::conv::ConvTranspose1d { bias, stride, padding, dilation, ..layer };
                self.int8(&layer).forward(ranked(x)).into_primitive().tensor()
            }
            6 => {
                let layer = self.weights.conv_transpose2d.clone();
                let ([stride, padding], dilation) = ([[stride; 2], [padding; 2]], [dilation; 2]);
                let layer = nn::conv::ConvTranspose2d { bias, stride, padding, dilation, ..layer };
                self.int8(&layer).forward(ranked(x)).into_primitive().tensor()
            }
            _ => return None,
        })
    }
}
