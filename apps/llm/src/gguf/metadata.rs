//! The facts that a file tells about its model.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use super::reader::{Reader, ReaderError};
use crate::error::ModelError;

/// A value of the metadata. Lists within lists are refused: models have none.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    /// All integer types; a `u64` above `i64` is refused, as no entry needs one.
    Integer(i64),
    Float(f64),
    Text(String),
    Texts(Vec<String>),
    /// A list of numbers of any type.
    Numbers(Vec<f64>),
}

/// A value in short, for messages.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:.80}"),
            Self::Texts(values) => write!(f, "a list of {} texts", values.len()),
            Self::Numbers(values) => write!(f, "a list of {} numbers", values.len()),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    pub(super) fn read(reader: &mut Reader<impl Read>, pairs: u64) -> Result<Self, ReaderError> {
        let mut values = BTreeMap::new();
        for _ in 0..pairs {
            let key = reader.text()?;
            let kind = reader.u32()?;
            let value = value(reader, kind)?;
            if values.insert(key.clone(), value).is_some() {
                return Err(ReaderError::Invalid(format!("it says {key} twice")));
            }
        }
        Ok(Self(values))
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }
}

const TEXT: u32 = 8;
const LIST: u32 = 9;

fn value(reader: &mut Reader<impl Read>, kind: u32) -> Result<Value, ReaderError> {
    if kind == LIST {
        return list(reader);
    }
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(reader.bytes()?).into()),
        1 => Value::Integer(i8::from_le_bytes(reader.bytes()?).into()),
        2 => Value::Integer(u16::from_le_bytes(reader.bytes()?).into()),
        3 => Value::Integer(i16::from_le_bytes(reader.bytes()?).into()),
        4 => Value::Integer(reader.u32()?.into()),
        5 => Value::Integer(i32::from_le_bytes(reader.bytes()?).into()),
        6 => Value::Float(f32::from_le_bytes(reader.bytes()?).into()),
        7 => Value::Bool(reader.bytes::<1>()? != [0]),
        TEXT => Value::Text(reader.text()?),
        10 => {
            let found = reader.u64()?;
            let too_large = |_| ReaderError::Invalid(format!("the number {found} is too large"));
            Value::Integer(found.try_into().map_err(too_large)?)
        }
        11 => Value::Integer(i64::from_le_bytes(reader.bytes()?)),
        12 => Value::Float(f64::from_le_bytes(reader.bytes()?)),
        other => return Err(ReaderError::Invalid(format!("it has a value of the unknown type {other}"))),
    })
}

fn list(reader: &mut Reader<impl Read>) -> Result<Value, ReaderError> {
    let (kind, length) = (reader.u32()?, reader.u64()?);
    if kind == TEXT {
        return (0..length).map(|_| reader.text()).collect::<Result<_, _>>().map(Value::Texts);
    }
    if kind == LIST {
        return Err(ReaderError::Invalid("it has a list of lists".into()));
    }
    let mut numbers = Vec::new();
    for _ in 0..length {
        numbers.push(match value(reader, kind)? {
            Value::Bool(value) => f64::from(u8::from(value)),
            // Past 53 bits a number would be rounded; those of models are sizes and token ids.
            Value::Integer(value) => value as f64,
            Value::Float(value) => value,
            other => return Err(ReaderError::Invalid(format!("{other} is no number"))),
        });
    }
    Ok(Value::Numbers(numbers))
}

/// Entries of the kind that is asked for, or an error that names them.
impl Metadata {
    pub fn size(&self, key: &'static str) -> Result<usize, ModelError> {
        match self.entry(key)? {
            Value::Integer(size) => (*size).try_into().map_err(|_| Self::wrong(key, size, "a size")),
            other => Err(Self::wrong(key, other, "a size")),
        }
    }

    pub fn size_or(&self, key: &'static str, default: usize) -> Result<usize, ModelError> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    pub fn token(&self, key: &'static str) -> Result<u32, ModelError> {
        let id = self.size(key)?;
        id.try_into().map_err(|_| Self::wrong(key, &id, "the number of a token"))
    }

    pub fn number(&self, key: &'static str) -> Result<f64, ModelError> {
        match self.entry(key)? {
            Value::Float(number) => Ok(*number),
            Value::Integer(number) => Ok(*number as f64),
            other => Err(Self::wrong(key, other, "a number")),
        }
    }

    pub fn number_or(&self, key: &'static str, default: f64) -> Result<f64, ModelError> {
        if self.get(key).is_some() { self.number(key) } else { Ok(default) }
    }

    pub fn flag_or(&self, key: &'static str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(Self::wrong(key, other, "true or false")),
        }
    }

    pub fn text(&self, key: &'static str) -> Result<&str, ModelError> {
        match self.entry(key)? {
            Value::Text(text) => Ok(text),
            other => Err(Self::wrong(key, other, "a text")),
        }
    }

    pub fn texts(&self, key: &'static str) -> Result<&[String], ModelError> {
        match self.entry(key)? {
            Value::Texts(texts) => Ok(texts),
            other => Err(Self::wrong(key, other, "a list of texts")),
        }
    }

    pub fn numbers(&self, key: &'static str) -> Result<&[f64], ModelError> {
        match self.entry(key)? {
            Value::Numbers(numbers) => Ok(numbers),
            other => Err(Self::wrong(key, other, "a list of numbers")),
        }
    }

    fn entry(&self, key: &'static str) -> Result<&Value, ModelError> {
        self.get(key).ok_or(ModelError::NoEntry { key })
    }

    fn wrong(key: &'static str, found: &impl ToString, needed: &'static str) -> ModelError {
        ModelError::Entry { key, found: found.to_string(), needed }
    }
}
