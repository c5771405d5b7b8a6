//! A chart of the error that each layer makes, as an SVG.

use std::error::Error;
use std::path::Path;

use burn_int8::prelude::*;
use burn_int8::{LayerSensitivity, SchemeError};
use plotters::prelude::*;

const WIDTH: u32 = 900;
const ROW: u32 = 34;
/// The height of all that is not rows: title, legend, axis.
const FRAME: u32 = 170;
/// The decibels that are drawn for what is exact, or more.
const MOST_DB: f64 = 70.0;
/// The radius of a dot, and of the mark of a legend.
const DOT: i32 = 5;

/// The ways to quantize a layer that get a colour of their own.
const WAYS: [(&str, RGBColor, fn(&LayerScheme) -> bool); 3] = [
    ("dynamic", RGBColor(217, 95, 2), |scheme| !is_weight_only(scheme) && !is_rotated(scheme)),
    ("dynamic, rotated", RGBColor(27, 158, 119), |scheme| !is_weight_only(scheme) && is_rotated(scheme)),
    ("weight-only", RGBColor(117, 112, 179), is_weight_only),
];

fn is_weight_only(scheme: &LayerScheme) -> bool {
    scheme.mode == QuantMode::WeightOnly
}

fn is_rotated(scheme: &LayerScheme) -> bool {
    scheme.rotation != Rotation::None
}

/// Draws a bar for what each layer loses as configured, the worst above, and a dot for each way to quantize it.
pub fn draw(sensitivity: &Sensitivity, path: &Path) -> Result<(), Box<dyn Error>> {
    let layers: Vec<_> = sensitivity.by_harm().into_iter().filter(|layer| layer.outputs > 0).collect();
    let rows = layers.len();
    let area = SVGBackend::new(path, (WIDTH, FRAME + ROW * rows as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Signal to quantization noise of each layer's outputs", ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..MOST_DB, (0..rows).into_segmented())?;
    let name = |row: &SegmentValue<usize>| match row {
        SegmentValue::CenterOf(row) if *row < rows => layers[rows - 1 - row].path.clone(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(rows)
        .y_label_formatter(&name)
        .x_desc("dB; more is better")
        .label_style(("sans-serif", 14))
        .draw()?;

    let from_below = |index: usize| rows - 1 - index;
    chart.draw_series(layers.iter().enumerate().filter_map(|(index, layer)| {
        let (row, db) = (from_below(index), decibels(layer.schemes.first()?)?);
        let corners = [(0.0, SegmentValue::Exact(row)), (db, SegmentValue::Exact(row + 1))];
        let mut bar = Rectangle::new(corners, RGBColor(222, 222, 222).filled());
        bar.set_margin(ROW / 4, ROW / 4, 0, 0);
        Some(bar)
    }))?;
    for (name, color, is_way) in WAYS {
        let dots = layers.iter().enumerate().filter_map(|(index, layer)| {
            let db = decibels(way(layer, is_way)?)?;
            Some(Circle::new((db, SegmentValue::CenterOf(from_below(index))), DOT, color.filled()))
        });
        let mark = move |(x, y)| Circle::new((x + DOT, y), DOT, color.filled());
        chart.draw_series(dots)?.label(name).legend(mark);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(RGBColor(180, 180, 180))
        .label_font(("sans-serif", 14))
        .draw()?;
    Ok(area.present()?)
}

fn way(layer: &LayerSensitivity, is_way: fn(&LayerScheme) -> bool) -> Option<&SchemeError> {
    layer.schemes.iter().find(|error| error.scheme.as_ref().is_some_and(is_way))
}

/// The length of a bar: none for a layer that was not seen, nothing for an error that is as large as the signal.
fn decibels(error: &SchemeError) -> Option<f64> {
    Some(error.distortion?.sqnr_db().clamp(0.0, MOST_DB))
}
