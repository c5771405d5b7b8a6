//! The types of numbers that tensors have, and what they are as floats.

use half::{bf16, f16};

/// A type of which a tensor is made, in blocks of one or more values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    F32,
    F16,
    BF16,
    /// 32 values: a scale in half precision, and four bits each that count from -8.
    Q4_0,
    /// 32 values: a scale and a minimum in half precision, and four bits each.
    Q4_1,
    /// 32 values: a scale in half precision, and a signed byte each.
    Q8_0,
}

impl TryFrom<u32> for BlockType {
    type Error = String;

    fn try_from(kind: u32) -> Result<Self, String> {
        Ok(match kind {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            30 => Self::BF16,
            other => {
                return Err(format!(
                    "its type has the number {other}; F32, F16, BF16, Q4_0, Q4_1 and Q8_0 are supported"
                ));
            }
        })
    }
}

impl BlockType {
    /// The number of values in a block.
    pub fn values(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => 32,
        }
    }

    /// The number of bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 2 + 16,
            Self::Q4_1 => 4 + 16,
            Self::Q8_0 => 2 + 32,
        }
    }

    /// The values of whole blocks; bytes behind the last whole one are left out.
    pub fn floats(self, bytes: &[u8]) -> Vec<f32> {
        let half = |block: &[u8], at: usize| f32::from(f16::from_le_bytes([block[at], block[at + 1]]));
        let blocks = bytes.chunks_exact(self.bytes());
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Self::F16 => blocks.map(|block| half(block, 0)).collect(),
            Self::BF16 => {
                bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).into()).collect()
            }
            Self::Q4_0 => blocks
                .flat_map(|block| {
                    let scale = half(block, 0);
                    nibbles(&block[2..]).map(move |code| (f32::from(code) - 8.0) * scale)
                })
                .collect(),
            Self::Q4_1 => blocks
                .flat_map(|block| {
                    let (scale, least) = (half(block, 0), half(block, 2));
                    nibbles(&block[4..]).map(move |code| f32::from(code) * scale + least)
                })
                .collect(),
            Self::Q8_0 => blocks
                .flat_map(|block| {
                    let scale = half(block, 0);
                    block[2..].iter().map(move |code| f32::from(*code as i8) * scale)
                })
                .collect(),
        }
    }
}

/// The lower halves of all bytes, then the upper ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}
