//! GGUF, the format of llama.cpp: metadata and tensors in one file.
//!
//! Of the readers on crates.io those that are small trust a file: they allocate what it claims, recurse as deep as it says, or
//! panic at a type that they don't know. Here every length is compared with the bytes that there are.

mod block;
mod metadata;
mod reader;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub use block::BlockType;
pub use metadata::{Metadata, Value};

use crate::error::ModelError;
use reader::{Reader, ReaderError};

const MAGIC: [u8; 4] = *b"GGUF";
/// Version 2 differs from 3 in nothing that matters for a little-endian file.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
/// No header is larger: one that goes on is not a header.
const LONGEST_HEADER: u64 = 100_000_000;
/// More axes than this no tensor has.
const MOST_AXES: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// The header of a file. Tensors are read one at a time, when they are asked for.
pub struct Gguf {
    path: PathBuf,
    pub metadata: Metadata,
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// The place and the shape of a tensor.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// The axis that changes slowest comes first, as in PyTorch; the file has them the other way round.
    pub shape: Vec<usize>,
    pub block: BlockType,
    /// Both are within the file, as `Gguf::open` has checked.
    start: u64,
    bytes: u64,
}

impl Gguf {
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let invalid = |reason| ModelError::File { path: path.into(), format: "GGUF", reason };
        let file = File::open(path).map_err(|source| ModelError::read(path, source))?;
        let length = file.metadata().map_err(|source| ModelError::read(path, source))?.len();
        let mut reader = Reader::new(BufReader::new(file.take(LONGEST_HEADER)));
        let (metadata, entries) = header(&mut reader).map_err(|error| match error {
            ReaderError::Io(source) => ModelError::read(path, source),
            ReaderError::Invalid(reason) => invalid(reason),
        })?;
        let alignment = alignment(&metadata).map_err(invalid)?;
        let start = reader.position().next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for (name, entry) in entries {
            let info =
                entry.place(start, alignment).map_err(|reason| invalid(format!("{name}: {reason}")))?;
            let end = info.start.saturating_add(info.bytes);
            if end > length {
                return Err(ModelError::Truncated { path: path.into(), tensor: name, end, length });
            }
            tensors.insert(name, info);
        }
        Ok(Self { path: path.into(), metadata, tensors })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl TensorInfo {
    /// The values as floats, from the file that this is the place in.
    pub fn read(&self, path: &Path) -> std::io::Result<Vec<f32>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.start))?;
        // The file was as long as this when it was opened, so the buffer is no larger than a file on this disk.
        let mut bytes = vec![0; self.bytes as usize];
        file.read_exact(&mut bytes)?;
        Ok(self.block.floats(&bytes))
    }
}

/// A tensor as the header has it.
struct Entry {
    /// The axis that changes fastest comes first.
    axes: Vec<u64>,
    kind: u32,
    offset: u64,
}

fn header(reader: &mut Reader<impl Read>) -> Result<(Metadata, BTreeMap<String, Entry>), ReaderError> {
    let magic = reader.bytes()?;
    if magic != MAGIC {
        return Err(ReaderError::Invalid(format!("it begins with {magic:?}")));
    }
    let version = reader.u32()?;
    if !VERSIONS.contains(&version) {
        return Err(ReaderError::Invalid(format!("its version is {version}; 2 or 3 is supported")));
    }
    let (tensors, pairs) = (reader.u64()?, reader.u64()?);
    let metadata = Metadata::read(reader, pairs)?;
    let mut entries = BTreeMap::new();
    // A count that is too large ends with the file: each turn reads some bytes.
    for _ in 0..tensors {
        let name = reader.text()?;
        let entry = entry(reader)?;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(ReaderError::Invalid(format!("it has two tensors {name}")));
        }
    }
    Ok((metadata, entries))
}

fn entry(reader: &mut Reader<impl Read>) -> Result<Entry, ReaderError> {
    let axes = reader.u32()?;
    if !(1..=MOST_AXES).contains(&axes) {
        return Err(ReaderError::Invalid(format!(
            "a tensor has {axes} axes; 1 to {MOST_AXES} are supported"
        )));
    }
    let axes = (0..axes).map(|_| reader.u64()).collect::<Result<_, _>>()?;
    Ok(Entry { axes, kind: reader.u32()?, offset: reader.u64()? })
}

impl Entry {
    fn place(&self, start: u64, alignment: u64) -> Result<TensorInfo, String> {
        let block = BlockType::try_from(self.kind)?;
        if !self.offset.is_multiple_of(alignment) {
            return Err(format!("its offset {} is no multiple of {alignment}", self.offset));
        }
        let too_large = || format!("its shape {:?} is too large", self.axes);
        let row = self.axes[0];
        if row == 0 || !row.is_multiple_of(block.values() as u64) {
            return Err(format!("rows of {row} values are no whole blocks of {}", block.values()));
        }
        let values = self.axes.iter().try_fold(1, |product: u64, axis| product.checked_mul(*axis));
        let values = values.filter(|values| *values > 0).ok_or_else(too_large)?;
        let bytes = (values / block.values() as u64).checked_mul(block.bytes() as u64);
        let shape = self.axes.iter().rev().map(|axis| usize::try_from(*axis)).collect::<Result<_, _>>();
        Ok(TensorInfo {
            shape: shape.map_err(|_| too_large())?,
            block,
            start: start.checked_add(self.offset).ok_or_else(too_large)?,
            bytes: bytes.filter(|bytes| usize::try_from(*bytes).is_ok()).ok_or_else(too_large)?,
        })
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, String> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(DEFAULT_ALIGNMENT) };
    match value {
        Value::Integer(alignment @ 1..=65_536) if alignment % 8 == 0 => Ok(*alignment as u64),
        other => Err(format!("general.alignment is {other}; a multiple of 8 up to 65536 is needed")),
    }
}
