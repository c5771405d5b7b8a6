//! Convolutions with options as large as they can be: the right output, or a refusal that names both shapes, and never a wrong
//! number. (`ops::tests` holds the portable path to the same loops.)

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::NdArray;
use burn::module::Initializer;
use burn::nn::conv;
use burn::prelude::*;
use burn_int8::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d, QLayer};
use burn_int8::prelude::*;

use crate::support::models::floats;

const HUGE: usize = (1 << 62) - 1;

/// Options and an input, with which something that is computed from them may overflow.
#[derive(Clone, Copy, Debug)]
struct Hostile {
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: [usize; 2],
    input: usize,
}

/// The output of ones under weights of one, along one axis and for one input channel, in `i128`; `None` if there is none or
/// more of it than a test can hold.
fn ones_under_ones(case: &Hostile, transposed: bool) -> Option<Vec<f32>> {
    let [kernel, stride, dilation, input] =
        [case.kernel, case.stride, case.dilation, case.input].map(|size| size as i128);
    let [front, behind] = case.padding.map(|size| size as i128);
    let reach = (kernel - 1).checked_mul(dilation)? + 1;
    let output = if transposed {
        (input - 1) * stride + reach + behind - 2 * front
    } else {
        (input + front + behind - reach).div_euclid(stride) + 1
    };
    let hits = |output: i128| {
        let pairs = (0..kernel).flat_map(|tap| (0..input).map(move |at| (tap, at)));
        let meets = |&(tap, at): &(i128, i128)| {
            let (from, to) = if transposed { (at, output) } else { (output, at) };
            from * stride + tap * dilation - front == to
        };
        pairs.filter(meets).count() as f32
    };
    (1..100).contains(&output).then(|| (0..output).map(hits).collect())
}

/// Runs a layer of ones, in both modes, on an input of ones that has `$rank` axes.
macro_rules! check {
    ($config:expr, $rank:literal, $case:expr, $expected:expr) => {
        for mode in [QuantMode::Dynamic, QuantMode::WeightOnly] {
            let device = Default::default();
            let float =
                $config.clone().with_bias(false).with_initializer(Initializer::Ones).init::<NdArray>(&device);
            let scheme = LayerScheme::default().with_mode(mode);
            let int8 = QLayer::from_float(&float, &scheme).expect("finite weights");
            let shape = |last: usize| {
                let mut shape = [1; $rank];
                shape[$rank - 1] = last;
                shape
            };
            let [x, weight] = [$case.input, $case.kernel].map(shape);
            let forward = || floats(int8.forward(Tensor::<NdArray, $rank>::ones(x, &device)));
            let outcome = catch_unwind(AssertUnwindSafe(forward));
            let what = format!("{} axes, {mode:?}: {:?}", $rank - 2, $case);
            assert_right_or_refused(
                outcome,
                [x, weight].map(|shape| format!("{shape:?}")),
                &$expected,
                &what,
            );
        }
    };
}

fn assert_right_or_refused(
    outcome: std::thread::Result<Vec<f32>>,
    shapes: [String; 2],
    expected: &Option<Vec<f32>>,
    what: &str,
) {
    match outcome {
        Ok(got) => {
            let expected = expected.as_ref().unwrap_or_else(|| panic!("{what}: there is no output"));
            // Sums of a few ones, each a little off where it was an integer times a scale.
            let close = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-3);
            assert!(got.len() == expected.len() && close, "{got:?}, not {expected:?}: {what}");
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().expect("a message with values");
            assert!(shapes.iter().all(|shape| text.contains(shape)), "{shapes:?} are not in: {text}");
        }
    }
}

#[test]
fn convolutions_are_right_or_refused() {
    let plain = || Hostile { kernel: 2, stride: 1, dilation: 1, padding: [0; 2], input: 1 };
    let cases = [
        // Outputs that meet padding alone but for one tap.
        Hostile { dilation: HUGE, padding: [0, HUGE + 1], ..plain() },
        Hostile { dilation: HUGE / 2, padding: [0, HUGE / 2 + 1], ..plain() },
        Hostile { dilation: HUGE, padding: [HUGE + 1, 0], ..plain() },
        Hostile { dilation: usize::MAX, padding: [usize::MAX, 1], ..plain() },
        Hostile { dilation: usize::MAX / 2, padding: [usize::MAX / 2, 2], input: 3, ..plain() },
        Hostile { kernel: 9, dilation: usize::MAX / 4, padding: [usize::MAX, usize::MAX], ..plain() },
        // Strides out of everything.
        Hostile { stride: usize::MAX, input: 5, ..plain() },
        Hostile { stride: HUGE, dilation: 3, input: 5, ..plain() },
        // Outputs without end.
        Hostile { padding: [usize::MAX / 2, usize::MAX / 2], ..plain() },
        Hostile { padding: [usize::MAX, 0], ..plain() },
        Hostile { padding: [HUGE, 0], ..plain() },
        // Kernels larger than their input, and more padding than input.
        Hostile { kernel: 50, input: 3, ..plain() },
        Hostile { kernel: 50, padding: [40, 20], input: 3, ..plain() },
        Hostile { kernel: 2, padding: [17, 33], input: 3, ..plain() },
        Hostile { kernel: 3, stride: 40, dilation: 7, padding: [90, 90], input: 9 },
    ];
    for case in cases {
        let Hostile { kernel, stride, dilation, padding: [front, behind], .. } = case;
        let one = conv::Conv1dConfig::new(1, 1, kernel).with_stride(stride).with_dilation(dilation);
        let one = one.with_padding(PaddingConfig1d::Explicit(front, behind));
        check!(one, 3, case, ones_under_ones(&case, false));

        let two = conv::Conv2dConfig::new([1, 1], [1, kernel]).with_stride([1, stride]);
        let two =
            two.with_dilation([dilation; 2]).with_padding(PaddingConfig2d::Explicit(0, front, 0, behind));
        check!(two, 4, case, ones_under_ones(&case, false));

        let three = conv::Conv3dConfig::new([1, 1], [1, 1, kernel]).with_stride([1, 1, stride]);
        let three = three.with_dilation([dilation; 3]).with_padding(PaddingConfig3d::Explicit(0, 0, front));
        let symmetric = Hostile { padding: [front; 2], ..case };
        check!(three, 5, case, ones_under_ones(&symmetric, false));
    }
}

/// Strides are not as large here: the weights of a transposed convolution are packed residue by residue.
#[test]
fn transposed_convolutions_are_right_or_refused() {
    let plain = || Hostile { kernel: 2, stride: 1, dilation: 1, padding: [0; 2], input: 2 };
    let cases = [
        Hostile { dilation: HUGE, padding: [HUGE / 2, 1], ..plain() },
        Hostile { dilation: usize::MAX, padding: [usize::MAX / 2, 2], ..plain() },
        Hostile { dilation: usize::MAX / 2, padding: [usize::MAX / 4, 5], stride: 3, ..plain() },
        Hostile { padding: [usize::MAX, usize::MAX], ..plain() },
        Hostile { padding: [0, usize::MAX], ..plain() },
        Hostile { padding: [0, HUGE], ..plain() },
        Hostile { kernel: 5, dilation: HUGE, ..plain() },
        Hostile { kernel: 30, padding: [14, 0], ..plain() },
        Hostile { kernel: 3, stride: 40, dilation: 7, padding: [20, 30], ..plain() },
    ];
    for case in cases {
        let Hostile { kernel, stride, dilation, padding: [cut, added], .. } = case;
        let expected = ones_under_ones(&case, true);
        let one = conv::ConvTranspose1dConfig::new([1, 1], kernel).with_stride(stride);
        let one = one.with_dilation(dilation).with_padding(cut).with_padding_out(added);
        check!(one, 3, case, expected);

        let two = conv::ConvTranspose2dConfig::new([1, 1], [1, kernel]).with_stride([1, stride]);
        let two = two.with_dilation([dilation; 2]).with_padding([0, cut]).with_padding_out([0, added]);
        check!(two, 4, case, expected);

        let three = conv::ConvTranspose3dConfig::new([1, 1], [1, 1, kernel]).with_stride([1, 1, stride]);
        let three =
            three.with_dilation([dilation; 3]).with_padding([0, 0, cut]).with_padding_out([0, 0, added]);
        check!(three, 5, case, expected);
    }
}
