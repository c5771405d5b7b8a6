//! From Burn tensors to the place where the numbers are, and the one decision about who computes there.
//!
//! | module | who computes |
//! |---|---|
//! | `op` | nobody: the operations as plain data |
//! | `storage` | nobody: the place of the weights, which says who does |
//! | `cpu` | the kernels of `burn-int8-kernels`, on the slices of backends in host memory |
//! | `cube` | kernels on devices of CubeCL's |
//! | `portable` | plain tensor operations, on any backend |
//!
//! A new backend is one module, a variant of [`Storage`], and an arm in each `match` of this file and of `storage`.

mod cpu;
#[cfg(feature = "wgpu")]
mod cube;
mod op;
mod portable;
mod storage;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use crate::config::{LayerScheme, QuantMode};
use burn_int8_kernels::{InputTransform, NotFinite, PackedWeights, QTensor, QuantError, WeightLayout};
use portable::weights::DeviceWeights;
use storage::{Storage, capabilities};

pub(crate) use cpu::slices::{address, with_floats};
pub(crate) use cpu::{activate, attention, layer_norm, pool};
pub(crate) use op::{AttentionOp, ConvImage, ConvOp, LinearOp, OutputStep, conv_output};

/// The INT8 weights of one layer, in the one copy and the layout that its backend computes with.
#[derive(Clone)]
pub(crate) struct Weights<B: Backend> {
    layout: WeightLayout,
    /// The way in which their layer computes.
    mode: QuantMode,
    storage: Storage<B>,
}

/// Plain tensor operations as a report names them, with a hint where a feature of this crate has kernels for the backend.
fn portable_name<B: Backend>(device: &B::Device) -> &'static str {
    const HINTS: &[(&str, bool, &str)] = &[
        (
            "ndarray",
            cfg!(feature = "ndarray"),
            "tensor operations (burn-int8's feature `ndarray` has kernels)",
        ),
        ("flex", cfg!(feature = "flex"), "tensor operations (burn-int8's feature `flex` has kernels)"),
        ("wgpu", cfg!(feature = "wgpu"), "tensor operations (burn-int8's feature `wgpu` has kernels)"),
    ];
    let backend = B::name(device);
    let lacks = HINTS.iter().find(|(name, enabled, _)| !enabled && backend.contains(name));
    lacks.map_or("tensor operations", |(_, _, hint)| hint)
}

/// The indices into a table, on the host.
///
/// # Panics
///
/// If one is not in the table.
fn checked<B: Backend>(layout: &WeightLayout, indices: &Tensor<B, 2, Int>) -> Vec<usize> {
    let entries = layout.channels();
    let checked = |index: i64| match usize::try_from(index) {
        Ok(index) if index < entries => index,
        _ => panic!("QEmbedding: index {index} is outside the vocabulary of {entries} entries"),
    };
    indices.to_data().iter::<i64>().map(checked).collect()
}

impl<B: Backend> Weights<B> {
    /// Quantizes a weight tensor of the shape that `layout` has, one scale for each output channel, for inputs that go through
    /// `transform`.
    pub(crate) fn quantize<const D: usize>(
        weight: Tensor<B, D>,
        layout: WeightLayout,
        scheme: LayerScheme,
        transform: InputTransform,
    ) -> Result<(Self, QuantError), NotFinite> {
        let device = weight.device();
        let (packed, error) = with_floats(weight, |w| {
            PackedWeights::quantize_transformed(w, &layout, (scheme.range, scheme.rounding), transform)
        })?;
        let storage = if cpu::is_host::<B>() {
            Storage::Cpu(Arc::new(packed))
        } else {
            Storage::new(&packed.to_qtensor(), &device)
        };
        Ok((Self { layout, mode: scheme.mode, storage }, error))
    }

    /// Takes over weights that are integers already, for a layer that quantizes its inputs.
    pub(crate) fn from_qtensor(tensor: &QTensor, device: &B::Device) -> Self {
        Self { layout: tensor.layout(), mode: QuantMode::Dynamic, storage: Storage::new(tensor, device) }
    }

    /// The same weights for a layer that computes in this way.
    pub(crate) fn with_mode(self, mode: QuantMode) -> Self {
        Self { mode, ..self }
    }

    /// The integers in the layout of the weight tensor.
    pub(crate) fn to_integers(&self) -> Vec<i8> {
        match &self.storage {
            Storage::Cpu(packed) => packed.to_integers(),
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => weights.to_integers(&self.layout),
            Storage::Portable(weights) => weights.to_integers(&self.layout),
        }
    }

    /// One step per output channel.
    pub(crate) fn scales(&self) -> Vec<f32> {
        match &self.storage {
            Storage::Cpu(packed) => packed.scales().to_vec(),
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => weights.host_scales(),
            Storage::Portable(weights) => weights.host_scales(),
        }
    }

    /// The floats that the integers stand for.
    pub(crate) fn dequantize<const D: usize>(&self, device: &B::Device) -> Tensor<B, D> {
        Tensor::from_data(TensorData::new(self.to_floats(), self.layout.shape()), device)
    }

    /// The same on the host, row-major.
    pub(crate) fn to_floats(&self) -> Vec<f32> {
        QTensor::new(self.to_integers(), self.scales(), self.layout)
            .and_then(|tensor| tensor.with_transform(self.transform().clone()))
            .expect("weights fit their layout")
            .dequantize()
    }

    /// The way of inputs to what is quantized.
    pub(crate) fn transform(&self) -> &InputTransform {
        match &self.storage {
            Storage::Cpu(packed) => packed.transform(),
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => &weights.transform,
            Storage::Portable(weights) => &weights.transform,
        }
    }

    /// The meaning of the weights to their layer.
    pub(crate) fn layout(&self) -> WeightLayout {
        self.layout
    }

    /// The name of what computes their products. The rows of a table are looked up by the kernels of a device that has some.
    pub(crate) fn kernel(&self) -> &'static str {
        match &self.storage {
            Storage::Cpu(_) => cpu::kernel_name(),
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights)
                if cube::transforms(&weights.transform, self.mode) && cube::addresses_words(weights) =>
            {
                cube::name::<B>(&weights.scales.device())
            }
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => portable_name::<B>(&weights.scales.device()),
            Storage::Portable(weights) => portable_name::<B>(&weights.scales.device()),
        }
    }

    /// The bytes of the copy that it computes with, and a number that tells this copy from others.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let bytes = match &self.storage {
            Storage::Cpu(packed) => packed.bytes(),
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => weights.bytes(),
            Storage::Portable(weights) => weights.bytes(),
        };
        (bytes, self.storage.address())
    }

    /// Says whether `other` holds the same numbers in the same place, perhaps in another copy.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.layout == other.layout && self.storage.holds_the_same(&other.storage, &self.layout)
    }

    /// Lets go of one of the two copies if `other` holds the same numbers.
    pub(crate) fn share(&mut self, other: &Self) {
        if self.equals(other) {
            self.storage = other.storage.clone();
        }
    }

    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        self.storage.address() == other.storage.address()
    }

    /// The product of the last axis of `x` with each output channel, plus bias: `x · weight`, and for a table `x · tableᵀ`.
    pub(crate) fn linear<const D: usize>(&self, x: Tensor<B, D>, op: LinearOp<B>) -> Tensor<B, D> {
        match &self.storage {
            Storage::Cpu(packed) => {
                let [out] = cpu::linear(x, [(packed, op)]);
                out
            }
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights)
                if cube::addresses_linear(weights, op.scheme.mode, x.shape().as_slice()) =>
            {
                cube::linear(weights, x, op)
            }
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => portable::linear(weights, x, op),
            Storage::Portable(weights) => portable::linear(weights, x, op),
        }
    }

    /// The products of one input with several layers in one pass; `None` if they are not in host memory or do not all
    /// quantize it in the same way.
    pub(crate) fn linear_each<const D: usize, const N: usize>(
        x: &Tensor<B, D>,
        layers: [(&Self, LinearOp<B>); N],
    ) -> Option<[Tensor<B, D>; N]> {
        let scheme = layers.first()?.1.scheme;
        let transform = layers.first()?.0.transform();
        let packed = layers.each_ref().map(|(weights, op)| match &weights.storage {
            Storage::Cpu(packed) if op.scheme == scheme && packed.transform() == transform => Some(&**packed),
            _ => None,
        });
        if packed.contains(&None) {
            return None;
        }
        let mut packed = packed.into_iter().flatten();
        let layers = layers.map(|(_, op)| (packed.next().expect("each layer is packed"), op));
        Some(cpu::linear(x.clone(), layers))
    }

    /// The rows of a table at `indices` `[batch, length]`: `[batch, length, width]`.
    ///
    /// # Panics
    ///
    /// If an index is not in the table. Kernels on a device give NaN instead: to panic, the host would have to wait for the
    /// device.
    pub(crate) fn embed(&self, indices: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        match &self.storage {
            Storage::Cpu(packed) => {
                let ([batch, length], device) = (indices.dims(), indices.device());
                let entries = checked(&self.layout, &indices);
                cpu::embed(packed, &entries, [batch, length, self.layout.inputs()], &device)
            }
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) if cube::addresses_embed(weights, indices.dims()) => {
                portable::restored(cube::embed(weights, indices), &weights.transform)
            }
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => portable::embed(weights, indices),
            Storage::Portable(weights) => {
                checked(&self.layout, &indices);
                portable::embed(weights, indices)
            }
        }
    }

    /// The convolution of `x` `[batch, channels, ..]`.
    pub(crate) fn conv<const D: usize>(&self, x: Tensor<B, D>, op: ConvOp<B>) -> Tensor<B, D> {
        match &self.storage {
            Storage::Cpu(packed) => cpu::conv(packed, x, op),
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) if cube::addresses_conv(weights, &op, x.dims()[0]) => {
                cube::conv(weights, x, op)
            }
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => portable::conv::conv(weights, x, op),
            Storage::Portable(weights) => portable::conv::conv(weights, x, op),
        }
    }

    /// The convolution of an image and some steps with its outputs, if [`has_steps`](Self::has_steps): in integers if they lie between
    /// zero and a bound that is given.
    pub(crate) fn conv_of_image(
        &self,
        x: &ConvImage<B>,
        op: ConvOp<B>,
        steps: &[OutputStep<B>],
        bound: Option<f32>,
    ) -> Option<ConvImage<B>> {
        match &self.storage {
            Storage::Cpu(packed) => Some(cpu::conv_of_image(packed, x, op, steps, bound)),
            _ => None,
        }
    }

    /// Says whether outputs of such an operation can go through steps before they are stored.
    pub(crate) fn has_steps(&self, scheme: LayerScheme) -> bool {
        let computes = match &self.layout {
            WeightLayout::Conv(spec) => cpu::has_steps(spec, scheme),
            _ => true,
        };
        computes && matches!(self.storage, Storage::Cpu(_))
    }

    pub(crate) fn to_device(&self, device: &B::Device) -> Self {
        let moved = |weights: &DeviceWeights<B>| {
            Storage::on_device(weights.to_device(capabilities::<B>(device), device), &self.layout)
        };
        let storage = match &self.storage {
            Storage::Cpu(packed) => Storage::Cpu(packed.clone()),
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => moved(weights),
            Storage::Portable(weights) => moved(weights),
        };
        Self { layout: self.layout, mode: self.mode, storage }
    }
}

/// Says whether several products of one input, and the work of layers between their products, are computed in one pass: for
/// inference in host memory. Elsewhere callers use Burn's operations.
pub(crate) fn fuses<B: Backend>(device: &B::Device) -> bool {
    cpu::is_host::<B>() && !B::ad_enabled(device)
}

impl<B: AutodiffBackend> Weights<B> {
    pub(crate) fn inner(&self) -> Weights<B::InnerBackend> {
        let inner = |weights: &DeviceWeights<B>| Storage::on_device(weights.inner(), &self.layout);
        let storage = match &self.storage {
            Storage::Cpu(packed) => Storage::Cpu(packed.clone()),
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => inner(weights),
            Storage::Portable(weights) => inner(weights),
        };
        Weights { layout: self.layout, mode: self.mode, storage }
    }

    pub(crate) fn from_inner(inner: Weights<B::InnerBackend>) -> Self {
        let (layout, mode) = (inner.layout, inner.mode);
        let outer = |weights: &DeviceWeights<B::InnerBackend>| {
            Storage::on_device(DeviceWeights::from_inner(weights), &layout)
        };
        let storage = match inner.storage {
            Storage::Cpu(packed) => Storage::Cpu(packed),
            #[cfg(feature = "wgpu")]
            Storage::Cube(weights) => outer(&weights),
            Storage::Portable(weights) => outer(&weights),
        };
        Self { layout, mode, storage }
    }
}

impl<B: Backend> std::fmt::Debug for Weights<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Int8 {:?} on {}", self.layout.shape(), self.kernel())
    }
}
