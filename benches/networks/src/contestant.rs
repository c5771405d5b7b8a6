//! Who takes part.

use std::error::Error;
use std::hint::black_box;

use burn::backend::{Flex, NdArray};
use burn::prelude::*;
use burn_int8::Int8;
use burn_int8::prelude::*;

use crate::case::Case;
use crate::networks::{self, Input, Network};
use crate::onnx::Onnx;
use crate::random::Fill;

pub type Problem = Box<dyn Error>;

/// A network that is ready to be called.
pub trait Contestant {
    /// Computes the output once.
    fn run(&mut self);

    /// Computes it, and reads it.
    fn output(&mut self) -> Result<Vec<f32>, Problem>;
}

/// A column of the table.
#[derive(Clone, Copy, PartialEq)]
pub enum Column {
    Int8NdArray,
    Int8Flex,
    FloatNdArray,
    FloatFlex,
    OnnxFloat,
    OnnxInt8,
}

impl Column {
    pub const ALL: [Self; 6] = [
        Self::Int8NdArray,
        Self::Int8Flex,
        Self::FloatNdArray,
        Self::FloatFlex,
        Self::OnnxFloat,
        Self::OnnxInt8,
    ];

    /// The name that chooses it on the command line.
    pub fn id(self) -> &'static str {
        match self {
            Self::Int8NdArray => "int8-ndarray",
            Self::Int8Flex => "int8-flex",
            Self::FloatNdArray => "f32-ndarray",
            Self::FloatFlex => "f32-flex",
            Self::OnnxFloat => "onnx-f32",
            Self::OnnxInt8 => "onnx-int8",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Int8NdArray => "Int8<NdArray>",
            Self::Int8Flex => "Int8<Flex>",
            Self::FloatNdArray => "Burn f32, NdArray",
            Self::FloatFlex => "Burn f32, Flex",
            Self::OnnxFloat => "ORT f32",
            Self::OnnxInt8 => "ORT INT8",
        }
    }

    /// A larger relative error than this is no rounding: it computes something else, and its time says nothing.
    pub fn tolerance(self) -> f64 {
        match self {
            Self::FloatFlex | Self::OnnxFloat => 1e-3,
            // Its reciprocals, from which rotary positions are made, have 14 bits, or 24 where memory is not aligned.
            Self::FloatNdArray => 1e-2,
            Self::Int8NdArray | Self::Int8Flex | Self::OnnxInt8 => 0.25,
        }
    }

    pub fn needs_onnx(self) -> bool {
        matches!(self, Self::OnnxFloat | Self::OnnxInt8)
    }

    /// Builds it; `None` if ONNX Runtime is not there.
    pub fn build(self, case: &Case, onnx: Option<&Onnx>) -> Option<Result<Box<dyn Contestant>, Problem>> {
        Some(match self {
            Self::Int8NdArray => networks::build::<Int8<NdArray>, Quantized>(case),
            Self::Int8Flex => networks::build::<Int8<Flex>, Quantized>(case),
            Self::FloatNdArray => networks::build::<NdArray, Float>(case),
            Self::FloatFlex => networks::build::<Flex, Float>(case),
            Self::OnnxFloat => onnx?.session(case, "f32"),
            Self::OnnxInt8 => onnx?.session(case, "int8"),
        })
    }
}

struct Stock<B: Backend, N: Network<B>> {
    network: N,
    input: N::Input,
}

/// What becomes of a network's layers: a type, so that nothing is compiled that does not run.
pub trait Precision {
    fn prepare<B: Backend, N: Network<B>>(network: N) -> Result<N, Problem>;
}

pub enum Float {}

impl Precision for Float {
    fn prepare<B: Backend, N: Network<B>>(network: N) -> Result<N, Problem> {
        Ok(network)
    }
}

pub enum Quantized {}

impl Precision for Quantized {
    fn prepare<B: Backend, N: Network<B>>(network: N) -> Result<N, Problem> {
        Ok(network.quantize(&Int8Config::new()).map_err(|error| error.to_string())?.0)
    }
}

/// Fills a network with weights, and prepares its layers.
pub fn stock<B: Backend, N: Network<B> + 'static, P: Precision>(
    case: &Case,
    network: N,
) -> Result<Box<dyn Contestant>, Problem> {
    let network = P::prepare(network.map(&mut Fill::default()))?;
    let input = N::Input::new(case, &Default::default());
    Ok(Box::new(Stock { network, input }))
}

impl<B: Backend, N: Network<B>> Contestant for Stock<B, N> {
    fn run(&mut self) {
        black_box(self.network.forward(self.input.clone()));
    }

    fn output(&mut self) -> Result<Vec<f32>, Problem> {
        Ok(self.network.forward(self.input.clone()).into_data().iter().collect())
    }
}
