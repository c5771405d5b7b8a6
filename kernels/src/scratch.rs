//! Byte buffers that start on a cache line, so that a vector load never straddles two, and the ones that each thread keeps.

use std::cell::Cell;
use std::thread::LocalKey;

use bytemuck::{Pod, Zeroable};

/// The bytes of a cache line.
const LINE: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// A value on the stack that starts on a cache line: a vector that straddles two is slow to be read where it has just been
/// written.
#[repr(align(64))]
pub(super) struct CacheAligned<T>(pub(super) T);

/// A growable, zero-initialised byte buffer aligned to 64 bytes.
#[derive(Clone, Default)]
pub(super) struct AlignedBytes(Vec<Line>);

impl AlignedBytes {
    pub(super) fn zeroed(bytes: usize) -> Self {
        Self(vec![Line::zeroed(); bytes.div_ceil(LINE)])
    }

    /// At least `bytes` bytes; what they hold is unspecified.
    ///
    /// # Panics
    ///
    /// If there is not so much memory: its size may come from a layer's options, such as a huge padding.
    pub(super) fn at_least(&mut self, bytes: usize) -> &mut [u8] {
        let lines = bytes.div_ceil(LINE);
        if self.0.len() < lines {
            let more = lines - self.0.len();
            let reserved = self.0.try_reserve_exact(more);
            assert!(reserved.is_ok(), "there is no memory for a blocked input of {bytes} bytes");
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
    /// Quantized inputs.
    pub(super) static QUANTIZED: Cell<AlignedBytes> = Cell::default();
    /// The scales of quantized inputs.
    pub(super) static SCALES: Cell<AlignedBytes> = Cell::default();
    /// Transformed inputs.
    pub(super) static TRANSFORMED: Cell<AlignedBytes> = Cell::default();
    /// Quantized planes on the way to where they belong.
    pub(super) static PLANES: Cell<AlignedBytes> = Cell::default();
    /// Weights as floats.
    pub(super) static UNPACKED: Cell<AlignedBytes> = Cell::default();
}

/// The bytes of a buffer that stay from call to call: one very large batch must not hold its memory for ever.
const KEPT: usize = 64 << 20;

/// Lends `run` this thread's buffer, or a new one if it is lent out already (a thread that waits may start another product).
pub(super) fn with_scratch<R>(
    buffer: &'static LocalKey<Cell<AlignedBytes>>,
    run: impl FnOnce(&mut AlignedBytes) -> R,
) -> R {
    let mut scratch = buffer.take();
    let result = run(&mut scratch);
    if scratch.bytes() <= KEPT {
        buffer.set(scratch);
    }
    result
}
