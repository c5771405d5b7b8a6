//! The layers: drop-in replacements for Burn's own, and the INT8 modules that they become.
//!
//! A drop-in layer has the constructors and the `forward` of Burn's layer. It is that layer, trains like it and saves the
//! same bytes, until [`Quantize::quantize`](crate::Quantize::quantize) swaps it for its INT8 form.
//!
//! | drop-in | INT8 form | replaces |
//! |---|---|---|
//! | [`Linear`] | [`QLinear`] | [`burn::nn::Linear`] |
//! | [`Embedding`] | [`QEmbedding`] | [`burn::nn::Embedding`] |
//! | [`Conv1d`], [`Conv2d`], [`Conv3d`] | [`QConv1d`], [`QConv2d`], [`QConv3d`] | [`burn::nn::conv::Conv1d`] and so on |
//! | [`ConvTranspose1d`], [`ConvTranspose2d`], [`ConvTranspose3d`] | [`QConvTranspose1d`], [`QConvTranspose2d`], [`QConvTranspose3d`] | [`burn::nn::conv::ConvTranspose1d`] and so on |
//!
//! [`attention`] and [`transformer`] have Burn's modules that are made of such layers, [`norm`] what comes between them.
//!
//! [`fold_batch_norm`](crate::fold_batch_norm) takes the BatchNorms out of a trained model, before it is quantized.
//!
//! A new layer is a file that implements [`FloatLayer`] for Burn's layer, with its config and its `forward`, and a line here.

pub mod attention;
pub(crate) mod conv;
pub(crate) mod drop_in;
mod embedding;
pub(crate) mod layer;
mod linear;
mod module;
pub mod norm;
pub(crate) mod observe;
mod qlayer;
pub(crate) mod record;
mod sizes;
mod smoothing;
mod straight_through;
pub mod transformer;
pub(crate) mod walk;
pub(crate) mod weight;

pub use burn::nn::{LinearLayout, PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};
pub use conv::{
    Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, Conv3d, Conv3dConfig, ConvTranspose1d, ConvTranspose1dConfig,
    ConvTranspose2d, ConvTranspose2dConfig, ConvTranspose3d, ConvTranspose3dConfig, QConv1d, QConv2d,
    QConv3d, QConvTranspose1d, QConvTranspose2d, QConvTranspose3d,
};
pub use drop_in::DropIn;
pub use embedding::{Embedding, EmbeddingConfig, QEmbedding};
pub use layer::FloatLayer;
pub use linear::{Linear, LinearConfig, QLinear};
#[doc(hidden)]
pub use observe::ObservedLayer;
pub use qlayer::QLayer;
