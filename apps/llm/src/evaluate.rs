//! Each way of quantizing against float: predictions on a text, and what is written after some prompts.

use std::fs;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use burn::prelude::*;
use burn_int8::prelude::*;
use clap::{Args, ValueEnum};

use crate::error::ModelError;
use crate::generate::{Generated, generate};
use crate::model::Decoder;
use crate::predictions::Predictions;
use crate::sampler::Sampler;
use crate::scheme::Scheme;
use crate::source::OpenModel;
use crate::tokens::Tokens;
use crate::{show, synthetic};

/// The text and the prompts were written for this example.
const TEXT: &str = include_str!("../texts/text.txt");
const PROMPTS: &str = include_str!("../texts/prompts.txt");
/// Another text, which smoothing looks at.
const SEEN: &str = include_str!("../texts/seen.txt");
/// Random tokens in place of the text, and of each prompt, for a model without a tokenizer.
const RANDOM_TEXT: usize = 64;
const RANDOM_PROMPT: usize = 8;

#[derive(Args)]
pub struct Texts {
    /// A text of your own.
    #[arg(long, conflicts_with = "synthetic")]
    text: Option<PathBuf>,
    /// The tokens to write after each prompt.
    #[arg(long, default_value_t = 20)]
    pub max_tokens: usize,
}

/// A model under the name that the table has for it.
pub struct Evaluated {
    pub name: String,
    /// The bytes of its numbers, as files hold them.
    bytes: usize,
    pub predictions: Predictions,
    /// The texts that it writes after each prompt.
    pub written: Vec<Generated>,
}

/// Loads float and each scheme, evaluates and prints a table.
pub fn run<B: Backend>(open: &OpenModel, texts: &Texts) -> Result<(), ModelError> {
    let (text, prompts) = tokens(open, texts)?;
    let evaluated = evaluate::<B>(open, &text, &prompts, texts.max_tokens)?;
    let (predicted, float) = (text.len() - 1, &evaluated[0]);
    writeln!(stdout(), "{predicted} tokens predicted, {} prompts continued\n", prompts.len())?;
    let header = ["", "numbers", "perplexity", "", "mean KL", "same first choice"].map(String::from);
    let equal = format!("same {} tokens", texts.max_tokens);
    let header = header.into_iter().chain([equal, "tokens a second".into(), String::new()]).collect();
    let rows = evaluated.iter().map(|model| model.row(float));
    show::table(&[header].into_iter().chain(rows).collect::<Vec<_>>())?;
    Ok(())
}

/// The tokens of the text and of the prompts.
pub fn tokens(open: &OpenModel, texts: &Texts) -> Result<(Vec<u32>, Vec<Vec<u32>>), ModelError> {
    let Some(tokens) = open.tokens()? else {
        let prompt = |first| synthetic::tokens(first + RANDOM_PROMPT, &open.config).split_off(first);
        return Ok((synthetic::tokens(RANDOM_TEXT, &open.config), (0..10).map(prompt).collect()));
    };
    let text = match &texts.text {
        Some(path) => fs::read_to_string(path).map_err(|source| ModelError::read(path, source))?,
        None => TEXT.into(),
    };
    Ok((tokens.encode(text.trim_end())?, prompts(&tokens)?))
}

fn prompts(tokens: &Tokens) -> Result<Vec<Vec<u32>>, ModelError> {
    PROMPTS.lines().map(|prompt| tokens.encode(prompt)).collect()
}

/// Float first, then all schemes.
pub fn evaluate<B: Backend>(
    open: &OpenModel,
    text: &[u32],
    prompts: &[Vec<u32>],
    longest: usize,
) -> Result<Vec<Evaluated>, ModelError> {
    let schemes = Scheme::value_variants().iter().map(|scheme| (scheme.name(), Some(scheme.config())));
    let (mut models, mut evaluated) = (Vec::new(), Vec::new());
    for (name, int8) in [("float".into(), None)].into_iter().chain(schemes) {
        let (model, report) = open.load::<B>(int8.as_ref())?;
        let predictions = Predictions::new(&model, &open.config, text)?;
        evaluated.push(Evaluated { name, bytes: report.bytes_after(), predictions, written: Vec::new() });
        models.push(model);
    }
    let (model, report) = smoothed::<B>(open)?;
    let predictions = Predictions::new(&model, &open.config, text)?;
    let name = "smoothed".into();
    evaluated.push(Evaluated { name, bytes: report.bytes_after(), predictions, written: Vec::new() });
    models.push(model);
    // The models take turns, so that a busy moment hits all.
    for prompt in prompts {
        for (model, evaluated) in models.iter().zip(&mut evaluated) {
            evaluated.written.push(greedy(model, open, prompt, longest)?);
        }
    }
    Ok(evaluated)
}

/// The default, smoothed by what another text is to the model.
fn smoothed<B: Backend>(open: &OpenModel) -> Result<(Decoder<B>, Report), ModelError> {
    let seen = match open.tokens()? {
        Some(tokens) => tokens.encode(SEEN.trim_end())?,
        None => synthetic::tokens(RANDOM_TEXT, &open.config),
    };
    let (float, _) = open.load::<B>(None)?;
    let mut outcome = Ok(());
    let run = |model: &Decoder<B>| {
        if let Err(error) = Predictions::new(model, &open.config, &seen) {
            outcome = Err(error);
        }
    };
    let quantized = float.quantize_smoothed(&Int8Config::new(), Smoothing::Percent(50), run);
    outcome?;
    Ok(quantized.map_err(Int8Error::from)?)
}

fn greedy<B: Backend>(
    model: &Decoder<B>,
    open: &OpenModel,
    prompt: &[u32],
    longest: usize,
) -> Result<Generated, ModelError> {
    generate(model, &open.config, prompt, longest, &mut Sampler::Greedy, |_| Ok(()))
}

impl Evaluated {
    /// The number of prompts after which the same is written as by another model.
    pub fn same_texts(&self, other: &Self) -> usize {
        let pairs = self.written.iter().zip(&other.written);
        pairs.filter(|(text, other)| text.tokens == other.tokens).count()
    }

    /// Tokens written a second, over all prompts.
    fn speed(&self) -> f64 {
        let steps: usize = self.written.iter().map(|text| text.tokens.len().saturating_sub(1)).sum();
        steps as f64 / self.written.iter().map(|text| text.decode).sum::<Duration>().as_secs_f64()
    }

    fn row(&self, float: &Self) -> Vec<String> {
        let nearness = self.predictions.nearness(&float.predictions);
        let perplexity = self.predictions.perplexity();
        vec![
            self.name.clone(),
            show::size(self.bytes as u64),
            format!("{perplexity:.3}"),
            format!("{:+.2} %", 100.0 * (perplexity / float.predictions.perplexity() - 1.0)),
            format!("{:.4}", nearness.divergence),
            format!("{:.1} %", 100.0 * nearness.same_first_choice),
            format!("{} of {}", self.same_texts(float), self.written.len()),
            format!("{:.1}", self.speed()),
            format!("{:.2} times", self.speed() / float.speed()),
        ]
    }
}
