//! Convolutions of a single plane by three lines of three taps: each value that is read serves several lines of outputs.

use super::pixels::ConvMicrokernel;

/// What the outputs of some lines multiply.
pub(crate) struct StencilOperands<'a> {
    /// From the cell under the first output's first tap on.
    pub(crate) x: &'a [f32],
    /// Cells from one line to the next.
    pub(crate) pitch: usize,
    /// Line by line.
    pub(crate) taps: [f32; 9],
    /// Lines of outputs, and how many there are in a line.
    pub(crate) size: [usize; 2],
}

/// Lines of outputs that are made together, where registers hold them.
pub(crate) const STENCIL_LINES: usize = 4;
/// No accumulator has more columns; the compiler checks it.
const WIDEST: usize = 16;

/// Writes the sums, line after line.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
pub(super) unsafe fn stencil<M: ConvMicrokernel<Sum = f32>>(
    operands: &StencilOperands<'_>,
    sums: &mut [f32],
) {
    let &StencilOperands { x, pitch, size: [lines, width], .. } = operands;
    let at_once = if lines < STENCIL_LINES || M::ROWS < STENCIL_LINES { 1 } else { STENCIL_LINES };
    for line in (0..lines).step_by(at_once) {
        let line = line.min(lines - at_once); // the last ones perhaps a second time
        let (x, sums) = (&x[line * pitch..], &mut sums[line * width..]);
        // SAFETY: the caller vouches for the same features.
        unsafe {
            if at_once == 1 {
                some_lines::<M, 1>(operands, x, sums);
            } else {
                some_lines::<M, STENCIL_LINES>(operands, x, sums);
            }
        }
    }
}

/// Writes the sums of `N` lines whose cells begin with `x`.
///
/// # Safety
///
/// The CPU has the features of `M`.
#[inline(always)]
unsafe fn some_lines<M: ConvMicrokernel<Sum = f32>, const N: usize>(
    operands: &StencilOperands<'_>,
    x: &[f32],
    sums: &mut [f32],
) {
    let &StencilOperands { pitch, taps, size: [_, width], .. } = operands;
    const { assert!(M::CELL == size_of::<f32>() && M::COLUMNS <= WIDEST) };
    let last = width.saturating_sub(M::COLUMNS);
    // These pay for every pointer below; by the first the second does not wrap.
    assert!(pitch <= x.len() && width <= x.len());
    assert!(x.len() >= (N + 1) * pitch + last + M::COLUMNS + 2);
    for first in (0..width).step_by(M::COLUMNS) {
        let first = first.min(last); // the last ones perhaps a second time
        // SAFETY: the caller vouches for the features. The last cells read begin at `(N + 1) * pitch + last + 2`, so they end
        // within `x` by the assert; a tap is four bytes, as `weight` reads.
        let acc = unsafe {
            let mut acc = [M::zero(); N];
            for line in 0..N + 2 {
                for column in 0..3 {
                    let cells = M::cells(x.as_ptr().add(line * pitch + first + column).cast());
                    for (output, acc) in acc.iter_mut().enumerate() {
                        if (output..output + 3).contains(&line) {
                            let tap = M::weight(taps.as_ptr().add((line - output) * 3 + column).cast());
                            *acc = M::multiply_add(*acc, cells, tap);
                        }
                    }
                }
            }
            acc
        };
        for (acc, sums) in acc.into_iter().zip(sums.chunks_mut(width)) {
            // SAFETY: the caller vouches for the features; `all` has `WIDEST` elements, at least `COLUMNS`, and what is left of a
            // line after `first` has `COLUMNS`, or `store` panics.
            unsafe {
                if width < M::COLUMNS {
                    let mut all = [0.0; WIDEST];
                    M::store(acc, &mut all);
                    sums.copy_from_slice(&all[..sums.len()]);
                } else {
                    M::store(acc, &mut sums[first..]);
                }
            }
        }
    }
}
