//! `TransformerEncoder` and its parts, as in [`burn::nn::transformer`], with layers that can become INT8.

mod encoder;
mod feed_forward;

pub use encoder::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput, TransformerEncoderLayer,
    TransformerEncoderLayerRecord, TransformerEncoderRecord,
};
pub use feed_forward::{
    PositionWiseFeedForward, PositionWiseFeedForwardConfig, PositionWiseFeedForwardRecord,
};
