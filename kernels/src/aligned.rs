//! Byte buffers that start on a cache line, so that a vector load never straddles two.

use std::cell::Cell;
use std::thread::LocalKey;

use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Sums and outputs on the way: a vector that straddles two cache lines is slow to be read where it has just been written.
#[repr(align(64))]
pub(super) struct OnLines<T>(pub(super) T);

/// A growable, zero-initialised byte buffer aligned to 64 bytes.
#[derive(Clone, Default)]
pub(super) struct Aligned(Vec<Line>);

impl Aligned {
    pub(super) fn zeroed(bytes: usize) -> Self {
        Self(vec![Line::zeroed(); bytes.div_ceil(64)])
    }

    /// At least `bytes` bytes; what they hold is unspecified.
    pub(super) fn at_least(&mut self, bytes: usize) -> &mut [u8] {
        let lines = bytes.div_ceil(64);
        if self.0.len() < lines {
            self.0.resize(lines, Line::zeroed());
        }
        &mut bytemuck::cast_slice_mut(&mut self.0)[..bytes]
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * size_of::<Line>()
    }

    pub(super) fn as_i8(&self) -> &[i8] {
        bytemuck::cast_slice(&self.0)
    }

    pub(super) fn as_i8_mut(&mut self) -> &mut [i8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

thread_local! {
    /// Quantized activations.
    pub(super) static CODES: Cell<Aligned> = Cell::default();
    /// Their scales.
    pub(super) static SCALES: Cell<Aligned> = Cell::default();
    /// Activations on the way to where they belong.
    pub(super) static STAGING: Cell<Aligned> = Cell::default();
    /// Weights as floats.
    pub(super) static UNPACKED: Cell<Aligned> = Cell::default();
}

/// Bytes of a buffer that stay from call to call: one very large batch must not hold its memory for ever.
const KEPT: usize = 64 << 20;

/// Lends this thread's buffer, or a new one if it is lent out already (a thread that waits may start another product).
pub(super) fn lend<R>(buffer: &'static LocalKey<Cell<Aligned>>, run: impl FnOnce(&mut Aligned) -> R) -> R {
    let mut lent = buffer.take();
    let result = run(&mut lent);
    if lent.bytes() <= KEPT {
        buffer.set(lent);
    }
    result
}
