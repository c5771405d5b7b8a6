//! What was done to each layer, and why.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{LayerScheme, QuantMode, QuantRange};
use crate::quantize::inspect::{Census, Form, Found};
use crate::quantize::plan::Rules;

/// What was done to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Action {
    /// It became INT8.
    Quantized,
    /// It was INT8 before.
    AlreadyInt8,
    /// It is float still.
    LeftFloat,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Quantized => "quantized",
            Self::AlreadyInt8 => "int8",
            Self::LeftFloat => "left float",
        })
    }
}

/// One layer of a [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerReport {
    /// Its path in the model, such as `encoder.layers.0.fc1`.
    pub path: String,
    /// Its kind, such as `Linear`.
    pub kind: String,
    /// The shape of its weight, such as `[d_input, d_output]`.
    pub shape: Vec<usize>,
    /// What was done to it.
    pub action: Action,
    /// How it is quantized, or why it is not and what to do.
    pub reason: String,
    /// Its bytes as a saved float layer.
    pub bytes_before: usize,
    /// Its bytes as saved now: one for each INT8 weight, four for each scale.
    pub bytes_after: usize,
    /// Its bytes in memory now, packed for the kernels; of tied layers, which share their weights, the first has them all.
    pub memory_bytes: usize,
    /// Signal to quantization noise of its weights in dB; none if it is float or nothing was rounded.
    pub sqnr_db: Option<f32>,
    /// What computes it on this machine, such as `avx512-vnni`; none if it is float.
    pub kernel: Option<String>,
}

/// What was done to a model: all its layers with large weights, in order.
///
/// Bytes are those of the parameters as recorders save them, without the few that a file format adds; those in memory are
/// told apart. `Display` prints a table.
///
/// # Example
///
/// ```
/// use burn::backend::NdArray;
/// use burn_int8::{nn::LinearConfig, prelude::*};
///
/// let layer = LinearConfig::new(1024, 1024).init::<NdArray>(&Default::default());
/// let (layer, report) = layer.quantize(&Int8Config::new())?;
/// assert_eq!(report.layers[0].action, Action::Quantized);
/// assert!(report.layers[0].sqnr_db.unwrap() > 40.0);
/// assert_eq!(report.bytes_before(), (1024 * 1024 + 1024) * 4);
/// assert_eq!(report.bytes_after(), 1024 * 1024 + 1024 * 4 + 1024 * 4);
/// # Ok::<(), Int8Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The layers.
    pub layers: Vec<LayerReport>,
    /// Bytes of all other float parameters, which stay as they are.
    pub other_bytes: usize,
}

impl Report {
    /// Bytes of the float model.
    pub fn bytes_before(&self) -> usize {
        self.other_bytes + self.layers.iter().map(|layer| layer.bytes_before).sum::<usize>()
    }

    /// Bytes of the model as it is.
    pub fn bytes_after(&self) -> usize {
        self.other_bytes + self.layers.iter().map(|layer| layer.bytes_after).sum::<usize>()
    }

    /// Bytes of the parameters in memory as they are now, on the host or on the device.
    pub fn memory_bytes(&self) -> usize {
        self.other_bytes + self.layers.iter().map(|layer| layer.memory_bytes).sum::<usize>()
    }

    /// How many layers are INT8.
    pub fn int8_layers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.action != Action::LeftFloat).count()
    }

    /// The layer at `path`.
    pub fn layer(&self, path: &str) -> Option<&LayerReport> {
        self.layers.iter().find(|layer| layer.path == path)
    }

    /// A model as it is.
    pub(crate) fn of(census: &Census) -> Self {
        let layers = census.layers.iter().map(|layer| match &layer.form {
            Form::Float { .. } => row(layer, Action::LeftFloat, "not quantized".into()),
            _ => found(layer),
        });
        Self::new(layers.collect(), census)
    }

    /// What became of the layers of `after`, one by one.
    fn new(mut layers: Vec<LayerReport>, after: &Census) -> Self {
        let mut copies = HashSet::new();
        for (layer, found) in layers.iter_mut().zip(&after.layers) {
            if let Form::Int8(facts) = &found.form {
                layer.memory_bytes = if copies.insert(facts.copy) { facts.memory_bytes } else { 0 };
            }
        }
        Self { layers, other_bytes: after.other_bytes }
    }

    /// A model before and after a swap.
    pub(crate) fn of_swap(before: &Census, after: &Census, rules: &Rules) -> Self {
        let layers = before.layers.iter().zip(&after.layers);
        let layers = layers.map(|(before, after)| match (&before.form, &after.form) {
            (Form::Float { .. }, Form::Int8(facts)) => {
                let row = row(after, Action::Quantized, describe(facts.scheme));
                LayerReport { bytes_before: before.bytes, ..row }
            }
            (Form::Float { .. }, _) => {
                let why = rules.decide(&after.info).err().map(|left| left.to_string());
                row(after, Action::LeftFloat, why.unwrap_or_else(|| "no weights were loaded".into()))
            }
            _ => found(after),
        });
        Self::new(layers.collect(), after)
    }
}

/// A layer that no swap concerned.
fn found(layer: &Found) -> LayerReport {
    match &layer.form {
        Form::Int8(facts) => row(layer, Action::AlreadyInt8, describe(facts.scheme)),
        Form::Stock(Some(compound)) => row(layer, Action::LeftFloat, part_of(compound, layer.info.kind)),
        _ => row(layer, Action::LeftFloat, remedy(layer.info.kind)),
    }
}

fn row(layer: &Found, action: Action, reason: String) -> LayerReport {
    let facts = match &layer.form {
        Form::Int8(facts) => Some(facts),
        _ => None,
    };
    LayerReport {
        path: layer.info.path.clone(),
        kind: layer.info.kind.into(),
        shape: layer.info.shape.clone(),
        action,
        reason,
        bytes_before: facts.map_or(layer.bytes, |facts| facts.float_bytes),
        bytes_after: layer.bytes,
        memory_bytes: layer.bytes,
        sqnr_db: facts.and_then(|facts| facts.sqnr_db),
        kernel: facts.map(|facts| facts.kernel.into()),
    }
}

fn describe(scheme: LayerScheme) -> String {
    let activations = match scheme.mode {
        QuantMode::Dynamic => "dynamic activations",
        QuantMode::WeightOnly => "float activations",
    };
    if scheme.range == QuantRange::Full { format!("{activations}, full range") } else { activations.into() }
}

/// What to do about a layer inside a module of Burn's own.
fn part_of(compound: &str, kind: &str) -> String {
    let drop_in = match compound {
        "MultiHeadAttention" => "attention",
        "PositionWiseFeedForward" | "TransformerEncoder" => "transformer",
        _ => return format!("part of {compound}: write that module with burn_int8::nn::{kind}"),
    };
    format!(
        "part of {compound}: if that is Burn's, use burn_int8::nn::{drop_in}::{compound}; if yours, burn_int8::nn::{kind} in it"
    )
}

/// What to do about a layer of Burn's own.
fn remedy(kind: &str) -> String {
    let module = if kind.starts_with("Conv") { "nn::conv" } else { "nn" };
    format!("burn::{module}::{kind} can't be swapped: use burn_int8::nn::{kind}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["layer", "kind", "weight", "action", "bytes", "SQNR", "how"].map(String::from);
        let mut rows = vec![header];
        rows.extend(self.layers.iter().map(cells));
        let total = |name: &str, before, after| {
            let reduction = 100.0 * (1.0 - after as f64 / (before as f64).max(1.0));
            let how = if after < before { format!("-{reduction:.1} %") } else { String::new() };
            [name, "", "", "", &bytes(before, after), "", &how].map(String::from)
        };
        if self.other_bytes > 0 {
            rows.push(total("other parameters", self.other_bytes, self.other_bytes));
        }
        rows.push(total("total", self.bytes_before(), self.bytes_after()));
        rows.push(total("in memory", self.bytes_before(), self.memory_bytes()));
        let widths: [usize; 7] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        });
        for (i, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                let numeric = (4..=5).contains(&column);
                if numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            write!(f, "{}{}", if i > 0 { "\n" } else { "" }, line.trim_end())?;
        }
        Ok(())
    }
}

fn cells(layer: &LayerReport) -> [String; 7] {
    let shape: Vec<_> = layer.shape.iter().map(usize::to_string).collect();
    [
        if layer.path.is_empty() { "(model)".into() } else { layer.path.clone() },
        layer.kind.clone(),
        shape.join(" x "),
        layer.action.to_string(),
        bytes(layer.bytes_before, layer.bytes_after),
        layer.sqnr_db.map(|db| format!("{db:.1} dB")).unwrap_or_default(),
        [layer.kernel.as_deref(), Some(&layer.reason)].into_iter().flatten().collect::<Vec<_>>().join(", "),
    ]
}

fn bytes(before: usize, after: usize) -> String {
    if before == after { grouped(before) } else { format!("{} -> {}", grouped(before), grouped(after)) }
}

/// With commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_string();
    for chunk in digits.as_bytes()[first..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(chunk.iter().map(|&digit| char::from(digit)));
    }
    text
}
