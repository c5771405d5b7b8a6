//! What the recorders write.
//!
//! A float layer is written exactly as Burn writes it. An INT8 layer has the same fields, but its weight holds `i8` values
//! in the shape of Burn's, followed by how they are to be read. That part is there if and only if the
//! values are `i8`, so formats without field names find it, too.

mod item;

use std::fmt;

use burn::module::{Param, ParamId};
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, PrecisionSettings, Record};
use burn::tensor::DType;
use burn::tensor::ops::Device;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{LayerScheme, QuantMode, QuantRange};
use crate::nn::layer::{Bias, FloatLayer};
use crate::nn::weight::WeightParam;

pub use item::{ConvItem, ConvTransposeItem, EmbeddingItem, LayerItem, LinearItem};

/// The version of the INT8 part of a record. Records of a later one are refused.
///
/// Version 1 called the integers `param`, as Burn calls floats: where fields have names, Burn's own layers read them as such.
pub const RECORD_VERSION: u8 = 2;

/// What floats of an INT8 layer are saved in, whatever a recorder's settings: what it computes with. A reload is exact.
type Int8Precision = FullPrecisionSettings;

/// The record of a layer that may be float or INT8.
#[allow(clippy::large_enum_variant, reason = "Burn's layers are as large, which the lint does not see")]
pub enum LayerRecord<L: FloatLayer> {
    /// Burn's own record.
    Float(L::Record),
    /// Integers, scales and how they were made.
    Int8(Int8State<L::Backend>),
}

/// What recorders carry of an INT8 layer.
pub struct Int8State<B: Backend> {
    pub(crate) weight: WeightState,
    pub(crate) bias: Option<Bias<B>>,
}

impl<B: Backend, L: FloatLayer<Backend = B>> Record<B> for LayerRecord<L> {
    type Item<S: PrecisionSettings> = L::Item;

    fn into_item<S: PrecisionSettings>(self) -> L::Item {
        match self {
            Self::Float(record) => {
                let (weight, bias) = L::record_parts(record);
                L::Item::new(weight.into_item::<S>(), bias.map(FloatItem::new::<B, S>))
            }
            Self::Int8(Int8State { weight, bias }) => {
                L::Item::new(L::Weight::int8_item(weight), bias.map(FloatItem::new::<B, Int8Precision>))
            }
        }
    }

    fn from_item<S: PrecisionSettings>(item: L::Item, device: &Device<B>) -> Self {
        let (weight, bias) = item.into_parts();
        match L::Weight::from_item::<S>(weight, device) {
            Ok(weight) => {
                let bias = bias.map(|bias| bias.into_param::<B, S>(device));
                Self::Float(L::record(weight, bias))
            }
            Err(weight) => {
                let bias = bias.map(|bias| bias.into_param::<B, Int8Precision>(device));
                Self::Int8(Int8State { weight, bias })
            }
        }
    }
}

/// The INT8 weight of a layer, on no device.
#[derive(Clone, Debug)]
pub struct WeightState {
    pub(crate) id: ParamId,
    /// Row-major, in `shape`.
    pub(crate) integers: Vec<i8>,
    pub(crate) shape: Vec<usize>,
    /// One per output channel.
    pub(crate) scales: Vec<f32>,
    pub(crate) scheme: LayerScheme,
    pub(crate) sqnr_db: Option<f32>,
}

/// A float parameter of rank `D`, as Burn writes it.
#[derive(Clone, Serialize, Deserialize)]
pub struct FloatItem<const D: usize> {
    #[serde(deserialize_with = "param_id")]
    id: String,
    #[serde(deserialize_with = "float_data::<D, _>")]
    param: TensorData,
}

impl<const D: usize> FloatItem<D> {
    pub(crate) fn new<B: Backend, S: PrecisionSettings>(param: Param<Tensor<B, D>>) -> Self {
        let (id, tensor, mapper) = param.consume();
        let data = mapper.on_save(tensor).into_data();
        let param = match data.dtype {
            DType::QFloat(_) => data, // quantized by Burn's own means
            _ => data.convert::<S::FloatElem>(),
        };
        Self { id: id.serialize(), param }
    }

    pub(crate) fn into_param<B: Backend, S: PrecisionSettings>(
        self,
        device: &B::Device,
    ) -> Param<Tensor<B, D>> {
        let data = match self.param.dtype {
            DType::QFloat(_) => self.param,
            _ => self.param.convert::<S::FloatElem>().convert::<B::FloatElem>(),
        };
        let tensor = Tensor::from_data(data, device).require_grad();
        Param::initialized(ParamId::deserialize(&self.id), tensor)
    }
}

/// The weight of a layer: float of rank `D`, or INT8.
#[derive(Clone)]
pub enum WeightItem<const D: usize> {
    /// As Burn writes it.
    Float(FloatItem<D>),
    /// Integers and how to read them.
    Int8(WeightState),
}

/// The part of a weight's record that only INT8 has.
#[derive(Serialize, Deserialize)]
struct Int8Part {
    /// First, so that nothing of another version is read.
    #[serde(deserialize_with = "version")]
    version: u8,
    range: QuantRange,
    activations: QuantMode,
    sqnr_db: Option<f32>,
    scales: TensorData,
}

/// The fields of an INT8 parameter. Not Burn's `param`, so that a layer which knows nothing of INT8 misses it.
const FIELDS: &[&str] = &["id", INTEGERS, "int8"];
const INTEGERS: &str = "integers";

impl<const D: usize> Serialize for WeightItem<D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let state = match self {
            Self::Float(item) => return item.serialize(serializer),
            Self::Int8(state) => state,
        };
        let part = Int8Part {
            version: RECORD_VERSION,
            range: state.scheme.range,
            activations: state.scheme.mode,
            sqnr_db: state.sqnr_db,
            scales: TensorData::new(state.scales.clone(), [state.scales.len()]),
        };
        let integers = TensorData::new(state.integers.clone(), state.shape.clone());
        let mut fields = serializer.serialize_struct("ParamSerde", FIELDS.len())?;
        fields.serialize_field("id", &state.id.serialize())?;
        fields.serialize_field(INTEGERS, &integers)?;
        fields.serialize_field("int8", &part)?;
        fields.end()
    }
}

impl<'de, const D: usize> Deserialize<'de> for WeightItem<D> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        deserializer.deserialize_struct("ParamSerde", FIELDS, WeightVisitor)
    }
}

struct WeightVisitor<const D: usize>;

impl<'de, const D: usize> Visitor<'de> for WeightVisitor<D> {
    type Value = WeightItem<D>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the weight of a layer, float or INT8")
    }

    /// Formats without field names: the INT8 part follows `i8` values, and nothing follows others.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let id = seq.next_element()?.ok_or_else(|| de::Error::missing_field("id"))?;
        let param: TensorData = seq.next_element()?.ok_or_else(|| de::Error::missing_field("param"))?;
        let part = if param.dtype == DType::I8 { seq.next_element()? } else { None };
        weight_item(id, param, part)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut id, mut param, mut part) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" => id = Some(map.next_value()?),
                "param" | INTEGERS => param = Some(map.next_value()?),
                "int8" => part = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let id = id.ok_or_else(|| de::Error::missing_field("id"))?;
        weight_item(id, param.ok_or_else(|| de::Error::missing_field("param"))?, part)
    }
}

/// Builds the item, after checking everything that later code relies on; but how many scales there must be, only the layer
/// knows: `item`.
fn weight_item<E: de::Error, const D: usize>(
    id: String,
    param: TensorData,
    part: Option<Int8Part>,
) -> Result<WeightItem<D>, E> {
    check_param_id(&id)?;
    if param.dtype != DType::I8 {
        check_floats::<E, D>(&param)?;
        return Ok(WeightItem::Float(FloatItem { id, param }));
    }
    let Some(part) = part else { return Err(E::missing_field("int8")) };
    check_data(&param, D)?;
    check_data(&part.scales, 1)?;
    let shape = param.shape.to_vec();
    let scales: Vec<f32> = part.scales.into_vec().map_err(|_| E::custom("INT8 scales are not f32"))?;
    if let Some(channel) = scales.iter().position(|s| !(s.is_finite() && *s >= 0.0)) {
        return Err(E::custom(format!("the INT8 scale of output channel {channel} is {}", scales[channel])));
    }
    let integers = param.into_vec().map_err(|_| E::custom("INT8 weights are not i8"))?;
    let scheme = LayerScheme { range: part.range, mode: part.activations };
    let id = ParamId::deserialize(&id);
    Ok(WeightItem::Int8(WeightState { id, integers, shape, scales, scheme, sqnr_db: part.sqnr_db }))
}

fn version<'de, De: Deserializer<'de>>(deserializer: De) -> Result<u8, De::Error> {
    match u8::deserialize(deserializer)? {
        version @ 1..=RECORD_VERSION => Ok(version),
        other => Err(de::Error::custom(format!(
            "INT8 record version {other}, but this burn-int8 reads versions 1 to {RECORD_VERSION}"
        ))),
    }
}

fn param_id<'de, De: Deserializer<'de>>(deserializer: De) -> Result<String, De::Error> {
    let id = String::deserialize(deserializer)?;
    check_param_id(&id)?;
    Ok(id)
}

/// Refuses what `ParamId::deserialize` would panic on.
fn check_param_id<E: de::Error>(id: &str) -> Result<(), E> {
    const LONGEST: usize = 13; // eight bytes in base 32; what is longer must be a UUID of old Burn releases
    let readable = id.len() <= LONGEST || id.contains('-');
    match readable.then(|| ParamId::try_deserialize(id)).flatten() {
        Some(_) => Ok(()),
        None => Err(E::custom(format!("`{id}` is no parameter id"))),
    }
}

fn float_data<'de, const D: usize, De: Deserializer<'de>>(deserializer: De) -> Result<TensorData, De::Error> {
    let data = TensorData::deserialize(deserializer)?;
    check_floats::<_, D>(&data)?;
    Ok(data)
}

fn check_floats<E: de::Error, const D: usize>(data: &TensorData) -> Result<(), E> {
    match data.dtype {
        DType::QFloat(_) => Ok(()), // Burn's own, read by Burn
        DType::F64 | DType::F32 | DType::Flex32 | DType::F16 | DType::BF16 => check_data(data, D),
        other => Err(E::custom(format!("a float parameter can't hold {other:?} values"))),
    }
}

/// Refuses data whose rank or length is not what its shape says.
fn check_data<E: de::Error>(data: &TensorData, rank: usize) -> Result<(), E> {
    let shape = data.shape.as_slice();
    if shape.len() != rank {
        return Err(E::custom(format!("a parameter of rank {rank} can't have the shape {shape:?}")));
    }
    let elements = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let bytes = elements.and_then(|elements| elements.checked_mul(data.dtype.size()));
    if bytes != Some(data.bytes.len()) {
        let got = data.bytes.len();
        return Err(E::custom(format!("{got} bytes are no {:?} values of shape {shape:?}", data.dtype)));
    }
    Ok(())
}
