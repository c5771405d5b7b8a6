//! From a Burn primitive to a tensor of CubeCL's and back, at once or in the queue of Burn's fusion.

use std::any::TypeId;
use std::fmt::Debug;

use burn::prelude::*;
use burn::tensor::{DType, TensorPrimitive};
use burn_cubecl::fusion::FusionCubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeRuntime};
use burn_fusion::stream::{Operation, OperationStreams};
use burn_fusion::{FusionHandle, FusionTensor};
use burn_ir::{CustomOpIr, HandleContainer, OperationIr, OperationOutput, TensorIr};
use cubecl::wgpu::WgpuRuntime;

use crate::cast::{as_any, into_type};

/// A computation on tensors of CubeCL's.
///
/// Everything that could go wrong has been checked before: in a queue there is no one left to tell, and a panic there stops
/// all that comes after it.
pub(super) trait CustomOp: Debug + Send + Sync + 'static {
    /// The shape and the type of the result.
    fn output(&self) -> (Shape, DType);

    /// Puts the kernels in the device's queue.
    fn launch<R: CubeRuntime>(&self, inputs: Vec<CubeTensor<R>>) -> CubeTensor<R>;
}

/// A tensor that a [`CustomOp`] reads.
pub(super) enum Input<B: Backend> {
    Float(B::FloatTensorPrimitive),
    Int(B::IntTensorPrimitive),
}

impl<B: Backend, const D: usize> From<Tensor<B, D>> for Input<B> {
    fn from(tensor: Tensor<B, D>) -> Self {
        Self::Float(tensor.into_primitive().tensor())
    }
}

impl<B: Backend, const D: usize> From<Tensor<B, D, Int>> for Input<B> {
    fn from(tensor: Tensor<B, D, Int>) -> Self {
        Self::Int(tensor.into_primitive())
    }
}

impl<B: Backend> Input<B> {
    fn into_primitive<T: 'static>(self) -> T {
        let primitive = match self {
            Self::Float(primitive) => into_type(primitive),
            Self::Int(primitive) => into_type(primitive),
        };
        primitive.expect("a primitive of the type that `is_cube` has looked at")
    }
}

/// A runtime of CubeCL's under some backend of Burn's. To add one: a line in each of these functions.
pub(super) fn is_cube<B: Backend>() -> bool {
    is_on::<B, WgpuRuntime>()
}

/// Runs `op`.
///
/// # Panics
///
/// Unless [`is_cube`].
pub(super) fn run<B: Backend, const D: usize>(op: impl CustomOp, inputs: Vec<Input<B>>) -> Tensor<B, D> {
    let out = run_on::<B, WgpuRuntime>(op, inputs);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

/// The answer of the runtime's client, if there is one for this type of device.
pub(super) fn ask<B: Backend, T>(device: &B::Device, query: impl ClientQuery<T>) -> Option<T> {
    as_any(device).map(|device| query.ask(&<WgpuRuntime as cubecl::Runtime>::client(device), device))
}

/// A question that every runtime's client can answer.
pub(super) trait ClientQuery<T> {
    fn ask<R: CubeRuntime>(self, client: &cubecl::client::ComputeClient<R>, device: &R::Device) -> T;
}

type Fused<R> = FusionTensor<FusionCubeRuntime<R>>;
/// Its element types say what it makes by default; no tensor is made here.
type Plain<R> = CubeBackend<R, f32, i32, u32>;

fn is_on<B: Backend, R: CubeRuntime>() -> bool {
    let primitive = TypeId::of::<B::FloatTensorPrimitive>();
    primitive == TypeId::of::<CubeTensor<R>>() || primitive == TypeId::of::<Fused<R>>()
}

fn run_on<B: Backend, R: CubeRuntime>(op: impl CustomOp, inputs: Vec<Input<B>>) -> B::FloatTensorPrimitive {
    let out = if TypeId::of::<B::FloatTensorPrimitive>() == TypeId::of::<CubeTensor<R>>() {
        into_type(op.launch::<R>(inputs.into_iter().map(Input::into_primitive).collect()))
    } else {
        into_type(enqueue::<R>(op, inputs.into_iter().map(Input::into_primitive).collect()))
    };
    out.expect("the type that was looked at")
}

/// Puts `op` in the queue of its first input.
fn enqueue<R: CubeRuntime>(op: impl CustomOp, inputs: Vec<Fused<R>>) -> Fused<R> {
    let client = inputs[0].client.clone();
    let streams = OperationStreams::with_inputs(&inputs);
    let (shape, dtype) = op.output();
    let out = TensorIr::uninit(client.create_empty_handle(), shape, dtype);
    let inputs: Vec<_> = inputs.into_iter().map(FusionTensor::into_ir).collect();
    let desc = CustomOpIr::new("burn_int8", &inputs, &[out]);
    client.register(streams, OperationIr::Custom(desc.clone()), Registered { desc, op }).output()
}

#[derive(Debug)]
struct Registered<O> {
    desc: CustomOpIr,
    op: O,
}

impl<R: CubeRuntime, O: CustomOp> Operation<FusionCubeRuntime<R>> for Registered<O> {
    fn execute(&self, handles: &mut HandleContainer<FusionHandle<FusionCubeRuntime<R>>>) {
        // A handle knows its own type: integers come out of `get_float_tensor` as integers.
        let inputs = self.desc.inputs.iter().map(|input| handles.get_float_tensor::<Plain<R>>(input));
        let out = self.op.launch(inputs.collect());
        handles.register_float_tensor::<Plain<R>>(&self.desc.outputs[0].id, out);
    }
}
