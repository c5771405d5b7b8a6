//! A chart of the error that each layer makes, as an SVG.

use std::error::Error;
use std::path::Path;

use burn_int8::prelude::*;
use burn_int8::{LayerSensitivity, SchemeError};
use plotters::coord::ranged1d::SegmentedCoord;
use plotters::coord::types::{RangedCoordf64, RangedCoordusize};
use plotters::prelude::*;

const WIDTH: u32 = 900;
const ROW: u32 = 34;
/// The height of all that is not rows: title and axis.
const FRAME: u32 = 110;
/// The decibels that are drawn for what is exact, or more.
const MOST_DB: f64 = 70.0;
/// The rows that are left free for the legend.
const LEGEND: usize = 2;
/// The radius of a dot, and of the mark of a legend.
const DOT: i32 = 5;

/// Says whether a scheme is of some kind.
type Kind = fn(&LayerScheme) -> bool;

/// The ways to quantize a layer that get a colour of their own.
const WAYS: [(&str, RGBColor, Kind); 3] = [
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

type Axes = Cartesian2d<RangedCoordf64, SegmentedCoord<RangedCoordusize>>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Axes>;
type Drawn = Result<(), Box<dyn Error>>;

/// Draws a bar for what each layer loses as configured, the worst above, and a dot for each way to quantize it.
pub fn draw(sensitivity: &Sensitivity, path: &Path) -> Drawn {
    let mut layers = sensitivity.by_harm();
    layers.retain(|layer| layer.outputs > 0);
    layers.reverse(); // the axis begins below
    let rows = layers.len() + LEGEND;
    let area = SVGBackend::new(path, (WIDTH, FRAME + ROW * rows as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Signal to quantization noise of each layer's outputs", ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..MOST_DB, (0..rows - 1).into_segmented())?;
    label(&mut chart, &layers)?;
    bars(&mut chart, &layers)?;
    dots(&mut chart, &layers)?;
    Ok(area.present()?)
}

fn label(chart: &mut Chart<'_>, layers: &[&LayerSensitivity]) -> Drawn {
    let name = |row: &SegmentValue<usize>| match row {
        SegmentValue::CenterOf(row) if *row >= LEGEND => layers[*row - LEGEND].path.clone(),
        _ => String::new(),
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh().light_line_style(TRANSPARENT).label_style(("sans-serif", 14));
    mesh.y_labels(layers.len() + LEGEND).y_label_formatter(&name).x_desc("dB; more is better");
    Ok(mesh.draw()?)
}

fn bars(chart: &mut Chart<'_>, layers: &[&LayerSensitivity]) -> Drawn {
    let bars = layers.iter().zip(LEGEND..).filter_map(|(layer, row)| {
        let corners = [
            (0.0, SegmentValue::Exact(row)),
            (decibels(layer.schemes.first()?)?, SegmentValue::Exact(row + 1)),
        ];
        let mut bar = Rectangle::new(corners, RGBColor(222, 222, 222).filled());
        bar.set_margin(ROW / 4, ROW / 4, 0, 0);
        Some(bar)
    });
    chart.draw_series(bars)?;
    Ok(())
}

fn dots(chart: &mut Chart<'_>, layers: &[&LayerSensitivity]) -> Drawn {
    for (name, color, is_way) in WAYS {
        let dots = layers.iter().zip(LEGEND..).filter_map(|(layer, row)| {
            let db = decibels(way(layer, is_way)?)?;
            Some(Circle::new((db, SegmentValue::CenterOf(row)), DOT, color.filled()))
        });
        let mark = move |(x, y)| Circle::new((x + DOT, y), DOT, color.filled());
        chart.draw_series(dots)?.label(name).legend(mark);
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::LowerRight).label_font(("sans-serif", 14));
    legend.background_style(WHITE).border_style(RGBColor(180, 180, 180));
    Ok(legend.draw()?)
}

fn way(layer: &LayerSensitivity, is_way: Kind) -> Option<&SchemeError> {
    layer.schemes.iter().find(|error| error.scheme.as_ref().is_some_and(is_way))
}

/// The length of a bar: none for a layer that was not seen, nothing for an error that is as large as the signal.
fn decibels(error: &SchemeError) -> Option<f64> {
    Some(error.distortion?.sqnr_db().clamp(0.0, MOST_DB))
}
