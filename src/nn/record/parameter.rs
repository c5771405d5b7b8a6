//! The bytes of an INT8 weight that stand alone: the parameter of one of Burn's own layers.

use std::fmt;

use burn::tensor::quantization::{QuantLevel, QuantMode, QuantParam, QuantScheme, QuantStore, QuantValue};
use burn_int8_kernels::{ConvSpec, WeightLayout};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::saved::{ExpectedLayer, OutputAxis, SavedWeight};
use super::weight::{InnerWeight, WeightItem};

/// The first item, by which the bytes are told from others.
const MAGIC: &str = "burn-int8 parameter";

/// The type that the data of an INT8 parameter has. No backend of Burn's makes or reads it: they refuse how it is stored.
pub(crate) const PARAMETER_SCHEME: QuantScheme = QuantScheme {
    value: QuantValue::Q8S,
    param: QuantParam::F32,
    store: QuantStore::PackedNative(0),
    level: QuantLevel::Tensor,
    mode: QuantMode::Symmetric,
};

/// The kinds of layer, each with the rank of its weight and the axis of the output channels.
const KINDS: [(&str, usize, OutputAxis); 8] = [
    ("Linear", 2, OutputAxis::Second),
    ("Embedding", 2, OutputAxis::First),
    ("Conv1d", 3, OutputAxis::First),
    ("Conv2d", 4, OutputAxis::First),
    ("Conv3d", 5, OutputAxis::First),
    ("ConvTranspose1d", 3, OutputAxis::SecondOfGroups),
    ("ConvTranspose2d", 4, OutputAxis::SecondOfGroups),
    ("ConvTranspose3d", 5, OutputAxis::SecondOfGroups),
];

/// An INT8 parameter in a file.
pub(crate) struct SavedParameter {
    pub(crate) weight: SavedWeight,
    /// True if the tensor shows the last two axes of the weight swapped.
    pub(crate) swapped: bool,
}

/// The kind of a parameter of a model's own that a product may read. Its weight is that of a linear layer.
pub(crate) const PARAMETER: &str = "Parameter";

/// The kind of layer that such a weight is saved as.
pub(crate) fn saved_kind(kind: &'static str) -> &'static str {
    if kind == PARAMETER { "Linear" } else { kind }
}

/// The kind of layer of that name, such as `Linear`: one of Burn's that hold most of a model's weights.
pub(crate) fn kind_of(name: &str) -> Option<&'static str> {
    KINDS.into_iter().map(|(kind, ..)| kind).find(|kind| *kind == name)
}

/// The bytes of a parameter.
pub(crate) fn bytes_of(parameter: SavedParameter) -> Vec<u8> {
    rmp_serde::to_vec_named(&Written(parameter)).expect("memory takes all that is written")
}

/// The parameter that [`bytes_of`] wrote, and the layout of its weight.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<(SavedParameter, WeightLayout), String> {
    let SavedParameter { weight, swapped } =
        rmp_serde::from_slice::<Read>(bytes).map_err(|error| error.to_string())?.0;
    if swapped && weight.shape.len() != 2 {
        return Err("the weight of a convolution is never swapped".into());
    }
    let groups = weight.groups.filter(|_| weight.kind.starts_with("ConvTranspose")).unwrap_or(1);
    let layout = layout_of(weight.kind, &weight.shape, groups).ok_or("a layer of another rank")?;
    layout.check()?;
    Ok((SavedParameter { weight, swapped }, layout))
}

/// The layout of the weight of a layer of Burn's, if there is such a kind of layer with a weight of that rank. How a convolution
/// steps, and a regular one's groups, a weight does not know: here they are one.
pub(crate) fn layout_of(kind: &'static str, shape: &[usize], groups: usize) -> Option<WeightLayout> {
    let kind = saved_kind(kind);
    let (kind, ..) = KINDS.into_iter().find(|(name, rank, _)| *name == kind && *rank == shape.len())?;
    let [first, second] = [shape[0], shape[1]];
    Some(match kind {
        "Linear" => WeightLayout::Linear([first, second]),
        "Embedding" => WeightLayout::Table([first, second]),
        _ => {
            let transposed = kind.starts_with("ConvTranspose");
            let axes = shape.len() - 2;
            let mut kernel = [1; 3];
            kernel[3 - axes..].copy_from_slice(&shape[2..]);
            let channels = if transposed { [first, second.checked_mul(groups)?] } else { [second, first] };
            let (stride, dilation) = ([1; 3], [1; 3]);
            WeightLayout::Conv(ConvSpec { axes, channels, groups, kernel, stride, dilation, transposed })
        }
    })
}

struct Written(SavedParameter);

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SavedParameter { weight, swapped } = &self.0;
        (MAGIC, weight.kind, swapped, WeightItem::Int8(weight.clone())).serialize(serializer)
    }
}

struct Read(SavedParameter);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        deserializer.deserialize_tuple(4, ParameterVisitor).map(Self)
    }
}

struct ParameterVisitor;

impl<'de> Visitor<'de> for ParameterVisitor {
    type Value = SavedParameter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an INT8 parameter")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let missing = |field| move || de::Error::missing_field(field);
        let magic: String = seq.next_element()?.ok_or_else(missing("magic"))?;
        if magic != MAGIC {
            return Err(de::Error::custom(format!("`{magic}` in place of `{MAGIC}`")));
        }
        let kind: String = seq.next_element()?.ok_or_else(missing("kind"))?;
        let known = KINDS.into_iter().find(|(name, ..)| *name == kind);
        let Some((kind, rank, outputs)) = known else {
            return Err(de::Error::custom(format!("`{kind}` is no kind of layer")));
        };
        let swapped = seq.next_element()?.ok_or_else(missing("swapped"))?;
        match seq.next_element_seed(InnerWeight(ExpectedLayer { kind, rank, outputs }))? {
            Some(WeightItem::Int8(weight)) => Ok(SavedParameter { weight, swapped }),
            _ => Err(de::Error::custom("there are no integers")),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;
    use burn::prelude::*;
    use burn::tensor::{Bytes, DType};
    use burn_int8_kernels::QTensor;

    use super::*;
    use crate::config::LayerScheme;
    use crate::nn::record::float::FloatItem;

    fn parameter(kind: &'static str, shape: Vec<usize>, groups: Option<usize>) -> SavedParameter {
        let integers = (0..shape.iter().product::<usize>()).map(|i| i as i8).collect();
        let layout = layout_of(kind, &shape, groups.unwrap_or(1)).expect("a kind of layer");
        let (scales, scheme) = (vec![0.5; layout.channels()], LayerScheme::keras());
        let (id, shifts, sqnr_db) = (ParamId::new(), None, Some(40.0));
        SavedParameter {
            weight: SavedWeight { id, kind, groups, integers, shape, scales, scheme, shifts, sqnr_db },
            swapped: false,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for (kind, shape, groups) in [
            ("Linear", vec![3, 2], Some(1)),
            ("Embedding", vec![3, 2], Some(1)),
            ("Conv2d", vec![4, 1, 3, 2], None),
            ("ConvTranspose1d", vec![4, 3, 2], Some(2)),
        ] {
            let (read, layout) =
                from_bytes(&bytes_of(parameter(kind, shape.clone(), groups))).expect("its own bytes");
            assert_eq!((read.weight.kind, &read.weight.shape, read.weight.groups), (kind, &shape, groups));
            assert_eq!(layout.shape(), shape);
        }
    }

    /// Parameters that hold parameters are refused at once, however deep they go.
    #[test]
    fn a_parameter_in_a_parameter() {
        let mut bytes = bytes_of(parameter("Linear", vec![3, 2], Some(1)));
        for _ in 0..2_000 {
            let dtype = DType::QFloat(PARAMETER_SCHEME);
            let param = TensorData { bytes: Bytes::from_bytes_vec(bytes), shape: [3, 2].into(), dtype };
            let item = WeightItem::Float(FloatItem { id: ParamId::new().serialize(), param });
            bytes = rmp_serde::to_vec_named(&(MAGIC, "Linear", false, item)).expect("in memory");
        }
        let error = from_bytes(&bytes).err().expect("a parameter holds no other");
        assert!(error.contains("there are no integers"), "{error}");
    }

    /// Cut or with any bit changed, bytes are an error or a weight that fits its layout.
    #[test]
    fn damaged_bytes() {
        for (kind, shape) in [("Linear", vec![3, 2]), ("ConvTranspose1d", vec![4, 3, 2])] {
            let bytes = bytes_of(parameter(kind, shape, Some(1)));
            for at in 0..bytes.len() {
                assert!(from_bytes(&bytes[..at]).is_err(), "cut to {at}");
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    let Ok((SavedParameter { weight, .. }, layout)) = from_bytes(&damaged) else { continue };
                    let tensor = QTensor::new(weight.integers, weight.scales, layout);
                    assert!(tensor.is_ok(), "byte {at}, bit {bit}: {tensor:?}");
                }
            }
        }
    }
}
