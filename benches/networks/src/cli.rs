//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use crate::case::{Case, Name};
use crate::contestant::Column;

pub const USAGE: &str = "\
usage: networks [--model NAME] [--batch N] [--threads N] [--rounds N] [--float] [--only COLUMN [--seconds S]]

  --model    one network only: efficientnet_lite0, mobilenet_v2, resnet50, minilm, lstm, smollm2
  --batch    one batch size only
  --threads  the threads of everybody (RAYON_NUM_THREADS, or the cores)
  --rounds   rounds per network and batch size (11)
  --float    with Burn's f32 on NdArray, which is slow
  --only     one column only: int8-ndarray, int8-flex, f32-ndarray, f32-flex, onnx-f32, onnx-int8
  --seconds  no race: the one column in a loop for so long, for a profiler
  --models   where the ONNX models are (models, beside Cargo.toml)";

pub struct Options {
    pub model: Option<Name>,
    pub batch: Option<usize>,
    pub threads: Option<usize>,
    pub rounds: usize,
    pub columns: Vec<Column>,
    pub seconds: Option<f64>,
    pub models: PathBuf,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            model: None,
            batch: None,
            threads: None,
            rounds: 11,
            columns: Column::ALL.into_iter().filter(|&column| column != Column::FloatNdArray).collect(),
            seconds: None,
            models: concat!(env!("CARGO_MANIFEST_DIR"), "/models").into(),
        };
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--model" => options.model = Some(value()?.parse()?),
                "--batch" => options.batch = Some(positive(&value()?)?),
                "--threads" => options.threads = Some(positive(&value()?)?),
                "--rounds" => options.rounds = positive(&value()?)?,
                "--float" => options.columns = Column::ALL.to_vec(),
                "--only" => options.columns = vec![column(&value()?)?],
                "--seconds" => options.seconds = Some(positive(&value()?)?),
                "--models" => options.models = value()?.into(),
                "--help" => return Err("Times whole networks, interleaved in one process.".into()),
                _ => return Err(format!("unknown argument {name}")),
            }
        }
        if options.seconds.is_some() && options.columns.len() > 1 {
            return Err("--seconds needs --only".into());
        }
        Ok(options)
    }

    /// What is to be timed.
    pub fn cases(&self) -> Vec<Case> {
        let names = Name::ALL.into_iter().filter(|&name| self.model.is_none_or(|model| model == name));
        let cases = names.flat_map(Name::cases);
        cases.filter(|case| self.batch.is_none_or(|batch| batch == case.batch)).collect()
    }
}

fn positive<T: FromStr + PartialOrd + Default>(value: &str) -> Result<T, String> {
    let number = value.parse().ok().filter(|number| *number > T::default());
    number.ok_or_else(|| format!("{value} is not a positive number"))
}

fn column(id: &str) -> Result<Column, String> {
    let names = Column::ALL.map(Column::id).join(", ");
    Column::ALL.into_iter().find(|column| column.id() == id).ok_or_else(|| format!("{id} is none of {names}"))
}
