//! Byte buffers that start on a cache line, so that a vector load never straddles two.

use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

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
