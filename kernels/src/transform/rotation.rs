//! The rotation of blocks of neighbouring inputs.

use std::array::from_fn;
use std::f32::consts::FRAC_1_SQRT_2;

use crate::isa::{Isa, Portable, rotate_64};

/// An orthogonal matrix by which each block of neighbouring inputs is multiplied, and the weights by the same one: products stay
/// as they are, and a large input is spread over its block.
///
/// The matrix of four is `[[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]] / 2`. Larger ones are its Kronecker powers
/// (16, 64, 256), with one factor `[[1, 1], [1, -1]] / sqrt(2)` for the powers of two between these (2, 8, 32, 128). Each is its
/// own inverse. The rows of the matrix of four add up to 1, so that equal inputs stay equal instead of meeting in one column.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::BlockRotation;
///
/// let rotation = BlockRotation::new(4).expect("a power of two");
/// let mut x = [8.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
/// rotation.apply(&mut x);
/// assert_eq!(x, [4.0, 4.0, 4.0, -4.0, 1.0, 1.0, 1.0, 1.0]);
/// rotation.apply(&mut x);
/// assert_eq!(x[0], 8.0);
/// assert_eq!(BlockRotation::new(12), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRotation(u16);

impl BlockRotation {
    /// The largest block.
    pub const LARGEST: usize = 256;
    /// No rotation: blocks of one.
    pub const NONE: Self = Self(1);

    /// The rotation of blocks of this size: 1, which is none, or a power of two up to [`Self::LARGEST`].
    pub const fn new(block: usize) -> Option<Self> {
        if block.is_power_of_two() && block <= Self::LARGEST { Some(Self(block as u16)) } else { None }
    }

    /// The rotation of the largest blocks, of at most `largest` inputs, that so many inputs can be cut into.
    pub fn largest_for(inputs: usize, largest: usize) -> Self {
        let blocks =
            (0..).map(|power| 1usize << power).take_while(|&block| block <= largest.min(Self::LARGEST));
        let fitting = blocks.filter(|block| inputs > 0 && inputs.is_multiple_of(*block));
        fitting.last().and_then(Self::new).unwrap_or(Self::NONE)
    }

    /// The inputs of a block.
    pub const fn block(self) -> usize {
        self.0 as usize
    }

    /// True for blocks of one, which stay as they are.
    pub const fn is_none(self) -> bool {
        self.0 == 1
    }

    /// Rotates the blocks of `x`; what is left of them at the end stays as it is.
    pub fn apply(self, x: &mut [f32]) {
        self.apply_on(Portable::NEW, x);
    }

    /// [`apply`](Self::apply) with the instructions of `isa`.
    #[inline(always)]
    pub(super) fn apply_on<I: Isa>(self, isa: I, x: &mut [f32]) {
        if self.is_none() {
            return;
        }
        let mut rotated = [0.0; Self::LARGEST];
        for block in x.chunks_exact_mut(self.block()) {
            let rotated = &mut rotated[..block.len()];
            rotate(isa, block, rotated);
            block.copy_from_slice(rotated);
        }
    }
}

/// No rotation.
impl Default for BlockRotation {
    fn default() -> Self {
        Self::NONE
    }
}

/// The values that are rotated side by side in a register.
const LANES: usize = 16;

type Lanes = [f32; LANES];

/// Rotates one block into `out`, which is as long.
///
/// Digit by digit of base four, from the last one on, and then of base two if there is one more: every kernel and device adds in
/// this order. The factor that is no power of two comes last: devices may round `a * b + c` once, which would show elsewhere.
#[inline(always)]
pub(super) fn rotate<I: Isa>(isa: I, block: &[f32], out: &mut [f32]) {
    match block.len() {
        16 => return rotate_lanes::<1>(block, out),
        32 => return rotate_lanes::<2>(block, out),
        ..64 => return rotate_few(block, out),
        _ => {}
    }
    for (block, out) in block.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        rotate_64(isa, block, out);
    }
    match block.len() {
        128 => across_two(out),
        256 => across_four(out),
        _ => {}
    }
}

/// Rotates a block of `N` registers: 1, 2 or 4.
#[inline(always)]
pub(crate) fn rotate_lanes<const N: usize>(block: &[f32], out: &mut [f32]) {
    out.copy_from_slice(block);
    for lanes in out.as_chunks_mut::<LANES>().0 {
        *lanes = within::<4>(within::<1>(*lanes));
    }
    match N {
        2 => across_two(out),
        4 => across_four(out),
        _ => {}
    }
}

/// Multiplies each four lanes that are `STEP` apart by the matrix of four.
#[inline(always)]
fn within<const STEP: usize>(x: Lanes) -> Lanes {
    let pairs: Lanes = from_fn(|i| x[i] + x[i ^ STEP]);
    let half: Lanes = from_fn(|i| (pairs[i] + pairs[i ^ (2 * STEP)]) * 0.5);
    from_fn(|i| half[i] - x[i ^ (3 * STEP)])
}

/// Multiplies what stands at the same place of four quarters by the matrix of four.
#[inline(always)]
fn across_four(x: &mut [f32]) {
    let (front, back) = x.split_at_mut(x.len() / 2);
    let ((a, b), (c, d)) = (front.split_at_mut(front.len() / 2), back.split_at_mut(back.len() / 2));
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let half = ((*a + *b) + (*c + *d)) * 0.5;
        (*a, *b, *c, *d) = (half - *d, half - *c, half - *b, half - *a);
    }
}

/// Multiplies what stands at the same place of two halves by the matrix of two.
#[inline(always)]
fn across_two(x: &mut [f32]) {
    let (a, b) = x.split_at_mut(x.len() / 2);
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = ((*a + *b) * FRAC_1_SQRT_2, (*a - *b) * FRAC_1_SQRT_2);
    }
}

/// Rotates a block that is shorter than a register.
#[inline(always)]
fn rotate_few(block: &[f32], out: &mut [f32]) {
    out.copy_from_slice(block);
    let fours = out.len() / 4 * 4;
    for x in out[..fours].as_chunks_mut::<4>().0 {
        across_four(x);
    }
    if out.len().ilog2() % 2 == 1 {
        across_two(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: [[f64; 4]; 4] =
        [[0.5, 0.5, 0.5, -0.5], [0.5, 0.5, -0.5, 0.5], [0.5, -0.5, 0.5, 0.5], [-0.5, 0.5, 0.5, 0.5]];
    /// Four passes of three additions, each rounded to half of 2^-23, on values below 16.
    const TOLERANCE: f64 = 2e-5;

    /// The matrix by its definition: `i` and `j` are cut into digits, the last of base two where the block has one.
    fn entry(mut block: usize, mut i: usize, mut j: usize) -> f64 {
        let mut entry = 1.0;
        while block >= 4 {
            entry *= FOUR[i % 4][j % 4];
            (block, i, j) = (block / 4, i / 4, j / 4);
        }
        if block == 2 {
            entry * std::f64::consts::FRAC_1_SQRT_2 * if i * j == 1 { -1.0 } else { 1.0 }
        } else {
            entry
        }
    }

    #[test]
    fn blocks_are_multiplied_by_the_matrix_and_twice_is_nothing() {
        for block in (0..=8).map(|power| 1 << power) {
            let rotation = BlockRotation::new(block).unwrap();
            let x: Vec<f32> = (0..block * 3 + 1).map(|i| ((i * 37 + 11) % 101) as f32 / 7.0 - 6.0).collect();
            let mut rotated = x.clone();
            rotation.apply(&mut rotated);
            for (x, rotated) in x.chunks_exact(block).zip(rotated.chunks_exact(block)) {
                for (i, &y) in rotated.iter().enumerate() {
                    let expected: f64 =
                        x.iter().enumerate().map(|(j, &x)| f64::from(x) * entry(block, i, j)).sum();
                    assert!((f64::from(y) - expected).abs() < TOLERANCE, "{block}: {y} is not {expected}");
                }
            }
            assert_eq!(rotated[block * 3..], if block == 1 { x[3..].to_vec() } else { vec![x[block * 3]] });
            rotation.apply(&mut rotated);
            let close = rotated.iter().zip(&x).all(|(a, b)| f64::from((a - b).abs()) < TOLERANCE);
            assert!(close, "a rotation by {block} is its own inverse");
        }
    }

    #[test]
    fn only_powers_of_two_up_to_the_largest_are_blocks() {
        for block in [0, 3, 12, 512, usize::MAX] {
            assert_eq!(BlockRotation::new(block), None, "{block}");
        }
        let largest = |inputs, largest| BlockRotation::largest_for(inputs, largest).block();
        assert_eq!(
            [384, 576, 1152, 1536, 1, 0, 768].map(|k| largest(k, 1024)),
            [128, 64, 128, 256, 1, 1, 256]
        );
        assert_eq!([largest(384, 16), largest(384, 100), largest(384, 0)], [16, 64, 1]);
    }
}
