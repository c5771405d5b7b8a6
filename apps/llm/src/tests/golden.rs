//! Keras' own numbers: token ids to logits, float and INT8.

use burn::backend::NdArray;
use burn_int8::prelude::*;
use bytemuck::Pod;
use safetensors::SafeTensors;

use super::{difference, ids, values, weights};
use crate::cache::Cache;
use crate::gemma::GemmaConfig;
use crate::model::Decoder;

/// Both sides round sums in f32, each in an order of its own. In INT8 that could turn an integer into the next, but none is
/// that near to a tie: changing each norm by a last bit, two hundred times, turned none.
const CLOSE: f32 = 1e-5;
const BATCH: usize = 2;

pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/gemma3_tiny.safetensors");
        Self(std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    fn get<T: Pod>(&self, name: &str) -> Vec<T> {
        self.find(name).unwrap_or_else(|| panic!("the file has no {name}")).0
    }

    fn find<T: Pod>(&self, name: &str) -> Option<(Vec<T>, Vec<usize>)> {
        let tensors = SafeTensors::deserialize(&self.0).expect("a golden file is whole");
        let view = tensors.tensor(name).ok()?;
        Some((bytemuck::pod_collect_to_vec(view.data()), view.shape().to_vec()))
    }

    /// A matrix, inputs first. Keras has heads first: inputs then follow (`[heads, hidden, head_dim]`), but in the output
    /// of attention the heads are inputs (`[heads, head_dim, hidden]`).
    fn matrix<T: Pod>(&self, name: &str) -> Vec<T> {
        let (kernel, shape) = self.find::<T>(name).unwrap_or_else(|| panic!("the file has no {name}"));
        match shape[..] {
            [heads, inputs, width] if !name.contains("attention_output") => (0..inputs)
                .flat_map(|input| (0..heads).map(move |head| (head * inputs + input) * width))
                .flat_map(|start| kernel[start..start + width].to_vec())
                .collect(),
            _ => kernel,
        }
    }

    pub fn model(&self) -> Decoder<NdArray> {
        weights::filled(&GemmaConfig::tiny().decoder(), &Default::default(), |path, _| {
            let name = keras_name(path);
            match path.ends_with("gamma") {
                true => self.get::<f32>(&name).iter().map(|scale| 1.0 + scale).collect(),
                false => self.matrix(&name),
            }
        })
    }

    /// The logits of the model, and Keras', of all tokens that are not padding.
    fn logits(&self, model: &Decoder<NdArray>, expected: &str) -> [Vec<f32>; 2] {
        let tokens = ids(&self.get::<i32>("token_ids"), BATCH, &Default::default());
        let mut cache = Cache::new(&GemmaConfig::tiny().decoder());
        let found = values(model.logits(model.forward(tokens, &mut cache)));
        let present = self.get::<i32>("padding_mask");
        [found, self.get(expected)].map(|logits| {
            let rows = logits.chunks_exact(logits.len() / present.len()).zip(&present);
            rows.filter(|(_, present)| **present != 0).flat_map(|(row, _)| row.to_vec()).collect()
        })
    }
}

/// Keras' name of a parameter, given its path.
fn keras_name(path: &str) -> String {
    let (module, _) = path.rsplit_once('.').expect("parameters are in modules");
    let Some((layer, module)) = module.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) else {
        let shared =
            if module == "norm" { "final_normalization/scale" } else { "token_embedding/embeddings" };
        return shared.into();
    };
    let name = match module {
        "self_attn.q_proj" => "attention/query/kernel",
        "self_attn.k_proj" => "attention/key/kernel",
        "self_attn.v_proj" => "attention/value/kernel",
        "self_attn.o_proj" => "attention/attention_output/kernel",
        "self_attn.q_norm" => "attention/query_norm/scale",
        "self_attn.k_norm" => "attention/key_norm/scale",
        "mlp.gate_proj" => "ffw_gating/kernel",
        "mlp.up_proj" => "ffw_gating_2/kernel",
        "mlp.down_proj" => "ffw_linear/kernel",
        "attention_norm" => "pre_attention_norm/scale",
        "attention_output_norm" => "post_attention_norm/scale",
        "feedforward_norm" => "pre_ffw_norm/scale",
        "feedforward_output_norm" => "post_ffw_norm/scale",
        other => panic!("{other} is not a module of Gemma"),
    };
    format!("decoder_block_{layer}/{name}")
}

#[test]
fn float_logits_are_those_of_keras() {
    let golden = Golden::open();
    let [found, expected] = golden.logits(&golden.model(), "output_float");
    let difference = difference(&found, &expected);
    assert!(difference < CLOSE, "{difference}");
}

#[test]
fn int8_logits_are_those_of_keras() {
    let golden = Golden::open();
    let (model, report) = golden.model().quantize(&Int8Config::keras()).unwrap();
    assert_eq!(report.int8_layers(), 50);
    let [found, expected] = golden.logits(&model, "output_int8");
    let difference = difference(&found, &expected);
    assert!(difference < CLOSE, "{difference}");
}

#[test]
fn integers_are_those_of_keras() {
    let golden = Golden::open();
    let (model, _) = golden.model().quantize(&Int8Config::keras()).unwrap();
    let mut compared = 0;
    let mut compare = |path: &str, found: Option<Vec<i8>>| {
        let expected = golden.matrix::<i8>(&format!("{}_int8", keras_name(path)));
        assert_eq!(found, Some(expected), "{path}");
        compared += 1;
    };
    let table = model.embed_tokens.as_int8().map(|table| table.integers());
    compare("embed_tokens.weight", table);
    for (index, layer) in model.layers.iter().enumerate() {
        let (attention, mlp) = (&layer.self_attn, &layer.mlp);
        let linears = [
            ("self_attn.q_proj", &attention.q_proj),
            ("self_attn.k_proj", &attention.k_proj),
            ("self_attn.v_proj", &attention.v_proj),
            ("self_attn.o_proj", &attention.o_proj),
            ("mlp.gate_proj", &mlp.gate_proj),
            ("mlp.up_proj", &mlp.up_proj),
            ("mlp.down_proj", &mlp.down_proj),
        ];
        for (name, linear) in linears {
            let integers = linear.as_int8().map(|linear| linear.integers());
            compare(&format!("layers.{index}.{name}.weight"), integers);
        }
    }
    assert_eq!(compared, 50);
}
