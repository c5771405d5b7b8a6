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
use super::part::{PartOf, PartSeed};
use super::saved::{ExpectedLayer, Int8Part, SavedWeight, UncheckedWeight};

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
        self.layer.check_kind(weight.kind).map(|()| weight)
    }
}
