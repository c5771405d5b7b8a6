//! INT8 convolutions against naive loops over the same integers, and against Burn's float layers.

use burn::backend::{Autodiff, NdArray};
use burn::module::{AutodiffModule, Module};
use burn::nn::conv;
use burn::optim::{GradientsParams, Optimizer, SgdConfig};
use burn::prelude::*;
use burn::tensor::DType;
use burn_int8::nn::{
    Conv1dConfig, Conv2d, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig, DropIn, PaddingConfig1d, PaddingConfig2d, PaddingConfig3d, QConv2d, QLayer,
};
use burn_int8::prelude::*;
use proptest::prelude::*;

use crate::support::conv_case::{Case, Pad, burn_is_wrong, conv, conv2d, one_of_each, run, transposed};
use crate::support::models::{assert_outputs, floats, on_every_backend, tensor};
use crate::with_conv;

const SCHEMES: [(QuantRange, QuantMode); 3] = [
    (QuantRange::Symmetric, QuantMode::Dynamic),
    (QuantRange::Full, QuantMode::Dynamic),
    (QuantRange::Symmetric, QuantMode::WeightOnly),
];

fn scheme((range, activations): (QuantRange, QuantMode)) -> LayerScheme {
    LayerScheme::keras().with_range(range).with_mode(activations)
}

/// The error of rounding a sum of `k` float products below 127, in any order: half an ulp each.
fn float_sum(k: usize) -> f32 {
    127.0 * 6e-8 * (k * k) as f32
}

/// The error that rounding both operands to 8 bits may add to a sum of `k` products of values below 1: half a step (1/254, or 1/256)
/// for each, and a whole one where the full range clips.
fn rounding(k: usize, range: QuantRange) -> f32 {
    k as f32 * 2.01 / if range == QuantRange::Full { 128.0 } else { 254.0 }
}

/// The INT8 layer gives what the loops give, and is near to the float layer.
fn check<B: Backend>(case: &Case) {
    let (batch, x) = (2, case.values(2));
    let k = case.channels[0] / case.groups * case.kernel.iter().product::<usize>();
    for pair in SCHEMES {
        let run = run::<B>(case, scheme(pair), &x, batch);
        let output = case.output().map(|size| size as usize);
        let dims = [&[batch, case.channels[1]], &output[3 - case.axes..]].concat();
        assert_eq!(run.dims, dims, "{case:?}");
        let expected = run.expected(case, scheme(pair), &x, batch);
        if pair.1 == QuantMode::Dynamic {
            assert_outputs::<B>(&run.int8, &expected, &format!("{case:?} {pair:?}"));
        }
        for ((got, expected), float) in run.int8.iter().zip(&expected).zip(&run.float) {
            assert!(
                (got - expected).abs() <= float_sum(k) / 127.0 + 1e-6,
                "{got}, not {expected}: {case:?} {pair:?}"
            );
            assert!(
                burn_is_wrong::<B>(case) || (got - float).abs() <= rounding(k, pair.0),
                "{got}, float {float}: {case:?} {pair:?}"
            );
        }
    }
}

/// Cases that change one option, and some that change many.
fn cases() -> Vec<Case> {
    let one = conv(1, [3, 4], [1, 1, 3], [1, 1, 8]);
    let two = conv(2, [3, 4], [1, 3, 2], [1, 6, 7]);
    let three = conv(3, [2, 3], [2, 3, 1], [4, 5, 3]);
    let up1 = transposed(1, [3, 4], [1, 1, 3], [1, 1, 5]);
    let up2 = transposed(2, [4, 2], [1, 3, 2], [1, 4, 3]);
    let up3 = transposed(3, [2, 3], [2, 3, 1], [2, 2, 3]);
    let mut cases = one_of_each().to_vec();
    for plain in [&one, &two, &three, &up1, &up2, &up3] {
        let strides = Case { stride: [2, 3, 2], ..plain.clone() };
        cases.extend([
            plain.clone(),
            Case { bias: false, ..plain.clone() },
            Case { dilation: [1, 2, 2], ..plain.clone() },
            Case { channels: [4, 6], groups: 2, ..plain.clone() },
            Case { channels: [5, 5], groups: 5, ..plain.clone() },
            Case { channels: [3, 6], groups: 3, ..plain.clone() },
            Case { kernel: [1; 3], ..strides.clone() },
            Case { pad: Pad::Around([[1; 2]; 3]), ..strides.clone() },
            strides,
        ]);
    }
    for plain in [&one, &two] {
        cases.extend([
            Case { pad: Pad::Same, ..plain.clone() },
            Case { pad: Pad::Same, stride: [1, 2, 3], ..plain.clone() },
            Case { pad: Pad::Same, kernel: [1, 4, 4], ..plain.clone() },
            Case { pad: Pad::Same, dilation: [1, 1, 2], ..plain.clone() }, // Burn's `Same` knows no dilation
            Case { pad: Pad::Around([[0; 2], [2, 0], [1, 3]]), ..plain.clone() },
        ]);
    }
    cases.push(Case { pad: Pad::Same, kernel: [3, 3, 1], ..three });
    for plain in [up1, up2, up3] {
        cases.push(Case { stride: [2, 2, 3], pad_out: [1, 1, 2], ..plain });
    }
    // Kernels as large as the input, planes larger than a vector, many channels.
    cases.push(conv(2, [1, 1], [1, 6, 7], [1, 6, 7]));
    cases.push(conv(2, [70, 33], [1, 3, 3], [1, 4, 5]));
    cases.push(transposed(2, [70, 33], [1, 2, 2], [1, 3, 3]));
    cases.into_iter().map(Case::without_missing_axes).collect()
}

fn every_option<B: Backend>() {
    cases().iter().for_each(check::<B>);
}

/// The kernel, stride, dilation, padding in front and behind, and input of one axis.
type Axis = (usize, usize, usize, usize, usize, usize);

fn any_case() -> impl Strategy<Value = Case> {
    let axis = || (1usize..5, 1usize..4, 1usize..4, 0usize..3, 0usize..3, 1usize..8);
    let layer = (1usize..4, any::<bool>(), 1usize..4, 1usize..6, 1usize..6, any::<bool>(), 0usize..3);
    let cases = (layer, [axis(), axis(), axis()]).prop_map(|(layer, each)| {
        let (axes, is_transposed, groups, inputs, outputs, bias, pad) = layer;
        let per_axis = |of: fn(Axis) -> usize, missing| {
            std::array::from_fn(|axis| if axis < 3 - axes { missing } else { of(each[axis]) })
        };
        let (front, behind) = (per_axis(|a| a.3, 0), per_axis(|a| a.4, 0));
        let symmetric = is_transposed || axes == 3;
        let around = std::array::from_fn(|i| [front[i], if symmetric { front[i] } else { behind[i] }]);
        Case {
            axes,
            transposed: is_transposed,
            channels: [inputs * groups, outputs * groups],
            groups,
            kernel: per_axis(|a| a.0, 1),
            stride: per_axis(|a| a.1, 1),
            dilation: per_axis(|a| a.2, 1),
            pad: match pad {
                0 if !is_transposed => Pad::Valid,
                1 if !symmetric => Pad::Same,
                _ => Pad::Around(around),
            },
            // Burn asks for less than a stride or a dilation.
            pad_out: if is_transposed { per_axis(|a| a.4.min(a.1 - 1), 0) } else { [0; 3] },
            bias,
            input: per_axis(|a| a.5, 1),
        }
    });
    cases.prop_filter("room for an output", |case| case.output().iter().all(|&size| size > 0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_convolution(case in any_case()) {
        check::<NdArray>(&case);
    }
}

/// The layout of a tensor in memory changes nothing.
fn views<B: Backend>() {
    let device = Default::default();
    let float = conv2d::<B>(&Case { pad: Pad::Same, ..conv(2, [3, 4], [1, 3, 3], [1, 6, 7]) });
    for pair in SCHEMES {
        let int8 = QLayer::from_float(&float, &scheme(pair)).expect("finite weights");
        for view in [
            tensor::<B, 4>([2, 6, 7, 3], 1).permute([0, 3, 1, 2]),
            tensor::<B, 4>([3, 2, 7, 6], 1).permute([1, 0, 3, 2]),
            tensor::<B, 4>([4, 5, 9, 9], 1).slice([1..3, 2..5, 0..6, 2..9]),
            tensor::<B, 4>([1, 3, 6, 1], 1).expand([2, 3, 6, 7]),
            tensor::<B, 4>([2, 3, 6, 7], 1).flip([1, 3]),
        ] {
            let copy = Tensor::<B, 4>::from_data(view.to_data(), &device);
            assert_eq!(floats(int8.forward(view)), floats(int8.forward(copy)));
        }
    }
}

/// A NaN or an infinity makes its own sample NaN and no other; samples do not see each other.
fn samples_stand_alone<B: Backend>() {
    for case in one_of_each() {
        let size = case.values(1).len();
        let clean = case.values(4);
        let mut x = clean.clone();
        x[size + 1] = f32::NAN;
        x[2 * size] = f32::NEG_INFINITY;
        for pair in [SCHEMES[0], SCHEMES[1]] {
            let whole = run::<B>(&case, scheme(pair), &x, 4).int8;
            let area = whole.len() / 4;
            for sample in [0, 3] {
                let alone = &clean[sample * size..][..size];
                assert_eq!(whole[sample * area..][..area], run::<B>(&case, scheme(pair), alone, 1).int8);
            }
            assert!(whole[area..3 * area].iter().all(|y| y.is_nan()), "{case:?}");
        }
    }
}

on_every_backend! { every_option views samples_stand_alone }

/// The output has the type of the input, and an empty batch an empty output.
#[test]
fn float_types_and_empty_batches() {
    for case in one_of_each() {
        with_conv!(NdArray, case, layer, RANK => {
            for pair in SCHEMES {
                let int8 = QLayer::from_float(&layer, &scheme(pair)).expect("finite weights");
                let x = tensor::<NdArray, RANK>(case.shape(2), 5);
                let expected = int8.forward(x.clone());
                let y = int8.forward(x.cast(DType::F64));
                assert_eq!(y.dtype(), DType::F64);
                assert_eq!(floats(y), floats(expected.clone()));
                let empty = int8.forward(Tensor::zeros(case.shape::<RANK>(0), &Default::default()));
                assert_eq!((empty.dims()[0], &empty.dims()[1..]), (0, &expected.dims()[1..]));
            }
        });
    }
}

/// The gradient of the input is that of the float layer with the dequantized weights; nothing else has one.
#[test]
fn gradients_go_straight_through() {
    type Train = Autodiff<NdArray>;
    for case in one_of_each() {
        with_conv!(Train, case, layer, RANK => {
            for pair in [SCHEMES[0], SCHEMES[2]] {
                let int8 = QLayer::from_float(&layer, &scheme(pair)).expect("finite weights");
                let dequantized = int8.dequantize();
                let gradient = |forward: &dyn Fn(Tensor<Train, RANK>) -> Tensor<Train, RANK>| {
                    let x = tensor::<Train, RANK>(case.shape(2), 5).require_grad();
                    let y = forward(x.clone() * 2.0);
                    let upstream = tensor::<Train, RANK>(y.dims(), 6);
                    let gradients = (y * upstream).sum().backward();
                    let of_x = floats(x.grad(&gradients).expect("a gradient of the input"));
                    (of_x, GradientsParams::from_grads(gradients, &int8).len())
                };
                let (got, params) = gradient(&|x| int8.forward(x));
                let (expected, _) = gradient(&|x| dequantized.forward(x));
                assert_eq!((got, params), (expected, 0), "{case:?}");

                // The layer goes to the inner backend and back.
                let x = tensor::<NdArray, RANK>(case.shape(2), 5);
                let valid = int8.valid();
                let y = floats(valid.forward(x.clone()));
                let trained = valid.train::<Train>();
                assert_eq!(floats(trained.forward(Tensor::from_inner(x))), y);
                assert_eq!(floats(int8.forward(tensor::<Train, RANK>(case.shape(2), 5))), y);
            }
        });
    }
}

/// The drop-in layer trains as Burn's own, and is quantized as it then is.
#[test]
fn a_drop_in_layer_trains() {
    type Train = Autodiff<NdArray>;
    fn train<M: AutodiffModule<Train>>(
        mut model: M,
        forward: impl Fn(&M, Tensor<Train, 4>) -> Tensor<Train, 4>,
    ) -> (M, [f32; 2]) {
        let mut optimizer = SgdConfig::new().init::<Train, M>();
        let mut losses = Vec::new();
        for _ in 0..30 {
            let loss = (forward(&model, tensor([2, 3, 6, 7], 1)) - 0.5).powf_scalar(2.0).mean();
            losses.push(loss.clone().into_scalar());
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(0.3, model, gradients);
        }
        (model, [losses[0], losses[29]])
    }
    let burns = conv2d::<Train>(&conv(2, [3, 4], [1, 3, 3], [1, 6, 7]));
    let ours: Conv2d<Train> = burns.clone().into();
    let (_, losses) = train(burns, conv::Conv2d::forward);
    let (ours, [first, last]) = train(ours, Conv2d::forward);
    assert_eq!([first, last], losses);
    assert!(last < first / 2.0, "{last} after {first}");
    let (int8, _) = ours.valid().quantize(&Int8Config::new()).expect("a float layer");
    let y = floats(int8.forward(tensor([2, 3, 6, 7], 1)));
    let after = y.iter().map(|y| (y - 0.5).powi(2)).sum::<f32>() / y.len() as f32;
    assert!((after - last).abs() < 0.05 * first, "{after} after {last}");
}

fn quantized_2d(case: &Case) -> QConv2d<NdArray> {
    QLayer::from_float(&conv2d(case), &LayerScheme::default()).expect("finite weights")
}

#[test]
#[should_panic(
    expected = "QConv2d: an input of shape [1, 3, 6, 7] must have 4 channels, as the weight is [6, 2, 3, 3] in \
                           2 groups"
)]
fn other_channels_are_named_with_both_shapes() {
    let case = Case { groups: 2, ..conv(2, [4, 6], [1, 3, 3], [1, 6, 7]) };
    quantized_2d(&case).forward(tensor([1, 3, 6, 7], 1));
}

#[test]
#[should_panic(
    expected = "QConv2d: an input of shape [1, 3, 2, 7] leaves no room for an output; the weight is [4, 3, 3, 3], \
                           with stride [1, 1], dilation [1, 1] and padding Valid"
)]
fn an_input_without_room_is_named_with_both_shapes() {
    quantized_2d(&conv(2, [3, 4], [1, 3, 3], [1, 6, 7])).forward(tensor([1, 3, 2, 7], 1));
}

#[test]
#[should_panic(expected = "Asymmetric 3D 'Same' padding is not supported")]
fn asymmetric_padding_in_3d_is_refused_as_burn_refuses_it() {
    let config =
        Conv3dConfig::new([1, 1], [3, 3, 3]).with_padding(PaddingConfig3d::Same).with_stride([2, 2, 2]);
    config.init_int8::<NdArray>(&Default::default()).forward(tensor([1, 1, 4, 4, 4], 1));
}

/// The fields and defaults are Burn's: a configuration saved by either is read by the other, and `init` makes Burn's layer.
#[test]
fn configurations_are_burns() {
    macro_rules! check {
        ($($config:ident($($size:expr),*) $(.$set:ident($value:expr))*;)*) => {$({
            let device = Default::default();
            for (ours, burns) in [
                ($config::new($($size),*), conv::$config::new($($size),*)),
                ($config::new($($size),*)$(.$set($value))*, conv::$config::new($($size),*)$(.$set($value))*),
            ] {
                let (json, burns_json) = (serde_json::to_string(&ours), serde_json::to_string(&burns));
                assert_eq!(json.as_ref().expect("plain data"), &burns_json.expect("plain data"));
                let read: $config = serde_json::from_str(&json.expect("plain data")).expect("the same data");
                let (ours, burns) = (read.init::<NdArray>(&device), burns.init::<NdArray>(&device));
                assert_eq!(format!("{ours}"), format!("{burns}"));
                assert_eq!(ours.num_params(), burns.num_params());

                // The INT8 layer says the same, and how it treats its inputs.
                let int8 = read.init_int8::<NdArray>(&device);
                assert_eq!(int8.num_params(), ours.num_params());
                let with_mode = format!("Q{ours}").replace(", params", ", activations: Dynamic, params");
                assert_eq!(format!("{int8}"), with_mode);
                assert!(int8.integers().iter().all(|&q| q == 0));
                assert_eq!(format!("{}", int8.dequantize()), format!("{burns}"));
            }
        })*};
    }
    check! {
        Conv1dConfig(4, 6, 3).with_stride(2).with_dilation(3).with_groups(2).with_bias(false)
            .with_padding(PaddingConfig1d::Explicit(1, 2));
        Conv2dConfig([4, 6], [3, 2]).with_stride([2, 1]).with_dilation([3, 1]).with_groups(2).with_bias(false)
            .with_padding(PaddingConfig2d::Explicit(1, 2, 3, 4));
        Conv3dConfig([4, 6], [3, 2, 1]).with_stride([2, 1, 3]).with_groups(2).with_bias(false)
            .with_padding(PaddingConfig3d::Explicit(1, 2, 3));
        ConvTranspose1dConfig([4, 6], 3).with_stride(2).with_groups(2).with_padding(1).with_padding_out(1);
        ConvTranspose2dConfig([4, 6], [3, 2]).with_stride([2, 1]).with_groups(2).with_padding([1, 0])
            .with_padding_out([1, 0]);
        ConvTranspose3dConfig([4, 6], [3, 2, 1]).with_dilation([2, 1, 3]).with_groups(2).with_padding([1, 0, 2])
            .with_padding_out([1, 0, 0]);
    }
}

/// Weights that are not finite are refused with their output channel, wherever the layer has it.
#[test]
fn weights_that_are_not_finite() {
    for case in one_of_each() {
        with_conv!(NdArray, case, layer, RANK => {
            let mut data: Vec<f32> = layer.weight.val().to_data().to_vec().expect("f32");
            let end = data.len() - 1;
            data[end] = f32::INFINITY;
            let data = TensorData::new(data, layer.weight.dims());
            layer.weight = layer.weight.map(|w| Tensor::from_data(data.clone(), &w.device()));
            let channel = case.channels[1] - 1;
            let expected = Int8Error::NonFiniteWeight { path: String::new(), channel };
            let error = DropIn::from(layer).quantize(&Int8Config::new()).expect_err("an infinity");
            assert_eq!(error.error(), &expected);
        });
    }
}
