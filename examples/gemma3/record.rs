//! Models in files of their own, by Burn's recorder.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::record::{BinFileRecorder, FileRecorder, FullPrecisionSettings};

use crate::config::GemmaConfig;
use crate::error::ModelError;
use crate::model::Gemma;

type Recorder = BinFileRecorder<FullPrecisionSettings>;

/// Where the recorder puts a file of this name.
pub fn file(path: &Path) -> PathBuf {
    path.with_extension(<Recorder as FileRecorder<burn::backend::NdArray>>::file_extension())
}

/// Saves a model; gives the size of its file.
pub fn save<B: Backend>(model: Gemma<B>, path: &Path) -> Result<u64, ModelError> {
    let failed = |source| ModelError::Record { path: file(path), source };
    model.save_file(path, &Recorder::default()).map_err(failed)?;
    let length = fs::metadata(file(path)).map_err(|source| ModelError::read(&file(path), source))?;
    Ok(length.len())
}

/// Loads a model, float or INT8 as it was saved.
pub fn load<B: Backend>(config: &GemmaConfig, path: &Path) -> Result<Gemma<B>, ModelError> {
    let device = B::Device::default();
    let failed = |source| ModelError::Record { path: file(path), source };
    let load = || Gemma::new(config, &device).load_file(path, &Recorder::default(), &device);
    // Burn panics where a record has other shapes than its model, and says which.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let loaded = catch_unwind(AssertUnwindSafe(load));
    std::panic::set_hook(hook);
    let other = |reason| ModelError::OtherModel { path: file(path), reason };
    loaded.map_err(|panic| other(message(&*panic)))?.map_err(failed)
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default()
}
