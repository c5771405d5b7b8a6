//! Burn's transformer modules with drop-in layers: Burn's numbers and bytes while float, near them in INT8, however computed.

use burn::backend::{Autodiff, Flex, NdArray};
use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::nn::activation::ActivationConfig;
use burn::nn::{attention as burns_attention, transformer as burns};
use burn::prelude::*;
use burn::record::{
    BinBytesRecorder, FullPrecisionSettings, HalfPrecisionSettings, NamedMpkBytesRecorder, Recorder,
};
use burn::tensor::DType;
use burn_int8::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig, attention};
use burn_int8::nn::transformer::{
    PositionWiseFeedForward, PositionWiseFeedForwardConfig, TransformerEncoder, TransformerEncoderConfig,
    TransformerEncoderInput,
};
use burn_int8::prelude::*;

use crate::support::models::{floats, tensor};

type B = NdArray;
type Bin = BinBytesRecorder<FullPrecisionSettings, Vec<u8>>;

const WIDTH: usize = 24;
const WIDE: usize = 40;
const HEADS: usize = 3;
const LAYERS: usize = 2;

/// Gives each parameter values of its own.
struct Fill(usize);

impl<B: Backend> ModuleMapper<B> for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        self.0 += 1;
        // The values have sizes at which no attention is all on one key.
        param.map(|old| tensor::<B, D>(old.dims(), self.0) * 0.4)
    }
}

fn config() -> TransformerEncoderConfig {
    TransformerEncoderConfig::new(WIDTH, WIDE, HEADS, LAYERS).with_dropout(0.0)
}

fn encoder<B: Backend>(config: &TransformerEncoderConfig) -> TransformerEncoder<B> {
    config.init(&Default::default()).map(&mut Fill(0))
}

fn int8<B: Backend, M: Module<B>>(model: M) -> M {
    model.quantize(&Int8Config::new()).expect("float layers").0
}

/// A mask with padding at the end of the second sample.
fn padding<B: Backend>() -> Tensor<B, 2, Bool> {
    Tensor::from_data([[false; 5], [false, false, false, true, true]], &Default::default())
}

/// Nobody sees what comes later.
fn causal<B: Backend>() -> Tensor<B, 3, Bool> {
    burns_attention::generate_autoregressive_mask(2, 5, &Default::default())
}

/// Inputs with no mask, with each, and with both.
fn inputs<B: Backend>() -> Vec<TransformerEncoderInput<B>> {
    let input = TransformerEncoderInput::new(tensor([2, 5, WIDTH], 99));
    let padded = input.clone().mask_pad(padding());
    vec![input.clone(), padded.clone(), input.mask_attn(causal()), padded.mask_attn(causal())]
}

fn burns_inputs() -> Vec<burns::TransformerEncoderInput<B>> {
    let input = || burns::TransformerEncoderInput::new(tensor([2, 5, WIDTH], 99));
    let padded = || input().mask_pad(padding());
    vec![input(), padded(), input().mask_attn(causal()), padded().mask_attn(causal())]
}

fn outputs<B: Backend>(model: &TransformerEncoder<B>) -> Vec<Vec<f32>> {
    inputs().into_iter().map(|input| floats(model.forward(input))).collect()
}

fn variants() -> impl Iterator<Item = TransformerEncoderConfig> {
    let norms = [false, true].into_iter();
    norms.flat_map(|first| {
        [false, true]
            .map(|quiet| config().with_norm_first(first).with_quiet_softmax(quiet).with_layer_norm_eps(1e-3))
    })
}

fn check_record<R: Recorder<B, RecordArgs = (), RecordOutput = Vec<u8>, LoadArgs = Vec<u8>>>() {
    for config in variants() {
        let (recorder, device) = (R::default(), Default::default());
        let mut stock = burns::TransformerEncoderConfig::new(WIDTH, WIDE, HEADS, LAYERS);
        stock.norm_first = config.norm_first;
        stock.quiet_softmax = config.quiet_softmax;
        stock.layer_norm_eps = config.layer_norm_eps;
        let stock = stock.init::<B>(&device).map(&mut Fill(0));
        let bytes = recorder.record(stock.clone().into_record(), ()).expect("in memory");
        let record = recorder.load(bytes.clone(), &device).expect("Burn's bytes");
        let ours = config.init::<B>(&device).load_record(record);
        assert!(recorder.record(ours.clone().into_record(), ()).expect("in memory") == bytes);
        let stock = stock.load_record(recorder.load(bytes, &device).expect("its own"));
        for (ours, stock) in
            outputs(&ours).into_iter().zip(burns_inputs().into_iter().map(|x| stock.forward(x)))
        {
            assert_eq!(ours, floats(stock));
        }
    }
}

#[test]
fn while_float_an_encoder_has_burns_bytes_and_numbers() {
    check_record::<Bin>();
    check_record::<NamedMpkBytesRecorder<FullPrecisionSettings>>();
    check_record::<NamedMpkBytesRecorder<HalfPrecisionSettings>>();
}

/// The change that one rounding which falls out differently may make: a step of 127 to the largest, through a few layers.
const ONE_STEP: f32 = 0.05;
/// The change where all is rounded the same: sums of some tens of floats in another order.
const ORDER: f32 = 2e-5;

/// Outputs are equal up to the order of float sums, but where a value that lies between two integers is rounded the other way.
fn assert_same(got: &[f32], expected: &[f32]) {
    let differences: Vec<_> =
        got.iter().zip(expected).map(|(got, expected)| (got - expected).abs()).collect();
    let largest = differences.iter().copied().fold(0.0, f32::max);
    assert!(largest < ONE_STEP, "off by {largest}");
    let mut sorted = differences.clone();
    sorted.sort_by(f32::total_cmp);
    assert!(sorted[sorted.len() / 2] < ORDER, "most are off by {}", sorted[sorted.len() / 2]);
}

/// On a CPU backend attention, norms and GELU are fused; under autodiff they are Burn's operations.
#[test]
fn int8_is_the_same_however_it_is_computed() {
    for config in variants() {
        for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
            let int8_config = Int8Config::new().with_mode(activations);
            let (model, _) = encoder::<Autodiff<B>>(&config).quantize(&int8_config).expect("float layers");
            let fused = outputs(&model.valid());
            for (fused, burns) in fused.iter().zip(outputs(&model)) {
                assert_same(fused, &burns);
            }
            let (flex, _) = encoder::<Flex>(&config).quantize(&int8_config).expect("float layers");
            for (fused, flex) in fused.iter().zip(outputs(&flex)) {
                assert_same(fused, &flex);
            }
        }
    }
}

/// There Burn's operations and the kernels of the device take turns, masks included.
#[cfg(feature = "wgpu")]
#[test]
fn a_device_answers_as_the_host() {
    if !crate::gpu::available() {
        return;
    }
    for config in [config(), config().with_norm_first(true).with_quiet_softmax(true)] {
        let host = outputs(&int8(encoder::<B>(&config)));
        let device = outputs(&int8(encoder::<crate::gpu::Fused>(&config)));
        host.iter().zip(&device).for_each(|(host, device)| assert_same(device, host));
    }
    fn grouped<B: Backend>() -> Vec<f32> {
        let [k, v] = [2, 3].map(|seed| tensor([2, 5, 2, 8], seed));
        floats(attention::<B>(tensor([2, 3, 6, 8], 1), k, v, Some(causal().narrow(1, 1, 3)), 0.3))
    }
    let (host, device) = (grouped::<B>(), grouped::<crate::gpu::Fused>());
    assert!(host.iter().zip(&device).all(|(host, device)| (host - device).abs() < ORDER));
}

#[test]
fn int8_is_near_to_float_and_named_in_the_report() {
    let float = encoder::<B>(&config());
    let (model, report) = float.clone().quantize(&Int8Config::new()).expect("float layers");
    let paths: Vec<_> = report.layers.iter().map(|layer| layer.path.as_str()).collect();
    let parts = ["mha.query", "mha.key", "mha.value", "mha.output", "pwff.linear_inner", "pwff.linear_outer"];
    let expected: Vec<_> = (0..LAYERS).flat_map(|i| parts.map(|part| format!("layers.{i}.{part}"))).collect();
    assert_eq!(paths, expected);
    assert_eq!(report.int8_layers(), expected.len());
    for (int8, float) in outputs(&model).iter().zip(outputs(&float)) {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let cosine = dot(int8, &float) / (dot(int8, int8) * dot(&float, &float)).sqrt();
        assert!(cosine > 0.999, "{cosine}");
    }
}

/// One layer of the encoder alone, in a fresh model from a file.
#[test]
fn int8_comes_back_bit_for_bit() {
    let config = config();
    for int8_config in [Int8Config::new(), Int8Config::new().with_include(vec!["layers.0.pwff".into()])] {
        let (model, _) = encoder::<B>(&config).quantize(&int8_config).expect("float layers");
        let recorder = Bin::default();
        let bytes = recorder.record(model.clone().into_record(), ()).expect("in memory");
        let loaded = config.init::<B>(&Default::default());
        let loaded = loaded.load_record(recorder.load(bytes, &Default::default()).expect("its own"));
        assert_eq!(outputs(&loaded), outputs(&model));
    }
}

#[test]
fn what_is_padded_changes_nothing() {
    let model = int8(encoder::<B>(&config()));
    let x = tensor::<B, 3>([2, 5, WIDTH], 99);
    let other = x.clone().slice_assign([1..2, 3..5, 0..WIDTH], tensor([1, 2, WIDTH], 7));
    let [a, b] = [x, other].map(|x| {
        let output = model.forward(TransformerEncoderInput::new(x).mask_pad(padding()));
        floats(output.slice([0..2, 0..3, 0..WIDTH]))
    });
    assert_eq!(a, b);
}

/// A query of its own, and more keys than queries: `context` of a float module against Burn's module with the same record, that
/// of an INT8 one, which is fused, against `forward`, which is made of Burn's operations.
#[test]
fn attention_to_another_sequence() {
    for quiet in [false, true] {
        let (recorder, device) = (Bin::default(), Default::default());
        let config = MultiHeadAttentionConfig::new(WIDTH, HEADS).with_dropout(0.0).with_quiet_softmax(quiet);
        let float = config.init::<B>(&device).map(&mut Fill(0));
        let stock = burns_attention::MultiHeadAttentionConfig::new(WIDTH, HEADS)
            .with_dropout(0.0)
            .with_quiet_softmax(quiet)
            .init::<B>(&device);
        let bytes = recorder.record(float.clone().into_record(), ()).expect("in memory");
        let stock = stock.load_record(recorder.load(bytes, &device).expect("the same layout"));
        let tensors = || [(3, 1), (5, 2), (5, 3)].map(|(rows, seed)| tensor::<B, 3>([2, rows, WIDTH], seed));
        let input = || {
            let [query, keys, values] = tensors();
            MhaInput::new(query, keys, values).mask_pad(padding())
        };
        let [query, keys, values] = tensors();
        let expected = burns_attention::MhaInput::new(query, keys, values).mask_pad(padding());
        assert_eq!(floats(float.context(input())), floats(stock.forward(expected).context));

        let model: MultiHeadAttention<B> = int8(float);
        assert_same(&floats(model.context(input())), &floats(model.forward(input()).context));
        let output = model.forward(MhaInput::self_attn(tensor([2, 5, WIDTH], 1)));
        assert_eq!(output.weights.dims(), [2, HEADS, 5, 5]);
    }
}

#[test]
fn every_activation_of_burns_is_applied() {
    let x = || tensor::<B, 2>([4, WIDTH], 5);
    for activation in [ActivationConfig::Gelu, ActivationConfig::GeluApproximate, ActivationConfig::Relu] {
        let config = PositionWiseFeedForwardConfig::new(WIDTH, WIDE).with_activation(activation);
        let model: PositionWiseFeedForward<B> = int8(config.init(&Default::default()).map(&mut Fill(0)));
        let inner = model.activation.forward(model.linear_inner.forward(x()));
        assert_same(&floats(model.forward(x())), &floats(model.linear_outer.forward(inner)));
    }
}

#[test]
fn doubles_stay_doubles() {
    let model = int8(encoder::<NdArray<f64>>(&config()));
    let x = tensor::<NdArray<f64>, 3>([2, 5, WIDTH], 99).cast(DType::F64);
    assert_eq!(model.forward(TransformerEncoderInput::new(x)).dtype(), DType::F64);
}

#[test]
fn no_tokens_give_no_outputs() {
    let model = int8(encoder::<B>(&config().with_norm_first(true)));
    for shape in [[0, 5, WIDTH], [2, 0, WIDTH]] {
        let x = Tensor::<B, 3>::zeros(shape, &Default::default());
        assert_eq!(model.forward(TransformerEncoderInput::new(x)).dims(), shape);
    }
}

#[test]
#[should_panic(expected = "keys [2, 4, 3, 8] and values [2, 5, 3, 8] do not belong together")]
fn keys_without_values_are_refused() {
    let [query, key, value] = [3, 4, 5].map(|rows| tensor::<B, 4>([2, rows, 3, 8], 1));
    attention(query, key, value, None, 1.0);
}

#[test]
#[should_panic(expected = "a mask of shape [2, 1, 5] does not fit [2, 4, 4]")]
fn a_mask_of_another_length_is_refused() {
    let x = tensor::<B, 4>([2, 4, 3, 8], 1);
    attention(x.clone(), x.clone(), x, Some(padding().unsqueeze_dim(1)), 1.0);
}

/// Shapes that Burn's operations stretch: a mask for all samples beside one of each, keys for all samples.
#[test]
fn masks_and_keys_are_stretched() {
    let config = MultiHeadAttentionConfig::new(WIDTH, HEADS).with_dropout(0.0);
    let model = int8(config.init::<Autodiff<B>>(&Default::default()).map(&mut Fill(0)));
    fn inputs<B: Backend>() -> [MhaInput<B>; 3] {
        let [x, keys] = [2, 1].map(|batch| tensor([batch, 5, WIDTH], 1));
        let one = MhaInput::self_attn(x.clone()).mask_attn(causal().narrow(0, 0, 1));
        let both = one.clone().mask_pad(padding());
        [one, both, MhaInput::new(x, keys.clone(), keys).mask_pad(padding().narrow(0, 1, 1))]
    }
    for (fused, burns) in inputs().into_iter().zip(inputs()) {
        assert_same(&floats(model.valid().context(fused)), &floats(model.forward(burns).context));
    }
}

/// Heads that share keys, masks for one and for all: the fused pass, and Burn's operations.
#[test]
fn attention_is_the_same_on_every_way() {
    let device = Default::default();
    let tensors = |heads| [tensor([2, 3, heads, 8], 1), tensor([2, 5, 2, 8], 2), tensor([2, 5, 2, 8], 3)];
    let row = Tensor::<Autodiff<B>, 3, Bool>::from_data([[[false, true, false, true, true]]], &device);
    let all = Tensor::<Autodiff<B>, 3, Bool>::from_data([[[true; 5]]], &device);
    let rows = causal::<Autodiff<B>>().slice([0..2, 1..4, 0..5]);
    let masks = [None, Some(row.clone()), Some(row.expand([2, 1, 5])), Some(rows.clone()), Some(all)];
    for mask in masks.into_iter().chain([Some(rows.narrow(0, 0, 1))]) {
        for heads in [2, 6] {
            let [q, k, v] = tensors(heads);
            let burns = attention::<Autodiff<B>>(q.clone(), k.clone(), v.clone(), mask.clone(), 0.3);
            let mask = mask.clone().map(|mask| Tensor::from_data(mask.into_data(), &device));
            let fused = attention::<B>(q.inner(), k.inner(), v.inner(), mask, 0.3);
            for (fused, burns) in floats(fused).iter().zip(floats(burns)) {
                assert!((fused - burns).abs() < ORDER, "{fused}, not {burns}");
            }
        }
    }
}

/// A masked key has no weight, however low the scores of the others are.
#[test]
fn a_masked_key_is_masked() {
    fn check<B: Backend>() {
        let device = Default::default();
        let q = Tensor::<B, 4>::full([1, 2, 1, 4], 1e3, &device);
        let k = tensor::<B, 4>([1, 2, 1, 4], 1).abs() * -1e6;
        let mask = Tensor::from_data([[[false, true], [true, true]]], &device);
        let v = Tensor::from_data([[[[1.0, 1.0, 1.0, 1.0]], [[3.0, 3.0, 3.0, 3.0]]]], &device);
        assert_eq!(floats(attention(q, k, v, Some(mask), 1.0)), [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    }
    check::<B>();
    check::<Autodiff<B>>();
}

#[test]
fn nothing_to_look_at_gives_zeros() {
    fn check<B: Backend>() {
        for [queries, keys] in [[0, 3], [2, 0], [0, 0]] {
            let [q, k] =
                [queries, keys].map(|rows| Tensor::<B, 4>::ones([1, rows, 2, 4], &Default::default()));
            assert_eq!(floats(attention(q, k.clone(), k, None, 1.0)), vec![0.0; queries * 8]);
        }
    }
    check::<B>();
    check::<Autodiff<B>>();
}

#[test]
fn it_is_displayed_as_burns() {
    let ours = config().init::<B>(&Default::default()).layers.remove(0);
    let burns = burns::TransformerEncoderConfig::new(WIDTH, WIDE, HEADS, 1).with_dropout(0.0);
    let burns = burns.init::<B>(&Default::default()).layers.remove(0);
    assert_eq!(format!("{}", ours.pwff), format!("{}", burns.pwff));
    assert_eq!(format!("{}", ours.mha), format!("{}", burns.mha));
    assert_eq!(format!("{}", ours.norm_1), format!("{}", burns.norm_1));
}

#[test]
#[should_panic(expected = "queries [1, 2, 3, 8], keys [1, 2, 2, 8]")]
fn heads_that_cannot_share_are_refused() {
    let [q, k] = [3, 2].map(|heads| tensor::<B, 4>([1, 2, heads, 8], 1));
    attention(q, k.clone(), k, None, 1.0);
}

#[test]
#[should_panic(expected = "the last axis of an input of shape [2, 4, 8] must be 24")]
fn an_input_of_another_width_is_refused() {
    let model = int8(MultiHeadAttentionConfig::new(WIDTH, HEADS).init::<B>(&Default::default()));
    model.context(MhaInput::self_attn(tensor([2, 4, 8], 1)));
}
