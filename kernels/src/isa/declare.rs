//! A row of the kernel table: the functions of an instruction set, from its vectors.

/// Declares the `#[target_feature]` functions of an instruction set and its row of the table.
macro_rules! kernel {
    (
        $(#[$doc:meta])* $vis:vis const $row:ident: $name:literal,
        features: [$($feature:tt),*], codes: $code:ty, integers: $integers:ty, floats: $floats:ty,
        cells: $cell:ty, pixels: $pixels:ty, pixel_floats: $pixel_floats:ty,
        channels: $channels:ty, turn: $turn:ty
    ) => {
        $(#[$doc])*
        $vis const $row: $crate::isa::Kernel = {
            use $crate::attention::{self, Attention, Part};
            use $crate::epilogue::{Bare, Scaled};
            use $crate::isa::micro::{Job, Microkernel, Sums, block};
            use $crate::isa::pixels::{
                self, ChannelOperands, ChunkOutputs, ChunkSums, Columns, LineOperands, PixelOperands, ConvMicrokernel,
                TileSize,
            };
            use $crate::isa::stencil::{self, StencilOperands};
            use $crate::norm::{self, Norm};
            use $crate::parallel::{Block, Unwritten};
            use $crate::quantize::{self, QuantRange, Planes, Quantizer, Span, encode_cells, encode_row};

            $(#[target_feature(enable = $feature)])*
            fn encode(x: &[f32], range: QuantRange, codes: &mut [u8]) -> f32 {
                encode_row::<$code>(x, range, codes)
            }
            $(#[target_feature(enable = $feature)])*
            fn dynamic(job: &Job<'_>, to: &Scaled<'_>, out: &mut Block<'_, f32>) {
                // SAFETY: this function has the features.
                unsafe { block::<$integers, _>(job, to, out) }
            }
            $(#[target_feature(enable = $feature)])*
            fn accumulate(job: &Job<'_>, to: &Bare, out: &mut Block<'_, i32>) {
                // SAFETY: this function has the features.
                unsafe { block::<$integers, _>(job, to, out) }
            }
            $(#[target_feature(enable = $feature)])*
            fn weight_only(job: &Job<'_>, to: &Scaled<'_>, out: &mut Block<'_, f32>) {
                // SAFETY: this function has the features.
                unsafe { block::<$floats, _>(job, to, out) }
            }
            $(#[target_feature(enable = $feature)])*
            fn absmax(x: &[f32]) -> f32 {
                quantize::absmax(x)
            }
            $(#[target_feature(enable = $feature)])*
            fn cells(planes: &Planes<'_>, spans: &[Span], by: &Quantizer, cells: &mut [u8]) {
                encode_cells::<$cell>(planes, spans, by, bytemuck::cast_slice_mut(cells))
            }
            $(#[target_feature(enable = $feature)])*
            fn round(x: &[f32], spans: &[Span], by: &Quantizer, out: &mut [f32]) {
                encode_cells::<f32>(&[x], spans, by, out)
            }
            $(#[target_feature(enable = $feature)])*
            fn pixels(size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<i32>) {
                // SAFETY: this function has the features.
                unsafe { <$pixels as ConvMicrokernel>::tile(size, operands, sums) }
            }
            $(#[target_feature(enable = $feature)])*
            fn pixel_floats(size: [usize; 2], operands: &PixelOperands<'_>, sums: &mut Sums<f32>) {
                // SAFETY: this function has the features.
                unsafe { <$pixel_floats as ConvMicrokernel>::tile(size, operands, sums) }
            }
            $(#[target_feature(enable = $feature)])*
            fn lines(operands: &LineOperands<'_>, sums: &mut [f32]) {
                pixels::lines(operands, sums)
            }
            $(#[target_feature(enable = $feature)])*
            fn stencil(operands: &StencilOperands<'_>, sums: &mut [f32]) {
                // SAFETY: this function has the features.
                unsafe { stencil::stencil::<$pixel_floats>(operands, sums) }
            }
            $(#[target_feature(enable = $feature)])*
            fn channels(size: [usize; 2], operands: &ChannelOperands<'_>, sums: &mut Sums<i32>) {
                // SAFETY: this function has the features.
                unsafe { <$channels as Microkernel>::tile(size, operands, 0, sums) }
            }
            $(#[target_feature(enable = $feature)])*
            fn channel_floats(size: [usize; 2], operands: &ChannelOperands<'_>, sums: &mut Sums<f32>) {
                // SAFETY: this function has the features.
                unsafe { <$pixel_floats as Microkernel>::tile(size, operands, 0, sums) }
            }
            $(#[target_feature(enable = $feature)])*
            fn turn_integers(sums: &ChunkSums<i32>, by: &Columns, to: ChunkOutputs<'_, '_, f32>) -> usize {
                let float = |sum: i32, offset| sum.wrapping_sub(offset) as f32;
                // SAFETY: this function has the features.
                unsafe { pixels::scale_and_turn::<$turn, _>(sums, by, float, to) }
            }
            $(#[target_feature(enable = $feature)])*
            fn turn_floats(sums: &ChunkSums<f32>, by: &Columns, to: ChunkOutputs<'_, '_, f32>) -> usize {
                // SAFETY: this function has the features.
                unsafe { pixels::scale_and_turn::<$turn, _>(sums, by, |sum, _| sum, to) }
            }
            $(#[target_feature(enable = $feature)])*
            fn scale_integers(sums: &[i32], offset: i32, by: [f32; 2], out: Unwritten<'_, f32>) -> usize {
                pixels::scale_integers(sums, offset, by, out)
            }
            $(#[target_feature(enable = $feature)])*
            fn scale_floats(sums: &[f32], by: [f32; 2], out: Unwritten<'_, f32>) -> usize {
                pixels::scale_floats(sums, by, out)
            }
            $(#[target_feature(enable = $feature)])*
            fn layer_norm(rows: &mut [f32], residual: Option<&[f32]>, by: &Norm<'_>) {
                norm::normalize(rows, residual, by)
            }
            $(#[target_feature(enable = $feature)])*
            fn attend(task: &Attention<'_>, part: &Part, out: &mut [f32]) {
                attention::attend(task, part, out)
            }
            $crate::isa::Kernel {
                name: $name,
                supported: || true $(&& std::arch::is_x86_feature_detected!($feature))*,
                code_bytes: size_of::<$code>(),
                encode_row: encode,
                dynamic,
                accumulate,
                weight_only,
                absmax,
                cells,
                round,
                pixels,
                pixel_size: TileSize::of::<$pixels>(),
                pixel_floats,
                pixel_float_size: TileSize::of::<$pixel_floats>(),
                lines,
                stencil,
                channels,
                channel_size: TileSize::of_channels::<$channels>(),
                channel_floats,
                channel_float_size: TileSize::of_channels::<$pixel_floats>(),
                scale_integers,
                scale_floats,
                turn_integers,
                turn_floats,
                layer_norm,
                attend,
            }
        };
    };
}
pub(super) use kernel;
