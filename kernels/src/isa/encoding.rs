//! The forms in which instruction sets want their quantized inputs.

use bytemuck::Pod;

/// The encoding of quantized inputs: what stands in memory for an integer `q`.
pub(crate) trait InputEncoding: Copy + Send + Sync + 'static {
    /// One input.
    type Code: Pod + Into<i32>;
    /// Four inputs that are multiplied and summed together.
    type C4: Pod;
    /// The number that the encoding adds to each input that may be negative. The sums then hold it times the column sum of the
    /// weights, which is taken out at the end: zero-point compensation.
    const SIGNED_OFFSET: i32;
    /// The number that it adds to inputs in `0..=255`.
    const UNSIGNED_OFFSET: i32;

    /// The number that it adds to each of a row's inputs.
    #[inline(always)]
    fn offset(unsigned: bool) -> i32 {
        if unsigned { Self::UNSIGNED_OFFSET } else { Self::SIGNED_OFFSET }
    }

    /// One input, in `-128..=127` or in `0..=255`, with its offset.
    fn encode(q: i32, offset: i32) -> Self::Code;
    /// Four inputs that are zero, with their offset.
    fn zeros(offset: i32) -> Self::C4;
    /// `c4` with `q` in one of its lanes, which was zero.
    fn with_lane(c4: Self::C4, lane: usize, q: i32) -> Self::C4;
}

/// Four bytes of this value, modulo 256.
#[inline(always)]
fn in_each_byte(value: i32) -> u32 {
    u32::from(value as u8) * 0x0101_0101
}

/// Unsigned bytes, `q + 128` where there may be a sign, for instructions that multiply unsigned by signed bytes.
#[derive(Clone, Copy)]
pub(crate) struct OffsetU8;

impl InputEncoding for OffsetU8 {
    type Code = u8;
    type C4 = u32;
    const SIGNED_OFFSET: i32 = 128;
    const UNSIGNED_OFFSET: i32 = 0;

    #[inline(always)]
    fn encode(q: i32, offset: i32) -> u8 {
        (q + offset) as u8
    }

    #[inline(always)]
    fn zeros(offset: i32) -> u32 {
        in_each_byte(offset)
    }

    #[inline(always)]
    fn with_lane(c4: u32, lane: usize, q: i32) -> u32 {
        c4.wrapping_add((q as u32) << (8 * lane)) // each byte stays in 0..=255, so none carries into the next
    }
}

/// Signed bytes, `q - 128` where there is no sign, for instructions that multiply signed by signed bytes.
#[cfg(test)]
#[derive(Clone, Copy)]
pub(crate) struct SignedI8;

#[cfg(test)]
impl InputEncoding for SignedI8 {
    type Code = i8;
    type C4 = u32;
    const SIGNED_OFFSET: i32 = 0;
    const UNSIGNED_OFFSET: i32 = -128;

    #[inline(always)]
    fn encode(q: i32, offset: i32) -> i8 {
        (q + offset) as i8
    }

    #[inline(always)]
    fn zeros(offset: i32) -> u32 {
        in_each_byte(offset)
    }

    #[inline(always)]
    fn with_lane(c4: u32, lane: usize, q: i32) -> u32 {
        c4 ^ (u32::from(q as u8) << (8 * lane)) // `q - 128` differs from `q` in the highest bit
    }
}

/// Signed 16-bit integers, for instructions that multiply these in pairs.
#[derive(Clone, Copy)]
pub(crate) struct SignedI16;

impl InputEncoding for SignedI16 {
    type Code = i16;
    type C4 = u64;
    const SIGNED_OFFSET: i32 = 0;
    const UNSIGNED_OFFSET: i32 = 0;

    #[inline(always)]
    fn encode(q: i32, _offset: i32) -> i16 {
        q as i16
    }

    #[inline(always)]
    fn zeros(_offset: i32) -> u64 {
        0
    }

    #[inline(always)]
    fn with_lane(c4: u64, lane: usize, q: i32) -> u64 {
        c4 | (u64::from(q as u16) << (16 * lane))
    }
}
