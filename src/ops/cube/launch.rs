//! From shapes to tiles, cubes and kernels.

use burn::tensor::{DType, bf16, f16};
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::server::CubeCountSelection;

use super::ability::is_wide;
use super::buffer::Buffer;
use super::kernels::conv::{SizesLaunch, apart, conv};
use super::kernels::embed::embed;
use super::kernels::gemm::gemm;
use super::kernels::quantize::{largest_in_chunks, quantize_images, quantize_rows, settle};
use super::kernels::tile::{Inputs, Sums, Tile};
use super::ops::{Kind, Step};
use crate::config::{LayerScheme, QuantMode, QuantRange};
use burn_int8_kernels::{ConvGeometry, ConvSpec};

/// A block of the weights' columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartOf {
    pub(super) first: usize,
    pub(super) columns: usize,
}

/// A matrix product `[rows, inputs] · [inputs, outputs]`.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// A convolution.
#[derive(Debug)]
pub(super) struct ConvInput {
    pub(super) samples: usize,
    pub(super) filter: ConvSpec,
    pub(super) window: ConvGeometry,
}

/// Rows of a table.
#[derive(Debug)]
pub(super) struct Table {
    /// How many are asked for.
    pub(super) indices: usize,
    pub(super) width: usize,
    pub(super) entries: usize,
}

/// What a step's kernels read and write.
pub(super) struct Launch<'a, R: CubeRuntime> {
    client: &'a ComputeClient<R>,
    scheme: LayerScheme,
    x: Buffer,
    x_type: DType,
    scales: Buffer,
    parts: Vec<(PartOf, Buffer)>,
    bias: Option<Buffer>,
    out: Buffer,
    /// `I32` asks for the sums as they are.
    out_type: DType,
    dot: bool,
}

/// Inputs as the products read them: what they are, and their scales if they are integers.
struct Multiplicands {
    values: Buffer,
    scales: Option<Buffer>,
    inputs: Inputs,
}

/// A kernel of this module's, with arguments that [`Buffer`] has measured.
macro_rules! launch {
    ($kernel:ident::<$($type:ty),*>($($arg:expr),* $(,)?)) => {{
        #[allow(unsafe_code, reason = "CubeCL does not look at what a kernel does with its arguments")]
        // SAFETY: the kernel's indices come from the sizes that it is given; those are the sizes that the buffers were made
        // with, or those of tensors whose layer has looked at their shapes. Units past the last output write nothing and read
        // within bounds.
        unsafe { $kernel::launch_unchecked::<$($type),*>($($arg),*) }
    }};
}

pub(super) use launch;

/// Runs `$body` with `$F` the float type that a `DType` stands for.
macro_rules! with_float {
    ($dtype:expr, $F:ident => $body:expr) => {
        match $dtype {
            DType::F16 => {
                type $F = f16;
                $body
            }
            DType::BF16 => {
                type $F = bf16;
                $body
            }
            _ => {
                type $F = f32;
                $body
            }
        }
    };
}

/// Runs `$body` with the types of the inputs, the sums and the outputs.
macro_rules! with_types {
    ($launch:expr, $inputs:expr, $A:ident $N:ident $O:ident => $body:expr) => {
        match $inputs {
            Inputs::Words { .. } if $launch.out_type == DType::I32 => {
                type $A = i32;
                type $N = i32;
                type $O = i32;
                $body
            }
            Inputs::Words { .. } => {
                type $A = i32;
                type $N = i32;
                with_float!($launch.out_type, $O => $body)
            }
            Inputs::Floats { .. } => {
                type $N = f32;
                with_float!($launch.x_type, $A => {
                    type $O = $A;
                    $body
                })
            }
        }
    };
}

impl<'a, R: CubeRuntime> Launch<'a, R> {
    /// `inputs` as [`Step`] has them.
    pub(super) fn new<K>(step: &Step<K>, inputs: &'a [CubeTensor<R>], out: &CubeTensor<R>) -> Self {
        let [x, scales, rest @ ..] = inputs else { unreachable!("a step has at least two inputs") };
        let (words, bias) = rest.split_at(step.parts.len());
        Self {
            client: &x.client,
            scheme: step.scheme,
            x: Buffer::of(x),
            x_type: x.dtype,
            scales: Buffer::of(scales),
            parts: step.parts.iter().copied().zip(words.iter().map(Buffer::of)).collect(),
            bias: bias.first().map(Buffer::of),
            out: Buffer::of(out),
            out_type: out.dtype,
            dot: step.dot,
        }
    }

    fn full(&self) -> bool {
        self.scheme.range == QuantRange::Full
    }

    fn is_wide(&self) -> bool {
        #[cfg(test)]
        if let Some(wide) = super::tests::WIDE.get() {
            return wide;
        }
        is_wide(self.client)
    }

    /// Units that share out the values of a row.
    fn row_units(&self, values: usize) -> usize {
        match self.is_wide() {
            true if values >= 2048 => 256,
            true => 64,
            false => 8,
        }
    }

    fn cubes(&self, count: usize) -> CubeCount {
        // A step of this many cubes has more outputs than a device has memory.
        let count = u32::try_from(count).expect("fewer than 2^32 cubes");
        CubeCountSelection::new(self.client, count).cube_count()
    }

    fn sums(&self) -> Sums {
        if self.out_type == DType::I32 { Sums::Bare } else { Sums::Scaled { bias: self.bias.is_some() } }
    }

    /// The bias; what stands in for none is not read.
    fn bias_or_any(&self) -> &Buffer {
        self.bias.as_ref().unwrap_or(&self.scales)
    }

    fn tile(&self, rows: usize, columns: usize, most: [usize; 2], inputs: Inputs) -> Tile {
        let vectors = columns.div_ceil(4);
        let wide = self.is_wide();
        let rows = rows.next_power_of_two().min(most[0]);
        let mut of_unit = vectors.next_power_of_two().min(most[1]);
        if wide && rows == 1 {
            of_unit = 1; // the more units, the more of the memory's bandwidth
        }
        let units = if wide { 64 } else { 8 };
        let across = vectors.div_ceil(of_unit).next_power_of_two().min(units.min(32));
        Tile { rows, vectors: of_unit, units: [across, units / across], inputs, sums: self.sums() }
    }

    /// The rows of the input as they are multiplied.
    fn rows(&self, rows: usize, inputs: usize) -> Multiplicands {
        if self.scheme.mode == QuantMode::WeightOnly {
            let kind = Inputs::Floats { ragged: !inputs.is_multiple_of(4) };
            return Multiplicands { values: self.x.clone(), scales: None, inputs: kind };
        }
        let (values, scales) = self.quantized_rows(rows, inputs);
        Multiplicands { values, scales: Some(scales), inputs: Inputs::Words { dot: self.dot } }
    }

    /// The integers of the rows, and one scale for each.
    pub(super) fn quantized_rows(&self, rows: usize, inputs: usize) -> (Buffer, Buffer) {
        let values = Buffer::new(self.client, rows * inputs.div_ceil(4), size_of::<i32>());
        let scales = Buffer::new(self.client, rows, size_of::<f32>());
        let units = self.row_units(inputs);
        with_float!(self.x_type, F => launch!(quantize_rows::<F, R>(
            self.client, self.cubes(rows), CubeDim::new_1d(units as u32),
            self.x.arg(1), values.arg(1), scales.arg(1),
            rows as u32, inputs as u32, units, self.full()
        )));
        (values, scales)
    }

    /// The images as they are multiplied.
    fn images(&self, images: &ConvInput) -> Multiplicands {
        let ConvInput { samples, filter, window } = images;
        let (plane, channels) = (window.input.iter().product::<usize>(), filter.channels[0]);
        let [of_group, _] = filter.group_channels();
        if self.scheme.mode == QuantMode::WeightOnly {
            let kind = Inputs::Floats { ragged: !of_group.is_multiple_of(4) };
            return Multiplicands { values: self.x.clone(), scales: None, inputs: kind };
        }
        let sample = channels * plane;
        let units = self.row_units(sample);
        let chunks = sample.div_ceil(units * 64).clamp(1, 256);
        let partial = Buffer::new(self.client, samples * chunks, size_of::<u32>());
        let scales = Buffer::new(self.client, *samples, size_of::<f32>());
        let factors = Buffer::new(self.client, samples * 2, size_of::<f32>());
        // Channels that stand alone are read four at once, as if they were of one group.
        let groups = if of_group == 1 { 1 } else { filter.groups };
        let words = samples * plane * groups * (channels / groups).div_ceil(4);
        let values = Buffer::new(self.client, words, size_of::<i32>());
        let (dim, full) = (CubeDim::new_1d(units as u32), self.full());
        with_float!(self.x_type, F => launch!(largest_in_chunks::<F, R>(
            self.client, self.cubes(samples * chunks), dim, self.x.arg(1), partial.arg(1),
            *samples as u32, sample as u32, chunks as u32, units
        )));
        launch!(settle::<R>(
            self.client,
            self.cubes(*samples),
            dim,
            partial.arg(1),
            scales.arg(1),
            factors.arg(1),
            *samples as u32,
            chunks as u32,
            units,
            full
        ));
        let dim = CubeDim::new_1d(64);
        with_float!(self.x_type, F => launch!(quantize_images::<F, R>(
            self.client, self.cubes(words.div_ceil(64)), dim,
            self.x.arg(1), scales.arg(1), factors.arg(1), values.arg(1),
            channels as u32, groups as u32, plane as u32, words as u32, full
        )));
        // Those are not four inputs of one output.
        let dot = self.dot && of_group > 1;
        Multiplicands { values, scales: Some(scales), inputs: Inputs::Words { dot } }
    }
}

impl Kind for Matrix {
    fn launch<R: CubeRuntime>(&self, launch: &Launch<'_, R>) {
        let Self { rows, inputs, outputs } = *self;
        let x = launch.rows(rows, inputs);
        let x_scales = x.scales.as_ref().unwrap_or(&launch.scales);
        let split = launch.is_wide() && rows == 1;
        for (part, words) in &launch.parts {
            let mut tile =
                launch.tile(rows, part.columns, [8, if launch.is_wide() { 2 } else { 4 }], x.inputs);
            if split {
                tile.units[1] = 8;
            }
            let across = part.columns.div_ceil(4).div_ceil(tile.units[0] * tile.vectors);
            let bands = rows.div_ceil(tile.rows).div_ceil(if split { 1 } else { tile.units[1] });
            let dim = CubeDim::new_2d(tile.units[0] as u32, tile.units[1] as u32);
            with_types!(launch, x.inputs, A N O => launch!(gemm::<A, N, O, R>(
                launch.client, launch.cubes(across * bands), dim,
                x.values.arg(1), words.arg(4), x_scales.arg(1), launch.scales.arg(1),
                launch.bias_or_any().arg(1), launch.out.arg(1),
                rows as u32, inputs as u32, outputs as u32, part.first as u32, part.columns as u32,
                tile, split
            )));
        }
    }
}

impl Kind for ConvInput {
    fn launch<R: CubeRuntime>(&self, launch: &Launch<'_, R>) {
        let Self { samples, filter, window } = self;
        let x = launch.images(self);
        let x_scales = x.scales.as_ref().unwrap_or(&launch.scales);
        let pixels = samples * window.output.iter().product::<usize>();
        let sizes = |[d, h, w]: [usize; 3]| SizesLaunch::new(d as u32, h as u32, w as u32);
        let vectors = match (filter.groups, launch.is_wide()) {
            (1, true) => 2,
            (1, false) => 4,
            _ => 1, // each vector of a group of its own
        };
        for (part, words) in &launch.parts {
            let most = if apart(filter) { 2 } else { 8 };
            let tile = launch.tile(pixels, part.columns, [most, vectors], x.inputs);
            let across = part.columns.div_ceil(4).div_ceil(tile.units[0] * tile.vectors);
            let bands = pixels.div_ceil(tile.rows).div_ceil(tile.units[1]);
            let dim = CubeDim::new_2d(tile.units[0] as u32, tile.units[1] as u32);
            with_types!(launch, x.inputs, A N O => launch!(conv::<A, N, O, R>(
                launch.client, launch.cubes(across * bands), dim,
                x.values.arg(1), words.arg(4), x_scales.arg(1), launch.scales.arg(1),
                launch.bias_or_any().arg(1), launch.out.arg(1),
                sizes(window.input), sizes(window.output), sizes(window.padding),
                pixels as u32, part.first as u32, part.columns as u32, *filter, tile
            )));
        }
    }
}

impl Kind for Table {
    fn launch<R: CubeRuntime>(&self, launch: &Launch<'_, R>) {
        let Self { indices, width, entries } = *self;
        let total = indices * width.div_ceil(4);
        for (part, words) in &launch.parts {
            with_float!(launch.out_type, F => launch!(embed::<F, R>(
                launch.client, launch.cubes(total.div_ceil(64)), CubeDim::new_1d(64),
                words.arg(1), launch.scales.arg(1), launch.x.arg(1), launch.out.arg(1),
                width as u32, entries as u32, part.first as u32, part.columns as u32, total as u32
            )));
        }
    }
}
