//! The lines that are printed, but for the text itself.

use std::io::{self, Write};
use std::time::Duration;

use burn_int8::prelude::*;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::generate::Generated;

const STYLE: &str = "{msg} {bar:40} {percent} % of {human_len} parameters, {eta} left";

/// A bar for so many parameters; shown on a terminal only.
pub fn progress(parameters: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(parameters as u64).with_style(style).with_message(what)
}

/// The share of a model that is INT8.
pub fn integers(report: &Report) -> String {
    let int8 = report.layers.iter().filter(|layer| layer.action != Action::LeftFloat);
    let parameters: usize = int8.map(|layer| layer.shape.iter().product::<usize>()).sum();
    format!("{} matrices with {} parameters in INT8", report.int8_layers(), HumanCount(parameters as u64))
}

pub fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        ..MIB => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}

pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// The speed at which a text came about.
pub fn speed(text: &Generated) -> String {
    let read = format!(
        "read {} tokens in {} ({:.1} a second)",
        text.prompt,
        seconds(text.prefill),
        text.prefill_speed()
    );
    match text.decode_speed() {
        Some(speed) => format!("{read}, wrote {} ({speed:.1} a second)", text.tokens.len()),
        None => read,
    }
}

/// A table of text, the first column to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        writeln!(io::stdout(), "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
