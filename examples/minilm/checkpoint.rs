//! A safetensors file, of which one tensor at a time is in memory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::ModelError;

/// Its first eight bytes are the length of the header that follows.
const LENGTH: u64 = 8;
/// No header is larger: such a length is not one.
const LARGEST_HEADER: u64 = 100_000_000;

pub struct Checkpoint {
    path: PathBuf,
    file: File,
    /// Of the whole file.
    length: u64,
    /// Where the header ends.
    start: u64,
    metadata: Metadata,
    read: HashSet<String>,
}

impl Checkpoint {
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let failed = |source| ModelError::read(path, source);
        let invalid = |reason| ModelError::Header { path: path.into(), reason };
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length < LENGTH {
            return Err(invalid(format!("it has {length} bytes")));
        }
        let mut bytes = [0; LENGTH as usize];
        file.read_exact(&mut bytes).map_err(failed)?;
        let header = u64::from_le_bytes(bytes);
        if header > LARGEST_HEADER.min(length - LENGTH) {
            return Err(invalid(format!("it has {length} bytes, its header would have {header}")));
        }
        let mut text = vec![0; header as usize];
        file.read_exact(&mut text).map_err(failed)?;
        let metadata = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
        let start = LENGTH + header;
        Ok(Self { path: path.into(), file, length, start, metadata, read: HashSet::new() })
    }

    /// The values of a tensor, which must have this shape.
    pub fn read(&mut self, tensor: &str, expected: &[usize]) -> Result<Vec<f32>, ModelError> {
        let name = || tensor.to_string();
        let info = self.metadata.info(tensor).ok_or_else(|| ModelError::Missing { tensor: name() })?;
        if info.shape != expected {
            let (found, expected) = (info.shape.clone(), expected.to_vec());
            return Err(ModelError::Shape { tensor: name(), found, expected });
        }
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            found => return Err(ModelError::Dtype { tensor: name(), found }),
        };
        let bytes = self.bytes(tensor, info, dtype.size())?;
        self.read.insert(name());
        let data = TensorData::from_bytes_vec(bytes, expected.to_vec(), dtype);
        Ok(data.convert::<f32>().into_vec().unwrap_or_default())
    }

    fn bytes(&self, tensor: &str, info: &TensorInfo, size: usize) -> Result<Vec<u8>, ModelError> {
        let (begin, end) = info.data_offsets;
        let needed = size * info.shape.iter().product::<usize>();
        let found = end.saturating_sub(begin);
        if found != needed {
            return Err(ModelError::Size { tensor: tensor.into(), found, needed });
        }
        let end = self.start.saturating_add(end as u64);
        if end > self.length {
            return Err(ModelError::Truncated { tensor: tensor.into(), end, length: self.length });
        }
        let mut bytes = vec![0; needed];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.start + begin as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| ModelError::read(&self.path, source))?;
        Ok(bytes)
    }

    /// The first by name of the tensors that were never read.
    pub fn unread(&self) -> impl Iterator<Item = String> {
        let mut names = self.metadata.offset_keys();
        names.sort();
        names.into_iter().filter(|name| !self.read.contains(name))
    }
}
