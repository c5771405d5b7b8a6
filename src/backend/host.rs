//! The backends whose tensors are in host memory: borrow slices, call the kernels, wrap the result.

use std::any::TypeId;
use std::borrow::Cow;

use burn::prelude::*;
use burn::tensor::TensorPrimitive;

use crate::kernel::conv::Images;
use crate::kernel::{self, Filter, Packed, Window};
use crate::scheme::{Activations, LayerScheme};

/// Whether tensors of `B`, or of the backend that it adds autodiff to, are in host memory: their devices are the same.
pub(super) fn is_host<B: Backend>() -> bool {
    let host_devices = [
        #[cfg(feature = "ndarray")]
        TypeId::of::<burn_ndarray::NdArrayDevice>(),
        #[cfg(feature = "flex")]
        TypeId::of::<burn_flex::FlexDevice>(),
    ];
    host_devices.contains(&TypeId::of::<B::Device>())
}

/// Runs `work` on the values of `x`, row-major, as `f32`: without a copy if they are that already.
pub(crate) fn with_floats<B: Backend, const D: usize, R>(
    x: Tensor<B, D>,
    work: impl FnOnce(&[f32]) -> R,
) -> R {
    let primitive = x.into_primitive().tensor();
    match borrow::<B>(&primitive) {
        Some(values) => work(&values),
        None => {
            let data = Tensor::<B, D>::from_primitive(TensorPrimitive::Float(primitive)).into_data();
            let data = data.convert::<f32>();
            match data.as_slice() {
                Ok(values) => work(values),
                Err(_) => work(&data.iter().collect::<Vec<f32>>()), // not aligned
            }
        }
    }
}

fn borrow<B: Backend>(primitive: &B::FloatTensorPrimitive) -> Option<Cow<'_, [f32]>> {
    #[cfg(feature = "ndarray")]
    if let Some(values) = super::ndarray::borrow(primitive) {
        return Some(values);
    }
    #[cfg(feature = "flex")]
    if let Some(values) = super::flex::borrow(primitive) {
        return Some(values);
    }
    let _ = primitive;
    None
}

pub(super) fn linear<B: Backend, const D: usize>(
    weights: &Packed,
    x: Tensor<B, D>,
    scheme: LayerScheme,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    let (mut shape, dtype, device) = (x.shape(), x.dtype(), x.device());
    shape[D - 1] = weights.scales().len();
    let rows = shape[..D - 1].iter().product();
    let run = |x: &[f32], bias: Option<&[f32]>| match scheme.activations {
        Activations::Dynamic => {
            kernel::dynamic(kernel::active(), (x, rows), scheme.range.into(), weights, bias)
        }
        Activations::WeightOnly => kernel::float_activations(kernel::active(), (x, rows), weights, bias),
    };
    let out = with_floats(x, |x| match bias {
        Some(bias) => with_floats(bias, |bias| run(x, Some(bias))),
        None => run(x, None),
    });
    let data = TensorData::new(out, shape).convert_dtype(dtype);
    Tensor::from_primitive(TensorPrimitive::Float(B::float_from_data(data, &device)))
}

pub(super) fn conv<B: Backend, const D: usize>(
    weights: &Packed,
    filter: &Filter,
    x: Tensor<B, D>,
    window: &Window,
    scheme: LayerScheme,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    let (mut shape, dtype, device) = (x.shape(), x.dtype(), x.device());
    let batch = shape[0];
    shape[1] = filter.channels[1];
    shape[2..].copy_from_slice(&window.output[5 - D..]);
    let run = |values: &[f32], bias: Option<&[f32]>| {
        let images = Images { values, batch, filter, window, weights };
        match scheme.activations {
            Activations::Dynamic => {
                kernel::conv::dynamic(kernel::active(), &images, scheme.range.into(), bias)
            }
            Activations::WeightOnly => kernel::conv::float_activations(kernel::active(), &images, bias),
        }
    };
    let out = with_floats(x, |x| match bias {
        Some(bias) => with_floats(bias, |bias| run(x, Some(bias))),
        None => run(x, None),
    });
    let data = TensorData::new(out, shape).convert_dtype(dtype);
    Tensor::from_primitive(TensorPrimitive::Float(B::float_from_data(data, &device)))
}

/// The rows of a table at `indices` `[batch, length]`.
pub(super) fn embed<B: Backend>(
    weights: &Packed,
    entries: &[usize],
    shape: [usize; 3],
    device: &B::Device,
) -> Tensor<B, 3> {
    let data = TensorData::new(weights.rows_of_table(entries), shape);
    Tensor::from_data(data.convert::<B::FloatElem>(), device)
}
