//! The error of each layer on inputs that a user has: plain data, and a table of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{LayerScheme, QuantMode, Rotation, Smoothing};
use crate::distortion::Distortion;
use crate::nn::observe::InputSums;
use crate::table;

/// The layers that could become INT8, in the order of the model, each with the error that this would make on the inputs that
/// reached it: see [`Quantize::sensitivity`](crate::Quantize::sensitivity). Tied layers have a row each: they share a weight, not their
/// inputs. `Display` prints a table, the worst first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sensitivity {
    /// The layers.
    pub layers: Vec<LayerSensitivity>,
}

/// One layer of a [`Sensitivity`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerSensitivity {
    /// Its path in the model, such as `encoder.layers.0.fc1`.
    pub path: String,
    /// Its kind, such as `Linear`.
    pub kind: String,
    /// The shape of its weight, such as `[d_input, d_output]`.
    pub shape: Vec<usize>,
    /// The number of times that it was called.
    pub calls: u64,
    /// The number of values that came out of it; 0 if it was not seen at work.
    pub outputs: u64,
    /// The range of its inputs; none if it had none, or, being a table, was only looked up.
    pub input: Option<InputRange>,
    /// The error that schemes make: first that of the configuration, then others from the fastest to the most accurate; the last
    /// leaves the layer float.
    pub schemes: Vec<SchemeError>,
}

/// A way to treat a layer, and the error of its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SchemeError {
    /// The scheme that the layer is quantized with; none if it stays float.
    pub scheme: Option<LayerScheme>,
    /// The distance of its outputs from those of the float layer; none if there were no outputs.
    pub distortion: Option<Distortion>,
}

/// The range of what reached a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InputRange {
    /// The number of values that are finite. All that follows is about these.
    pub values: u64,
    /// The number of values that are NaN or infinite.
    pub non_finite: u64,
    /// The least value.
    pub min: f32,
    /// The largest value.
    pub max: f32,
    /// The root of the mean of the squares.
    pub rms: f64,
    /// The largest magnitude in a channel over the median of those in all channels: 1 if the channels are alike, large if few have
    /// outliers; none if at least half of the channels are zero.
    pub channel_ratio: Option<f64>,
}

impl Sensitivity {
    /// The layers from the most harmed by the configuration's scheme to the least; those that were not seen come last.
    pub fn by_harm(&self) -> Vec<&LayerSensitivity> {
        let mut layers: Vec<_> = self.layers.iter().collect();
        let sqnr_db = |layer: &LayerSensitivity| layer.distortion().map(|distortion| distortion.sqnr_db());
        layers.sort_by(|a, b| match (sqnr_db(a), sqnr_db(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        layers
    }

    /// The layer at `path`.
    pub fn layer(&self, path: &str) -> Option<&LayerSensitivity> {
        self.layers.iter().find(|layer| layer.path == path)
    }
}

impl LayerSensitivity {
    /// The error that the configuration's scheme makes; none if the layer was not seen at work.
    pub fn distortion(&self) -> Option<Distortion> {
        self.schemes.first().and_then(|scheme| scheme.distortion)
    }
}

impl InputRange {
    /// The range of some sums; none if there were no values.
    pub(super) fn new(sums: &InputSums) -> Option<Self> {
        let &InputSums { values, non_finite, min, max, squares, ref channels } = sums;
        let [min, max] = if values == 0 { [0.0; 2] } else { [min, max] };
        let rms = (squares / (values as f64).max(1.0)).sqrt();
        let channel_ratio = channel_ratio(channels);
        (values + non_finite > 0).then_some(Self { values, non_finite, min, max, rms, channel_ratio })
    }

    /// The largest magnitude.
    pub fn absmax(&self) -> f32 {
        self.min.abs().max(self.max.abs())
    }

    /// The largest magnitude over the root mean square: about 4 for values of a normal distribution, large if there are outliers;
    /// none if all values are zero.
    pub fn crest_factor(&self) -> Option<f64> {
        (self.rms > 0.0).then(|| f64::from(self.absmax()) / self.rms)
    }
}

fn channel_ratio(channels: &[f32]) -> Option<f64> {
    let mut sorted = channels.to_vec();
    sorted.sort_by(f32::total_cmp);
    let (largest, median) = (*sorted.last()?, sorted[sorted.len() / 2]);
    (median > 0.0).then(|| f64::from(largest) / f64::from(median))
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header =
            ["layer", "kind", "weight", "absmax", "/ rms", "channels", "SQNR", "cosine", "how, and others"];
        let mut rows = vec![header.map(String::from)];
        rows.extend(self.by_harm().into_iter().map(cells));
        table::write(f, &rows, &[3, 4, 5, 6, 7])
    }
}

fn cells(layer: &LayerSensitivity) -> [String; 9] {
    let input = layer.input.as_ref();
    let ratio = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.1}")).unwrap_or_default();
    let cosine = |distortion: Distortion| match distortion {
        Distortion::Finite { cosine, .. } => format!("{cosine:.5}"),
        _ => String::new(),
    };
    [
        table::path(&layer.path),
        layer.kind.clone(),
        table::shape(&layer.shape),
        input.map(|input| format!("{:.3}", input.absmax())).unwrap_or_default(),
        ratio(input.and_then(InputRange::crest_factor)),
        ratio(input.and_then(|input| input.channel_ratio)),
        layer.distortion().map(|distortion| distortion.to_string()).unwrap_or_default(),
        layer.distortion().map(cosine).unwrap_or_default(),
        how(layer),
    ]
}

/// Says in words what is different in `scheme`; weight-only layers have nothing else that matters.
fn change(configured: &LayerScheme, scheme: &LayerScheme) -> String {
    if scheme.mode == QuantMode::WeightOnly && configured.mode != scheme.mode {
        return "weight-only".into();
    }
    let rotation = match scheme.rotation {
        rotation if rotation == configured.rotation => None,
        Rotation::Block(block) => Some(format!("rotated by {block}")),
        _ => Some("not rotated".into()),
    };
    let smoothing = match scheme.smoothing {
        smoothing if smoothing == configured.smoothing => None,
        Smoothing::Percent(percent) => Some(format!("smoothed by {percent} %")),
        _ => Some("not smoothed".into()),
    };
    match [rotation, smoothing] {
        [None, None] => scheme.to_string(),
        changes => changes.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

/// The configuration's scheme, what others would give, and what else a reader has to know.
fn how(layer: &LayerSensitivity) -> String {
    let Some(SchemeError { scheme: Some(configured), .. }) = layer.schemes.first() else {
        return String::new();
    };
    let mut text = configured.to_string();
    if layer.outputs == 0 {
        return format!("{text}; not seen");
    }
    for other in layer.schemes.iter().skip(1) {
        if let (Some(scheme), Some(distortion)) = (other.scheme, other.distortion) {
            text += &format!("; {}: {distortion}", change(configured, &scheme));
        }
    }
    match &layer.input {
        Some(InputRange { non_finite: count @ 1.., .. }) => {
            format!("{text}; {count} inputs are NaN or infinite")
        }
        _ => text,
    }
}
