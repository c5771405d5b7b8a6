//! One block of the outputs of a product: panel by panel, tile by tile.

use std::ops::Range;

use super::{Input, PartialProduct};
use crate::epilogue::{RowEpilogue, TileSums};
use crate::isa::{
    Accumulator, Isa, LANES, MR, Matrix, Microkernel, Op, Operands, Role, Sum, Sums, gemm_tile,
};
use crate::scratch::CacheAligned;
use crate::uninit::Block;
use crate::weight::{KR, NR, Panel};

/// Computes one block of an output.
pub(super) struct MultiplyBlock<'a, 'b, 'o, R: Role, E: RowEpilogue<R::Sum>> {
    pub(super) part: PartialProduct<'a>,
    pub(super) epilogue: &'a E,
    pub(super) block: &'b mut Block<'o, E::Output>,
}

impl<R: Role, E: RowEpilogue<R::Sum>> Op for MultiplyBlock<'_, '_, '_, R, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { part, epilogue, block } = self;
        // Few rows are bound by the memory that the weights come from: these are read in order.
        let few = block.rows() <= <R::Gemm<I> as Accumulator>::MR;
        let kc = if few { R::Gemm::<I>::KC } else { usize::MAX };
        let tiles = block.rows().div_ceil(R::Gemm::<I>::rows(block.rows()));
        let mut sums = CacheAligned([[Default::default(); NR]; MR]);
        for offset in (0..block.columns()).step_by(NR) {
            let column = block.first_column + offset;
            let panel = part.weights.panel(column);
            let finish = epilogue.panel(column, part.column_sums.get(column..).unwrap_or_default());
            let mut row = 0;
            for left in (1..=tiles).rev() {
                let rows = (block.rows() - row).div_ceil(left); // even tiles: 8 rows are 4 + 4, not 6 + 2
                multiply_rows::<I, R>(isa, &part, &panel, [block.first_row + row, rows], kc, &mut sums.0);
                finish_rows(
                    isa,
                    &part.input,
                    (epilogue, &finish),
                    block,
                    ([row, rows], offset, panel.columns),
                    &sums.0,
                );
                row += rows;
            }
        }
    }
}

/// The sums of all columns of a panel, for so many rows from the first on, `kc` steps at a time.
#[inline(always)]
fn multiply_rows<I: Isa, R: Role>(
    isa: I,
    part: &PartialProduct<'_>,
    panel: &Panel<'_>,
    [row, rows]: [usize; 2],
    kc: usize,
    sums: &mut Sums<R::Sum>,
) {
    if part.steps.is_empty() {
        sums.as_flattened_mut().fill(Default::default());
        return;
    }
    let end = |start: usize| part.steps.end.min(start.saturating_add(kc));
    let mut start = end(part.steps.start);
    multiply_steps::<I, R>(isa, part, panel, [row, rows], part.steps.start..start, sums);
    if start == part.steps.end {
        return;
    }
    let mut more = CacheAligned([[Default::default(); NR]; MR]);
    while start < part.steps.end {
        multiply_steps::<I, R>(isa, part, panel, [row, rows], start..end(start), &mut more.0);
        let rows = sums.iter_mut().zip(&more.0).take(rows);
        let columns = rows.flat_map(|(sums, more)| sums.iter_mut().zip(more));
        columns.for_each(|(sum, more)| *sum = sum.join(*more));
        start = end(start);
    }
}

/// The sums of all columns of a panel over some steps.
#[inline(always)]
fn multiply_steps<I: Isa, R: Role>(
    isa: I,
    part: &PartialProduct<'_>,
    panel: &Panel<'_>,
    [row, rows]: [usize; 2],
    steps: Range<usize>,
    sums: &mut Sums<R::Sum>,
) {
    let lanes = <R::Gemm<I> as Accumulator>::LANES;
    let step = R::Gemm::<I>::INPUT_BYTES;
    let width = lanes * R::Gemm::<I>::vectors(rows);
    for first in (0..panel.columns).step_by(width) {
        let operands = Operands {
            x: &part.input.x[row * part.input.stride + steps.start * step..],
            rows: Matrix { stride: part.input.stride, step, steps: steps.len() },
            w: &panel.bytes[steps.start * panel.stride + first * KR..],
            w_stride: panel.stride,
        };
        let vectors = width.min(panel.columns - first) / lanes;
        gemm_tile::<I, R, _>(isa, [rows, vectors], &operands, first, sums);
    }
}

/// Writes the outputs of some rows of a block, of the panel that is `offset` columns from its corner.
#[inline(always)]
fn finish_rows<I: Isa, S: Sum, E: RowEpilogue<S>>(
    isa: I,
    input: &Input<'_>,
    (epilogue, panel): (&E, &E::Panel),
    block: &mut Block<'_, E::Output>,
    ([row, rows], offset, width): ([usize; 2], usize, usize),
    sums: &Sums<S>,
) {
    let first_row = block.first_row + row;
    // Element by element: what a copy of unknown length has just written could not be read at once.
    let tile = TileSums {
        first_row,
        rows,
        channel: block.first_column + offset,
        columns: width,
        x_scales: std::array::from_fn(|i| input.scales.get(first_row + i).copied().unwrap_or(1.0)),
        offsets: std::array::from_fn(|i| input.offsets.get(first_row + i).copied().unwrap_or(0)),
        sums,
    };
    let mut out = CacheAligned([[E::Output::default(); NR]; MR]);
    epilogue.tile(isa, panel, &tile, &mut out.0);
    block.append_rows::<_, LANES>(row..row + rows, offset..(offset + width).min(block.columns()), &out.0);
}
