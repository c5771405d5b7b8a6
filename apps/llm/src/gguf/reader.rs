//! Numbers and texts, one after the other, little-endian.

use std::io::{self, ErrorKind, Read};

pub struct Reader<R> {
    from: R,
    position: u64,
}

/// The reason why there is no value.
#[derive(Debug)]
pub enum ReaderError {
    Io(io::Error),
    Invalid(String),
}

impl<R: Read> Reader<R> {
    pub fn new(from: R) -> Self {
        Self { from, position: 0 }
    }

    /// The number of bytes that were read.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ReaderError> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.ends_early(),
            _ => ReaderError::Io(error),
        })?;
        self.position += N as u64;
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32, ReaderError> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, ReaderError> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// Memory grows as bytes come, not by the length that the file claims.
    pub fn text(&mut self) -> Result<String, ReaderError> {
        let length = self.u64()?;
        let mut bytes = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut bytes).map_err(ReaderError::Io)?;
        if (bytes.len() as u64) < length {
            return Err(self.ends_early());
        }
        self.position += length;
        String::from_utf8(bytes)
            .map_err(|_| ReaderError::Invalid(format!("the text before byte {} is not UTF-8", self.position)))
    }

    fn ends_early(&self) -> ReaderError {
        ReaderError::Invalid(format!("its header ends too early, after byte {}", self.position))
    }
}
