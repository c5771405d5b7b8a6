//! The table for a person.

use std::io::{self, Write, stdout};

use crate::measure::Measured;

pub fn table(models: &[Measured]) -> io::Result<()> {
    writeln!(
        stdout(),
        "{:<15} {:<24} {:<12} {:>9} {:>8} {:>9} {:>8} {:>14} {:>14} {:>9} {:>9} {:>11}",
        "model",
        "parts",
        "scheme",
        "from ORT",
        "cosine",
        "SQNR",
        "layers",
        "file, kB",
        "same decision",
        "float",
        "INT8",
        "than float"
    )?;
    models.iter().try_for_each(row)
}

fn row(model: &Measured) -> io::Result<()> {
    let [float, int8] = model.seconds.map(|seconds| 1e3 * seconds);
    let [float_bytes, int8_bytes] = model.file_bytes;
    let [same, all] = model.same_decisions;
    let decisions = if all == 0 { String::new() } else { format!("{same} of {all}") };
    writeln!(
        stdout(),
        "{:<15} {:<24} {:<12} {:>9.0e} {:>8.5} {:>9} {:>8} {:>14} {decisions:>14} {float:>6.2} ms {int8:>6.2} ms {:>5.1} times",
        model.name,
        model.parts,
        model.scheme.name,
        model.float_difference[0],
        model.distortion.cosine(),
        model.distortion,
        format!("{} of {}", model.report.int8_layers(), model.report.layers.len()),
        format!("{} to {}", kilobytes(float_bytes), kilobytes(int8_bytes)),
        float / int8,
    )
}

fn kilobytes(bytes: u64) -> u64 {
    bytes.div_ceil(1000)
}
