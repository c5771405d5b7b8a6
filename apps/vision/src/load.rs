//! From the checkpoint, which has PyTorch's names and layouts, to the model.

use std::fs::File;
use std::path::Path;

use burn::prelude::*;
use burn_store::{ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore};

use crate::error::VisionError;
use crate::model::EfficientNet;

/// The name of the weights' file.
pub const WEIGHTS: &str = "efficientnet-lite0.safetensors";

/// The names of the checkpoint, as patterns, and those of the model.
const NAMES: [(&str, &str); 14] = [
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_conv_head\.", "head.conv."),
    (r"^_bn1\.", "head.norm."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.", "blocks."),
    (r"\._expand_conv\.", ".expand.conv."),
    (r"\._bn0\.", ".expand.norm."),
    (r"\._depthwise_conv\.", ".depthwise.conv."),
    (r"\._bn1\.", ".depthwise.norm."),
    (r"\._project_conv\.", ".project.conv."),
    (r"\._bn2\.", ".project.norm."),
    (r"\.norm\.weight$", ".norm.gamma"),
    (r"\.norm\.bias$", ".norm.beta"),
];

/// The float model with the weights of the folder, its BatchNorms folded.
pub fn load<B: Backend>(folder: &Path, device: &B::Device) -> Result<EfficientNet<B>, VisionError> {
    let path = folder.join(WEIGHTS);
    // The store's own error does not name the file.
    File::open(&path).map_err(|source| VisionError::Read { path: path.clone(), source })?;
    let store = SafetensorsStore::from_file(&path).with_from_adapter(PyTorchToBurnAdapter);
    let mut store = NAMES.iter().fold(store, |store, (theirs, ours)| store.with_key_remapping(theirs, *ours));
    let mut model = EfficientNet::new(device);
    let loaded = model
        .load_from(&mut store)
        .map_err(|source| VisionError::Checkpoint { path: path.clone(), source })?;
    match loaded.unused.into_iter().next() {
        Some(tensor) => Err(VisionError::Unexpected { path, tensor }),
        None => Ok(model.fold()?),
    }
}
