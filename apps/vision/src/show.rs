//! The table for a person.

use std::io::{self, Write, stdout};

use burn::prelude::*;

use crate::compare::{agreement, sqnr};
use crate::measure::Measured;

/// The models against the first one, the float model.
pub fn table<B: Backend>(models: &[Measured<B>]) -> io::Result<()> {
    let float = &models[0];
    writeln!(
        stdout(),
        "{} inputs. Each model was saved and reloaded, and answers the same bit for bit.\n",
        float.scores.len()
    )?;
    writeln!(
        stdout(),
        "{:<17} {:>9} {:>12} {:>12} {:>11} {:>9} {:>9} {:>11}",
        "model",
        "SQNR",
        "same first",
        "of first 5",
        "file",
        "of float",
        "image",
        "than float"
    )?;
    for model in models {
        let [first, five] = [1, 5].map(|count| 100.0 * agreement(&float.scores, &model.scores, count));
        writeln!(
            stdout(),
            "{:<17} {:>9} {first:>10.1} % {five:>10.1} % {:>11} {:>7.1} % {:>6.1} ms {:>5.1} times",
            model.name,
            decibels(sqnr(&float.scores, &model.scores)),
            model.file_bytes,
            100.0 * model.file_bytes as f64 / float.file_bytes as f64,
            1e3 * model.seconds,
            float.seconds / model.seconds,
        )?;
    }
    Ok(())
}

/// No noise at all is left out.
fn decibels(ratio: f64) -> String {
    if ratio == f64::INFINITY { String::new() } else { format!("{ratio:.2} dB") }
}
