//! The part of an input that a band of outputs reads, with the zeros around the image.

use std::ops::Range;

use crate::conv::geometry::ConvGeometry;

/// One axis of a window.
#[derive(Clone, Copy)]
struct WindowAxis {
    /// The position of the input at the window's first; before the input if negative.
    first: isize,
    /// The positions of the input from one of the window to the next.
    step: usize,
    /// The positions of the window.
    len: usize,
    /// The positions of the window from one output to the next.
    stride: usize,
    /// The positions of the window from one tap to the next.
    dilation: usize,
    /// The positions of the input.
    input: usize,
}

impl WindowAxis {
    fn new(geometry: &ConvGeometry, axis: usize, outputs: Range<usize>) -> Self {
        let spec = geometry.spec();
        let (kernel, stride, dilation) = (spec.kernel[axis], spec.stride[axis], spec.dilation[axis]);
        let first = (outputs.start * stride) as isize - geometry.padding()[axis] as isize;
        let input = geometry.input()[axis];
        if kernel == 1 {
            // What no output reads is left out.
            return Self { first, step: stride, len: outputs.len(), stride: 1, dilation, input };
        }
        let len = (outputs.len() - 1) * stride + (kernel - 1) * dilation + 1;
        Self { first, step: 1, len, stride, dilation, input }
    }

    /// The positions of the window that hold input, and the input at the first of them.
    fn inside(&self) -> (Range<usize>, usize) {
        let before = (-self.first).max(0).cast_unsigned();
        let start = before.div_ceil(self.step).min(self.len);
        let end = (self.input as isize - self.first).max(0).cast_unsigned().div_ceil(self.step);
        let from = (start * self.step) as isize + self.first;
        (start..end.clamp(start, self.len), from.max(0).cast_unsigned())
    }
}

/// The part of an input that some outputs read.
pub(super) struct Window([WindowAxis; 3]);

/// A line of a window: its first pixel, the pixels that hold input, and the pixel of the input at the first of these.
pub(super) struct WindowLine {
    pub(super) first: usize,
    pub(super) inside: Range<usize>,
    pub(super) from: usize,
}

impl Window {
    /// The window of the outputs at these positions along `axis`, and all along the others.
    pub(super) fn new(geometry: &ConvGeometry, axis: usize, lines: Range<usize>) -> Self {
        Self([0, 1, 2].map(|i| {
            let outputs = if i == axis { lines.clone() } else { 0..geometry.output()[i] };
            WindowAxis::new(geometry, i, outputs)
        }))
    }

    /// The pixels.
    pub(super) fn pixels(&self) -> usize {
        self.0.iter().map(|axis| axis.len).product()
    }

    /// The pixels of a line.
    pub(super) fn width(&self) -> usize {
        self.0[2].len
    }

    /// The steps of the input between neighbouring pixels of a line.
    pub(super) fn step(&self) -> usize {
        self.0[2].step
    }

    fn pixel(&self, [z, y, x]: [usize; 3]) -> usize {
        (z * self.0[1].len + y) * self.0[2].len + x
    }

    /// The pixel under the first tap of an output, whose position counts from the window's first.
    pub(super) fn of_output(&self, output: [usize; 3]) -> usize {
        self.pixel(std::array::from_fn(|i| output[i] * self.0[i].stride))
    }

    /// The pixels from the one under the first tap to that under another.
    pub(super) fn of_tap(&self, tap: [usize; 3]) -> usize {
        self.pixel(std::array::from_fn(|i| tap[i] * self.0[i].dilation))
    }

    /// The pixels from one output to the next on its right.
    pub(super) fn stride(&self) -> usize {
        self.0[2].stride
    }

    /// The lines, one after the other.
    pub(super) fn lines(&self) -> impl Iterator<Item = WindowLine> + '_ {
        let [z, y, x] = &self.0;
        let [inside_z, inside_y, inside_x] = [z, y, x].map(WindowAxis::inside);
        (0..z.len * y.len).map(move |line| {
            let (at_z, at_y) = (line / y.len, line % y.len);
            let first = line * x.len;
            if !inside_z.0.contains(&at_z) || !inside_y.0.contains(&at_y) {
                return WindowLine { first, inside: 0..0, from: 0 };
            }
            let from_z = inside_z.1 + (at_z - inside_z.0.start) * z.step;
            let from_y = inside_y.1 + (at_y - inside_y.0.start) * y.step;
            let from = (from_z * y.input + from_y) * x.input + inside_x.1;
            WindowLine { first, inside: inside_x.0.clone(), from }
        })
    }
}
