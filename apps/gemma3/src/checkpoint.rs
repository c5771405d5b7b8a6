//! The tensors of a published checkpoint, read one at a time, in one file or several.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use burn_store::{ModuleStore, SafetensorsStore, TensorSnapshot};
use serde::Deserialize;

use crate::error::ModelError;
use crate::header::{Header, HeaderError};

/// The tensors that checkpoints may have for other uses of the model; the output head is the table.
const NOT_NEEDED: &str = "lm_head.";

/// Tensors by the path of the parameter that they are; nothing is in memory until it is asked for.
pub struct Checkpoint(BTreeMap<String, TensorSnapshot>);

/// Says which file of several has which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The checkpoint of a folder with `model.safetensors`, or with several files and `model.safetensors.index.json`.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let mut tensors = BTreeMap::new();
        for path in files(folder)? {
            check_length(&path)?;
            let invalid = |reason: String| ModelError::File { path: path.clone(), reason };
            let mut store = SafetensorsStore::from_file(&path);
            let snapshots = store.get_all_snapshots().map_err(|error| invalid(error.to_string()))?;
            for (name, snapshot) in snapshots {
                let mut snapshot = snapshot.clone();
                let name = name.strip_prefix("model.").unwrap_or(name).to_string();
                snapshot.path_stack = Some(name.split('.').map(String::from).collect());
                tensors.insert(name, snapshot);
            }
        }
        tensors.retain(|name, _| !name.starts_with(NOT_NEEDED));
        Ok(Self(tensors))
    }

    /// Checks that these are the tensors of `model`, each of its shape. Reads none of them.
    pub fn check<B: Backend, M: Module<B>>(&self, model: &M) -> Result<(), ModelError> {
        let mut check = Check { tensors: &self.0, path: Vec::new(), seen: BTreeSet::new(), error: None };
        model.visit(&mut check);
        if let Some(error) = check.error {
            return Err(error);
        }
        match self.0.keys().find(|name| !check.seen.contains(*name)) {
            Some(tensor) => Err(ModelError::Unexpected { tensor: tensor.clone() }),
            None => Ok(()),
        }
    }

    pub fn into_snapshots(self) -> Vec<TensorSnapshot> {
        self.0.into_values().collect()
    }
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
        HeaderError::Invalid(reason) => ModelError::File { path: path.into(), reason },
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

/// Compares each parameter with its tensor.
struct Check<'a> {
    tensors: &'a BTreeMap<String, TensorSnapshot>,
    /// Names, each with the type that holds it.
    path: Vec<(String, String)>,
    seen: BTreeSet<String>,
    /// The first one.
    error: Option<ModelError>,
}

impl<B: Backend> ModuleVisitor<B> for Check<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push((name.into(), container.into()));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let mut expected = param.lazy_shape().to_vec();
        let mut names: Vec<_> = self.path.iter().map(|(name, _)| name.as_str()).collect();
        match self.path.last().map(|(name, container)| (name.as_str(), container.as_str())) {
            // PyTorch has the outputs of a linear layer first, Burn its inputs.
            Some(("weight", "Struct:Linear")) => expected.reverse(),
            Some(("gamma", _)) => *names.last_mut().expect("a name") = "weight",
            _ => {}
        }
        let tensor = names.join(".");
        let found = self.compare(&tensor, expected);
        self.seen.insert(tensor);
        self.error = self.error.take().or(found.err());
    }
}

impl Check<'_> {
    fn compare(&self, tensor: &str, expected: Vec<usize>) -> Result<(), ModelError> {
        let name = || tensor.to_string();
        let snapshot = self.tensors.get(tensor).ok_or_else(|| ModelError::Missing { tensor: name() })?;
        if !matches!(snapshot.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(ModelError::Dtype { tensor: name(), found: snapshot.dtype });
        }
        let found = snapshot.shape.to_vec();
        if found != expected {
            return Err(ModelError::Shape { tensor: name(), found, expected });
        }
        Ok(())
    }
}
