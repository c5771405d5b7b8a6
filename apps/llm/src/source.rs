//! The source of a model, as the command line says it.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn_int8::prelude::*;
use clap::{Args, ValueEnum};

use crate::backend::BackendName;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::gemma::GemmaConfig;
use crate::gguf::Gguf;
use crate::llama;
use crate::load::{self, Quantized};
use crate::model::Decoder;
use crate::synthetic::Synthetic;
use crate::tokens::Tokens;

#[derive(Args)]
pub struct Source {
    /// A GGUF file of a Llama, the folder of one that is named model.gguf, or a folder with Gemma's config.json,
    /// tokenizer.json and model.safetensors.
    #[arg(long, default_value = "target/smollm2", conflicts_with = "synthetic")]
    model: PathBuf,
    /// Random weights of this shape instead: for measuring, not for reading.
    #[arg(long, value_enum)]
    synthetic: Option<Shape>,
    /// The backend that it runs on; cargo's `--features flex` and `--features wgpu` add those.
    #[arg(long, value_enum, default_value_t = BackendName::Ndarray)]
    pub backend: BackendName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    /// Gemma 3 1B.
    #[value(name = "1b")]
    Billion,
    /// Gemma 3 270M.
    #[value(name = "270m")]
    Small,
    /// SmolLM2-135M, a Llama.
    #[value(name = "135m")]
    Smaller,
    /// A Gemma for tests.
    Tiny,
}

impl Shape {
    fn config(self) -> DecoderConfig {
        match self {
            Self::Billion => GemmaConfig::gemma3_1b().decoder(),
            Self::Small => GemmaConfig::gemma3_270m().decoder(),
            Self::Smaller => llama::smollm2_135m(),
            Self::Tiny => GemmaConfig::tiny().decoder(),
        }
    }
}

impl Source {
    /// Reads what the files say about the model, but none of its weights.
    pub fn open(&self) -> Result<OpenModel, ModelError> {
        if let Some(shape) = self.synthetic {
            let value = shape.to_possible_value();
            let name = value.map_or_else(String::new, |value| format!("--synthetic {}", value.get_name()));
            return Ok(OpenModel { config: shape.config(), name, weights: Weights::Random });
        }
        match gguf_file(&self.model) {
            Some(path) => {
                let gguf = Gguf::open(&path)?;
                let config = llama::decoder(&gguf)?;
                Ok(OpenModel { config, name: path.display().to_string(), weights: Weights::Gguf(gguf) })
            }
            None => {
                let config = GemmaConfig::load(&self.model)?.decoder();
                let name = self.model.join("config.json").display().to_string();
                Ok(OpenModel { config, name, weights: Weights::Folder(self.model.clone()) })
            }
        }
    }
}

/// The GGUF file that a path means, if it means one.
fn gguf_file(path: &Path) -> Option<PathBuf> {
    let inside = path.join("model.gguf");
    if inside.is_file() {
        return Some(inside);
    }
    (path.is_file() || path.extension().is_some_and(|ending| ending == "gguf")).then(|| path.into())
}

/// A model that is known but for its weights.
pub struct OpenModel {
    pub config: DecoderConfig,
    /// The place that `config` is from.
    pub name: String,
    weights: Weights,
}

enum Weights {
    /// The folder of safetensors files.
    Folder(PathBuf),
    Gguf(Gguf),
    Random,
}

impl OpenModel {
    /// The tokenizer, which splits and joins texts; none where the weights mean nothing.
    pub fn tokens(&self) -> Result<Option<Tokens>, ModelError> {
        match &self.weights {
            Weights::Folder(folder) => Tokens::load(folder, &self.config).map(Some),
            Weights::Gguf(gguf) => Tokens::from_gguf(gguf, &self.config).map(Some),
            Weights::Random => Ok(None),
        }
    }

    /// The model, float or INT8.
    pub fn load<B: Backend>(&self, int8: Quantized<'_>) -> Result<(Decoder<B>, Report), ModelError> {
        let model = Decoder::new(&self.config, &B::Device::default());
        let checkpoint = match &self.weights {
            Weights::Folder(folder) => Checkpoint::safetensors(folder)?,
            Weights::Gguf(gguf) => Checkpoint::gguf(gguf, &self.config),
            Weights::Random => return load::fill(model, &mut Synthetic::default(), int8),
        };
        load::from_checkpoint(model, checkpoint, self.config.norm_offset, int8)
    }
}
