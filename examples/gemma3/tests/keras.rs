//! Token ids to logits, as KerasHub computes them, float and INT8.

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use burn_int8::nn::Linear;
use burn_int8::prelude::*;
use safetensors::SafeTensors;

use super::{Cpu, difference};
use crate::cache::Cache;
use crate::config::GemmaConfig;
use crate::model::Gemma;

const FILE: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gemma3_tiny.safetensors"));

/// Sums in another order, as a part of the largest logit.
const FLOAT: f32 = 1e-5;
/// The same where integers are between.
const INT8: f32 = 1e-4;
/// The second text is padded from here on.
const PRESENT: [usize; 2] = [9, 6];

fn read(tensor: &str) -> TensorData {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let tensor = file.tensor(tensor).unwrap();
    let dtype = match tensor.dtype() {
        safetensors::Dtype::F32 => DType::F32,
        safetensors::Dtype::I8 => DType::I8,
        _ => DType::I32,
    };
    TensorData::from_bytes_vec(tensor.data().to_vec(), tensor.shape().to_vec(), dtype)
}

/// Keras' name of a parameter.
fn name(path: &[String]) -> String {
    let names: Vec<_> = path.iter().map(String::as_str).collect();
    match names[..] {
        ["embed_tokens", _] => "token_embedding/embeddings".into(),
        ["norm", _] => "final_normalization/scale".into(),
        ["layers", block, ref part @ ..] => {
            let part = match *part {
                ["self_attn", "q_proj", _] => "attention/query/kernel",
                ["self_attn", "k_proj", _] => "attention/key/kernel",
                ["self_attn", "v_proj", _] => "attention/value/kernel",
                ["self_attn", "o_proj", _] => "attention/attention_output/kernel",
                ["self_attn", "q_norm", _] => "attention/query_norm/scale",
                ["self_attn", "k_norm", _] => "attention/key_norm/scale",
                ["mlp", "gate_proj", _] => "ffw_gating/kernel",
                ["mlp", "up_proj", _] => "ffw_gating_2/kernel",
                ["mlp", "down_proj", _] => "ffw_linear/kernel",
                ["input_layernorm", _] => "pre_attention_norm/scale",
                ["post_attention_layernorm", _] => "post_attention_norm/scale",
                ["pre_feedforward_layernorm", _] => "pre_ffw_norm/scale",
                ["post_feedforward_layernorm", _] => "post_ffw_norm/scale",
                _ => panic!("{path:?}"),
            };
            format!("decoder_block_{block}/{part}")
        }
        _ => panic!("{path:?}"),
    }
}

/// A kernel of Keras as a matrix: its heads beside each other.
fn matrix<T: burn::tensor::Element>(kernel: &TensorData) -> Vec<T> {
    let values: Vec<T> = kernel.iter().collect();
    match kernel.shape[..] {
        // Queries, keys, values: `[heads, inputs, outputs]`.
        [heads, inputs, outputs] if inputs > outputs => (0..inputs)
            .flat_map(|input| (0..heads).map(move |head| (head * inputs + input) * outputs))
            .flat_map(|from| values[from..][..outputs].to_vec())
            .collect(),
        _ => values,
    }
}

#[derive(Default)]
struct Loader(Vec<String>);

impl<B: Backend> ModuleMapper<B> for Loader {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.0.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let mut values: Vec<f32> = matrix(&read(&name(&self.0)));
        if D == 1 {
            values.iter_mut().for_each(|scale| *scale += 1.0);
        }
        let values = TensorData::new(values, param.lazy_shape());
        let (id, tensor) = (param.id, Tensor::from_data(values, &param.lazy_device()));
        param.transform_for_load(tensor, id)
    }
}

fn logits<B: Backend>(model: &Gemma<B>) -> Vec<f32> {
    let ids = Tensor::<B, 2, Int>::from_data(read("token_ids"), &Default::default());
    let hidden = model.forward(ids, &mut Cache::new(&GemmaConfig::tiny()));
    present(&model.logits(hidden).into_data())
}

/// Without those of the padding.
fn present(logits: &TensorData) -> Vec<f32> {
    let values: Vec<f32> = logits.iter().collect();
    let [_, tokens, width] = logits.shape[..] else { panic!("{:?}", logits.shape) };
    let rows = PRESENT.iter().enumerate();
    rows.flat_map(|(row, present)| values[row * tokens * width..][..present * width].to_vec()).collect()
}

fn float<B: Backend>() -> Gemma<B> {
    Gemma::new(&GemmaConfig::tiny(), &Default::default()).map(&mut Loader::default())
}

fn answers_as_keras<B: Backend>() {
    let model = float::<B>();
    let (off, largest) = difference(&logits(&model), &present(&read("output_float")));
    println!("float: {off:e} of {largest}");
    assert!(off <= FLOAT * largest.max(1.0), "{off} of {largest}");

    let (model, report) = model.quantize(&Int8Config::new()).unwrap();
    assert_eq!(report.int8_layers(), 50);
    let (off, largest) = difference(&logits(&model), &present(&read("output_int8")));
    println!("INT8: {off:e} of {largest}");
    assert!(off <= INT8 * largest.max(1.0), "{off} of {largest}");
}

#[test]
fn logits_on_ndarray() {
    answers_as_keras::<Cpu>();
}

#[test]
fn logits_on_flex() {
    answers_as_keras::<burn::backend::Flex>();
}

#[test]
fn integers_are_those_of_keras() {
    let empty = Gemma::<Cpu>::new(&GemmaConfig::tiny(), &Default::default());
    let (model, _) = empty.quantize_on_load(&Int8Config::new(), &mut Loader::default()).unwrap();
    let same = |path: String, found: Vec<i8>| {
        let path: Vec<_> = path.split('.').map(String::from).collect();
        assert_eq!(found, matrix::<i8>(&read(&format!("{}_int8", name(&path)))), "{path:?}");
    };
    same("embed_tokens.weight".into(), model.embed_tokens.as_int8().unwrap().integers());
    for (index, block) in model.layers.iter().enumerate() {
        let (attention, mlp) = (&block.self_attn, &block.mlp);
        let matrices: [(&str, &Linear<Cpu>); 7] = [
            ("self_attn.q_proj", &attention.q_proj),
            ("self_attn.k_proj", &attention.k_proj),
            ("self_attn.v_proj", &attention.v_proj),
            ("self_attn.o_proj", &attention.o_proj),
            ("mlp.gate_proj", &mlp.gate_proj),
            ("mlp.up_proj", &mlp.up_proj),
            ("mlp.down_proj", &mlp.down_proj),
        ];
        for (name, linear) in matrices {
            same(format!("layers.{index}.{name}.weight"), linear.as_int8().unwrap().integers());
        }
    }
}
