//! From floats to the codes of inputs, and from sums to floats, some neighbours at a time.
//!
//! The compiler makes vector code of such loops only where they are long, and code with many shuffles of those whose length it
//! knows; pixels have few channels.

use super::encoding::InputEncoding;
use super::microkernel::Sum;
use crate::range::{absmax, round_and_clip};
use crate::vecmath::{clamp, relu};
use crate::weight::NR;

/// The way of some values to codes.
#[derive(Clone, Copy)]
pub(crate) struct ToCodes {
    /// The two factors that make steps of a value, in this order.
    pub(crate) factors: [f32; 2],
    /// The smallest and the largest integer.
    pub(crate) limits: [i32; 2],
    /// The number that the encoding adds to each integer.
    pub(crate) offset: i32,
}

/// The sums of a row of a tile.
#[derive(Clone, Copy)]
pub(crate) enum SumRow<'a> {
    Integers(&'a [i32; NR]),
    Floats(&'a [f32; NR]),
}

/// The short functions that are computed in the pass over the sums.
#[derive(Clone, Copy)]
pub(crate) enum ShortFunction {
    Identity,
    /// [`relu`].
    Relu,
    /// [`clamp`].
    Clamp([f32; 2]),
}

/// The way of a row's sums to floats: `(sum - column_sum * offset) as f32 * (x_scale * w_scale) + bias`, and a function of that.
#[derive(Clone, Copy)]
pub(crate) struct ToFloats<'a> {
    pub(crate) offset: i32,
    pub(crate) x_scale: f32,
    pub(crate) column_sums: &'a [i32; NR],
    pub(crate) w_scales: &'a [f32; NR],
    pub(crate) biases: Option<&'a [f32; NR]>,
    pub(crate) function: ShortFunction,
}

/// The columns of a row are computed so many at once.
pub(crate) const LANES: usize = 16;

/// The passes over the values of a row or pixel.
///
/// # Safety
///
/// All functions need a CPU with the features of the instruction set.
pub(crate) unsafe trait Convert {
    /// The largest magnitude, NaN or infinite if any value is.
    unsafe fn absmax(x: &[f32]) -> f32;
    /// Says whether a value is NaN.
    unsafe fn has_nan(x: &[f32]) -> bool;
    /// Writes each value times a factor. `out` is as long as `x`.
    unsafe fn scale(x: &[f32], factor: f32, out: &mut [f32]);
    /// Writes each byte as a float. `out` is as long as `x`.
    unsafe fn widen(x: &[u8], out: &mut [f32]);
    /// Writes what the first sums of a row give: `columns` of them, up to the next multiple of [`LANES`].
    unsafe fn dequantize(sums: SumRow<'_>, columns: usize, way: &ToFloats<'_>, out: &mut [f32; NR]);
}

/// The pass over the values of a row or pixel whose result depends on the encoding of inputs.
///
/// # Safety
///
/// It needs a CPU with the features of the instruction set.
pub(crate) unsafe trait Encode<E: InputEncoding> {
    /// Writes the code of each value. `out` is as long as `x`.
    unsafe fn encode(x: &[f32], way: &ToCodes, out: &mut [E::Code]);
}

/// Loops, for instruction sets without a better way.
pub(crate) struct Loops;

// SAFETY: no function needs any feature.
unsafe impl Convert for Loops {
    #[inline(always)]
    unsafe fn absmax(x: &[f32]) -> f32 {
        absmax(x)
    }

    #[inline(always)]
    unsafe fn has_nan(x: &[f32]) -> bool {
        x.iter().fold(false, |found, x| found | x.is_nan())
    }

    #[inline(always)]
    unsafe fn scale(x: &[f32], factor: f32, out: &mut [f32]) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = x * factor);
    }

    #[inline(always)]
    unsafe fn widen(x: &[u8], out: &mut [f32]) {
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = f32::from(x));
    }

    #[inline(always)]
    unsafe fn dequantize(sums: SumRow<'_>, columns: usize, way: &ToFloats<'_>, out: &mut [f32; NR]) {
        let ToFloats { offset, x_scale, column_sums, w_scales, biases, function } = *way;
        for (i, out) in out.iter_mut().enumerate().take(columns) {
            let sum = match sums {
                SumRow::Integers(sums) => sums[i].to_f32(column_sums[i].wrapping_mul(offset)),
                SumRow::Floats(sums) => sums[i],
            };
            let y = sum * (x_scale * w_scales[i]);
            let y = biases.map_or(y, |biases| y + biases[i]);
            *out = match function {
                ShortFunction::Identity => y,
                ShortFunction::Relu => relu(y),
                ShortFunction::Clamp(limits) => clamp(y, limits),
            };
        }
    }
}

// SAFETY: it needs no feature.
unsafe impl<E: InputEncoding> Encode<E> for Loops {
    #[inline(always)]
    unsafe fn encode(x: &[f32], way: &ToCodes, out: &mut [E::Code]) {
        let ToCodes { factors: [first, second], limits, offset } = *way;
        for (out, x) in out.iter_mut().zip(x) {
            *out = E::encode(round_and_clip((x * first) * second, limits), offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tile;
    use super::*;
    use crate::isa::{Isa, Kernel, Op};

    /// What all passes make of these values.
    struct Passes<'a>(&'a [f32]);

    impl Op for Passes<'_> {
        type Output = (u32, bool, Vec<u32>, Vec<i32>, Vec<u8>, Vec<u32>);

        #[inline(always)]
        fn run<I: Isa>(self, isa: I) -> Self::Output {
            let x = self.0;
            let offset = I::Input::offset(false);
            let way = ToCodes { factors: [1.0, 127.0 / 3.0], limits: [-127, 127], offset };
            let bytes_way = ToCodes { factors: [2.0, 255.0 / 6.0], limits: [0, 255], offset: 0 };
            let (mut scaled, mut floats) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let mut codes = vec![I::Input::encode(0, 0); x.len()];
            let mut bytes = vec![0; x.len()];
            tile::scale(isa, x, 0.3, &mut scaled);
            tile::encode(isa, x, &way, &mut codes);
            tile::encode_bytes(isa, x, &bytes_way, &mut bytes);
            tile::widen(isa, &bytes, &mut floats);
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
            let codes = codes.into_iter().map(|code| code.into() - offset).collect();
            (tile::absmax(isa, x).to_bits(), tile::has_nan(isa, x), bits(scaled), codes, bytes, bits(floats))
        }
    }

    /// Rows of every length, with ties, zeros of both signs, values beyond the limits, and in one of them a NaN.
    #[test]
    fn every_kernel_gives_what_loops_give() {
        for len in 0..70 {
            let x: Vec<_> = (0..len).map(|i| (i * 37 % 101) as f32 * 0.059_055_12 - 3.1).collect();
            let x: Vec<_> = x.into_iter().map(|x| if x.abs() < 0.1 { -0.0 } else { x }).collect();
            let expected = Kernel::by_name("portable").unwrap().run(Passes(&x));
            for kernel in Kernel::tested() {
                assert!(kernel.run(Passes(&x)) == expected, "{kernel:?}, {len} values");
                let mut x = x.clone();
                x.push(f32::NAN);
                let (absmax, has_nan, ..) = kernel.run(Passes(&x));
                assert!(has_nan && f32::from_bits(absmax).is_nan(), "{kernel:?}, {len} values and a NaN");
            }
        }
    }
}
