//! The peers that need nothing but crates.

use std::error::Error;
use std::hint::black_box;

use burn::backend::{Flex, NdArray};
use burn::module::Quantizer;
use burn::prelude::*;
use burn::tensor::ops::QuantizedTensor;
use burn::tensor::quantization::{Calibration, QTensorPrimitive, QuantLevel, QuantValue};
use burn_int8::nn::{Conv2d, Linear};
use burn_int8::prelude::*;

use crate::shape::{self, Shape};
use crate::task::{Task, relative_rms, values};

/// A layer that is ready to be called.
pub struct Peer {
    pub name: &'static str,
    /// Computes the output once.
    pub call: Box<dyn FnMut()>,
    /// The error of its answer, against f32 with the same weights; `None` if that is the answer of this very peer.
    pub error: Option<f64>,
}

/// The parts that a peer is built from: its call and its error.
pub type Ready = Result<(Box<dyn FnMut()>, Option<f64>), Box<dyn Error>>;

pub type Build = fn(&Task) -> Ready;

/// The peer that all others are compared with.
pub const SUBJECT: &str = "burn-int8, NdArray";

/// Names and builders for linear layers, the subject first. A name says what the peer leaves out, since that makes it look
/// faster.
pub const OF_LINEARS: &[(&str, Build)] = &[
    (SUBJECT, |task| int8::<NdArray>(task, QuantMode::Dynamic)),
    ("burn-int8, Flex", |task| int8::<Flex>(task, QuantMode::Dynamic)),
    ("burn-int8 weight-only, NdArray", |task| int8::<NdArray>(task, QuantMode::WeightOnly)),
    ("Burn f32, NdArray", float::<NdArray>),
    ("Burn f32, Flex", float::<Flex>),
    ("Burn Quantizer Q8S, NdArray (no bias)", quantizer::<NdArray>),
    ("Burn Quantizer Q8S, Flex (no bias)", quantizer::<Flex>),
    ("candle Q8_0 (no bias)", candle),
    ("rten-gemm u8s8 (bare integer product)", rten),
];

/// For convolutions: the others have none that computes in INT8.
pub const OF_CONVS: &[(&str, Build)] =
    &[OF_LINEARS[0], OF_LINEARS[1], OF_LINEARS[2], OF_LINEARS[3], OF_LINEARS[4]];

fn int8<B: Backend>(task: &Task, activations: QuantMode) -> Ready {
    let config = Int8Config::new().with_mode(activations);
    match task.shape {
        Shape::Linear(_) => {
            let (layer, _) = Linear::from(task.linear::<B>()).quantize(&config)?;
            Ok(ready(task, task.input(), move |x: Tensor<B, 2>| layer.forward(x)))
        }
        Shape::Conv(conv) => {
            let (layer, _) = Conv2d::from(task.conv::<B>(conv)).quantize(&config)?;
            Ok(ready(task, task.input(), move |x: Tensor<B, 4>| layer.forward(x)))
        }
    }
}

fn float<B: Backend>(task: &Task) -> Ready {
    match task.shape {
        Shape::Linear(_) => {
            let layer = task.linear::<B>();
            Ok(ready(task, task.input(), move |x: Tensor<B, 2>| layer.forward(x)))
        }
        Shape::Conv(conv) => {
            let layer = task.conv::<B>(conv);
            Ok(ready(task, task.input(), move |x: Tensor<B, 4>| layer.forward(x)))
        }
    }
}

fn ready<B: Backend, const D: usize>(
    task: &Task,
    x: Tensor<B, D>,
    forward: impl Fn(Tensor<B, D>) -> Tensor<B, D> + 'static,
) -> (Box<dyn FnMut()>, Option<f64>) {
    let error = task.error(&values(forward(x.clone())));
    (Box::new(move || drop(black_box(forward(x.clone())))), Some(error))
}

fn quantizer<B: Backend>(task: &Task) -> Ready {
    let scheme = <QuantizedTensor<B> as QTensorPrimitive>::default_scheme()
        .with_value(QuantValue::Q8S)
        .with_level(QuantLevel::Tensor);
    let mut layer = task.linear::<B>();
    layer.bias = None; // or it would be quantized too
    let layer = layer.quantize_weights(&mut Quantizer { calibration: Calibration::MinMax, scheme });
    let x = task.input::<B, 2>();
    let error = task.error_without_bias(&values(layer.forward(x.clone())));
    let call = move || drop(black_box(layer.forward(x.clone())));
    Ok((Box::new(call), Some(error)))
}

fn candle(task: &Task) -> Ready {
    use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
    use candle_core::{Device, Module, Tensor};
    let shape::Linear { m, k, n } = linear(task)?;
    let weight = Tensor::from_slice(&task.weight, (k, n), &Device::Cpu)?.t()?.contiguous()?;
    let layer = QMatMul::from_qtensor(QTensor::quantize(&weight, GgmlDType::Q8_0)?)?;
    let x = Tensor::from_slice(&task.x, (m, k), &Device::Cpu)?;
    let output = layer.forward(&x)?.flatten_all()?.to_vec1()?;
    let error = task.error_without_bias(&output);
    let call = move || drop(black_box(layer.forward(&x).expect("it has succeeded before")));
    Ok((Box::new(call), Some(error)))
}

/// Integers in, integer sums out: neither the input is quantized nor the output scaled.
fn rten(task: &Task) -> Ready {
    use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
    use rten_tensor::{NdTensor, prelude::*};
    let shape::Linear { m, k, n } = linear(task)?;
    let weight: Vec<i8> = task.weight.iter().map(|w| (w * 30.0 * (k as f32).sqrt()) as i8).collect();
    let x: Vec<u8> = task.x.iter().map(|x| (x * 30.0 + 128.0) as u8).collect();
    let mut expected = vec![0i32; n];
    for (&x, row) in x.iter().zip(weight.chunks_exact(n)) {
        expected.iter_mut().zip(row).for_each(|(sum, &w)| *sum += i32::from(x) * i32::from(w));
    }
    let weight = NdTensor::from_data([k, n], weight);
    let x = NdTensor::from_data([m, k], x);
    let gemm = GemmExecutor::<u8, i8, i32>::new();
    let packed = gemm.prepack_b(weight.view());
    let mut output = vec![0; m * n];
    let mut call = move || {
        let (a, b) = (GemmInputA::Unpacked(x.view()), GemmInputB::Packed(&packed));
        gemm.gemm(&mut output, a, b, GemmOptions::default()).expect("the shapes match");
        black_box(output[..n].to_vec())
    };
    let error = relative_rms(&call(), &expected); // the first row tells
    Ok((Box::new(move || drop(call())), Some(error)))
}

fn linear(task: &Task) -> Result<shape::Linear, &'static str> {
    match task.shape {
        Shape::Linear(linear) => Ok(linear),
        Shape::Conv(_) => Err("it has no convolution in INT8"),
    }
}
