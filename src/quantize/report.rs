//! The report: each layer with what was done to it, and why.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::inspect::{FoundLayer, FoundState, LayerCollector};
use super::plan::Plan;
use crate::config::LayerScheme;
use crate::nn::walk::{FloatBytes, Int8Facts};
use crate::outcome::{LayerOutcome, SkipReason};
use crate::table;

/// The fate of a layer.
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
    /// The fate of the layer.
    pub action: Action,
    /// The scheme that it is quantized with; none if it is float.
    pub scheme: Option<LayerScheme>,
    /// The reason why it was not quantized; none if it was.
    pub skipped: Option<SkipReason>,
    /// The same in words: how it is quantized, or why it is not and what to do.
    pub reason: String,
    /// Its bytes as a float layer that is saved in full precision.
    pub bytes_before: usize,
    /// Its bytes as saved now: one for each INT8 weight, four for each scale.
    pub bytes_after: usize,
    /// Its bytes in memory now, packed for the kernels, with the factors of a smoothed layer. Tied layers share their weights: the
    /// first of them has all the bytes. Of float layers that is known where their backend's memory is the host's.
    pub memory_bytes: usize,
    /// Signal to quantization noise of its weights in dB; none if it is float or nothing was rounded.
    pub sqnr_db: Option<f32>,
    /// The kernel that computes it on this machine, such as `avx512-vnni`; none if it is float.
    pub kernel: Option<String>,
    /// The number of times that the INT8 weight of a layer of Burn's was read as floats since it was quantized, by something else than
    /// its layer; each time it was dequantized.
    #[serde(default)]
    pub float_reads: usize,
}

/// The layers of a model that have large weights, in order, each with what was done to it.
///
/// Bytes are those of the parameters as recorders save them in full precision, without the few that a file format adds; those in
/// memory are told apart. Tied layers have a row each, as recorders save a weight once for each layer that has it; in memory it is once.
/// `Display` prints a table.
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
    /// Their bytes in memory, which are more where the backend computes with `f64`, and less where with half floats.
    pub other_memory_bytes: usize,
}

impl Report {
    /// Bytes of the float model.
    pub fn bytes_before(&self) -> usize {
        self.total(self.other_bytes, |layer| layer.bytes_before)
    }

    /// Bytes of the model as it is.
    pub fn bytes_after(&self) -> usize {
        self.total(self.other_bytes, |layer| layer.bytes_after)
    }

    /// Bytes of the parameters in memory as they are now, on the host or on the device.
    pub fn memory_bytes(&self) -> usize {
        self.total(self.other_memory_bytes, |layer| layer.memory_bytes)
    }

    /// A sum over all layers; the numbers of a file may be too large for one.
    fn total(&self, others: usize, bytes: impl Fn(&LayerReport) -> usize) -> usize {
        self.layers.iter().map(bytes).fold(others, usize::saturating_add)
    }

    /// The number of layers that are INT8.
    pub fn int8_layers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.action != Action::LeftFloat).count()
    }

    /// The layer at `path`.
    pub fn layer(&self, path: &str) -> Option<&LayerReport> {
        self.layers.iter().find(|layer| layer.path == path)
    }

    /// Describes a model as it is.
    pub(crate) fn of(model: &LayerCollector) -> Self {
        let rows = model.layers.iter().map(|layer| row(layer, None));
        Self::new(rows.collect(), model)
    }

    /// Describes a model after a swap: `outcomes` has what became of the float layers of `plan`.
    pub(crate) fn of_swap(plan: &Plan, outcomes: &[LayerOutcome], after: &LayerCollector) -> Self {
        let mut skipped: HashMap<_, VecDeque<_>> = HashMap::new();
        for outcome in outcomes {
            skipped.entry(&outcome.layer.path).or_default().push_back(outcome.result.as_ref().err());
        }
        let rows = plan.layers.iter().zip(&after.layers).map(|(before, after)| {
            let reason = skipped.get_mut(&after.info.path).and_then(VecDeque::pop_front).flatten();
            match (&before.found.state, &after.state) {
                (FoundState::Float { bytes, .. }, FoundState::Int8(facts)) => {
                    LayerReport { bytes_before: bytes.saved, ..int8_row(after, facts, Action::Quantized) }
                }
                _ => row(after, reason),
            }
        });
        Self::new(rows.collect(), after)
    }

    fn new(mut layers: Vec<LayerReport>, model: &LayerCollector) -> Self {
        let shared = layers.iter_mut().zip(&model.layers).filter(|(_, found)| found.is_shared);
        shared.for_each(|(layer, _)| layer.memory_bytes = 0);
        Self { layers, other_bytes: model.other.saved, other_memory_bytes: model.other.memory }
    }
}

/// A layer as it was found; `reason` says why it was left float, if anybody decided that.
fn row(layer: &FoundLayer, reason: Option<&SkipReason>) -> LayerReport {
    match &layer.state {
        FoundState::Int8(facts) => int8_row(layer, facts, Action::AlreadyInt8),
        FoundState::Float { bytes, .. } => {
            float_row(layer, *bytes, reason.cloned().unwrap_or(SkipReason::NotAsked))
        }
        FoundState::Burns { bytes, reason } => float_row(layer, *bytes, reason.clone()),
    }
}

fn float_row(layer: &FoundLayer, bytes: FloatBytes, reason: SkipReason) -> LayerReport {
    LayerReport {
        path: layer.info.path.clone(),
        kind: layer.info.kind.into(),
        shape: layer.info.shape.clone(),
        action: Action::LeftFloat,
        scheme: None,
        reason: reason.to_string(),
        skipped: Some(reason),
        bytes_before: bytes.saved,
        bytes_after: bytes.saved,
        memory_bytes: bytes.memory,
        sqnr_db: None,
        kernel: None,
        float_reads: 0,
    }
}

fn int8_row(layer: &FoundLayer, facts: &Int8Facts, action: Action) -> LayerReport {
    LayerReport {
        path: layer.info.path.clone(),
        kind: layer.info.kind.into(),
        shape: layer.info.shape.clone(),
        action,
        scheme: Some(facts.scheme),
        skipped: (action == Action::AlreadyInt8).then_some(SkipReason::AlreadyInt8),
        reason: facts.scheme.to_string(),
        bytes_before: facts.float_bytes,
        bytes_after: facts.int8_bytes,
        memory_bytes: facts.memory_bytes,
        sqnr_db: facts.sqnr_db,
        kernel: Some(facts.kernel.into()),
        float_reads: facts.float_reads,
    }
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
        table::write(f, &rows, &[4, 5])
    }
}

fn cells(layer: &LayerReport) -> [String; 7] {
    [
        table::path(&layer.path),
        layer.kind.clone(),
        table::shape(&layer.shape),
        layer.action.to_string(),
        bytes(layer.bytes_before, layer.bytes_after),
        layer.sqnr_db.map(|db| format!("{db:.1} dB")).unwrap_or_default(),
        [layer.kernel.as_deref(), Some(&layer.reason)].into_iter().flatten().collect::<Vec<_>>().join(", "),
    ]
}

fn bytes(before: usize, after: usize) -> String {
    if before == after { grouped(before) } else { format!("{} -> {}", grouped(before), grouped(after)) }
}

/// Puts commas between thousands.
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
