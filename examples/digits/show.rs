//! The tables and pictures for a person.

use std::io::{self, Write, stdout};

use crate::data::{CLASSES, Digit, INK, SIDE};
use crate::measure::{BATCHES, Measured};

const LISTED: usize = 12;
const PICTURES: usize = 4;
/// The shades from paper to ink.
const SHADES: &[u8] = b" .:-=+*#%@";

/// The models against the first one, the float model.
pub fn table<M>(models: &[Measured<M>]) -> io::Result<()> {
    let [one, many] = BATCHES;
    writeln!(
        stdout(),
        "Each was saved and reloaded, and answers the same bit for bit. Times: microseconds per image.\n"
    )?;
    writeln!(
        stdout(),
        "{:<17} {:>8} {:>8} {:>9} {:>9} {:>9}",
        "model",
        "accuracy",
        "file",
        "of float",
        format!("batch {one}"),
        format!("batch {many}"),
    )?;
    for model in models {
        let share = 100.0 * model.file_bytes as f64 / models[0].file_bytes as f64;
        writeln!(
            stdout(),
            "{:<17} {:>6.1} % {:>8} {:>7.1} % {:>9.0} {:>9.0}",
            model.name,
            model.accuracy,
            model.file_bytes,
            share,
            model.times[0],
            model.times[1],
        )?;
    }
    Ok(())
}

/// A table of how often each class was read as each.
pub fn confusion<M>(model: &Measured<M>, test: &[Digit]) -> io::Result<()> {
    let mut counts = [[0; CLASSES]; CLASSES];
    for (digit, answer) in test.iter().zip(&model.answers) {
        counts[digit.class][*answer] += 1;
    }
    writeln!(stdout(), "\n{}: a row for each digit, a column for what its images were read as", model.name)?;
    let heads: String = (0..CLASSES).map(|class| format!("{class:>4}")).collect();
    writeln!(stdout(), "   {heads}")?;
    for (class, row) in counts.iter().enumerate() {
        let cell = |count: &usize| if *count == 0 { "   .".into() } else { format!("{count:>4}") };
        let cells: String = row.iter().map(cell).collect();
        writeln!(stdout(), "{class:>3}{cells}")?;
    }
    Ok(())
}

/// The images that at least one model reads wrong, those first on which the models disagree.
pub fn mistakes<M>(models: &[Measured<M>], test: &[Digit]) -> io::Result<()> {
    let answers = |i: usize| models.iter().map(move |model| model.answers[i]);
    let disagree = |i: usize| answers(i).any(|answer| answer != models[0].answers[i]);
    let mut wrong: Vec<_> = (0..test.len()).filter(|i| answers(*i).any(|a| a != test[*i].class)).collect();
    wrong.sort_by_key(|i| !disagree(*i));

    writeln!(
        stdout(),
        "\n{} images are read wrong by at least one, by their line in digits.csv:",
        wrong.len()
    )?;
    let heads: String = models.iter().map(|model| format!("{:>18}", model.name)).collect();
    writeln!(stdout(), "{:>6}{:>6}{heads}", "line", "true")?;
    for i in wrong.iter().take(LISTED) {
        let cells: String = answers(*i).map(|answer| format!("{answer:>18}")).collect();
        let mark = if disagree(*i) { "   they disagree" } else { "" };
        writeln!(stdout(), "{:>6}{:>6}{cells}{mark}", test[*i].line, test[*i].class)?;
    }
    if wrong.len() > LISTED {
        writeln!(stdout(), "and {} more", wrong.len() - LISTED)?;
    }
    for model in &models[1..] {
        let apart = model.answers.iter().zip(&models[0].answers).filter(|(a, b)| a != b).count();
        writeln!(
            stdout(),
            "{} and {} disagree on {apart} of {} images",
            models[0].name,
            model.name,
            test.len()
        )?;
    }
    writeln!(stdout())?;
    pictures(&wrong.iter().take(PICTURES).map(|i| &test[*i]).collect::<Vec<_>>())
}

/// Side by side, each pixel two characters wide.
fn pictures(digits: &[&Digit]) -> io::Result<()> {
    let line = |cells: Vec<String>| writeln!(stdout(), "{}", cells.join("  |  ").trim_end());
    let width = 2 * SIDE;
    line(digits.iter().map(|d| format!("{:<width$}", format!("{}: a {}", d.line, d.class))).collect())?;
    for row in 0..SIDE {
        let shade =
            |pixel: &u8| char::from(SHADES[usize::from(*pixel) * (SHADES.len() - 1) / usize::from(INK)]);
        let row = |digit: &&Digit| -> String {
            digit.pixels[row * SIDE..][..SIDE].iter().flat_map(|pixel| [shade(pixel); 2]).collect()
        };
        line(digits.iter().map(row).collect())?;
    }
    Ok(())
}
