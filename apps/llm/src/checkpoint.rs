//! The tensors of a published checkpoint, whichever format its files have, read one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::prelude::*;
use burn::tensor::DType;
use burn_store::{ModuleStore, SafetensorsStore, TensorSnapshot, TensorSnapshotError};
use serde::Deserialize;

use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::gguf::{Gguf, TensorInfo};
use crate::header::{Header, HeaderError};
use crate::{gemma, llama};

/// The tensors that checkpoints may have for other uses of the model; the output head is the table.
const NOT_NEEDED: &str = "lm_head.";

/// Tensors by their names, with the outputs of linear layers first; nothing is in memory until it is asked for.
pub struct Checkpoint {
    tensors: BTreeMap<String, TensorSnapshot>,
    /// The name of the tensor that a parameter is.
    tensor_name: fn(&str) -> String,
}

/// Says which file of several has which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Gemma's, in a folder with `model.safetensors`, or with several files and `model.safetensors.index.json`.
    pub fn safetensors(folder: &Path) -> Result<Self, ModelError> {
        let mut tensors = BTreeMap::new();
        for path in files(folder)? {
            check_length(&path)?;
            let invalid =
                |reason: String| ModelError::File { path: path.clone(), format: "safetensors", reason };
            let mut store = SafetensorsStore::from_file(&path);
            let snapshots = store.get_all_snapshots().map_err(|error| invalid(error.to_string()))?;
            for (name, snapshot) in snapshots {
                let name = name.strip_prefix("model.").unwrap_or(name);
                tensors.insert(name.to_string(), snapshot.clone());
            }
        }
        tensors.retain(|name, _| !name.starts_with(NOT_NEEDED));
        Ok(Self { tensors, tensor_name: gemma::tensor_name })
    }

    /// Llama's, in a GGUF file.
    pub fn gguf(gguf: &Gguf, config: &DecoderConfig) -> Self {
        let snapshot = |(name, info): (&String, &TensorInfo)| {
            let heads = llama::interleaved_heads(name, config);
            (name.clone(), lazy(gguf.path().into(), info.clone(), heads))
        };
        Self { tensors: gguf.tensors.iter().map(snapshot).collect(), tensor_name: llama::tensor_name }
    }

    /// The tensors under the paths of the parameters of `model`, of which each must be there in its shape, and no other. None
    /// of them is read.
    pub fn for_model<B: Backend, M: Module<B>>(self, model: &M) -> Result<Vec<TensorSnapshot>, ModelError> {
        let mut matching = Matching { checkpoint: self, path: Vec::new(), found: Vec::new(), error: None };
        model.visit(&mut matching);
        if let Some(error) = matching.error {
            return Err(error);
        }
        match matching.checkpoint.tensors.into_keys().next() {
            Some(tensor) => Err(ModelError::Unexpected { tensor }),
            None => Ok(matching.found),
        }
    }
}

/// A tensor that is read and made float when it is asked for.
fn lazy(path: PathBuf, info: TensorInfo, interleaved_heads: Option<usize>) -> TensorSnapshot {
    let shape = Shape::from(info.shape.clone());
    let read = move || {
        let values =
            info.read(&path).map_err(|error| TensorSnapshotError::IoError(format!("{path:?}: {error}")))?;
        let values = match (interleaved_heads, &info.shape[..]) {
            (Some(heads), &[_, width]) => llama::deinterleave(&values, heads, width),
            _ => values,
        };
        Ok(TensorData::new(values, info.shape.clone()))
    };
    TensorSnapshot::from_closure(Rc::new(read), DType::F32, shape, vec![], vec![], ParamId::new())
}

/// The files of a checkpoint.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let path = folder.join("model.safetensors.index.json");
    if !path.exists() {
        return Ok(vec![folder.join("model.safetensors")]);
    }
    let text = fs::read_to_string(&path).map_err(|source| ModelError::read(&path, source))?;
    let index: Index = serde_json::from_str(&text).map_err(|source| ModelError::Index { path, source })?;
    let names: BTreeSet<_> = index.weight_map.into_values().collect();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Names the tensor at which a file breaks off, which burn-store does not.
fn check_length(path: &Path) -> Result<(), ModelError> {
    let (Header { length, start, metadata }, _) = Header::read(path).map_err(|error| match error {
        HeaderError::Read(source) => ModelError::read(path, source),
        HeaderError::Invalid(reason) => ModelError::File { path: path.into(), format: "safetensors", reason },
    })?;
    let end = |tensor: &str| {
        metadata.info(tensor).map_or(0, |info| start.saturating_add(info.data_offsets.1 as u64))
    };
    let broken = metadata.offset_keys().into_iter().find(|tensor| end(tensor) > length);
    match broken {
        Some(tensor) => Err(ModelError::Truncated { path: path.into(), end: end(&tensor), tensor, length }),
        None => Ok(()),
    }
}

/// Finds the tensor of each parameter.
struct Matching {
    /// The tensors that no parameter has been found for yet.
    checkpoint: Checkpoint,
    /// Names, each with the type that holds it.
    path: Vec<(String, String)>,
    found: Vec<TensorSnapshot>,
    /// The first one.
    error: Option<ModelError>,
}

impl<B: Backend> ModuleVisitor<B> for Matching {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push((name.into(), container.into()));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let mut expected = param.lazy_shape().to_vec();
        // Files have the outputs of a linear layer first, Burn its inputs.
        if self.path.last().is_some_and(|(name, container)| name == "weight" && container == "Struct:Linear")
        {
            expected.reverse();
        }
        match self.take(expected) {
            Ok(snapshot) => self.found.push(snapshot),
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }
}

impl Matching {
    fn take(&mut self, expected: Vec<usize>) -> Result<TensorSnapshot, ModelError> {
        let path: Vec<_> = self.path.iter().map(|(name, _)| name.clone()).collect();
        let tensor = (self.checkpoint.tensor_name)(&path.join("."));
        let Some(mut snapshot) = self.checkpoint.tensors.remove(&tensor) else {
            return Err(ModelError::Missing { tensor });
        };
        if !matches!(snapshot.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(ModelError::Dtype { tensor, found: snapshot.dtype });
        }
        let found = snapshot.shape.to_vec();
        if found != expected {
            return Err(ModelError::Shape { tensor, found, expected });
        }
        snapshot.path_stack = Some(path);
        Ok(snapshot)
    }
}
