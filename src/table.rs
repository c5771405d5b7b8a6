//! Tables of text.

use std::fmt;

/// Writes rows with their columns below each other, those in `right` aligned to the right. The last line does not end.
pub(crate) fn write<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    rows: &[[String; N]],
    right: &[usize],
) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for (i, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        write!(f, "{}{}", if i > 0 { "\n" } else { "" }, line.trim_end())?;
    }
    Ok(())
}

/// The path of a layer as a table has it.
pub(crate) fn path(path: &str) -> String {
    if path.is_empty() { "(model)".into() } else { path.into() }
}

/// The shape of a weight as a table has it.
pub(crate) fn shape(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}
