//! The INT8 part of a weight in a file: how its integers are to be read. Each field is read in one place, whether fields have names in the
//! format of the file or not.

use std::fmt;

use burn::prelude::*;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::data::ReadData;
use super::saved::{ExpectedLayer, Int8Part, RECORD_VERSION, SavedWeight, UNKNOWN_GROUPS};
use crate::config::{InputCodes, LayerScheme, QuantMode, QuantRange, Rotation, Rounding, Smoothing};

/// The fields, and the version since which a file has them. The version comes first, so that nothing of another version is read; then
/// the kind, so that nothing of another kind is.
const FIELDS: &[(&str, u8)] = &[
    ("version", 1),
    ("kind", 3),
    ("groups", 3),
    ("range", 1),
    ("activations", 1),
    ("rotation", 4),
    ("rounding", 4),
    ("smoothing", 4),
    ("shifts", 4),
    ("codes", 5),
    ("sqnr_db", 1),
    ("scales", 1),
];

/// The names of the fields.
const NAMES: [&str; FIELDS.len()] = {
    let mut names = [""; FIELDS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = FIELDS[i].0;
        i += 1;
    }
    names
};

/// The INT8 part of a weight, to be written.
pub(super) struct PartOf<'a>(pub(super) &'a SavedWeight);

impl Serialize for PartOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let saved = self.0;
        let scales = TensorData::new(saved.scales.clone(), [saved.scales.len()]);
        let mut fields = serializer.serialize_struct("Int8Part", FIELDS.len())?;
        fields.serialize_field("version", &RECORD_VERSION)?;
        fields.serialize_field("kind", saved.kind)?;
        fields.serialize_field("groups", &saved.groups.unwrap_or(UNKNOWN_GROUPS))?;
        fields.serialize_field("range", &saved.scheme.range)?;
        fields.serialize_field("activations", &saved.scheme.mode)?;
        let block = if let Rotation::Block(block) = saved.scheme.rotation { block } else { 1 };
        fields.serialize_field("rotation", &block)?;
        fields.serialize_field("rounding", &saved.scheme.rounding)?;
        let percent = if let Smoothing::Percent(percent) = saved.scheme.smoothing { percent } else { 0 };
        fields.serialize_field("smoothing", &percent)?;
        fields.serialize_field("shifts", &saved.shifts)?;
        fields.serialize_field("codes", &saved.scheme.codes)?;
        fields.serialize_field("sqnr_db", &saved.sqnr_db)?;
        fields.serialize_field("scales", &scales)?;
        fields.end()
    }
}

/// Reads the INT8 part of a weight of such a layer.
pub(super) struct PartSeed(pub(super) ExpectedLayer);

impl<'de> DeserializeSeed<'de> for PartSeed {
    type Value = Int8Part;

    fn deserialize<De: Deserializer<'de>>(self, deserializer: De) -> Result<Int8Part, De::Error> {
        deserializer.deserialize_struct("Int8Part", &NAMES, self)
    }
}

impl<'de> Visitor<'de> for PartSeed {
    type Value = Int8Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "how INT8 weights are to be read")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        let (mut part, mut values) = (ReadPart::default(), Unnamed(seq));
        for (name, since) in FIELDS {
            // The version is the first.
            if part.version.is_none_or(|version| version >= *since) {
                part.read(name, &mut values)?;
                part.check::<A::Error>(&self.0)?;
            }
        }
        part.finish()
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let (mut part, mut values) = (ReadPart::default(), Named(map));
        while let Some(key) = values.0.next_key::<String>()? {
            part.read(&key, &mut values)?;
        }
        part.check::<A::Error>(&self.0)?;
        part.finish()
    }
}

/// The values of a file, one after the other.
trait Values<'de> {
    type Error: de::Error;

    /// The next value; none if there are no more.
    fn next<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, Self::Error>;
}

/// Values of a format without the names of fields.
struct Unnamed<A>(A);

impl<'de, A: SeqAccess<'de>> Values<'de> for Unnamed<A> {
    type Error = A::Error;

    fn next<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, A::Error> {
        self.0.next_element()
    }
}

/// Values each of which follows a name.
struct Named<A>(A);

impl<'de, A: MapAccess<'de>> Values<'de> for Named<A> {
    type Error = A::Error;

    fn next<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, A::Error> {
        self.0.next_value().map(Some)
    }
}

/// The fields that have been read.
#[derive(Default)]
struct ReadPart {
    version: Option<u8>,
    kind: Option<String>,
    groups: Option<usize>,
    range: Option<QuantRange>,
    mode: Option<QuantMode>,
    block: Option<usize>,
    rounding: Option<Rounding>,
    percent: Option<u8>,
    shifts: Option<Option<Vec<u8>>>,
    codes: Option<InputCodes>,
    sqnr_db: Option<Option<f32>>,
    scales: Option<TensorData>,
}

impl ReadPart {
    /// Reads the value of a field; passes by one that it does not know.
    fn read<'de, V: Values<'de>>(&mut self, name: &str, values: &mut V) -> Result<(), V::Error> {
        match name {
            "version" => self.version = values.next()?.map(check_version::<V::Error>).transpose()?,
            "kind" => self.kind = values.next()?,
            "groups" => self.groups = values.next()?,
            "range" => self.range = values.next()?,
            "activations" => self.mode = values.next()?,
            "rotation" => self.block = values.next()?,
            "rounding" => self.rounding = values.next()?,
            "smoothing" => self.percent = values.next()?,
            "shifts" => self.shifts = values.next()?,
            "codes" => self.codes = values.next()?,
            "sqnr_db" => self.sqnr_db = values.next()?,
            "scales" => self.scales = values.next::<ReadData>()?.map(|ReadData(scales)| scales),
            _ => drop(values.next::<IgnoredAny>()?),
        }
        Ok(())
    }

    /// Refuses the part of another kind of layer, once the kind is known.
    fn check<E: de::Error>(&self, expected: &ExpectedLayer) -> Result<(), E> {
        match (self.version, &self.kind) {
            (Some(3..), Some(kind)) => expected.check_kind(kind).map_err(E::custom),
            _ => Ok(()),
        }
    }

    /// The part, if all fields of its version are there.
    fn finish<E: de::Error>(self) -> Result<Int8Part, E> {
        let version = needed::<_, E>(self.version, "version")?;
        if version >= 3 {
            needed::<_, E>(self.kind, "kind")?;
            needed::<_, E>(self.groups, "groups")?;
        }
        let (range, mode) = (needed::<_, E>(self.range, "range")?, needed::<_, E>(self.mode, "activations")?);
        let mut inputs = match version {
            ..4 => SavedInputs::OLDER,
            _ => SavedInputs {
                block: needed::<_, E>(self.block, "rotation")?,
                rounding: needed::<_, E>(self.rounding, "rounding")?,
                percent: needed::<_, E>(self.percent, "smoothing")?,
                shifts: needed::<_, E>(self.shifts, "shifts")?,
                ..SavedInputs::OLDER
            },
        };
        if version >= 5 {
            inputs.codes = needed::<_, E>(self.codes, "codes")?;
        }
        Ok(Int8Part {
            groups: self.groups.filter(|groups| version >= 3 && *groups != UNKNOWN_GROUPS),
            scheme: inputs.scheme(range, mode),
            shifts: inputs.shifts,
            sqnr_db: needed::<_, E>(self.sqnr_db, "sqnr_db")?,
            scales: needed::<_, E>(self.scales, "scales")?,
        })
    }
}

/// The value of a field that must be there.
fn needed<T, E: de::Error>(value: Option<T>, field: &'static str) -> Result<T, E> {
    value.ok_or_else(|| E::missing_field(field))
}

/// The fields that versions 4 and 5 have added.
struct SavedInputs {
    block: usize,
    rounding: Rounding,
    percent: u8,
    shifts: Option<Vec<u8>>,
    codes: InputCodes,
}

impl SavedInputs {
    /// The values that records of earlier versions have for them.
    const OLDER: Self =
        Self { block: 1, rounding: Rounding::Nearest, percent: 0, shifts: None, codes: InputCodes::Signed };

    fn scheme(&self, range: QuantRange, mode: QuantMode) -> LayerScheme {
        let rotation = if self.block == 1 { Rotation::None } else { Rotation::Block(self.block) };
        let smoothing = if self.percent == 0 { Smoothing::None } else { Smoothing::Percent(self.percent) };
        LayerScheme { range, mode, rotation, rounding: self.rounding, smoothing, codes: self.codes }
    }
}

fn check_version<E: de::Error>(version: u8) -> Result<u8, E> {
    match version {
        1..=RECORD_VERSION => Ok(version),
        other => Err(E::custom(format!(
            "INT8 record version {other}, but this burn-int8 reads versions 1 to {RECORD_VERSION}"
        ))),
    }
}
