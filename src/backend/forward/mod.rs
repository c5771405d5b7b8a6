//! The methods of Burn's backend traits, each of which passes on to the inner backend: also those that have a default, which would
//! take the place of the backend's own.
//!
//! A line of `forward!` names a method once, each argument with the kind that it has:
//!
//! | kind | type | passed on as |
//! |---|---|---|
//! | `Float`, `FloatRef`, `OptFloat`, `Floats` | this backend's float tensors | those of the inner backend, computed if they are INT8 |
//! | `Int`, `Bool`, .. | the inner backend's | they are |
//! | any other | that type, in parentheses if it has several words | it is |

mod activation;
mod bool;
mod float;
mod int;
mod module;
mod qtensor;
mod transaction;

/// Methods that pass on to the inner backend `B`.
macro_rules! forward {
    ($($name:ident($($argument:ident: $kind:tt),* $(,)?) -> $out:tt;)*) => {$(
        fn $name($($argument: argument!($kind)),*) -> lowered!($out) {
            raised!($out, B::$name($(lower!($kind, $argument)),*))
        }
    )*};
}

/// Methods of quantized tensors: the inner backend's pass on to it, an INT8 weight goes to the method `$float` of floats.
macro_rules! forward_quantized {
    ($($name:ident as $float:ident($($argument:ident: $kind:tt),* $(,)?) -> $out:tt;)*) => {$(
        fn $name($($argument: argument!($kind)),*) -> lowered!($out) {
            if [$(lower_quantized!(is_burns $kind, $argument)),*].iter().all(|burns| *burns) {
                return raised!($out, B::$name($(lower_quantized!(burns $kind, $argument)),*));
            }
            raised_float!($out, Self::$float($(lower_quantized!(float $kind, $argument)),*))
        }
    )*};
}

/// The type of an argument.
macro_rules! argument {
    (Float) => { burn::tensor::ops::FloatTensor<Self> };
    (FloatRef) => { &burn::tensor::ops::FloatTensor<Self> };
    (OptFloat) => { Option<burn::tensor::ops::FloatTensor<Self>> };
    (Floats) => { Vec<burn::tensor::ops::FloatTensor<Self>> };
    (Int) => { burn::tensor::ops::IntTensor<Self> };
    (IntRef) => { &burn::tensor::ops::IntTensor<Self> };
    (Ints) => { Vec<burn::tensor::ops::IntTensor<Self>> };
    (Bool) => { burn::tensor::ops::BoolTensor<Self> };
    (BoolRef) => { &burn::tensor::ops::BoolTensor<Self> };
    (OptBool) => { Option<burn::tensor::ops::BoolTensor<Self>> };
    (Bools) => { Vec<burn::tensor::ops::BoolTensor<Self>> };
    (Quant) => { burn::tensor::ops::QuantizedTensor<Self> };
    (Quants) => { Vec<burn::tensor::ops::QuantizedTensor<Self>> };
    (Device) => { &B::Device };
    (Slices) => { &[burn::tensor::Slice] };
    (Axes) => { &[usize] };
    (($($other:tt)*)) => { $($other)* };
    ($other:ty) => { $other };
}

/// An argument as the inner backend takes it.
macro_rules! lower {
    (Float, $value:expr) => {
        $value.into_float()
    };
    (FloatRef, $value:expr) => {
        &$value.clone().into_float()
    };
    (OptFloat, $value:expr) => {
        $value.map($crate::backend::Int8Tensor::into_float)
    };
    (Floats, $value:expr) => {
        $value.into_iter().map($crate::backend::Int8Tensor::into_float).collect()
    };
    ($other:tt, $value:expr) => {
        $value
    };
}

/// The type of a result.
macro_rules! lowered {
    (Float) => { burn::tensor::ops::FloatTensor<Self> };
    (Int) => { burn::tensor::ops::IntTensor<Self> };
    (Bool) => { burn::tensor::ops::BoolTensor<Self> };
    (Quant) => { burn::tensor::ops::QuantizedTensor<Self> };
    (Primitive) => { burn::tensor::TensorPrimitive<Self> };
    (OwnedDevice) => { B::Device };
    (bool) => { bool };
    (($a:tt, $b:tt)) => { (lowered!($a), lowered!($b)) };
    ($of_floats:ident) => { $of_floats<Self> };
}

/// A result of the inner backend as this one's.
macro_rules! raised {
    (Float, $value:expr) => {
        $crate::backend::Int8Tensor::float($value)
    };
    (Quant, $value:expr) => {
        $crate::backend::quantized::Int8QTensor::Burns($value)
    };
    (Primitive, $value:expr) => {
        $crate::backend::quantized::raise($value)
    };
    (($a:tt, $b:tt), $value:expr) => {{
        let (a, b) = $value;
        (raised!($a, a), raised!($b, b))
    }};
    (DeformConv2dBackward, $value:expr) => {{
        let grads = $value;
        DeformConv2dBackward {
            x_grad: Int8Tensor::float(grads.x_grad),
            offset_grad: Int8Tensor::float(grads.offset_grad),
            weight_grad: Int8Tensor::float(grads.weight_grad),
            mask_grad: grads.mask_grad.map(Int8Tensor::float),
            bias_grad: grads.bias_grad.map(Int8Tensor::float),
        }
    }};
    (MaxPool1dWithIndices, $value:expr) => {{
        let pooled = $value;
        MaxPool1dWithIndices { output: Int8Tensor::float(pooled.output), indices: pooled.indices }
    }};
    (MaxPool2dWithIndices, $value:expr) => {{
        let pooled = $value;
        MaxPool2dWithIndices { output: Int8Tensor::float(pooled.output), indices: pooled.indices }
    }};
    (MaxPool1dBackward, $value:expr) => {
        MaxPool1dBackward { x_grad: Int8Tensor::float($value.x_grad) }
    };
    (MaxPool2dBackward, $value:expr) => {
        MaxPool2dBackward { x_grad: Int8Tensor::float($value.x_grad) }
    };
    ($other:tt, $value:expr) => {
        $value
    };
}

/// An argument of a method of quantized tensors: whether it is the inner backend's, as that takes it, and as a float.
macro_rules! lower_quantized {
    (is_burns Quant, $value:expr) => {
        $value.is_burns()
    };
    (is_burns Quants, $value:expr) => {
        $value.iter().all($crate::backend::quantized::Int8QTensor::is_burns)
    };
    (is_burns $other:tt, $value:expr) => {
        true
    };
    (burns Quant, $value:expr) => {
        $value.into_burns()
    };
    (burns Quants, $value:expr) => {
        $value.into_iter().map($crate::backend::quantized::Int8QTensor::into_burns).collect()
    };
    (burns $other:tt, $value:expr) => {
        $value
    };
    (float Quant, $value:expr) => {
        $value.into_tensor()
    };
    (float Quants, $value:expr) => {
        $value.into_iter().map($crate::backend::quantized::Int8QTensor::into_tensor).collect()
    };
    (float $other:tt, $value:expr) => {
        $value
    };
}

/// A result of a method of floats as that of one of quantized tensors.
macro_rules! raised_float {
    (Quant, $value:expr) => {
        $crate::backend::quantized::Int8QTensor::Float($value)
    };
    (Primitive, $value:expr) => {
        burn::tensor::TensorPrimitive::Float($value)
    };
    ((Quant, Int), $value:expr) => {{
        let (values, indices) = $value;
        (raised_float!(Quant, values), indices)
    }};
    ($other:tt, $value:expr) => {
        $value
    };
}

use {argument, forward, forward_quantized, lower, lower_quantized, lowered, raised, raised_float};
