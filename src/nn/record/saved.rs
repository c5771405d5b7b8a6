//! The INT8 weight of a layer in a file, and everything that must hold for one.

use burn::module::ParamId;
use burn::prelude::*;

use super::float::{check_data, check_id};
use crate::config::{LayerScheme, Rotation};
use burn_int8_kernels::{BlockRotation, InputTransform, QTensor};

/// The version of the INT8 part of a record. Records of a later one are refused.
///
/// | version | changed |
/// |---|---|
/// | 1 | the integers are called `param`, as Burn calls floats: where fields have names, Burn's own layers read them as such |
/// | 2 | they are called `integers` |
/// | 3 | the kind of the layer and its groups are there, so that a layer of another kind refuses the record |
/// | 4 | the blocks in which inputs are rotated, the rounding of the weights, and the strength and the shifts by which inputs are smoothed are there |
/// | 5 | the integers of inputs are there: with a sign only, as in all records before, or without one where no input is negative |
pub const RECORD_VERSION: u8 = 5;

/// The axis of a saved weight's shape that has the output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputAxis {
    /// `[out, ..]`
    First,
    /// `[in, out]`
    Second,
    /// `[in, out / groups, ..]`
    SecondOfGroups,
}

/// The INT8 weight of a layer, on no device: sizes, scales and numbers have been checked against each other and against the
/// kind of layer that it was read for.
#[derive(Clone, Debug)]
pub(crate) struct SavedWeight {
    pub(crate) id: ParamId,
    /// The kind of layer, such as `Linear`.
    pub(crate) kind: &'static str,
    /// The groups of a convolution, one for other layers; none if the file is older than version 3 and does not tell.
    pub(crate) groups: Option<usize>,
    /// The integers, row-major, in `shape`.
    pub(crate) integers: Vec<i8>,
    pub(crate) shape: Vec<usize>,
    /// One scale per output channel.
    pub(crate) scales: Vec<f32>,
    pub(crate) scheme: LayerScheme,
    /// The smoothing of the inputs, if there is any.
    pub(crate) shifts: Option<Vec<u8>>,
    pub(crate) sqnr_db: Option<f32>,
}

/// The kind of layer that a file is read for.
#[derive(Clone, Copy)]
pub(super) struct ExpectedLayer {
    pub(super) kind: &'static str,
    /// The rank of its weight.
    pub(super) rank: usize,
    pub(super) outputs: OutputAxis,
}

/// The fields of an INT8 weight, as they were read.
pub(super) struct UncheckedWeight {
    pub(super) id: String,
    pub(super) integers: TensorData,
    pub(super) part: Int8Part,
}

/// The way in which the integers of a weight are to be read.
pub(super) struct Int8Part {
    /// The groups of the layer that wrote it; none if the file does not tell.
    pub(super) groups: Option<usize>,
    pub(super) scheme: LayerScheme,
    pub(super) shifts: Option<Vec<u8>>,
    pub(super) sqnr_db: Option<f32>,
    pub(super) scales: TensorData,
}

/// The groups in the file of a convolution that does not know them: a parameter by itself, before it was computed with.
pub(super) const UNKNOWN_GROUPS: usize = 0;

impl ExpectedLayer {
    /// Refuses a record of another kind of layer.
    pub(super) fn check_kind(&self, kind: &str) -> Result<(), String> {
        if kind == self.kind {
            return Ok(());
        }
        Err(format!("the record holds an INT8 {kind}, but the layer is {}", self.kind))
    }
}

impl UncheckedWeight {
    /// The one place where it is decided whether a file holds a weight.
    pub(super) fn check(self, expected: &ExpectedLayer) -> Result<SavedWeight, String> {
        let Self { id, integers, part: Int8Part { groups, scheme, shifts, sqnr_db, scales } } = self;
        check_id(&id)?;
        check_data(&integers, expected.rank)?;
        check_data(&scales, 1)?;
        let shape = integers.shape.to_vec();
        let scales: Vec<f32> = scales.into_vec().map_err(|_| "INT8 scales are not f32")?;
        QTensor::check_scales(&scales).map_err(|error| error.to_string())?;
        if let Some(db) = sqnr_db.filter(|db| !db.is_finite()) {
            return Err(format!("a signal to quantization noise ratio of {db} dB"));
        }
        let groups = expected.outputs.groups(&shape, scales.len(), groups)?;
        scheme.smoothing.check()?;
        expected.outputs.check_transform(&shape, scheme.rotation, shifts.as_deref())?;
        let integers = integers.into_vec().map_err(|_| "INT8 weights are not i8")?;
        let id = ParamId::deserialize(&id);
        let shifts = shifts.filter(|shifts| !shifts.is_empty());
        Ok(SavedWeight { id, kind: expected.kind, groups, integers, shape, scales, scheme, shifts, sqnr_db })
    }
}

impl OutputAxis {
    /// Refuses a rotation and shifts that do not suit a weight of this shape.
    fn check_transform(
        self,
        shape: &[usize],
        rotation: Rotation,
        shifts: Option<&[u8]>,
    ) -> Result<(), String> {
        let inputs = if self == Self::Second { shape[0] } else { shape[1] };
        let block = if let Rotation::Block(block) = rotation { block } else { 1 };
        if shape.len() > 2 && (block != 1 || shifts.is_some()) {
            return Err("the inputs of a convolution are not transformed".into());
        }
        if BlockRotation::new(block).is_none() || !inputs.is_multiple_of(block) {
            return Err(format!("{inputs} inputs can't be rotated in blocks of {block}"));
        }
        let shifts = shifts.unwrap_or_default();
        if let Some(shift) = shifts.iter().find(|shift| **shift > InputTransform::LARGEST_SHIFT) {
            return Err(format!("a smoothing shift of {shift} bits"));
        }
        if shifts.is_empty() || shifts.len() == inputs {
            Ok(())
        } else {
            Err(format!("{} smoothing shifts for {inputs} inputs", shifts.len()))
        }
    }

    /// The groups of a weight of this shape with that many scales, if they can be known, after checking that all fit together.
    fn groups(self, shape: &[usize], scales: usize, told: Option<usize>) -> Result<Option<usize>, String> {
        let (groups, channels) = match self {
            Self::First => (told, shape[0]),
            Self::Second => (told, shape[1]),
            // A file that does not tell the groups has as many as the scales are times the outputs of one.
            Self::SecondOfGroups => {
                let counted = scales.checked_div(shape[1]).filter(|groups| *groups > 0);
                let groups = told.or(counted).unwrap_or(1);
                (Some(groups), shape[1].saturating_mul(groups))
            }
        };
        if scales != channels {
            // Without groups the number of channels is not known: those of one group are.
            let channels = if told.is_none() && self == Self::SecondOfGroups { shape[1] } else { channels };
            return Err(format!("{scales} INT8 scales for {channels} output channels"));
        }
        match groups {
            Some(groups) if groups == 0 || !shape[0].is_multiple_of(groups) => Err(match self {
                Self::SecondOfGroups => {
                    format!("{scales} INT8 scales are {groups} groups of {} inputs", shape[0])
                }
                _ => format!("{} output channels can't be parted into {groups} groups", shape[0]),
            }),
            groups => Ok(groups),
        }
    }
}
