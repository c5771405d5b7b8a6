//! Models in files of their own, by Burn's recorder.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::record::{BinFileRecorder, FileRecorder, FullPrecisionSettings, RecorderError};

use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::model::Decoder;

type Recorder = BinFileRecorder<FullPrecisionSettings>;

/// The path where the recorder puts a file of this name.
pub fn file(path: &Path) -> PathBuf {
    path.with_extension(<Recorder as FileRecorder<burn::backend::NdArray>>::file_extension())
}

/// Checks that a file of this name has a folder to be in, which the recorder would make.
pub fn check_folder(path: &Path) -> Result<(), ModelError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(ModelError::NoFolder { folder: folder.into(), path: file(path) })
        }
        _ => Ok(()),
    }
}

/// Saves a model; gives the size of its file.
pub fn save<B: Backend>(model: Decoder<B>, path: &Path) -> Result<u64, ModelError> {
    let failed = |error| ModelError::Save { path: file(path), reason: reason(error) };
    model.save_file(path, &Recorder::default()).map_err(failed)?;
    let length = fs::metadata(file(path)).map_err(|source| ModelError::read(&file(path), source))?;
    Ok(length.len())
}

/// Loads a model, float or INT8 as it was saved. `expected` says where `config` is from.
pub fn load<B: Backend>(
    config: &DecoderConfig,
    expected: &str,
    path: &Path,
) -> Result<Decoder<B>, ModelError> {
    let device = B::Device::default();
    File::open(file(path)).map_err(|source| ModelError::NoRecord { path: file(path), source })?;
    let failed = |error| ModelError::Record { path: file(path), reason: reason(error) };
    let load = || Decoder::new(config, &device).load_file(path, &Recorder::default(), &device);
    // Burn panics where a record has other shapes than its model, and says which.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let loaded = catch_unwind(AssertUnwindSafe(load));
    std::panic::set_hook(hook);
    let other = |reason| ModelError::OtherModel { path: file(path), expected: expected.into(), reason };
    loaded.map_err(|panic| other(message(&*panic)))?.map_err(failed)
}

/// The cause, out of what Burn gives: errors as text, with quotes around it, in the text of other errors.
fn reason(error: RecorderError) -> String {
    let (RecorderError::FileNotFound(text)
    | RecorderError::DeserializeError(text)
    | RecorderError::Unknown(text)) = error;
    if let Some(line) = text.lines().find(|line| line.starts_with("Metadata has")) {
        return line.into();
    }
    if text.contains("UnexpectedEof") {
        return "it ends too early".into();
    }
    let quotes = ['\\', '"'];
    let quoted = ["message: ", "OtherString("].iter().find_map(|mark| text.split_once(mark));
    match quoted {
        Some((_, text)) => text.trim_start_matches(quotes).split(quotes).next().unwrap_or_default().into(),
        None if text.contains(['"', '{']) => "its bytes say something else".into(),
        None => text,
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default()
}
