//! Burn's own modules on `Int8<B>` give what they give on `B`, bit for bit, and the same gradients, while nothing is quantized.
//!
//! A case is a function that is generic over the backend and tells a [`Run`] what it computes. It runs on both.

mod activations;
mod attention;
mod convolutions;
mod layers;
mod losses;
mod norms;
mod pools;
mod recurrent;
mod run;

use std::collections::BTreeSet;

use burn::backend::NdArray;

use run::Run;

/// Lists the cases of a file: those under `train` are differentiated, too; so are those under `train_nearly`, whose gradients differ
/// from run to run in Burn itself; those under `infer` have no gradient in Burn.
macro_rules! cases {
    (
        train: [$($train:ident),* $(,)?],
        train_nearly: [$($nearly:ident),* $(,)?],
        infer: [$($infer:ident),* $(,)?] $(,)?
    ) => {
        pub const CASES: &[fn(&mut super::run::Run<burn::backend::NdArray>)] =
            &[$($train,)* $($nearly,)* $($infer,)*];

        mod same_as_without {
            use burn::backend::{Autodiff, Flex, NdArray};
            use burn_int8::Int8;

            #[allow(unused_imports, reason = "not every file has cases of all three kinds")]
            use super::super::run::{assert_near, assert_same, gradients, outputs};

            $(
                #[test]
                fn $train() {
                    assert_same(outputs::<NdArray>(super::$train), outputs::<Int8<NdArray>>(super::$train));
                    assert_same(outputs::<Flex>(super::$train), outputs::<Int8<Flex>>(super::$train));
                    assert_same(
                        gradients::<Autodiff<NdArray>>(super::$train),
                        gradients::<Autodiff<Int8<NdArray>>>(super::$train),
                    );
                    assert_same(
                        gradients::<Autodiff<Flex>>(super::$train),
                        gradients::<Autodiff<Int8<Flex>>>(super::$train),
                    );
                }
            )*
            $(
                #[test]
                fn $nearly() {
                    assert_same(outputs::<NdArray>(super::$nearly), outputs::<Int8<NdArray>>(super::$nearly));
                    assert_same(outputs::<Flex>(super::$nearly), outputs::<Int8<Flex>>(super::$nearly));
                    assert_near(
                        gradients::<Autodiff<NdArray>>(super::$nearly),
                        gradients::<Autodiff<Int8<NdArray>>>(super::$nearly),
                    );
                    assert_near(
                        gradients::<Autodiff<Flex>>(super::$nearly),
                        gradients::<Autodiff<Int8<Flex>>>(super::$nearly),
                    );
                }
            )*
            $(
                #[test]
                fn $infer() {
                    assert_same(outputs::<NdArray>(super::$infer), outputs::<Int8<NdArray>>(super::$infer));
                    assert_same(outputs::<Flex>(super::$infer), outputs::<Int8<Flex>>(super::$infer));
                }
            )*
        }
    };
}

use cases;

/// The modules of `burn-nn` 0.21.0: what `grep -rhoE "^pub (struct|enum) \w+" src` lists in its sources, without configurations,
/// options, inputs, outputs, states and caches.
const MODULES: &str = "
    Activation AdaptiveAvgPool1d AdaptiveAvgPool2d AvgPool1d AvgPool2d BatchNorm BiGru BiLstm BiRnn BinaryCrossEntropyLoss CTCLoss
    Celu Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d CosineEmbeddingLoss CrossAttention CrossEntropyLoss
    DeformConv2d Dropout Elu Embedding GLU GateController GaussianNoise Gelu GroupNorm Gru HardShrink HardSigmoid HardSwish
    HuberLoss InstanceNorm Interpolate1d Interpolate2d KLDivLoss LayerNorm LeakyRelu Linear LocalResponseNorm LpLoss Lstm MaxPool1d
    MaxPool2d MseLoss MultiHeadAttention Normalization PRelu PoissonNllLoss PositionWiseFeedForward PositionalEncoding RNNTLoss Relu
    RmsNorm Rnn RotaryEncoding Selu Shrink Sigmoid SmoothL1Loss SoftShrink Softplus Softsign SwiGlu Tanh ThresholdedRelu
    TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer Unfold4d";

#[test]
fn every_module_of_burn_has_a_case() {
    let files = [
        activations::CASES,
        attention::CASES,
        convolutions::CASES,
        layers::CASES,
        losses::CASES,
        norms::CASES,
        pools::CASES,
        recurrent::CASES,
    ];
    let used: BTreeSet<_> =
        files.into_iter().flatten().flat_map(|case| Run::<NdArray>::of(*case).used).collect();
    let all: BTreeSet<_> = MODULES.split_whitespace().map(String::from).collect();
    assert_eq!(used, all);
}

/// Another release of Burn has other modules.
#[test]
fn the_list_is_of_the_release_that_is_used() {
    let manifest = include_str!("../../../Cargo.toml");
    assert!(manifest.contains("\nburn = { version = \"=0.21.0\""));
}
