//! Checkpoints as they are published, and broken ones.

use std::collections::BTreeMap;
use std::path::Path;

use burn::backend::NdArray;
use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn_int8::prelude::*;
use half::bf16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ids;
use super::weights::{filled, random};
use crate::cache::Cache;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::gemma::{self, GemmaConfig};
use crate::load::from_checkpoint;
use crate::model::Decoder;
use crate::record;

type Cpu = NdArray;

/// Shape, type, bytes.
type Entry = (Vec<usize>, Dtype, Vec<u8>);

/// Takes a model apart into the tensors that PyTorch has.
#[derive(Default)]
struct ToTorch {
    path: Vec<(String, String)>,
    tensors: BTreeMap<String, Entry>,
}

impl<B: Backend> ModuleVisitor<B> for ToTorch {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push((name.into(), container.into()));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let (_, container) = self.path.last().unwrap();
        let tensor = match container.as_str() {
            "Struct:Linear" => param.val().swap_dims(0, 1),
            "Struct:RmsNorm" => param.val() - 1.0,
            _ => param.val(),
        };
        let names: Vec<_> = self.path.iter().map(|(name, _)| name.as_str()).collect();
        let name = gemma::tensor_name(&names.join("."));
        let data = tensor.into_data();
        let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
        self.tensors.insert(format!("model.{name}"), (data.shape.to_vec(), Dtype::F32, bytes));
    }
}

/// A folder with the checkpoint of the tiny model.
struct Files {
    folder: TempDir,
    tensors: BTreeMap<String, Entry>,
}

impl Files {
    fn new() -> Self {
        let mut parts = ToTorch::default();
        synthetic().visit(&mut parts);
        Self { folder: tempfile::tempdir().unwrap(), tensors: parts.tensors }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Rounds all tensors to half precision.
    fn round(&mut self) {
        for (_, dtype, bytes) in self.tensors.values_mut() {
            let floats = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            *bytes = floats.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect();
            *dtype = Dtype::BF16;
        }
    }

    fn write(&self) {
        self.write_some("model.safetensors", |_| true);
    }

    fn write_some(&self, file: &str, which: impl Fn(usize) -> bool) {
        let tensors = self.tensors.iter().enumerate().filter(|(i, _)| which(*i)).map(|(_, tensor)| tensor);
        let views = tensors.map(|(name, (shape, dtype, bytes))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &self.path().join(file)).unwrap();
    }

    fn load(&self, int8: Option<&Int8Config>) -> Result<Decoder<Cpu>, ModelError> {
        let (config, checkpoint) = (tiny(), Checkpoint::safetensors(self.path())?);
        let model = Decoder::new(&config, &Default::default());
        from_checkpoint(model, checkpoint, config.norm_offset, int8).map(|(model, _)| model)
    }

    /// The error that loading them gives.
    fn error(&self) -> ModelError {
        self.write();
        self.load(None).expect_err("a broken checkpoint")
    }
}

fn tiny() -> DecoderConfig {
    GemmaConfig::tiny().decoder()
}

fn synthetic() -> Decoder<Cpu> {
    filled(&tiny(), &Default::default(), random)
}

fn hidden(model: &Decoder<Cpu>) -> TensorData {
    model.forward(ids(&[2, 3, 5, 7, 11, 13], 1, &Default::default()), &mut Cache::new(&tiny())).into_data()
}

#[test]
fn a_checkpoint_is_the_model() {
    let files = Files::new();
    files.write();
    let (expected, found) = (synthetic(), files.load(None).unwrap());
    // A norm of `1 + (gamma - 1)` may be off by a rounding.
    hidden(&found).assert_approx_eq::<f32>(&hidden(&expected), burn::tensor::Tolerance::absolute(1e-5));
}

#[test]
fn int8_while_loading_is_int8_after_loading() {
    let files = Files::new();
    files.write();
    let config = Int8Config::new();
    let (expected, _) = files.load(None).unwrap().quantize(&config).unwrap();
    hidden(&files.load(Some(&config)).unwrap()).assert_eq(&hidden(&expected), true);
}

#[test]
fn several_files_in_half_precision() {
    let mut files = Files::new();
    files.round();
    files.write();
    let one = files.load(None).unwrap();
    std::fs::remove_file(files.path().join("model.safetensors")).unwrap();
    let mut index = serde_json::Map::new();
    for part in 0..3 {
        let file = format!("model-0000{}-of-00003.safetensors", part + 1);
        files.write_some(&file, |tensor| tensor % 3 == part);
        let names = files.tensors.keys().skip(part).step_by(3);
        index.extend(names.map(|name| (name.clone(), Value::from(file.clone()))));
    }
    let index = json!({"metadata": {}, "weight_map": index});
    let path = files.path().join("model.safetensors.index.json");
    std::fs::write(&path, index.to_string()).unwrap();
    hidden(&files.load(None).unwrap()).assert_eq(&hidden(&one), true);

    std::fs::remove_file(files.path().join("model-00002-of-00003.safetensors")).unwrap();
    assert!(matches!(files.load(None).expect_err("a part less"), ModelError::Read { .. }));
    std::fs::write(path, "{").unwrap();
    assert!(matches!(files.load(None).expect_err("no index"), ModelError::Index { .. }));
}

#[test]
fn a_missing_tensor_is_named() {
    let mut files = Files::new();
    files.tensors.remove("model.layers.3.self_attn.k_norm.weight");
    let error = files.error();
    assert!(
        matches!(&error, ModelError::Missing { tensor } if tensor == "layers.3.self_attn.k_norm.weight"),
        "{error}"
    );
}

#[test]
fn a_shape_that_differs_is_shown_with_the_one_that_is_needed() {
    let mut files = Files::new();
    files.tensors.get_mut("model.layers.0.mlp.up_proj.weight").unwrap().0.reverse();
    let expected = "tensor layers.0.mlp.up_proj.weight of the checkpoint is [24, 48]; the configuration makes it [48, 24]";
    assert_eq!(files.error().to_string(), expected);
    // The check comes before anything is read: so with INT8, too.
    let error = files.load(Some(&Int8Config::new())).expect_err("another shape");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_tensor_too_many_is_named() {
    let mut files = Files::new();
    let table = files.tensors["model.embed_tokens.weight"].clone();
    files.tensors.insert("lm_head.weight".into(), table.clone());
    files.write();
    assert!(files.load(None).is_ok(), "the table is the output head");
    files.tensors.insert("model.layers.7.mlp.up_proj.weight".into(), table);
    let error = files.error();
    assert!(
        matches!(&error, ModelError::Unexpected { tensor } if tensor == "layers.7.mlp.up_proj.weight"),
        "{error}"
    );
}

#[test]
fn integers_are_no_weights() {
    let mut files = Files::new();
    files.tensors.get_mut("model.norm.weight").unwrap().1 = Dtype::I32;
    let error = files.error();
    assert!(matches!(&error, ModelError::Dtype { tensor, .. } if tensor == "norm.weight"), "{error}");
}

#[test]
fn a_weight_that_is_not_finite_names_its_layer() {
    let mut files = Files::new();
    let (_, _, bytes) = files.tensors.get_mut("model.layers.2.mlp.down_proj.weight").unwrap();
    bytes[48 * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    files.write();
    let error = files.load(Some(&Int8Config::new())).expect_err("NaN");
    let expected = Int8Error::NonFiniteWeight { path: "layers.2.mlp.down_proj".into(), channel: 1 };
    assert!(matches!(&error, ModelError::Int8(error) if *error == expected), "{error}");
}

/// Many of the lengths that a download can break off at.
#[test]
fn a_truncated_file_is_an_error() {
    let files = Files::new();
    files.write();
    let path = files.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in (0..whole.len()).step_by(997).chain([7, 8, header - 1, header, whole.len() - 1]) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = files.load(None).expect_err("a truncated file");
        let named = if length < header {
            matches!(error, ModelError::File { .. })
        } else {
            matches!(&error, ModelError::Truncated { tensor, .. } if !tensor.is_empty())
        };
        assert!(named, "{length} of {} bytes: {error}", whole.len());
    }
}

/// Bits of the header flipped: an error or the model, never a panic.
#[test]
fn a_damaged_header_is_no_panic() {
    let files = Files::new();
    files.write();
    let path = files.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in (0..header).step_by(61).chain(0..48) {
        let mut broken = whole.clone();
        broken[at] ^= 1 << (at % 8);
        std::fs::write(&path, &broken).unwrap();
        let _ = files.load(None);
    }
}

#[test]
fn a_record_of_another_model_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny");
    let (int8, _) = synthetic().quantize(&Int8Config::new()).unwrap();
    let expected = hidden(&int8);
    record::save(int8, &path).unwrap();
    hidden(&record::load(&tiny(), "tiny", &path).unwrap()).assert_eq(&expected, true);

    let mut wider = tiny();
    wider.intermediate_size = 64;
    let error = record::load::<Cpu>(&wider, "a wider one", &path).expect_err("a wider model").to_string();
    let parts = ["[24, 48]", "[24, 64]", "other sizes than a wider one"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn a_broken_record_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny");
    record::save(synthetic(), &path).unwrap();
    let file = record::file(&path);
    let whole = std::fs::read(&file).unwrap();
    for broken in [
        b"nothing",
        [0xff; 99].as_slice(),
        &whole[..40],
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 16],
    ] {
        std::fs::write(&file, broken).unwrap();
        let error = record::load::<Cpu>(&tiny(), "tiny", &path).expect_err("a broken file");
        assert!(matches!(error, ModelError::Record { .. }), "{error}");
        let words = error.to_string();
        assert!(words.contains("truncated") && !words.contains(['"', '\\', '\n', '{']), "{words}");
        assert!(!whole.starts_with(broken) || words.contains("it ends too early"), "{words}");
    }
    std::fs::remove_file(&file).unwrap();
    let error = record::load::<Cpu>(&tiny(), "tiny", &path).expect_err("no file");
    assert!(matches!(&error, ModelError::NoRecord { path, .. } if *path == file), "{error}");
}

#[test]
fn a_record_needs_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    record::check_folder(&folder.path().join("model")).unwrap();
    record::check_folder(Path::new("model")).unwrap();
    let missing = folder.path().join("missing");
    let error = record::check_folder(&missing.join("model")).expect_err("no folder");
    assert!(matches!(&error, ModelError::NoFolder { folder, .. } if *folder == missing), "{error}");
    // The recorder tries to put a file into a file.
    std::fs::write(&missing, b"").unwrap();
    let path = missing.join("model");
    let cause = std::fs::File::create(record::file(&path)).expect_err("no folder").to_string();
    let error = record::save(synthetic(), &path).expect_err("no folder");
    assert_eq!(error.to_string(), format!("can't write {}: {cause}", record::file(&path).display()));
}

#[test]
fn an_empty_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = GemmaConfig::load(folder.path()).expect_err("an empty folder");
    assert!(error.to_string().contains("config.json") && error.to_string().contains("README.md"), "{error}");
    assert!(matches!(Checkpoint::safetensors(folder.path()), Err(ModelError::Read { .. })));
}
