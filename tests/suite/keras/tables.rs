//! Keras' numbers for tables: `Embedding` and `ReversibleEmbedding`, tied and untied.

use std::iter::zip;

use burn::module::Param;
use burn::nn;
use burn::prelude::*;
use burn_int8::nn::{Embedding, Linear};
use burn_int8::prelude::*;

use super::golden::{find, read};
use super::reference::{CLOSE, KERAS_EPSILON, absmax, assert_close, assert_inverse, quantize, wide};
use crate::support::models::on_every_backend;

const FILES: [&str; 3] = ["embedding_50x16", "reversible_41x24_tied", "reversible_41x24_untied"];

struct Golden {
    name: &'static str,
    file: Vec<u8>,
}

impl Golden {
    fn open(name: &'static str) -> Self {
        Self { name, file: read(name) }
    }

    fn get<T: bytemuck::Pod>(&self, tensor: &str) -> (Vec<T>, Vec<usize>) {
        find(&self.file, tensor).unwrap_or_else(|| panic!("{} has no {tensor}", self.name))
    }

    fn tensor<B: Backend, const D: usize>(&self, tensor: &str) -> Tensor<B, D> {
        let (values, shape) = self.get::<f32>(tensor);
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    fn ids<B: Backend>(&self) -> Tensor<B, 2, Int> {
        let (ids, shape) = self.get::<i32>("ids");
        Tensor::from_data(TensorData::new(ids, shape), &Default::default())
    }

    fn table<B: Backend>(&self) -> Embedding<B> {
        nn::Embedding { weight: Param::from_tensor(self.tensor("embeddings")) }.into()
    }

    fn int8_table<B: Backend>(&self) -> Embedding<B> {
        self.table::<B>().quantize(&Int8Config::keras()).expect("the weights are finite").0
    }

    /// Asserts that `got` is Keras' to rounding. Its epsilon makes steps larger by up to its share of the smallest absmax.
    fn assert_keras<B: Backend, const D: usize>(&self, got: Tensor<B, D>, name: &str, epsilon: f64) {
        let (want, shape) = self.get::<f32>(name);
        assert_eq!(got.dims().to_vec(), shape);
        let got: Vec<f32> = got.into_data().to_vec().expect("the backends compute in f32");
        assert_close(&got, &wide(&want), CLOSE + epsilon, &format!("{name} of {}", self.name));
    }

    fn epsilon(&self, tensor: &str, k: usize) -> f64 {
        let (values, _) = self.get::<f32>(tensor);
        let smallest = values.chunks_exact(k).map(absmax).fold(f32::INFINITY, f32::min);
        f64::from(KERAS_EPSILON / smallest)
    }
}

/// Each row has Keras' integers, its step is the inverse of Keras' scale.
fn tables_are_keras<B: Backend>() {
    for golden in FILES.map(Golden::open) {
        let layer = golden.int8_table::<B>();
        let layer = layer.as_int8().expect("it was quantized");
        let (table, shape) = golden.get::<f32>("embeddings");
        let (keras, _) = golden.get::<i8>("embeddings_int8");
        let (factors, _) = golden.get::<f32>("embeddings_scale");
        assert_eq!(layer.integers(), keras, "{}", golden.name);
        assert_inverse(&layer.scales(), &factors, &table, shape[1], golden.name);
        assert_eq!(quantize(&table, shape[1], KERAS_EPSILON), (keras, factors), "{}", golden.name);
    }
}

fn lookups_are_keras<B: Backend>() {
    let outputs =
        [["output_float", "output_int8"], ["embed_float", "embed_int8"], ["embed_float", "embed_int8"]];
    for (golden, [float, int8]) in zip(FILES.map(Golden::open), outputs) {
        let width = golden.get::<f32>("embeddings").1[1];
        golden.assert_keras(golden.table::<B>().forward(golden.ids()), float, 0.0);
        let epsilon = golden.epsilon("embeddings", width);
        golden.assert_keras(golden.int8_table::<B>().forward(golden.ids()), int8, epsilon);
    }
}

/// The tied head multiplies with the table, the untied one is a linear layer.
fn logits_are_keras<B: Backend>() {
    let golden = Golden::open(FILES[1]);
    let (hidden, width) = (golden.tensor::<B, 3>("hidden"), golden.get::<f32>("hidden").1[2]);
    let epsilon = golden.epsilon("hidden", width) + golden.epsilon("embeddings", width);
    golden.assert_keras(golden.table::<B>().logits(hidden.clone()), "output_float", 0.0);
    golden.assert_keras(golden.int8_table::<B>().logits(hidden), "output_int8", epsilon);

    let golden = Golden::open(FILES[2]);
    let weight = golden.tensor::<B, 2>("reverse_embeddings");
    let columns: Vec<f32> = weight.clone().transpose().into_data().to_vec().expect("f32");
    let head = Linear::from(nn::Linear { weight: Param::from_tensor(weight), bias: None });
    golden.assert_keras(head.forward(golden.tensor::<B, 3>("hidden")), "output_float", 0.0);
    let (head, _) = head.quantize(&Int8Config::keras()).expect("the weights are finite");
    let layer = head.as_int8().expect("it was quantized");
    assert_eq!(layer.integers(), golden.get::<i8>("reverse_embeddings_int8").0);
    let factors = golden.get::<f32>("reverse_embeddings_scale").0;
    assert_inverse(&layer.scales(), &factors, &columns, width, golden.name);
    let smallest = columns.chunks_exact(width).map(absmax).fold(f32::INFINITY, f32::min);
    let epsilon = golden.epsilon("hidden", width) + f64::from(KERAS_EPSILON / smallest);
    golden.assert_keras(head.forward(golden.tensor::<B, 3>("hidden")), "output_int8", epsilon);
}

on_every_backend! { tables_are_keras lookups_are_keras logits_are_keras }
