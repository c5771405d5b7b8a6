//! The tables that are printed, as Markdown.

use crate::case::Case;
use crate::contestant::Column;
use crate::race::Timing;

/// What is known of one contestant.
#[derive(Clone, Copy)]
pub struct Cell {
    pub timing: Timing,
    /// The relative rms of its output, against f32 with the same weights.
    pub error: f64,
}

/// Prints medians as they come, and remembers the rest for the end.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<(Case, Row)>,
}

type Row = Vec<(Column, Cell)>;

impl Table {
    /// Prints the head of the medians.
    pub fn new(columns: &[Column]) -> Self {
        let table = Self { columns: columns.to_vec(), rows: Vec::new() };
        table.head("milliseconds, median", Some("ORT INT8 over Int8<NdArray>"));
        table
    }

    /// Prints the medians of a case; a column that did not take part stays empty.
    pub fn add(&mut self, case: Case, row: Row) {
        self.print(&case, &row, |cell| milliseconds(cell.timing.median), Some(|cell| cell.timing.median));
        self.rows.push((case, row));
    }

    /// Prints the fastest rounds and the errors.
    pub fn finish(&self) {
        self.head("milliseconds, fastest round", Some("ORT INT8 over Int8<NdArray>"));
        for (case, row) in &self.rows {
            self.print(case, row, |cell| milliseconds(cell.timing.best), Some(|cell| cell.timing.best));
        }
        self.head("relative rms error, against Burn's f32 on Flex with the same weights", None);
        for (case, row) in &self.rows {
            self.print(case, row, |cell| format!("{:.2} %", cell.error * 100.0), None);
        }
    }

    fn head(&self, title: &str, last: Option<&str>) {
        let titles: Vec<_> = self.columns.iter().map(|column| column.title()).chain(last).collect();
        println!("\n| {title} | {} |", titles.join(" | "));
        println!("|---|{}", "---:|".repeat(titles.len()));
    }

    fn print(&self, case: &Case, row: &Row, show: impl Fn(Cell) -> String, seconds: Option<fn(Cell) -> f64>) {
        let find = |column| row.iter().find(|(other, _)| *other == column).map(|&(_, cell)| cell);
        let mut cells: Vec<_> =
            self.columns.iter().map(|&column| find(column).map_or_else(String::new, &show)).collect();
        if let Some(seconds) = seconds {
            let ratio = find(Column::OnnxInt8).zip(find(Column::Int8NdArray));
            cells
                .push(ratio.map_or_else(String::new, |(onnx, ours)| {
                    format!("{:.2}", seconds(onnx) / seconds(ours))
                }));
        }
        println!("| {case} | {} |", cells.join(" | "));
    }
}

/// With three digits, or all before the point.
pub fn milliseconds(seconds: f64) -> String {
    let value = seconds * 1e3;
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}")
}
