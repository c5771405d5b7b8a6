//! A safetensors file, of which one tensor at a time is in memory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use crate::error::ModelError;
use crate::header::{Header, HeaderError};

pub struct Checkpoint {
    path: PathBuf,
    file: File,
    header: Header,
    read: HashSet<String>,
}

impl Checkpoint {
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let (header, file) = Header::read(path).map_err(|error| match error {
            HeaderError::Read(source) => ModelError::read(path, source),
            HeaderError::Invalid(reason) => ModelError::Header { path: path.into(), reason },
        })?;
        Ok(Self { path: path.into(), file, header, read: HashSet::new() })
    }

    /// The values of a tensor, which must have this shape.
    pub fn read(&mut self, tensor: &str, expected: &[usize]) -> Result<Vec<f32>, ModelError> {
        let name = || tensor.to_string();
        let info = self.header.metadata.info(tensor).ok_or_else(|| ModelError::Missing { tensor: name() })?;
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
        let end = self.header.start.saturating_add(end as u64);
        if end > self.header.length {
            return Err(ModelError::Truncated { tensor: tensor.into(), end, length: self.header.length });
        }
        let mut bytes = vec![0; needed];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.header.start + begin as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| ModelError::read(&self.path, source))?;
        Ok(bytes)
    }

    /// The first by name of the tensors that were never read.
    pub fn unread(&self) -> impl Iterator<Item = String> {
        let mut names = self.header.metadata.offset_keys();
        names.sort();
        names.into_iter().filter(|name| !self.read.contains(name))
    }
}
