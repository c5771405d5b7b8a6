//! The instruction sets: one file each, one table for all of them.
//!
//! The table drives detection, the override, the tests and the benchmarks. To add a set: a file with a [`Microkernel`] for
//! integers and one for floats, and a row here.

mod declare;
#[cfg(test)]
mod emulated;
mod micro;
mod pixels;
mod portable;
mod stencil;
#[cfg(target_arch = "x86_64")]
mod x86_avx2;
#[cfg(target_arch = "x86_64")]
mod x86_avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod x86_vnni256;

use std::sync::OnceLock;

use super::attention::{Attention, Part};
use super::epilogue::{Bare, Scaled};
use super::norm::Norm;
use super::parallel::{Block, Unwritten};
use super::quantize::{Planes, QuantRange, Quantizer, Span};
pub(super) use micro::{Job, MR, Sums};
pub(super) use pixels::{
    CHUNK, ChannelOperands, ChunkOutputs, ChunkSums, Columns, LINE, LineOperands, PixelOperands, Scattered,
    Steps, TileSize,
};
pub(super) use stencil::{STENCIL_LINES, StencilOperands};

/// The environment variable that forces a kernel by name.
pub const OVERRIDE: &str = "BURN_INT8_KERNEL";

/// One set of kernels: a row of the table.
///
/// The function pointers are safe to call only on a CPU for which `supported` says yes: [`Active`] is the proof.
struct Kernel {
    name: &'static str,
    supported: fn() -> bool,
    /// Bytes of one quantized activation.
    code_bytes: usize,
    encode_row: unsafe fn(&[f32], QuantRange, &mut [u8]) -> f32,
    dynamic: unsafe fn(&Job<'_>, &Scaled<'_>, &mut Block<'_, f32>),
    accumulate: unsafe fn(&Job<'_>, &Bare, &mut Block<'_, i32>),
    weight_only: unsafe fn(&Job<'_>, &Scaled<'_>, &mut Block<'_, f32>),
    absmax: unsafe fn(&[f32]) -> f32,
    cells: unsafe fn(&Planes<'_>, &[Span], &Quantizer, &mut [u8]),
    round: unsafe fn(&[f32], &[Span], &Quantizer, &mut [f32]),
    pixels: unsafe fn([usize; 2], &PixelOperands<'_>, &mut Sums<i32>),
    pixel_size: TileSize,
    pixel_floats: unsafe fn([usize; 2], &PixelOperands<'_>, &mut Sums<f32>),
    pixel_float_size: TileSize,
    scale_integers: unsafe fn(&[i32], i32, [f32; 2], Unwritten<'_, f32>) -> usize,
    scale_floats: unsafe fn(&[f32], [f32; 2], Unwritten<'_, f32>) -> usize,
    lines: unsafe fn(&LineOperands<'_>, &mut [f32]),
    stencil: unsafe fn(&StencilOperands<'_>, &mut [f32]),
    channels: unsafe fn([usize; 2], &ChannelOperands<'_>, &mut Sums<i32>),
    channel_size: TileSize,
    channel_floats: unsafe fn([usize; 2], &ChannelOperands<'_>, &mut Sums<f32>),
    channel_float_size: TileSize,
    turn_integers: unsafe fn(&ChunkSums<i32>, &Columns, ChunkOutputs<'_, '_, f32>) -> usize,
    turn_floats: unsafe fn(&ChunkSums<f32>, &Columns, ChunkOutputs<'_, '_, f32>) -> usize,
    layer_norm: unsafe fn(&mut [f32], Option<&[f32]>, &Norm<'_>),
    attend: unsafe fn(&Attention<'_>, &Part, &mut [f32]),
}

/// Fastest first.
#[cfg(target_arch = "x86_64")]
static TABLE: &[Kernel] = &[
    x86_avx512_vnni::KERNEL,
    x86_vnni256::AVX_VNNI,
    x86_vnni256::AVX512VL_VNNI,
    x86_avx2::KERNEL,
    portable::KERNEL,
];
#[cfg(not(target_arch = "x86_64"))]
static TABLE: &[Kernel] = &[portable::KERNEL];

/// The names of all kernels that this build knows, fastest first.
#[cfg(target_arch = "x86_64")]
pub const NAMES: &[&str] = &["avx512-vnni", "avx-vnni", "avx512vl-vnni", "avx2", "portable"];
/// The names of all kernels that this build knows, fastest first.
#[cfg(not(target_arch = "x86_64"))]
pub const NAMES: &[&str] = &["portable"];

/// A kernel that the running CPU supports; there is no other way to get one than by asking the CPU.
#[derive(Clone, Copy)]
pub struct Active(&'static Kernel);

impl std::fmt::Debug for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Every kernel that the running CPU supports, fastest first; `portable` is always the last.
pub fn supported() -> impl Iterator<Item = Active> {
    TABLE.iter().filter(|kernel| (kernel.supported)()).map(Active)
}

/// The kernels that tests compare: all that the CPU supports, and the layout of one that it may lack.
#[cfg(test)]
pub(super) fn tested() -> impl Iterator<Item = Active> {
    static EMULATED: Kernel = emulated::KERNEL;
    supported().chain([Active(&EMULATED)])
}

/// The kernel in use: the fastest that the CPU supports, or the one that [`OVERRIDE`] names. Chosen once.
///
/// # Panics
///
/// If [`OVERRIDE`] names a kernel that does not exist or that the CPU does not support.
pub fn active() -> Active {
    static ACTIVE: OnceLock<Active> = OnceLock::new();
    *ACTIVE.get_or_init(|| choose(std::env::var(OVERRIDE).ok().as_deref().filter(|name| !name.is_empty())))
}

pub(super) fn choose(name: Option<&str>) -> Active {
    let found = supported().find(|kernel| name.is_none_or(|name| name == kernel.name()));
    found.unwrap_or_else(|| {
        let here: Vec<_> = supported().map(|kernel| kernel.name()).collect();
        let name = name.unwrap_or_default();
        let why =
            if NAMES.contains(&name) { "this CPU lacks its instructions" } else { "there is no such kernel" };
        panic!("{OVERRIDE}={name}: {why}; this CPU supports {}", here.join(", "))
    })
}

impl Active {
    /// `instructions[-width]`, as in [`NAMES`].
    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub(super) fn code_bytes(self) -> usize {
        self.0.code_bytes
    }

    /// Quantizes one row into `codes`, which has room for a multiple of four; returns the scale.
    pub(super) fn encode_row(self, x: &[f32], range: QuantRange, codes: &mut [u8]) -> f32 {
        // SAFETY: `self` exists, so the CPU supports this kernel.
        unsafe { (self.0.encode_row)(x, range, codes) }
    }

    pub(super) fn dynamic(self, job: &Job<'_>, to: &Scaled<'_>, block: &mut Block<'_, f32>) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.dynamic)(job, to, block) }
    }

    pub(super) fn accumulate(self, job: &Job<'_>, block: &mut Block<'_, i32>) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.accumulate)(job, &Bare, block) }
    }

    pub(super) fn weight_only(self, job: &Job<'_>, to: &Scaled<'_>, block: &mut Block<'_, f32>) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.weight_only)(job, to, block) }
    }

    /// The largest magnitude; NaN or infinite if any value is.
    pub(super) fn absmax(self, x: &[f32]) -> f32 {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.absmax)(x) }
    }

    /// Quantizes spans of some planes into cells.
    pub(super) fn cells(self, planes: &Planes<'_>, spans: &[Span], by: &Quantizer, cells: &mut [u8]) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.cells)(planes, spans, by, cells) }
    }

    /// Quantizes spans of a plane to integers that stay `f32`.
    pub(super) fn round(self, x: &[f32], spans: &[Span], by: &Quantizer, out: &mut [f32]) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.round)(x, spans, by, out) }
    }

    /// The sums of up to `pixel_size` channels and pixels; they still hold what the encoding of the cells put in.
    pub(super) fn pixels(self, size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<i32>) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.pixels)(size, operands, sums) }
    }

    pub(super) fn pixel_size(self) -> TileSize {
        self.0.pixel_size
    }

    pub(super) fn pixel_floats(self, size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<f32>) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.pixel_floats)(size, operands, sums) }
    }

    pub(super) fn pixel_float_size(self) -> TileSize {
        self.0.pixel_float_size
    }

    /// The sums of one channel for neighbouring pixels, a multiple of [`LINE`] of them.
    pub(super) fn lines(self, operands: &LineOperands<'_>, sums: &mut [f32]) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.lines)(operands, sums) }
    }

    /// The sums of some lines of a plane, line after line.
    pub(super) fn stencil(self, operands: &StencilOperands<'_>, sums: &mut [f32]) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.stencil)(operands, sums) }
    }

    /// The sums of up to `channel_size` pixels and channels.
    pub(super) fn channels(self, size: [usize; 2], operands: &ChannelOperands<'_>, sums: &mut Sums<i32>) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.channels)(size, operands, sums) }
    }

    pub(super) fn channel_size(self) -> TileSize {
        self.0.channel_size
    }

    pub(super) fn channel_floats(
        self,
        size: [usize; 2],
        operands: &ChannelOperands<'_>,
        sums: &mut Sums<f32>,
    ) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.channel_floats)(size, operands, sums) }
    }

    pub(super) fn channel_float_size(self) -> TileSize {
        self.0.channel_float_size
    }

    /// Writes the outputs of a chunk; returns how many.
    pub(super) fn turn_integers(
        self,
        sums: &ChunkSums<i32>,
        by: &Columns,
        to: ChunkOutputs<'_, '_, f32>,
    ) -> usize {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.turn_integers)(sums, by, to) }
    }

    /// Writes the outputs of a chunk; returns how many.
    pub(super) fn turn_floats(
        self,
        sums: &ChunkSums<f32>,
        by: &Columns,
        to: ChunkOutputs<'_, '_, f32>,
    ) -> usize {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.turn_floats)(sums, by, to) }
    }

    /// Writes `(sum - offset) as f32 * scale + bias`; returns how many, each written.
    pub(super) fn scale_integers(
        self,
        sums: &[i32],
        offset: i32,
        scale_bias: [f32; 2],
        out: Unwritten<'_, f32>,
    ) -> usize {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.scale_integers)(sums, offset, scale_bias, out) }
    }

    /// Writes `sum * scale + bias`; returns how many, each written.
    pub(super) fn scale_floats(self, sums: &[f32], scale_bias: [f32; 2], out: Unwritten<'_, f32>) -> usize {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.scale_floats)(sums, scale_bias, out) }
    }

    /// Normalizes rows in place, after it has added the residual's.
    pub(super) fn layer_norm(self, rows: &mut [f32], residual: Option<&[f32]>, by: &Norm<'_>) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.layer_norm)(rows, residual, by) }
    }

    /// Computes a part of an attention.
    pub(super) fn attend(self, task: &Attention<'_>, part: &Part, out: &mut [f32]) {
        // SAFETY: as in `encode_row`.
        unsafe { (self.0.attend)(task, part, out) }
    }
}

/// StridedHeads of the `lens` values that `fill` writes. It returns how many it has written of each, each value counted once.
///
/// Zeros written first would cost 2 to 3 % of a product with a large output.
pub(super) fn written<T: Copy, const N: usize>(
    lens: [usize; N],
    fill: impl FnOnce([Unwritten<'_, T>; N]) -> [usize; N],
) -> [Vec<T>; N] {
    let mut outs = lens.map(Vec::with_capacity);
    let mut each = outs.iter_mut().zip(lens);
    let slices = std::array::from_fn(|_| {
        each.next().map_or(Default::default(), |(out, len)| &mut out.spare_capacity_mut()[..len])
    });
    let counts = fill(slices);
    assert_eq!(counts, lens, "every output is written");
    for (out, len) in outs.iter_mut().zip(lens) {
        // SAFETY: the capacity is at least `len`. `fill` cuts each slice into disjoint `Block`s, whose elements a walk writes once
        // each, and counts what these count: what they write, and what `finish` and `turn` return, which write all of the
        // slices, or columns of rows, that they get, and return how many. The count is `len`: all of them.
        unsafe { out.set_len(len) };
    }
    outs
}
