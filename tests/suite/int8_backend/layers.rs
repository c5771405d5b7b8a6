//! Burn's layers in INT8 give the bits of this crate's.

use burn::module::Module;
use burn::nn;
use burn::prelude::*;
use burn_int8::nn::{DropIn, FloatLayer};
use burn_int8::prelude::*;

use super::B;
use crate::support::conv_case::{Case, Pad, conv, one_of_each, transposed};
use crate::support::models::{burns_embedding, burns_linear, floats, tensor};
use crate::with_conv;

/// The schemes that differ in what they leave open.
fn configs() -> [Int8Config; 3] {
    [Int8Config::new(), Int8Config::keras(), Int8Config::new().with_mode(QuantMode::WeightOnly)]
}

/// The layer of Burn's where it stands, and the drop-in.
fn both<L: FloatLayer<Backend = B>>(layer: &L, config: &Int8Config) -> (L, DropIn<L>) {
    let (stock, report) = layer.clone().quantize(config).expect("a float layer");
    assert_eq!((report.int8_layers(), report.layers[0].kind.as_str()), (1, L::KIND));
    (stock, DropIn::from(layer.clone()).quantize(config).expect("a float layer").0)
}

#[test]
fn linear() {
    for (config, bias) in configs().into_iter().zip([true, false, true]) {
        let layer = burns_linear::<B>(64, 9, bias, 1);
        let (stock, drop_in) = both(&layer, &config);
        let x = tensor::<B, 2>([5, 64], 2);
        let expected = floats(drop_in.forward(x.clone()));
        assert_ne!(floats(layer.forward(x.clone())), expected, "it is INT8");
        assert_eq!(floats(stock.forward(x.clone())), expected);
        assert_eq!(floats(stock.forward(x.clone().reshape([1, 5, 1, 64])).reshape([5, 9])), expected);
        assert_eq!(floats(stock.forward(x.narrow(0, 2, 1).reshape([64]))), expected[2 * 9..3 * 9]);
        assert_eq!(stock.forward(Tensor::<B, 3>::zeros([2, 0, 64], &Default::default())).dims(), [2, 0, 9]);
    }
}

#[test]
fn linear_that_is_saved_transposed() {
    let init = |seed| {
        let config = nn::LinearConfig::new(32, 5).with_layout(nn::LinearLayout::Col);
        let record = burns_linear::<B>(5, 32, false, seed).into_record();
        let fresh = config.with_bias(false).init::<B>(&Default::default());
        fresh.load_record(record)
    };
    let (stock, drop_in) = both(&init(1), &Int8Config::new());
    let x = tensor::<B, 2>([3, 32], 2);
    assert_eq!(floats(stock.forward(x.clone())), floats(drop_in.forward(x)));
}

#[test]
#[should_panic(
    expected = "Linear: the last axis of an input of shape [2, 32] must be 16, as the weight is [16, 4]"
)]
fn an_input_of_another_size() {
    let (stock, _) = both(&burns_linear::<B>(16, 4, true, 1), &Int8Config::new());
    stock.forward(tensor::<B, 2>([2, 32], 1));
}

#[test]
fn embedding_and_its_table_as_a_head() {
    for config in configs() {
        let (stock, drop_in) = both(&burns_embedding::<B>(11, 16, 1), &config);
        let indices = Tensor::<B, 2, Int>::from_ints([[0, 10, 3], [3, 7, 1]], &Default::default());
        assert_eq!(floats(stock.forward(indices.clone())), floats(drop_in.forward(indices.clone())));
        let rows = stock.weight.val().select(0, indices.clone().reshape([6]));
        assert_eq!(floats(rows), floats(drop_in.forward(indices)));

        let (x, table) = (tensor::<B, 2>([4, 16], 2), stock.weight.val());
        let expected = floats(drop_in.logits(x.clone()));
        assert_eq!(floats(x.clone().matmul(table.clone().transpose())), expected);
        assert_eq!(floats(x.clone().matmul(table.clone().swap_dims(0, 1))), expected);
        assert_eq!(floats(x.clone().matmul(table.clone().permute([1, 0]))), expected);
        let head = burn::tensor::module::linear(x.clone(), table.clone().transpose(), None);
        assert_eq!(floats(head), expected);
        let batch = x.clone().unsqueeze::<3>().matmul(table.transpose().unsqueeze());
        assert_eq!(floats(batch), expected);
        assert_eq!(stock.int8_report().layers[0].float_reads, 0, "nobody needed floats");
    }
}

#[test]
#[should_panic(expected = "index 11 is outside the vocabulary of 11 entries")]
fn an_index_outside_the_table() {
    let (stock, _) = both(&burns_embedding::<B>(11, 16, 1), &Int8Config::new());
    stock.forward(Tensor::from_ints([[0, 11]], &Default::default()));
}

/// Convolutions whose weights do not tell how they are called, beside one of each kind.
fn cases() -> Vec<Case> {
    let around = Pad::Around([[0; 2], [1, 1], [1, 1]]);
    let special = [
        Case { groups: 6, pad: around, ..conv(2, [6, 6], [1, 3, 3], [1, 7, 8]) }, // depthwise
        Case { groups: 3, stride: [1, 2, 2], pad: Pad::Same, ..conv(2, [3, 6], [1, 3, 3], [1, 9, 8]) },
        Case { pad: around, ..conv(2, [1, 4], [1, 3, 3], [1, 6, 6]) }, // one input channel, but not depthwise
        Case { groups: 4, ..conv(1, [4, 4], [1, 1, 3], [1, 1, 12]) },
        Case { groups: 2, stride: [1, 1, 2], ..transposed(1, [4, 6], [1, 1, 3], [1, 1, 5]) },
    ];
    one_of_each().into_iter().chain(special).collect()
}

#[test]
fn convolutions() {
    for (case, config) in cases().into_iter().flat_map(|case| configs().map(|config| (case.clone(), config)))
    {
        with_conv!(B, case, layer, RANK => {
            let (stock, drop_in) = both(&layer, &config);
            for batch in [1, 3] {
                let x = tensor::<B, RANK>(case.shape(batch), 5);
                let (ours, burns) = (drop_in.forward(x.clone()), stock.forward(x));
                assert_eq!(ours.dims(), burns.dims(), "{case:?}");
                assert_eq!(floats(ours), floats(burns), "{case:?}, {config}");
            }
            let scheme = stock.int8_report().layers[0].scheme;
            assert_eq!(scheme, drop_in.as_int8().map(|layer| layer.scheme()), "{case:?}");
        });
    }
}

/// One weight that is called in two ways is laid out for both.
#[test]
fn one_weight_with_two_strides() {
    let case = conv(2, [3, 4], [1, 3, 3], [1, 8, 8]);
    let strided = Case { stride: [1, 2, 2], ..case.clone() };
    let (config, x) = (Int8Config::new(), tensor::<B, 4>(case.shape(1), 5));
    let [(stock, _), (_, expected)] =
        [&case, &strided].map(|case| both(&crate::support::conv_case::conv2d::<B>(case), &config));
    let own = floats(stock.forward(x.clone()));
    let mut other = crate::support::conv_case::conv2d::<B>(&strided);
    other.weight = stock.weight.clone();
    assert_eq!(floats(other.forward(x.clone())), floats(expected.forward(x.clone())));
    assert_eq!(floats(stock.forward(x)), own);
}

#[test]
#[should_panic(
    expected = "Conv2d: an input of shape [1, 3, 2, 7] leaves no room for an output; the weight is [4, 3, 3, 3]"
)]
fn a_convolution_without_an_output() {
    let layer = crate::support::conv_case::conv2d::<B>(&conv(2, [3, 4], [1, 3, 3], [1, 9, 9]));
    let (stock, _) = both(&layer, &Int8Config::new());
    stock.forward(tensor([1, 3, 2, 7], 1));
}
