//! What is timed: a network and the size of its input.

use std::fmt;
use std::str::FromStr;

use crate::networks::{HEAD_WIDTH, HIDDEN, KV_HEADS, LAYERS, MINILM_VOCABULARY, SIDE, SMOLLM2_VOCABULARY};
use crate::random;

#[derive(Clone, Copy, PartialEq)]
pub enum Name {
    EfficientNetLite0,
    MobileNetV2,
    ResNet50,
    MiniLm,
    Lstm,
    SmolLm2,
}

impl Name {
    pub const ALL: [Self; 6] =
        [Self::EfficientNetLite0, Self::MobileNetV2, Self::ResNet50, Self::MiniLm, Self::Lstm, Self::SmolLm2];

    /// The name of its files, and of the argument that chooses it.
    pub fn id(self) -> &'static str {
        match self {
            Self::EfficientNetLite0 => "efficientnet_lite0",
            Self::MobileNetV2 => "mobilenet_v2",
            Self::ResNet50 => "resnet50",
            Self::MiniLm => "minilm",
            Self::Lstm => "lstm",
            Self::SmolLm2 => "smollm2",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::EfficientNetLite0 => "EfficientNet-Lite0",
            Self::MobileNetV2 => "MobileNetV2",
            Self::ResNet50 => "ResNet-50",
            Self::MiniLm => "MiniLM-L6",
            Self::Lstm => "LSTM, 2 layers of 512",
            Self::SmolLm2 => "SmolLM2-135M",
        }
    }

    pub fn cases(self) -> Vec<Case> {
        let sizes: &[(usize, usize)] = match self {
            Self::EfficientNetLite0 | Self::MobileNetV2 | Self::ResNet50 => &[(1, SIDE), (8, SIDE)],
            Self::MiniLm => &[(1, 16), (1, 128), (8, 64), (32, 32), (32, 128)],
            Self::Lstm => &[(1, 50), (8, 50)],
            Self::SmolLm2 => &[(1, 128)],
        };
        sizes.iter().map(|&(batch, length)| Case { name: self, batch, length }).collect()
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(id: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::id).join(", ");
        Self::ALL
            .into_iter()
            .find(|name| name.id() == id)
            .ok_or_else(|| format!("{id} is none of {}", names()))
    }
}

#[derive(Clone, Copy)]
pub struct Case {
    pub name: Name,
    pub batch: usize,
    /// The height and width of images, the number of tokens or steps, or that of the tokens before the one.
    length: usize,
}

/// One input of a network, row-major.
pub struct Array {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values,
}

pub enum Values {
    Floats(Vec<f32>),
    Tokens(Vec<i64>),
}

impl Case {
    /// All inputs. The first one is `x`; a language model has a cache of keys and values for each layer.
    pub fn inputs(&self) -> Vec<Array> {
        let &Self { name, batch, length } = self;
        match name {
            Name::EfficientNetLite0 | Name::MobileNetV2 | Name::ResNet50 => {
                vec![floats("x".into(), vec![batch, 3, length, length])]
            }
            Name::MiniLm => vec![tokens(vec![batch, length], MINILM_VOCABULARY)],
            Name::Lstm => vec![floats("x".into(), vec![batch, length, HIDDEN])],
            Name::SmolLm2 => {
                let shape = vec![batch, KV_HEADS, length, HEAD_WIDTH];
                let caches =
                    (0..LAYERS).flat_map(|layer| ["keys", "values"].map(|part| format!("{part}.{layer}")));
                let caches = caches.map(|name| floats(name, shape.clone()));
                std::iter::once(tokens(vec![batch, 1], SMOLLM2_VOCABULARY)).chain(caches).collect()
            }
        }
    }
}

fn floats(name: String, shape: Vec<usize>) -> Array {
    let values = Values::Floats(random::floats(&name, shape.iter().product()));
    Array { name, shape, values }
}

fn tokens(shape: Vec<usize>, vocabulary: usize) -> Array {
    let values = Values::Tokens(random::tokens("x", shape.iter().product(), vocabulary));
    Array { name: "x".into(), shape, values }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, batch, length } = self;
        match name {
            Name::MiniLm => write!(f, "{}, {batch} x {length} tokens", name.title()),
            Name::Lstm => write!(f, "{}, {batch} x {length} steps", name.title()),
            Name::SmolLm2 => write!(f, "{}, one token behind {length}", name.title()),
            _ => write!(f, "{}, batch {batch}", name.title()),
        }
    }
}
