//! Convolutions as plain data, the layers made of it, and their outputs in naive loops.

use burn::module::Param;
use burn::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d, conv};
use burn::prelude::*;
use burn_int8::nn::{DropIn, QLayer};
use burn_int8::prelude::*;

use crate::support::models::{floats, is_wgpu, tensor, values};

/// The padding of a convolution; a transposed one is always `Around` and takes the first of each pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pad {
    Valid,
    Same,
    Around([[usize; 2]; 3]),
}

/// A convolution of 1 to 3 axes; those that it lacks, in front, are of size 1.
#[derive(Clone, Debug)]
pub struct Case {
    pub axes: usize,
    pub transposed: bool,
    pub channels: [usize; 2],
    pub groups: usize,
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    pub dilation: [usize; 3],
    pub pad: Pad,
    pub pad_out: [usize; 3],
    pub bias: bool,
    pub input: [usize; 3],
}

/// The plainest convolution, whose fields tests change.
pub fn conv(axes: usize, channels: [usize; 2], kernel: [usize; 3], input: [usize; 3]) -> Case {
    let (ones, pad) = ([1; 3], Pad::Valid);
    Case {
        axes,
        transposed: false,
        channels,
        groups: 1,
        kernel,
        stride: ones,
        dilation: ones,
        pad,
        pad_out: [0; 3],
        bias: true,
        input,
    }
}

/// The plainest transposed convolution.
pub fn transposed(axes: usize, channels: [usize; 2], kernel: [usize; 3], input: [usize; 3]) -> Case {
    Case { transposed: true, pad: Pad::Around([[0; 2]; 3]), ..conv(axes, channels, kernel, input) }
}

/// One case of each kind of layer, none of them square in anything.
pub fn one_of_each() -> [Case; 6] {
    [
        Case { stride: [1, 1, 2], pad: Pad::Same, ..conv(1, [3, 4], [1, 1, 5], [1, 1, 9]) },
        Case {
            groups: 2,
            pad: Pad::Around([[0; 2], [1, 0], [2, 1]]),
            ..conv(2, [4, 6], [1, 3, 2], [1, 5, 6])
        },
        Case {
            dilation: [1, 2, 1],
            pad: Pad::Around([[1; 2], [2; 2], [0; 2]]),
            ..conv(3, [2, 3], [2, 3, 1], [3, 4, 3])
        },
        Case { stride: [1, 1, 3], pad_out: [0, 0, 1], ..transposed(1, [4, 3], [1, 1, 4], [1, 1, 5]) },
        Case {
            groups: 2,
            stride: [1, 2, 1],
            pad: Pad::Around([[0; 2], [1; 2], [0; 2]]),
            ..transposed(2, [4, 6], [1, 3, 2], [1, 4, 3])
        },
        Case { dilation: [1, 1, 2], bias: false, ..transposed(3, [3, 2], [2, 1, 2], [2, 3, 3]) },
    ]
}

fn last<const A: usize>(all: [usize; 3]) -> [usize; A] {
    std::array::from_fn(|axis| all[3 - A + axis])
}

impl Case {
    /// The same case, without what it says about axes that it does not have.
    pub fn without_missing_axes(mut self) -> Self {
        for axis in 0..3 - self.axes {
            for ones in [&mut self.kernel, &mut self.stride, &mut self.dilation, &mut self.input] {
                ones[axis] = 1;
            }
            self.pad_out[axis] = 0;
            if let Pad::Around(pad) = &mut self.pad {
                pad[axis] = [0; 2];
            }
        }
        self
    }

    pub fn shape<const D: usize>(&self, batch: usize) -> [usize; D] {
        let mut shape = [batch; D];
        shape[1] = self.channels[0];
        shape[2..].copy_from_slice(&self.input[5 - D..]);
        shape
    }

    /// The values of a batch.
    pub fn values(&self, batch: usize) -> Vec<f32> {
        values(batch * self.channels[0] * self.input.iter().product::<usize>(), 5)
    }

    /// The padding in front and behind.
    fn padding(&self) -> [[usize; 2]; 3] {
        std::array::from_fn(|axis| match self.pad {
            Pad::Valid => [0; 2],
            Pad::Around(pad) => pad[axis],
            Pad::Same => {
                let outputs = self.input[axis].div_ceil(self.stride[axis]);
                let needed = (outputs - 1) * self.stride[axis] + self.kernel[axis];
                let total = needed.saturating_sub(self.input[axis]);
                [total / 2, total.div_ceil(2)]
            }
        })
    }

    /// The sizes of the output; 0 or less where there is none.
    pub fn output(&self) -> [isize; 3] {
        std::array::from_fn(|axis| {
            let [front, behind] = self.padding()[axis].map(|pad| pad as isize);
            let (input, stride) = (self.input[axis] as isize, self.stride[axis] as isize);
            let reach = (self.dilation[axis] * (self.kernel[axis] - 1)) as isize;
            if self.transposed {
                (input - 1) * stride + reach + 1 + self.pad_out[axis] as isize - 2 * front
            } else {
                (input + front + behind - reach - 1).div_euclid(stride) + 1
            }
        })
    }

    /// The output at which the value at `input` of the input meets tap `tap`, along one axis.
    fn meets(&self, axis: usize, input: usize, tap: usize) -> Option<usize> {
        let front = self.padding()[axis][0] as isize;
        let (input, reach) = (input as isize, (tap * self.dilation[axis]) as isize);
        let stride = self.stride[axis] as isize;
        let output = if self.transposed {
            input * stride + reach - front
        } else {
            let start = input + front - reach;
            (start.rem_euclid(stride) == 0).then_some(start.div_euclid(stride))?
        };
        (0..self.output()[axis]).contains(&output).then_some(output as usize)
    }

    /// The sums of products of `x` with weights in Burn's layout, for each output channel and position of one sample.
    fn sums<T: Copy + Default + std::ops::AddAssign + std::ops::Mul<Output = T>>(
        &self,
        x: &[T],
        w: &[T],
    ) -> Vec<T> {
        let ([inputs, outputs], groups) = (self.channels, self.groups);
        let [ni, no, taps] = [inputs / groups, outputs / groups, self.kernel.iter().product()];
        let size = self.output().map(|size| size as usize);
        let area: usize = size.iter().product();
        let mut sums = vec![T::default(); outputs * area];
        let places = points(self.input);
        for (tap_index, tap) in points(self.kernel).into_iter().enumerate() {
            for (place_index, place) in places.iter().enumerate() {
                let at: [Option<usize>; 3] =
                    std::array::from_fn(|axis| self.meets(axis, place[axis], tap[axis]));
                let [Some(z), Some(y), Some(c)] = at else { continue };
                let position = (z * size[1] + y) * size[2] + c;
                for input in 0..inputs {
                    for o in 0..no {
                        let output = input / ni * no + o;
                        let pair = if self.transposed { input * no + o } else { output * ni + input % ni };
                        sums[output * area + position] +=
                            x[input * places.len() + place_index] * w[pair * taps + tap_index];
                    }
                }
            }
        }
        sums
    }
}

fn points(size: [usize; 3]) -> Vec<[usize; 3]> {
    let at = |i| [i / size[2] / size[1], i / size[2] % size[1], i % size[2]];
    (0..size.iter().product()).map(at).collect()
}

/// The outputs of a drop-in layer, float and INT8, for one batch.
pub struct Run {
    pub dims: Vec<usize>,
    pub int8: Vec<f32>,
    pub float: Vec<f32>,
    integers: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

impl Run {
    /// The output in naive loops: integers in `i64`, floats in `f64`.
    pub fn expected(&self, case: &Case, scheme: LayerScheme, x: &[f32], batch: usize) -> Vec<f32> {
        let area = case.output().iter().product::<isize>() as usize;
        let samples = x.chunks_exact((x.len() / batch.max(1)).max(1));
        let scale_and_bias = |i: usize| (self.scales[i / area], self.bias[i / area]);
        match scheme.mode {
            QuantMode::Dynamic => samples
                .flat_map(|x| {
                    let (q, step) = quantize(x, scheme.range);
                    let sums =
                        case.sums(&q, &self.integers.iter().map(|&q| i64::from(q)).collect::<Vec<_>>());
                    let finish = |(i, sum): (usize, i64)| {
                        let (scale, bias) = scale_and_bias(i);
                        sum as f32 * (step * scale) + bias
                    };
                    sums.into_iter().enumerate().map(finish).collect::<Vec<_>>()
                })
                .collect(),
            QuantMode::WeightOnly => samples
                .flat_map(|x| {
                    let x: Vec<_> = x.iter().map(|&x| f64::from(x)).collect();
                    let sums =
                        case.sums(&x, &self.integers.iter().map(|&q| f64::from(q)).collect::<Vec<_>>());
                    let finish = |(i, sum): (usize, f64)| {
                        let (scale, bias) = scale_and_bias(i);
                        (sum * f64::from(scale) + f64::from(bias)) as f32
                    };
                    sums.into_iter().enumerate().map(finish).collect::<Vec<_>>()
                })
                .collect(),
            other => unreachable!("{other:?} is no mode of these tests"),
        }
    }
}

/// The integers of a sample, and their step.
pub fn quantize(x: &[f32], range: QuantRange) -> (Vec<i64>, f32) {
    let (min, top) = if range == QuantRange::Full { (-128.0, 128.0) } else { (-127.0, 127.0) };
    let absmax = x.iter().fold(0f32, |max, x| max.max(x.abs()));
    let inverse = if absmax == 0.0 { 0.0 } else { top / absmax };
    let q = x.iter().map(|x| (x * inverse).round_ties_even().clamp(min, 127.0) as i64);
    (q.collect(), if absmax == 0.0 { 1.0 } else { absmax / top })
}

/// Says whether Burn's layer is of no use: Burn 0.21 on `Wgpu` takes other inputs than on its other backends where a transposed
/// kernel is shorter than its stride.
pub fn burn_is_wrong<B: Backend>(case: &Case) -> bool {
    let gaps = (0..3).any(|axis| (case.kernel[axis] - 1) * case.dilation[axis] + 1 < case.stride[axis]);
    case.transposed && gaps && is_wgpu::<B>()
}

/// The drop-in layer while it is float gives the sums of naive loops in `f64`, but for the rounding of `f32`.
fn assert_is_the_convolution(case: &Case, got: &[f32], [x, weight, bias]: [&[f32]; 3]) {
    if x.iter().any(|x| !x.is_finite()) {
        return; // Backends differ in how far a NaN spreads.
    }
    let doubles = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let area = case.output().iter().product::<isize>() as usize;
    let sample: usize = case.channels[0] * case.input.iter().product::<usize>();
    let weight = doubles(weight);
    let expected = x.chunks_exact(sample).flat_map(|x| {
        let sums = case.sums(&doubles(x), &weight).into_iter().enumerate();
        sums.map(|(i, sum)| sum + f64::from(bias[i / area])).collect::<Vec<_>>()
    });
    // Rounding a sum of `k` products below 1, in any order: half an ulp each.
    let k = (case.channels[0] / case.groups * case.kernel.iter().product::<usize>()) as f64;
    for (got, expected) in got.iter().zip(expected) {
        let error = (f64::from(*got) - expected).abs();
        assert!(error <= 6e-8 * k * k + 1e-6, "{got}, not {expected}: {case:?}");
    }
}

pub fn run<B: Backend>(case: &Case, scheme: LayerScheme, x: &[f32], batch: usize) -> Run {
    crate::with_conv!(B, case, layer, RANK => {
        let data = TensorData::new(x.to_vec(), case.shape::<RANK>(batch));
        let x = Tensor::<B, RANK>::from_data(data, &Default::default());
        let int8 = QLayer::from_float(&layer, &scheme).expect("finite weights");
        let y = int8.forward(x.clone());
        let bias = layer.bias.as_ref().map(|bias| floats(bias.val()));
        let bias = bias.unwrap_or(vec![0.0; case.channels[1]]);
        let weight = floats(layer.weight.val());
        let float = floats(DropIn::from(layer).forward(x.clone()));
        if !burn_is_wrong::<B>(case) {
            assert_is_the_convolution(case, &float, [&floats(x), &weight, &bias]);
        }
        let (integers, scales) = (int8.integers(), int8.scales());
        Run { dims: y.dims().to_vec(), int8: floats(y), float, integers, scales, bias }
    })
}

/// Evaluates the same expression with Burn's layer of a case, whose tensors are of rank `$rank`.
#[macro_export]
macro_rules! with_conv {
    ($backend:ty, $case:expr, $layer:ident, $rank:ident => $body:expr) => {
        $crate::with_conv!(@ $backend, $case, $layer, $rank, $body,
            1 false conv1d, 2 false conv2d, 3 false conv3d,
            1 true conv_transpose1d, 2 true conv_transpose2d, 3 true conv_transpose3d)
    };
    (@ $backend:ty, $case:expr, $layer:ident, $rank:ident, $body:expr, $($axes:literal $transposed:literal $make:ident),*) => {
        match ($case.axes, $case.transposed) {
            $(($axes, $transposed) => {
                #[allow(dead_code)]
                const $rank: usize = $axes + 2;
                #[allow(unused_mut)]
                let mut $layer = $crate::support::conv_case::$make::<$backend>(&$case);
                $body
            })*
            other => panic!("no layer has {other:?}"),
        }
    };
}

/// The constructors of Burn's layers, with known weights.
macro_rules! burn_layers {
    ($($name:ident $layer:ident $config:ident $rank:literal |$case:ident| ($($channels:expr),*) $per_axis:expr, $padding:expr $(, $out:ident)?;)*) => {$(
        pub fn $name<B: Backend>($case: &Case) -> conv::$layer<B> {
            let axes = $per_axis;
            let layer = conv::$config::new($($channels,)* axes($case.kernel))
                .with_stride(axes($case.stride))
                .with_dilation(axes($case.dilation))
                .with_groups($case.groups)
                .with_padding($padding)
                $(.$out(axes($case.pad_out)))?
                .with_bias($case.bias)
                .init::<B>(&Default::default());
            let weight = tensor::<B, $rank>(layer.weight.lazy_shape().dims(), 3);
            let bias = layer.bias.as_ref().map(|_| Param::from_tensor(tensor([$case.channels[1]], 4)));
            conv::$layer { weight: Param::from_tensor(weight), bias, ..layer }
        }
    )*};
}

fn only(all: [usize; 3]) -> usize {
    all[2]
}

/// The padding that a transposed layer is told.
fn cut(case: &Case) -> [usize; 3] {
    case.padding().map(|[front, _]| front)
}

burn_layers! {
    conv1d Conv1d Conv1dConfig 3 |case| (case.channels[0], case.channels[1]) only, match case.pad {
        Pad::Valid => PaddingConfig1d::Valid,
        Pad::Same => PaddingConfig1d::Same,
        Pad::Around([_, _, [left, right]]) => PaddingConfig1d::Explicit(left, right),
    };
    conv2d Conv2d Conv2dConfig 4 |case| (case.channels) last::<2>, match case.pad {
        Pad::Valid => PaddingConfig2d::Valid,
        Pad::Same => PaddingConfig2d::Same,
        Pad::Around([_, [top, bottom], [left, right]]) => PaddingConfig2d::Explicit(top, left, bottom, right),
    };
    conv3d Conv3d Conv3dConfig 5 |case| (case.channels) last::<3>, match case.pad {
        Pad::Valid => PaddingConfig3d::Valid,
        Pad::Same => PaddingConfig3d::Same,
        Pad::Around([[depth, _], [height, _], [width, _]]) => PaddingConfig3d::Explicit(depth, height, width),
    };
    conv_transpose1d ConvTranspose1d ConvTranspose1dConfig 3 |case| (case.channels) only, only(cut(case)), with_padding_out;
    conv_transpose2d ConvTranspose2d ConvTranspose2dConfig 4 |case| (case.channels) last::<2>, last(cut(case)), with_padding_out;
    conv_transpose3d ConvTranspose3d ConvTranspose3dConfig 5 |case| (case.channels) last::<3>, cut(case), with_padding_out;
}
