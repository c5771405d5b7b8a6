//! The pixels that are computed together, and the places of their outputs.

use std::ops::Range;

use super::plan::{Plan, SubconvPlan};

/// The place of a part of a tile in the output.
#[derive(Clone)]
pub(super) struct OutputRun {
    pub(super) tile: Range<usize>,
    /// The columns from the block's first column.
    pub(super) column: usize,
    pub(super) step: usize,
}

/// The neighbouring blocks that a tile starts from, and where its outputs go.
#[derive(Clone)]
pub(super) struct Tile {
    pub(super) position: usize,
    pub(super) pixels: usize,
    pub(super) runs: Range<usize>,
}

/// The tiles of a subconvolution that make the outputs of some whole lines.
#[derive(Clone, Default)]
pub(super) struct Tiles {
    pub(super) tiles: Vec<Tile>,
    pub(super) runs: Vec<OutputRun>,
}

impl Tiles {
    /// Makes tiles of at most `columns` pixels, for some columns of an output of this size: whole lines.
    pub(super) fn new(
        plan: &Plan,
        subconv: &SubconvPlan,
        [_, height, width]: [usize; 3],
        outputs: Range<usize>,
        columns: usize,
    ) -> Self {
        let mut all = Self::default();
        let lines = outputs.start / width..outputs.end / width;
        for z in lines.start / height..lines.end.div_ceil(height) {
            let within = |line: usize| line.saturating_sub(z * height).min(height);
            let (block_z, _, planes) = subconv.outputs[0].within(z..z + 1);
            let (block_y, first_y, ys) = subconv.outputs[1].within(within(lines.start)..within(lines.end));
            let (block_x, first_x, xs) = subconv.outputs[2].within(0..width);
            if planes * ys * xs == 0 {
                continue;
            }
            let first = plan.position([block_z, block_y, block_x]);
            let [step_y, step] = [1, 2].map(|axis| subconv.outputs[axis].step());
            let line = plan.axes[2].length;
            let pixels = (ys - 1) * line + xs;
            for start in (0..pixels).step_by(columns) {
                let end = pixels.min(start + columns);
                let first_run = all.runs.len();
                for y in start / line..=(end - 1) / line {
                    let tile = (y * line).max(start)..(y * line + xs).min(end);
                    if !tile.is_empty() {
                        let x = first_x + (tile.start - y * line) * step;
                        let column = (z * height + first_y + y * step_y) * width + x - outputs.start;
                        all.runs.push(OutputRun { tile: tile.start - start..tile.end - start, column, step });
                    }
                }
                let runs = first_run..all.runs.len();
                all.tiles.push(Tile { position: first + start, pixels: end - start, runs });
            }
        }
        all
    }
}
