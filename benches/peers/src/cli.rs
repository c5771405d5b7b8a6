//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

pub const USAGE: &str = "\
usage: peers [--reps N] [--only SUBSTRING] [--layers linear|conv|all] [--shapes small|all] [--models DIR]

  --reps    rounds per shape (15)
  --only    time only peers whose name contains this, and burn-int8 itself
  --layers  which layers to time (all)
  --shapes  `small` leaves out the shapes that take long (all)
  --models  where the ONNX models are (models, beside Cargo.toml)";

pub struct Options {
    pub rounds: usize,
    pub only: String,
    pub linears: bool,
    pub convs: bool,
    pub small: bool,
    pub models: PathBuf,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            rounds: 15,
            only: String::new(),
            linears: true,
            convs: true,
            small: false,
            models: concat!(env!("CARGO_MANIFEST_DIR"), "/models").into(),
        };
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--reps" => options.rounds = positive(&value()?)?,
                "--only" => options.only = value()?,
                "--layers" => (options.linears, options.convs) = layers(&value()?)?,
                "--shapes" => options.small = is_small(&value()?)?,
                "--models" => options.models = value()?.into(),
                "--help" => return Err("Times one layer in burn-int8 and in its peers.".into()),
                _ => return Err(format!("unknown argument {name}")),
            }
        }
        Ok(options)
    }
}

fn positive(value: &str) -> Result<usize, String> {
    let number = usize::from_str(value).ok().filter(|&number| number > 0);
    number.ok_or_else(|| format!("{value} is not a positive number"))
}

fn layers(value: &str) -> Result<(bool, bool), String> {
    match value {
        "linear" => Ok((true, false)),
        "conv" => Ok((false, true)),
        "all" => Ok((true, true)),
        _ => Err(format!("{value} is none of `linear`, `conv` and `all`")),
    }
}

fn is_small(value: &str) -> Result<bool, String> {
    match value {
        "small" => Ok(true),
        "all" => Ok(false),
        _ => Err(format!("{value} is neither `small` nor `all`")),
    }
}
