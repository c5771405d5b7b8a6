//! The source of a model, as the command line says it.

use std::path::PathBuf;

use burn::prelude::*;
use burn_int8::prelude::*;
use clap::{Args, ValueEnum};

use crate::backend::BackendName;
use crate::checkpoint::Checkpoint;
use crate::config::GemmaConfig;
use crate::error::ModelError;
use crate::load::{self, Quantized};
use crate::model::Gemma;
use crate::synthetic::Synthetic;
use crate::tokens::Tokens;

#[derive(Args)]
pub struct Source {
    /// The folder with config.json, tokenizer.json and model.safetensors.
    #[arg(long, default_value = "target/gemma3", conflicts_with = "synthetic")]
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
    #[value(name = "1b")]
    Billion,
    #[value(name = "270m")]
    Small,
    Tiny,
}

impl Source {
    pub fn config(&self) -> Result<GemmaConfig, ModelError> {
        match self.synthetic {
            None => GemmaConfig::load(&self.model),
            Some(Shape::Billion) => Ok(GemmaConfig::gemma3_1b()),
            Some(Shape::Small) => Ok(GemmaConfig::gemma3_270m()),
            Some(Shape::Tiny) => Ok(GemmaConfig::tiny()),
        }
    }

    /// The place that `config` is from.
    pub fn name(&self) -> String {
        match self.synthetic.and_then(|shape| shape.to_possible_value()) {
            None => self.model.join("config.json").display().to_string(),
            Some(shape) => format!("--synthetic {}", shape.get_name()),
        }
    }

    /// The tokenizer, which splits and joins texts; none where the weights mean nothing.
    pub fn tokens(&self, config: &GemmaConfig) -> Result<Option<Tokens>, ModelError> {
        match self.synthetic {
            None => Tokens::load(&self.model, config).map(Some),
            Some(_) => Ok(None),
        }
    }

    /// The model, float or INT8.
    pub fn load<B: Backend>(
        &self,
        config: &GemmaConfig,
        int8: Quantized<'_>,
    ) -> Result<(Gemma<B>, Report), ModelError> {
        let model = Gemma::new(config, &B::Device::default());
        match self.synthetic {
            None => load::from_checkpoint(model, Checkpoint::open(&self.model)?, int8),
            Some(_) => load::fill(model, &mut Synthetic::default(), int8),
        }
    }
}
