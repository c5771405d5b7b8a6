//! The fields that recorders write for a layer: those of Burn's own, in their order.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::float::FloatItem;
use super::saved::ExpectedLayer;
use super::weight::WeightItem;
use crate::nn::layer::FloatLayer;
use crate::nn::weight::WeightParam;

/// The fields that recorders write for a layer, float or INT8. Recorders make and read it; a program has no use for it.
#[derive(Clone)]
pub struct LayerItem<L: FloatLayer> {
    weight: WeightItem,
    bias: Option<FloatItem>,
    layer: PhantomData<fn() -> L>,
}

impl<L: FloatLayer> LayerItem<L> {
    pub(super) fn new(weight: WeightItem, bias: Option<FloatItem>) -> Self {
        Self { weight, bias, layer: PhantomData }
    }

    pub(super) fn into_parts(self) -> (WeightItem, Option<FloatItem>) {
        (self.weight, self.bias)
    }

    fn has_bias() -> bool {
        L::FIELDS.contains(&"bias")
    }

    fn expected() -> ExpectedLayer {
        let rank = <L::Weight as WeightParam<L::Backend>>::RANK;
        ExpectedLayer { kind: L::KIND, rank, outputs: L::OUTPUTS }
    }

    /// Builds the item from its two fields. A bias that is not there is an error, not a layer without bias: that has one
    /// which is none.
    fn read<E: de::Error>(weight: Option<WeightItem>, bias: Option<Option<FloatItem>>) -> Result<Self, E> {
        let weight = weight.ok_or_else(|| E::missing_field("weight"))?;
        let bias = if Self::has_bias() { bias.ok_or_else(|| E::missing_field("bias"))? } else { None };
        if let Some(bias) = &bias {
            bias.check(1).map_err(E::custom)?;
        }
        Ok(Self::new(weight, bias))
    }
}

impl<L: FloatLayer> Serialize for LayerItem<L> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("LayerItem", L::FIELDS.len())?;
        for &field in L::FIELDS {
            match field {
                "weight" => fields.serialize_field(field, &self.weight)?,
                "bias" => fields.serialize_field(field, &self.bias)?,
                _ => fields.serialize_field(field, &Constant)?,
            }
        }
        fields.end()
    }
}

impl<'de, L: FloatLayer> Deserialize<'de> for LayerItem<L> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        deserializer.deserialize_struct("LayerItem", L::FIELDS, LayerVisitor(PhantomData))
    }
}

struct LayerVisitor<L>(PhantomData<fn() -> L>);

impl<'de, L: FloatLayer> Visitor<'de> for LayerVisitor<L> {
    type Value = LayerItem<L>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fields of {}", L::KIND)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut weight, mut bias) = (None, None);
        for &field in L::FIELDS {
            match field {
                "weight" => weight = seq.next_element_seed(LayerItem::<L>::expected())?,
                "bias" => bias = seq.next_element()?,
                _ => {
                    seq.next_element::<Constant>()?;
                }
            }
        }
        LayerItem::read(weight, bias)
    }

    /// A constant that is not there does no harm, as its value comes from the layer; Burn's own layers do not miss it either.
    /// A field that this kind of layer does not have is passed by in a float record, as Burn does, and is an error in an
    /// INT8 record, which no other program writes: it is the record of another kind, from before they told.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut weight, mut bias, mut unknown) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "weight" => weight = Some(map.next_value_seed(LayerItem::<L>::expected())?),
                "bias" if LayerItem::<L>::has_bias() => bias = Some(map.next_value()?),
                key if L::FIELDS.contains(&key) => {
                    map.next_value::<Constant>()?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    unknown = Some(key);
                }
            }
        }
        match (&weight, unknown) {
            (Some(WeightItem::Int8(_)), Some(field)) => {
                Err(de::Error::custom(format!("an INT8 {} has no field `{field}`", L::KIND)))
            }
            _ => LayerItem::read(weight, bias),
        }
    }
}

/// A field of Burn's layer whose value is not saved.
struct Constant;

impl Serialize for Constant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

/// Reads what Burn reads, but a value that can't be read is an error.
impl<'de> Deserialize<'de> for Constant {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        Option::<IgnoredAny>::deserialize(deserializer).map(|_| Self)
    }
}
