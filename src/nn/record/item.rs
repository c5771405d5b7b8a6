//! The fields that recorders write for each kind of layer: those of Burn's own, in their order.

use serde::de::{self, DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FloatItem, WeightItem};

/// What recorders write for a layer.
pub trait LayerItem: Serialize + DeserializeOwned + Clone {
    /// Its weight, float or INT8.
    type Weight;

    /// From the parts that are saved.
    fn new(weight: Self::Weight, bias: Option<FloatItem<1>>) -> Self;

    /// The parts that are saved.
    fn into_parts(self) -> (Self::Weight, Option<FloatItem<1>>);
}

/// A field of Burn's layer that is not saved.
#[derive(Clone, Copy)]
struct Constant;

impl Serialize for Constant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

/// As Burn's, but what can't be read is an error.
impl<'de> Deserialize<'de> for Constant {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        Option::<IgnoredAny>::deserialize(deserializer).map(|_| Self)
    }
}

/// The item of a layer that has a weight, a bias and constants.
macro_rules! items {
    ($($(#[$doc:meta])* $name:ident: $channels:literal, $($constant:ident)*;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize)]
        pub struct $name<const D: usize> {
            #[serde(deserialize_with = $channels)]
            weight: WeightItem<D>,
            bias: Option<FloatItem<1>>,
            $($constant: Constant,)*
        }

        impl<const D: usize> LayerItem for $name<D> {
            type Weight = WeightItem<D>;

            fn new(weight: WeightItem<D>, bias: Option<FloatItem<1>>) -> Self {
                Self { weight, bias, $($constant: Constant,)* }
            }

            fn into_parts(self) -> (WeightItem<D>, Option<FloatItem<1>>) {
                (self.weight, self.bias)
            }
        }
    )*};
}

items! {
    /// Of a linear layer.
    LinearItem: "channels_second",;
    /// Of a convolution.
    ConvItem: "channels_first", stride kernel_size dilation groups padding;
    /// Of a transposed convolution.
    ConvTransposeItem: "channels_of_groups", stride kernel_size dilation groups padding padding_out channels;
}

/// Of an embedding.
#[derive(Clone, Serialize, Deserialize)]
pub struct EmbeddingItem {
    #[serde(deserialize_with = "channels_first")]
    weight: WeightItem<2>,
}

impl LayerItem for EmbeddingItem {
    type Weight = WeightItem<2>;

    fn new(weight: WeightItem<2>, _: Option<FloatItem<1>>) -> Self {
        Self { weight }
    }

    fn into_parts(self) -> (WeightItem<2>, Option<FloatItem<1>>) {
        (self.weight, None)
    }
}

fn channels_first<'de, const D: usize, De: Deserializer<'de>>(de: De) -> Result<WeightItem<D>, De::Error> {
    weight(de, |shape, scales| expect(scales, shape[0]))
}

fn channels_second<'de, const D: usize, De: Deserializer<'de>>(de: De) -> Result<WeightItem<D>, De::Error> {
    weight(de, |shape, scales| expect(scales, shape[1]))
}

/// `[in, out / groups, ..]`: as many groups as divide the inputs.
fn channels_of_groups<'de, const D: usize, De: Deserializer<'de>>(
    de: De,
) -> Result<WeightItem<D>, De::Error> {
    weight(de, |shape, scales| match (shape[0], shape[1]) {
        (inputs, outputs) if outputs > 0 && scales > 0 && scales % outputs == 0 => {
            let groups = scales / outputs;
            let divides = inputs % groups == 0;
            divides
                .then_some(())
                .ok_or(format!("{scales} INT8 scales are {groups} groups of {inputs} inputs"))
        }
        (_, outputs) => expect(scales, outputs),
    })
}

fn expect(scales: usize, channels: usize) -> Result<(), String> {
    if scales == channels {
        Ok(())
    } else {
        Err(format!("{scales} INT8 scales for {channels} output channels"))
    }
}

/// A weight whose number of scales fits its shape.
fn weight<'de, const D: usize, De: Deserializer<'de>>(
    deserializer: De,
    check: impl FnOnce(&[usize], usize) -> Result<(), String>,
) -> Result<WeightItem<D>, De::Error> {
    let item = WeightItem::deserialize(deserializer)?;
    if let WeightItem::Int8(state) = &item {
        check(&state.shape, state.scales.len()).map_err(de::Error::custom)?;
    }
    Ok(item)
}
