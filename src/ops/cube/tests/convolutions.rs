//! Convolutions on the device, against the CPU's.

use super::*;

pub(super) fn filters() -> Vec<ConvSpec> {
    let plain = ConvSpec {
        axes: 3,
        channels: [6, 5],
        groups: 1,
        kernel: [1, 3, 2],
        stride: [1; 3],
        dilation: [1; 3],
        transposed: false,
    };
    vec![
        plain,
        ConvSpec { channels: [1, 3], ..plain },
        ConvSpec { channels: [6, 16], groups: 2, stride: [1, 2, 3], ..plain },
        ConvSpec { channels: [6, 10], groups: 2, ..plain },
        ConvSpec { channels: [6, 12], groups: 6, dilation: [1, 2, 1], ..plain },
        ConvSpec { channels: [7, 7], groups: 7, stride: [1, 2, 2], ..plain },
        ConvSpec { kernel: [2, 3, 3], stride: [2, 1, 2], dilation: [1, 2, 2], ..plain },
        ConvSpec { channels: [40, 70], kernel: [1, 3, 3], ..plain },
        ConvSpec { channels: [70, 66], kernel: [1; 3], ..plain },
        ConvSpec { channels: [70, 66], kernel: [1; 3], stride: [1, 2, 2], ..plain },
    ]
}

/// The sums of two samples on the device and on the CPU.
fn both_convolutions(
    spec: ConvSpec,
    input: [usize; 3],
    padding: [[usize; 2]; 3],
    codes: InputCodes,
) -> [Vec<i32>; 2] {
    let wide = WIDE.get() == Some(true);
    let (range, limit) = if wide { (QuantRange::Full, 64) } else { (QuantRange::Symmetric, usize::MAX) };
    let form = WeightLayout::Conv(spec);
    let geometry = spec.geometry(input, padding).expect("an output");
    let (weights, _) = PackedWeights::quantize(&values(form.len(), 1), &form, range).expect("finite");
    let [depth, height, width] = input;
    let shape = [2, spec.channels[0], depth, height, width];
    let len: usize = shape.iter().product();
    let x = mixed(len, len / 2, 2);
    let images = conv::ConvInput { values: &x, batch: 2, geometry: &geometry, weights: &weights };
    let scheme = LayerScheme::default().with_range(range).with_codes(codes);
    let expected = conv::accumulators(Kernel::detect(), &images, scheme.inputs());
    let words = on_device(&weights, &form, limit);
    let out = Shape::new([expected.len()]);
    let got = sums(Convolution { samples: 2, geometry }, tensor(&x, shape), &words, scheme, out);
    [got, expected]
}

#[test]
fn sums_of_convolutions_are_identical() {
    in_every_way(|| {
        for spec in filters() {
            for transposed in [false, true] {
                let spec = ConvSpec { transposed, ..spec };
                for (input, padding) in [([3, 6, 7], [[0; 2]; 3]), ([2, 5, 5], [[0, 0], [1, 2], [2, 0]])] {
                    for codes in [InputCodes::Signed, InputCodes::Auto] {
                        let [got, expected] = both_convolutions(spec, input, padding, codes);
                        assert_eq!(got, expected, "{spec:?} on {input:?} {padding:?} {codes:?}");
                    }
                }
            }
        }
    });
}
