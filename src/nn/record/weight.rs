//! The weight of a layer in a file: float as Burn writes it, or integers and how to read them.

use std::fmt;

use burn::prelude::*;
use burn::tensor::DType;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserializer, Serialize, Serializer};

use super::data::ReadData;
use super::float::FloatItem;
use super::parameter::{PARAMETER_SCHEME, SavedParameter, from_bytes};
use super::saved::{ExpectedLayer, Int8Part, Origin, RECORD_VERSION, SavedWeight, UncheckedWeight};
use crate::config::{InputCodes, LayerScheme, QuantMode, QuantRange, Rotation, Rounding, Smoothing};

/// The weight of a layer: float, or INT8.
#[derive(Clone)]
pub(super) enum WeightItem {
    /// A float weight, as Burn writes it.
    Float(FloatItem),
    /// An INT8 weight: integers and the way to read them.
    Int8(SavedWeight),
}

/// The fields of an INT8 weight. The integers are not called Burn's `param`, so that a layer which knows nothing of INT8
/// misses it.
const FIELDS: &[&str] = &["id", INTEGERS, "int8"];
const INTEGERS: &str = "integers";

/// The fields of the INT8 part, `kind` and `groups` since version 3, `rotation` to `shifts` since version 4, `codes` since version
/// 5. The version comes first, so that nothing of another version is read; then the kind, so that nothing of another kind is.
const PART_FIELDS: &[&str] = &[
    "version",
    "kind",
    "groups",
    "range",
    "activations",
    "rotation",
    "rounding",
    "smoothing",
    "shifts",
    "codes",
    "sqnr_db",
    "scales",
];

impl Serialize for WeightItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let saved = match self {
            Self::Float(item) => return item.serialize(serializer),
            Self::Int8(saved) => saved,
        };
        let integers = TensorData::new(saved.integers.clone(), saved.shape.clone());
        let mut fields = serializer.serialize_struct("ParamSerde", FIELDS.len())?;
        fields.serialize_field("id", &saved.id.serialize())?;
        fields.serialize_field(INTEGERS, &integers)?;
        fields.serialize_field("int8", &PartOf(saved))?;
        fields.end()
    }
}

/// The INT8 part of a weight, to be written.
struct PartOf<'a>(&'a SavedWeight);

impl Serialize for PartOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let saved = self.0;
        let scales = TensorData::new(saved.scales.clone(), [saved.scales.len()]);
        let mut fields = serializer.serialize_struct("Int8Part", PART_FIELDS.len())?;
        fields.serialize_field("version", &RECORD_VERSION)?;
        fields.serialize_field("kind", saved.kind)?;
        fields.serialize_field("groups", &saved.groups.unwrap_or(Origin::UNKNOWN_GROUPS))?;
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

/// Reads the weight of a layer of this kind.
impl<'de> DeserializeSeed<'de> for ExpectedLayer {
    type Value = WeightItem;

    fn deserialize<De: Deserializer<'de>>(self, deserializer: De) -> Result<WeightItem, De::Error> {
        let visitor = WeightVisitor { layer: self, takes_parameters: true };
        deserializer.deserialize_struct("ParamSerde", FIELDS, visitor)
    }
}

/// Reads the weight of a layer of this kind as it stands in a parameter, which does not hold another one: a file could nest them until
/// there is no stack left.
pub(super) struct InnerWeight(pub(super) ExpectedLayer);

impl<'de> DeserializeSeed<'de> for InnerWeight {
    type Value = WeightItem;

    fn deserialize<De: Deserializer<'de>>(self, deserializer: De) -> Result<WeightItem, De::Error> {
        let visitor = WeightVisitor { layer: self.0, takes_parameters: false };
        deserializer.deserialize_struct("ParamSerde", FIELDS, visitor)
    }
}

struct WeightVisitor {
    layer: ExpectedLayer,
    /// True where the weight may be the INT8 parameter of one of Burn's own layers.
    takes_parameters: bool,
}

impl<'de> Visitor<'de> for WeightVisitor {
    type Value = WeightItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the weight of a layer, float or INT8")
    }

    /// Formats without field names: the INT8 part follows `i8` values, and nothing follows others.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let id = seq.next_element()?.ok_or_else(|| de::Error::missing_field("id"))?;
        let ReadData(param) = seq.next_element()?.ok_or_else(|| de::Error::missing_field("param"))?;
        let part = match param.dtype {
            DType::I8 => seq.next_element_seed(PartSeed(self.layer))?,
            _ => None,
        };
        self.weight(id, param, part).map_err(de::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut id, mut param, mut part) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" => id = Some(map.next_value()?),
                "param" | INTEGERS => param = Some(map.next_value::<ReadData>()?.0),
                "int8" => part = Some(map.next_value_seed(PartSeed(self.layer))?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let id = id.ok_or_else(|| de::Error::missing_field("id"))?;
        let param = param.ok_or_else(|| de::Error::missing_field("param"))?;
        self.weight(id, param, part).map_err(de::Error::custom)
    }
}

impl WeightVisitor {
    /// Integers must say how they are to be read; floats are Burn's.
    fn weight(&self, id: String, param: TensorData, part: Option<Int8Part>) -> Result<WeightItem, String> {
        if param.dtype == DType::I8 {
            let part = part.ok_or("missing field `int8`")?;
            let saved = UncheckedWeight { id, integers: param, part }.check(&self.layer)?;
            return Ok(WeightItem::Int8(saved));
        }
        if param.dtype == DType::QFloat(PARAMETER_SCHEME) && self.takes_parameters {
            return self.parameter(&param.bytes).map(WeightItem::Int8);
        }
        let item = FloatItem { id, param };
        item.check(self.layer.rank)?;
        Ok(WeightItem::Float(item))
    }

    /// The weight of a layer of Burn's own that was INT8 on the backend [`Int8`](crate::Int8).
    fn parameter(&self, bytes: &[u8]) -> Result<SavedWeight, String> {
        let (SavedParameter { weight, .. }, _) = from_bytes(bytes)?;
        let groups = weight.groups.unwrap_or(Origin::UNKNOWN_GROUPS);
        Origin { kind: weight.kind.into(), groups }.check(&self.layer).map(|()| weight)
    }
}

/// Reads the INT8 part of a weight.
struct PartSeed(ExpectedLayer);

impl<'de> DeserializeSeed<'de> for PartSeed {
    type Value = Int8Part;

    fn deserialize<De: Deserializer<'de>>(self, deserializer: De) -> Result<Int8Part, De::Error> {
        deserializer.deserialize_struct("Int8Part", PART_FIELDS, self)
    }
}

impl<'de> Visitor<'de> for PartSeed {
    type Value = Int8Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "how INT8 weights are to be read")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        fn next<'de, T: serde::Deserialize<'de>, A: SeqAccess<'de>>(
            seq: &mut A,
            field: &'static str,
        ) -> Result<T, A::Error> {
            seq.next_element()?.ok_or_else(|| de::Error::missing_field(field))
        }
        let version = check_version(next(&mut seq, "version")?)?;
        let origin = if version >= 3 {
            let origin = Origin { kind: next(&mut seq, "kind")?, groups: next(&mut seq, "groups")? };
            origin.check(&self.0).map_err(de::Error::custom)?;
            Some(origin)
        } else {
            None
        };
        let (range, mode) = (next(&mut seq, "range")?, next(&mut seq, "activations")?);
        let mut inputs = if version >= 4 {
            SavedInputs {
                block: next(&mut seq, "rotation")?,
                rounding: next(&mut seq, "rounding")?,
                percent: next(&mut seq, "smoothing")?,
                shifts: next(&mut seq, "shifts")?,
                ..SavedInputs::OLDER
            }
        } else {
            SavedInputs::OLDER
        };
        if version >= 5 {
            inputs.codes = next(&mut seq, "codes")?;
        }
        Ok(Int8Part {
            origin,
            scheme: inputs.scheme(range, mode),
            shifts: inputs.shifts,
            sqnr_db: next(&mut seq, "sqnr_db")?,
            scales: next::<ReadData, _>(&mut seq, "scales")?.0,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut version, mut kind, mut groups) = (None, None, None);
        let (mut range, mut mode, mut sqnr_db, mut scales) = (None, None, None, None);
        let (mut block, mut rounding, mut percent, mut shifts, mut codes) = (None, None, None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "version" => version = Some(check_version(map.next_value()?)?),
                "kind" => kind = Some(map.next_value()?),
                "groups" => groups = Some(map.next_value()?),
                "range" => range = Some(map.next_value()?),
                "activations" => mode = Some(map.next_value()?),
                "rotation" => block = Some(map.next_value()?),
                "rounding" => rounding = Some(map.next_value()?),
                "smoothing" => percent = Some(map.next_value()?),
                "shifts" => shifts = Some(map.next_value()?),
                "codes" => codes = Some(map.next_value()?),
                "sqnr_db" => sqnr_db = Some(map.next_value()?),
                "scales" => scales = Some(map.next_value::<ReadData>()?.0),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let missing = de::Error::missing_field;
        let version = version.ok_or_else(|| missing("version"))?;
        let origin = if version >= 3 {
            let kind = kind.ok_or_else(|| missing("kind"))?;
            let origin = Origin { kind, groups: groups.ok_or_else(|| missing("groups"))? };
            origin.check(&self.0).map_err(de::Error::custom)?;
            Some(origin)
        } else {
            None
        };
        let (range, mode) =
            (range.ok_or_else(|| missing("range"))?, mode.ok_or_else(|| missing("activations"))?);
        let mut inputs = if version >= 4 {
            SavedInputs {
                block: block.ok_or_else(|| missing("rotation"))?,
                rounding: rounding.ok_or_else(|| missing("rounding"))?,
                percent: percent.ok_or_else(|| missing("smoothing"))?,
                shifts: shifts.ok_or_else(|| missing("shifts"))?,
                ..SavedInputs::OLDER
            }
        } else {
            SavedInputs::OLDER
        };
        if version >= 5 {
            inputs.codes = codes.ok_or_else(|| missing("codes"))?;
        }
        Ok(Int8Part {
            origin,
            scheme: inputs.scheme(range, mode),
            shifts: inputs.shifts,
            sqnr_db: sqnr_db.ok_or_else(|| missing("sqnr_db"))?,
            scales: scales.ok_or_else(|| missing("scales"))?,
        })
    }
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
