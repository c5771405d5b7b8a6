//! The tables for a person.

use std::io::{self, Write, stdout};

use crate::encoder::{SentenceModel, cosine};
use crate::measure::{BATCHES, Measured, summary};
use crate::texts::{Agreement, RELEVANT, Texts};

/// The models against the first one, the float model.
pub fn table<M: SentenceModel>(models: &[Measured<M>], texts: &Texts) -> io::Result<()> {
    let [one, many] = BATCHES;
    writeln!(
        stdout(),
        "Each was saved and reloaded, and answers the same bit for bit. Speeds: sentences per second.\n"
    )?;
    writeln!(
        stdout(),
        "{:<17} {:>11} {:>13} {:>10} {:>14} {:>10} {:>9} {:>17} {:>17}",
        "model",
        "mean cosine",
        "lowest cosine",
        format!("same top {RELEVANT}"),
        "pairs in order",
        "file",
        "of float",
        format!("batch {one}"),
        format!("batch {many}"),
    )?;
    let float = &models[0];
    for model in models {
        let [lowest, mean] = summary(&model.cosines(float));
        let Agreement { answers, pairs: [ordered, pairs] } =
            texts.agreement(&model.embeddings, &float.embeddings);
        let share = 100.0 * model.file_bytes as f64 / float.file_bytes as f64;
        let speed =
            |at: usize| format!("{:.0} ({:.1} times)", model.speeds[at], model.speeds[at] / float.speeds[at]);
        writeln!(
            stdout(),
            "{:<17} {mean:>11.4} {lowest:>13.4} {:>10} {:>14} {:>10} {share:>7.1} % {:>17} {:>17}",
            model.name,
            format!("{answers} of {}", texts.queries.len()),
            format!("{ordered} of {pairs}"),
            model.file_bytes,
            speed(0),
            speed(1),
        )?;
    }
    Ok(())
}

/// A table of how near each sentence is to what the float model makes of it.
pub fn sentences<M: SentenceModel>(models: &[Measured<M>], sentences: &[String]) -> io::Result<()> {
    let cosines: Vec<_> = models[1..].iter().map(|model| model.cosines(&models[0])).collect();
    let heads: String = models[1..].iter().map(|model| format!("{:>18}", model.name)).collect();
    writeln!(stdout(), "\n{heads}  cosine with float, sentence by sentence")?;
    for (at, sentence) in sentences.iter().enumerate() {
        let cells: String = cosines.iter().map(|cosines| format!("{:>18.4}", cosines[at])).collect();
        writeln!(stdout(), "{cells}  {sentence}")?;
    }
    Ok(())
}

/// The nearest passage of each query, as the INT8 model finds it.
pub fn answers<M: SentenceModel>(model: &Measured<M>, texts: &Texts) -> io::Result<()> {
    writeln!(stdout(), "\n{}: the nearest of {} passages", model.name, texts.passages.len())?;
    for (query, order) in texts.queries.iter().zip(texts.ranking(&model.embeddings)) {
        let nearest = order.first().map(|&at| texts.passages[at].as_str());
        writeln!(stdout(), "  {query}\n    {}", nearest.unwrap_or_default())?;
    }
    Ok(())
}

/// The first numbers of each embedding.
pub fn vectors(sentences: &[String], float: &[Vec<f32>], int8: &[Vec<f32>]) -> io::Result<()> {
    const SHOWN: usize = 6;
    let start = |embedding: &[f32]| -> String {
        embedding.iter().take(SHOWN).map(|value| format!("{value:>9.4}")).collect()
    };
    for ((sentence, float), int8) in sentences.iter().zip(float).zip(int8) {
        writeln!(stdout(), "{sentence}\n  {} numbers, cosine {:.4}", float.len(), cosine(float, int8))?;
        writeln!(stdout(), "  float {} ...\n  INT8  {} ...", start(float), start(int8))?;
    }
    Ok(())
}
