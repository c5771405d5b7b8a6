//! Questions, as models that were tuned to answer were trained to see them.

use minijinja::{Environment, context};

use crate::error::ModelError;

/// Steps that a template may take. A file brings it, and a loop in it could go on for ever.
const FUEL: u64 = 100_000;

#[derive(Clone, Debug)]
pub enum Chat {
    /// Gemma's turns; its checkpoints have the template in a file that is not needed otherwise.
    Gemma,
    /// The Jinja template of a GGUF file.
    Template(String),
    /// The model was not tuned, or its file does not say how.
    Unknown,
}

impl Chat {
    /// The text after which the answer begins.
    pub fn turn(&self, question: &str) -> Result<String, ModelError> {
        match self {
            Self::Gemma => {
                Ok(format!("<start_of_turn>user\n{question}<end_of_turn>\n<start_of_turn>model\n"))
            }
            Self::Template(template) => render(template, question).map_err(ModelError::ChatTemplate),
            Self::Unknown => Err(ModelError::NoChat),
        }
    }
}

fn render(template: &str, question: &str) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    // The settings that such templates are written for.
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    let message = context! { role => "user", content => question };
    environment.render_str(template, context! { messages => [message], add_generation_prompt => true })
}
