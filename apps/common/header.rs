//! The header of a safetensors file: what it says about itself, before any of its tensors is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use safetensors::tensor::Metadata;

/// A file begins with the length of the header that follows.
const LENGTH: u64 = 8;
/// No header is larger: such a length is not one.
const LARGEST: u64 = 100_000_000;

pub struct Header {
    /// The length of the whole file.
    pub length: u64,
    /// The end of the header: tensors count their bytes from here.
    pub start: u64,
    pub metadata: Metadata,
}

/// The reason why there is none.
pub enum HeaderError {
    Read(io::Error),
    Invalid(String),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl Header {
    /// Reads the header and gives the file, too, to read tensors from.
    pub fn read(path: &Path) -> Result<(Self, File), HeaderError> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        if length < LENGTH {
            return Err(HeaderError::Invalid(format!("it has {length} bytes")));
        }
        let mut size = [0; LENGTH as usize];
        file.read_exact(&mut size)?;
        let size = u64::from_le_bytes(size);
        if size > LARGEST.min(length - LENGTH) {
            let reason = format!("it has {length} bytes, its header would have {size}");
            return Err(HeaderError::Invalid(reason));
        }
        let mut text = vec![0; size as usize];
        file.read_exact(&mut text)?;
        let invalid = |error: serde_json::Error| HeaderError::Invalid(error.to_string());
        let metadata = serde_json::from_slice(&text).map_err(invalid)?;
        Ok((Self { length, start: LENGTH + size, metadata }, file))
    }
}
