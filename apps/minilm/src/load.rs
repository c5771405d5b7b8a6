//! The checkpoint's tensors into the model's parameters, one after the other.

use std::path::Path;

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;

use crate::checkpoint::Checkpoint;
use crate::config::BertConfig;
use crate::encoder::SentenceModel;
use crate::error::ModelError;

/// The tensors that the checkpoint has for other uses of the model.
const NOT_NEEDED: [&str; 2] = ["embeddings.position_ids", "pooler."];

/// The model of a folder with `config.json` and `model.safetensors`.
pub fn load<M: SentenceModel>(
    folder: &Path,
    device: &Device<M::Backend>,
) -> Result<(BertConfig, M), ModelError> {
    let config = BertConfig::load(folder)?;
    let checkpoint = Checkpoint::open(&folder.join("model.safetensors"))?;
    let mut loader = Loader { checkpoint, path: Vec::new(), error: None };
    let model = M::new(&config, device).map(&mut loader);
    if let Some(error) = loader.error {
        return Err(error);
    }
    let needed = |name: &String| !NOT_NEEDED.iter().any(|prefix| name.starts_with(prefix));
    match loader.checkpoint.unread().find(needed) {
        Some(tensor) => Err(ModelError::Unexpected { tensor }),
        None => Ok((config, model)),
    }
}

struct Loader {
    checkpoint: Checkpoint,
    /// The names of fields from the model down, and what kind of thing each is a field of.
    path: Vec<(String, String)>,
    /// The first one: a mapper can't stop.
    error: Option<ModelError>,
}

impl<B: Backend> ModuleMapper<B> for Loader {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push((name.into(), container.into()));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    /// Reads the parameter. What is there is not even initialized.
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.error.is_some() {
            return param;
        }
        let shape: [usize; D] = param.lazy_shape().dims();
        match self.read(shape) {
            Ok(values) => {
                let tensor = Tensor::from_data(TensorData::new(values, shape), &param.lazy_device());
                Param::initialized(param.id, tensor)
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

impl Loader {
    /// The parameter at the current path.
    fn read<const D: usize>(&mut self, mut shape: [usize; D]) -> Result<Vec<f32>, ModelError> {
        let names: Vec<_> = self.path.iter().map(|(name, _)| name.as_str()).collect();
        let source = source(&names);
        // PyTorch has the outputs of a linear layer first, Burn its inputs.
        let transposed = D == 2 && self.path.last().is_some_and(|(_, owner)| owner == "Struct:Linear");
        if transposed {
            shape.reverse();
        }
        let values = self.checkpoint.read(&source, &shape)?;
        Ok(if transposed { transpose(&values, shape[D - 1]) } else { values })
    }
}

fn transpose(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values[column..].iter().step_by(columns).copied()).collect()
}

/// The tensor of the checkpoint that is a parameter of the model.
fn source(path: &[&str]) -> String {
    let Some((parameter, module)) = path.split_last() else { return String::new() };
    let parameter = match *parameter {
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    };
    let module = match module {
        ["embeddings", table] => match *table {
            "words" => "embeddings.word_embeddings".into(),
            "positions" => "embeddings.position_embeddings".into(),
            "types" => "embeddings.token_type_embeddings".into(),
            _ => "embeddings.LayerNorm".into(),
        },
        ["encoder", "layers", index, part @ ..] => {
            let part = match part {
                ["mha", "output"] => "attention.output.dense",
                ["mha", projection] => &format!("attention.self.{projection}"),
                ["norm_1"] => "attention.output.LayerNorm",
                ["pwff", "linear_inner"] => "intermediate.dense",
                ["pwff", "linear_outer"] => "output.dense",
                _ => "output.LayerNorm",
            };
            format!("encoder.layer.{index}.{part}")
        }
        _ => module.join("."),
    };
    format!("{module}.{parameter}")
}
