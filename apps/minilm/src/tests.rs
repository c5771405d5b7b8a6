//! Files that are not what they should be, and the real weights where the machine has them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::backend::NdArray;
use burn::tensor::TensorData;
use burn::tensor::Tolerance;
use burn_int8::Int8;
use burn_int8::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use tempfile::TempDir;

use crate::encoder::{Encoder, SentenceModel, cosine};
use crate::error::ModelError;
use crate::load::load;
use crate::measure::summary;
use crate::texts::Texts;
use crate::tokens::{Batch, batch};
use crate::{drop_in, stock};

type Cpu = NdArray;
type Bert = drop_in::Bert<Cpu>;
/// The same of Burn's own layers.
type StockBert = stock::Bert<Int8<Cpu>>;

/// How far the cosine of the tiny model's answers, of either layers, may be from 1: residuals and GELU between INT8 layers are
/// rounded apart or with others, and a quantized input may be one step larger or smaller for that. 7e-8 was measured.
const ROUNDED_APART: f64 = 5e-7;

const WIDTH: usize = 8;
const WIDE: usize = 12;

/// Shape, type, bytes.
type Entry = (Vec<usize>, Dtype, Vec<u8>);

/// A folder with the files of a model of one layer.
struct Files {
    folder: TempDir,
    config: serde_json::Value,
    tensors: BTreeMap<String, Entry>,
}

impl Files {
    fn new() -> Self {
        let config = json!({
            "model_type": "bert", "hidden_act": "gelu", "vocab_size": 10, "hidden_size": WIDTH,
            "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": WIDE,
            "max_position_embeddings": 6, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
        });
        let mut files = Self { folder: tempfile::tempdir().unwrap(), config, tensors: BTreeMap::new() };
        for (table, rows) in [("word", 10), ("position", 6), ("token_type", 2)] {
            files.add(&format!("embeddings.{table}_embeddings.weight"), &[rows, WIDTH]);
        }
        let layer = "encoder.layer.0";
        for norm in ["embeddings", &format!("{layer}.attention.output"), &format!("{layer}.output")] {
            files.add(&format!("{norm}.LayerNorm.weight"), &[WIDTH]);
            files.add(&format!("{norm}.LayerNorm.bias"), &[WIDTH]);
        }
        let square = ["attention.self.query", "attention.self.key", "attention.self.value"];
        let square = square.map(|name| (name, [WIDTH, WIDTH]));
        let others = [
            ("attention.output.dense", [WIDTH, WIDTH]),
            ("intermediate.dense", [WIDE, WIDTH]),
            ("output.dense", [WIDTH, WIDE]),
        ];
        for (name, shape) in square.into_iter().chain(others) {
            files.add(&format!("{layer}.{name}.weight"), &shape);
            files.add(&format!("{layer}.{name}.bias"), &shape[..1]);
        }
        files
    }

    /// Values that differ from tensor to tensor and within one.
    fn add(&mut self, name: &str, shape: &[usize]) {
        let seed = name.bytes().map(usize::from).sum::<usize>();
        let value = |at: usize| ((seed + 31 * at) % 101) as f32 / 101.0 - 0.5;
        let bytes = (0..shape.iter().product()).flat_map(|at| value(at).to_le_bytes()).collect();
        self.tensors.insert(name.into(), (shape.to_vec(), Dtype::F32, bytes));
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self) {
        let views = self.tensors.iter().map(|(name, (shape, dtype, bytes))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &self.path().join("model.safetensors")).unwrap();
        std::fs::write(self.path().join("config.json"), self.config.to_string()).unwrap();
    }

    /// The error that loading them gives.
    fn error(&self) -> ModelError {
        self.write();
        load::<Bert>(self.path(), &Default::default()).expect_err("a broken model")
    }

    fn values(&self, name: &str) -> Vec<f32> {
        self.tensors[name].2.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}

fn sentences(ids: &[&[u32]]) -> Batch<Cpu> {
    batch(ids, &Default::default())
}

#[test]
fn a_tiny_model_loads_and_answers() {
    let files = Files::new();
    files.write();
    let (_, model) = load::<Bert>(files.path(), &Default::default()).unwrap();
    let output = model.forward(sentences(&[&[1, 2, 3], &[4, 5, 6]]));
    let lengths = (output.clone() * output).sum_dim(1);
    lengths.into_data().assert_approx_eq::<f32>(&TensorData::from([[1.0], [1.0]]), Tolerance::absolute(1e-6));
}

/// PyTorch's matrices have outputs first, Burn's have inputs first.
#[test]
fn matrices_are_turned() {
    let files = Files::new();
    files.write();
    let (_, model) = load::<Bert>(files.path(), &Default::default()).unwrap();
    let weight = model.encoder.layers[0].mha.query.as_float().unwrap().weight.val();
    let expected = files.values("encoder.layer.0.attention.self.query.weight");
    weight.transpose().into_data().assert_eq(&TensorData::new(expected, [WIDTH, WIDTH]), true);
}

#[test]
fn padding_changes_nothing() {
    let files = Files::new();
    files.write();
    let (_, model) = load::<Bert>(files.path(), &Default::default()).unwrap();
    let alone = model.forward(sentences(&[&[1, 2, 3]]));
    let padded = model.forward(sentences(&[&[1, 2, 3], &[4, 5, 6, 7, 8]])).narrow(0, 0, 1);
    padded.into_data().assert_approx_eq::<f32>(&alone.into_data(), Tolerance::absolute(1e-6));
}

#[test]
fn half_precision_is_read() {
    let mut files = Files::new();
    let name = "encoder.layer.0.output.dense.bias";
    let ones = [0x00, 0x3c].repeat(WIDTH);
    files.tensors.insert(name.into(), (vec![WIDTH], Dtype::F16, ones));
    files.write();
    assert!(load::<Bert>(files.path(), &Default::default()).is_ok());
}

#[test]
fn a_missing_tensor_is_named() {
    let mut files = Files::new();
    let name = "encoder.layer.0.attention.self.key.weight";
    files.tensors.remove(name);
    assert!(matches!(files.error(), ModelError::Missing { tensor } if tensor == name));
}

#[test]
fn a_shape_that_differs_is_shown_with_the_one_that_is_needed() {
    let mut files = Files::new();
    let name = "encoder.layer.0.intermediate.dense.weight";
    files.add(name, &[WIDTH, WIDE]);
    let message = files.error().to_string();
    assert_eq!(message, format!("tensor {name} of the checkpoint is [8, 12]; config.json makes it [12, 8]"));
}

#[test]
fn a_tensor_too_many_is_named() {
    let mut files = Files::new();
    files.add("pooler.dense.weight", &[WIDTH, WIDTH]);
    files.write();
    assert!(load::<Bert>(files.path(), &Default::default()).is_ok(), "the pooler is not needed");
    files.add("encoder.layer.1.output.dense.bias", &[WIDTH]);
    let error = files.error();
    assert!(
        matches!(error, ModelError::Unexpected { tensor } if tensor == "encoder.layer.1.output.dense.bias")
    );
}

#[test]
fn integers_are_no_weights() {
    let mut files = Files::new();
    let name = "embeddings.LayerNorm.bias";
    files.tensors.insert(name.into(), (vec![WIDTH], Dtype::I32, vec![0; 4 * WIDTH]));
    assert!(matches!(files.error(), ModelError::Dtype { tensor, found: Dtype::I32 } if tensor == name));
}

/// Every length that a download can break off at.
#[test]
fn a_truncated_file_is_an_error() {
    let files = Files::new();
    files.write();
    let path = files.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let (header, _) = SafeTensors::read_metadata(&whole).unwrap();
    for length in (0..whole.len()).step_by(7).chain([7, 8, 8 + header, whole.len() - 1]) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = load::<Bert>(files.path(), &Default::default()).expect_err("a truncated file");
        let expected = if length < 8 + header {
            matches!(error, ModelError::Header { .. })
        } else {
            matches!(error, ModelError::Truncated { .. })
        };
        assert!(expected, "{length} of {} bytes: {error}", whole.len());
    }
}

#[test]
fn a_header_that_lies_is_an_error() {
    let files = Files::new();
    files.write();
    let path = files.path().join("model.safetensors");
    let header =
        r#"{"embeddings.word_embeddings.weight":{"dtype":"F32","shape":[10,8],"data_offsets":[4,8]}}"#;
    for (length, header) in [(u64::MAX, header), (3, header), (header.len() as u64, header)] {
        std::fs::write(&path, [&length.to_le_bytes(), header.as_bytes()].concat()).unwrap();
        let error = load::<Bert>(files.path(), &Default::default()).expect_err("a lie");
        assert!(matches!(error, ModelError::Header { .. } | ModelError::Size { .. }), "{error}");
    }
}

#[test]
fn a_configuration_of_another_kind_is_an_error() {
    for (key, value) in [("model_type", "roberta"), ("hidden_act", "relu")] {
        let mut files = Files::new();
        files.config[key] = value.into();
        assert!(matches!(files.error(), ModelError::Unsupported { key: found, .. } if found == key));
    }
    let mut files = Files::new();
    files.config["num_attention_heads"] = 3.into();
    assert!(matches!(files.error(), ModelError::Heads { width: WIDTH, heads: 3 }));
    files.config["vocab_size"] = "many".into();
    assert!(matches!(files.error(), ModelError::Config { .. }));
}

#[test]
fn an_empty_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = load::<Bert>(folder.path(), &Default::default()).expect_err("an empty folder");
    assert!(
        error.to_string().contains("config.json") && error.to_string().contains("download.sh"),
        "{error}"
    );
}

/// The embeddings of two sentences by the tiny model, in float and in INT8.
fn answers<M: SentenceModel>(files: &Files) -> [Vec<Vec<f32>>; 2] {
    let (_, float) = load::<M>(files.path(), &Default::default()).unwrap();
    let (int8, report) = float.clone().quantize(&Int8Config::new()).unwrap();
    assert_eq!(report.int8_layers(), 3 + 6);
    [float, int8].map(|model| {
        let output = model.forward(batch(&[&[1, 2, 3], &[4, 5, 6, 7]], &Default::default()));
        let values: Vec<f32> = output.into_data().iter().collect();
        values.chunks(WIDTH).map(<[f32]>::to_vec).collect()
    })
}

#[test]
fn int8_is_near_to_float() {
    let files = Files::new();
    files.write();
    let [float, int8] = answers::<Bert>(&files);
    assert!(cosines(&float, &int8)[0] > 0.99);
}

#[test]
fn burns_own_layers_answer_as_drop_in_ones() {
    let files = Files::new();
    files.write();
    let [float, int8] = answers::<Bert>(&files);
    let [stock_float, stock_int8] = answers::<StockBert>(&files);
    assert_eq!(stock_float, float);
    assert_ne!(stock_int8, stock_float);
    let [lowest, _] = cosines(&int8, &stock_int8);
    assert!(lowest > 1.0 - ROUNDED_APART, "{lowest}");
}

/// The folder with the real weights, if there is one.
fn real() -> Option<PathBuf> {
    let folder = std::env::var_os("BURN_INT8_MINILM").map(PathBuf::from);
    if folder.is_none() {
        let message = "SKIPPED: set BURN_INT8_MINILM to the folder that apps/minilm/download.sh prints\n";
        // Not `eprintln!`: the test harness would keep that to itself.
        std::io::stderr().write_all(message.as_bytes()).unwrap();
    }
    folder
}

/// The numbers in reference.safetensors are transformers', by reference.py.
#[test]
fn float_answers_as_transformers_and_int8_finds_the_same() {
    let Some(folder) = real() else { return };
    let (encoder, float) = Encoder::<Bert>::load(&folder, Default::default()).unwrap();
    let texts = Texts::load().unwrap();
    let found = encoder.embed(&float, &texts.all(), 5).unwrap();

    let reference = SafeTensors::deserialize(include_bytes!("reference.safetensors")).unwrap();
    let expected = reference.tensor("embeddings").unwrap();
    let expected =
        TensorData::from_bytes_vec(expected.data().to_vec(), expected.shape(), burn::tensor::DType::F32);
    let shape = [found.len(), found[0].len()];
    TensorData::new(found.concat(), shape).assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));

    let (int8, _) = float.quantize(&Int8Config::new()).unwrap();
    let int8 = encoder.embed(&int8, &texts.all(), 5).unwrap();
    assert_near_by_default(&texts, &found, &int8, 0);

    let (encoder, stock) = Encoder::<StockBert>::load(&folder, Default::default()).unwrap();
    assert_eq!(encoder.embed(&stock, &texts.all(), 5).unwrap(), found);
    let (stock, _) = stock.quantize(&Int8Config::new()).unwrap();
    let stock = encoder.embed(&stock, &texts.all(), 5).unwrap();
    assert_near_by_default(&texts, &found, &stock, crate::TIES);
    // Six layers spread the first quantized input that is one step apart, but the two stay nearer to each other than to float.
    assert!(cosines(&int8, &stock)[1] > cosines(&found, &int8)[1]);
}

/// `others` pairs of passages may be ranked otherwise than float ranks them.
fn assert_near_by_default(texts: &Texts, float: &[Vec<f32>], int8: &[Vec<f32>], others: usize) {
    let [lowest, mean] = cosines(float, int8);
    assert!(lowest >= crate::NEAR_BY_DEFAULT[0] && mean >= crate::NEAR_BY_DEFAULT[1], "{lowest} {mean}");
    let agreement = texts.agreement(int8, float);
    assert_eq!(agreement.answers, texts.queries.len());
    assert!(agreement.pairs[0] + others >= agreement.pairs[1], "{:?}", agreement.pairs);
}

/// The lowest and the mean cosine of the embeddings of two models.
fn cosines(a: &[Vec<f32>], b: &[Vec<f32>]) -> [f64; 2] {
    summary(&a.iter().zip(b).map(|(a, b)| cosine(a, b)).collect::<Vec<_>>())
}
