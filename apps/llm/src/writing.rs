//! The text to be written, as the command line says it.

use std::io::Write;

use burn::prelude::*;
use clap::Args;

use crate::config::DecoderConfig;
use crate::error::ModelError;
use crate::generate::{Generated, generate};
use crate::model::Decoder;
use crate::sampler::Sampler;
use crate::synthetic;
use crate::tokens::Tokens;

#[derive(Args)]
pub struct Writing {
    /// The start of the text.
    #[arg(long, default_value = "Keras is a", conflicts_with = "synthetic")]
    prompt: String,
    /// The prompt is a question to a model that was tuned to answer.
    #[arg(long, conflicts_with = "synthetic")]
    chat: bool,
    /// The length of a prompt of random tokens, with --synthetic.
    #[arg(long, default_value_t = 128, requires = "synthetic")]
    prompt_tokens: usize,
    /// The most tokens to write.
    #[arg(long, default_value_t = 64)]
    max_tokens: usize,
    /// 0 always takes the likeliest token; 1 draws each as often as the model finds it likely.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f64,
    /// Draws only of the likeliest tokens, which together have this probability.
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f64,
    /// The same seed gives the same text.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seed: u64,
}

impl Writing {
    /// Writes to the terminal as tokens come.
    pub fn run<B: Backend>(
        &self,
        model: &Decoder<B>,
        config: &DecoderConfig,
        tokens: Option<&Tokens>,
    ) -> Result<Generated, ModelError> {
        let mut sampler = Sampler::new(self.temperature, self.top_p, self.seed)?;
        let prompt = self.prompt(config, tokens)?;
        let mut stream = tokens.map(Tokens::stream);
        let mut out = std::io::stdout();
        let show = |token| {
            let text = match &mut stream {
                Some(stream) => stream(token)?,
                None => format!("{token} "),
            };
            write!(out, "{text}")?;
            Ok(out.flush()?)
        };
        let text = generate(model, config, &prompt, self.max_tokens, &mut sampler, show)?;
        writeln!(std::io::stdout())?;
        Ok(text)
    }

    fn prompt(&self, config: &DecoderConfig, tokens: Option<&Tokens>) -> Result<Vec<u32>, ModelError> {
        let Some(tokens) = tokens else {
            return Ok(synthetic::tokens(self.prompt_tokens, config));
        };
        let text = if self.chat { tokens.turn(&self.prompt)? } else { self.prompt.clone() };
        tokens.encode(&text)
    }
}
