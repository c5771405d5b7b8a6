use burn_int8::Distortion;
use burn_int8::prelude::*;

use crate::error::Shortfall;
use crate::measure::{Measured, difference, quantized};
use crate::models::{Ddddocr, DdddocrLstm, Nsnet2, OnnxModel, PpocrDet, SileroVad};
use crate::reference::Reference;
use crate::{Float, Int8};

/// The answers in float.
fn float<M: OnnxModel>(reference: &Reference) -> Vec<f32> {
    M::answers(&M::load::<Float>(&Default::default()), reference)
}

/// Burn's float is compared with ONNX Runtime's, and it has the same bits on both backends.
fn float_is_right<M: OnnxModel>() {
    let reference = Reference::read().unwrap();
    let answers = float::<M>(&reference);
    let largest = difference(&M::sample(&answers), &M::expected(&reference));
    assert!(largest < M::FLOAT_DIFFERENCE, "{largest:e}");
}

#[test]
fn silero_vad_in_float() {
    float_is_right::<SileroVad>();
}

#[test]
fn nsnet2_in_float() {
    float_is_right::<Nsnet2>();
}

#[test]
fn ddddocr_in_float() {
    float_is_right::<Ddddocr>();
}

#[test]
fn lstm_in_float() {
    float_is_right::<DdddocrLstm>();
}

#[test]
fn ppocr_det_in_float() {
    float_is_right::<PpocrDet>();
}
