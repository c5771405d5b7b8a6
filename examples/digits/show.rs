//! What a person wants to see.

use burn::prelude::*;

use crate::data::{CLASSES, Digit, INK, SIDE};
use crate::measure::{BATCHES, Measured};

const LISTED: usize = 12;
const PICTURES: usize = 4;
/// From paper to ink.
const SHADES: &[u8] = b" .:-=+*#%@";

/// The models against the first one, the float model.
pub fn table<B: Backend>(models: &[Measured<B>]) {
    let [one, many] = BATCHES;
    println!(
        "Each was saved and reloaded, and answers the same bit for bit. Times: microseconds per image.\n"
    );
    println!(
        "{:<17} {:>8} {:>8} {:>9} {:>9} {:>9}",
        "model",
        "accuracy",
        "file",
        "of float",
        format!("batch {one}"),
        format!("batch {many}"),
    );
    for model in models {
        let share = 100.0 * model.file_bytes as f64 / models[0].file_bytes as f64;
        println!(
            "{:<17} {:>6.1} % {:>8} {:>7.1} % {:>9.0} {:>9.0}",
            model.name, model.accuracy, model.file_bytes, share, model.times[0], model.times[1],
        );
    }
}

/// How often each class was read as each.
pub fn confusion<B: Backend>(model: &Measured<B>, test: &[Digit]) {
    let mut counts = [[0; CLASSES]; CLASSES];
    for (digit, answer) in test.iter().zip(&model.answers) {
        counts[digit.class][*answer] += 1;
    }
    println!("\n{}: images of the digit on the left that were read as the one above", model.name);
    let heads: String = (0..CLASSES).map(|class| format!("{class:>4}")).collect();
    println!("   {heads}");
    for (class, row) in counts.iter().enumerate() {
        let cell = |count: &usize| if *count == 0 { "   .".into() } else { format!("{count:>4}") };
        let cells: String = row.iter().map(cell).collect();
        println!("{class:>3}{cells}");
    }
}

/// The images that at least one model reads wrong, those first on which the models disagree.
pub fn mistakes<B: Backend>(models: &[Measured<B>], test: &[Digit]) {
    let answers = |i: usize| models.iter().map(move |model| model.answers[i]);
    let disagree = |i: usize| answers(i).any(|answer| answer != models[0].answers[i]);
    let mut wrong: Vec<_> = (0..test.len()).filter(|i| answers(*i).any(|a| a != test[*i].class)).collect();
    wrong.sort_by_key(|i| !disagree(*i));

    println!("\n{} images are read wrong by at least one, by their line in digits.csv:", wrong.len());
    let heads: String = models.iter().map(|model| format!("{:>18}", model.name)).collect();
    println!("{:>6}{:>6}{heads}", "line", "true");
    for i in wrong.iter().take(LISTED) {
        let cells: String = answers(*i).map(|answer| format!("{answer:>18}")).collect();
        let mark = if disagree(*i) { "   they disagree" } else { "" };
        println!("{:>6}{:>6}{cells}{mark}", test[*i].line, test[*i].class);
    }
    if wrong.len() > LISTED {
        println!("and {} more", wrong.len() - LISTED);
    }
    for model in &models[1..] {
        let apart = model.answers.iter().zip(&models[0].answers).filter(|(a, b)| a != b).count();
        println!("{} and {} disagree on {apart} of {} images", models[0].name, model.name, test.len());
    }
    println!();
    pictures(&wrong.iter().take(PICTURES).map(|i| &test[*i]).collect::<Vec<_>>());
}

/// Side by side, each pixel two characters wide.
fn pictures(digits: &[&Digit]) {
    let line = |cells: Vec<String>| println!("{}", cells.join("  |  ").trim_end());
    let width = 2 * SIDE;
    line(digits.iter().map(|d| format!("{:<width$}", format!("{}: a {}", d.line, d.class))).collect());
    for row in 0..SIDE {
        let shade =
            |pixel: &u8| char::from(SHADES[usize::from(*pixel) * (SHADES.len() - 1) / usize::from(INK)]);
        let row = |digit: &&Digit| -> String {
            digit.pixels[row * SIDE..][..SIDE].iter().flat_map(|pixel| [shade(pixel); 2]).collect()
        };
        line(digits.iter().map(row).collect());
    }
}
