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
            let is_approximate = false $(|| approximates!($kind, $argument))*;
            raised!($out, is_approximate, B::$name($(lower!($kind, $argument)),*))
        }
    )*};
}

/// Methods of quantized tensors: the inner backend's pass on to it, an INT8 weight goes to the method `$float` of floats.
macro_rules! forward_quantized {
    ($($name:ident as $float:ident($($argument:ident: $kind:tt),* $(,)?) -> $out:tt;)*) => {$(
        fn $name($($argument: argument!($kind)),*) -> lowered!($out) {
            if [$(lower_quantized!(is_burns $kind, $argument)),*].iter().all(|burns| *burns) {
                return raised!($out, false, B::$name($(lower_quantized!(burns $kind, $argument)),*));
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
        $value.map($crate::backend::tensor::Int8Tensor::into_float)
    };
    (Floats, $value:expr) => {
        $value.into_iter().map($crate::backend::tensor::Int8Tensor::into_float).collect()
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

/// Says whether an argument is approximate, which makes the result so.
macro_rules! approximates {
    (Float, $value:expr) => {
        $value.is_approximate()
    };
    (FloatRef, $value:expr) => {
        $value.is_approximate()
    };
    (OptFloat, $value:expr) => {
        $value.as_ref().is_some_and($crate::backend::tensor::Int8Tensor::is_approximate)
    };
    (Floats, $value:expr) => {
        $value.iter().any($crate::backend::tensor::Int8Tensor::is_approximate)
    };
    ($other:tt, $value:expr) => {
        false
    };
}

/// A result of the inner backend as this one's.
macro_rules! raised {
    (Float, $approximate:expr, $value:expr) => {
        $crate::backend::tensor::Int8Tensor::new($value, $approximate)
    };
    (Quant, $approximate:expr, $value:expr) => {
        $crate::backend::quantized::Int8QTensor::Burns($value)
    };
    (Primitive, $approximate:expr, $value:expr) => {
        $crate::backend::quantized::raise($value)
    };
    (($a:tt, $b:tt), $approximate:expr, $value:expr) => {{
        let (a, b) = $value;
        (raised!($a, $approximate, a), raised!($b, $approximate, b))
    }};
    (DeformConv2dBackward, $approximate:expr, $value:expr) => {{
        let grads = $value;
        let float = |grad| raised!(Float, $approximate, grad);
        DeformConv2dBackward {
            x_grad: float(grads.x_grad),
            offset_grad: float(grads.offset_grad),
            weight_grad: float(grads.weight_grad),
            mask_grad: grads.mask_grad.map(float),
            bias_grad: grads.bias_grad.map(float),
        }
    }};
    (MaxPool1dWithIndices, $approximate:expr, $value:expr) => {{
        let pooled = $value;
        MaxPool1dWithIndices { output: raised!(Float, $approximate, pooled.output), indices: pooled.indices }
    }};
    (MaxPool2dWithIndices, $approximate:expr, $value:expr) => {{
        let pooled = $value;
        MaxPool2dWithIndices { output: raised!(Float, $approximate, pooled.output), indices: pooled.indices }
    }};
    (MaxPool1dBackward, $approximate:expr, $value:expr) => {
        MaxPool1dBackward { x_grad: raised!(Float, $approximate, $value.x_grad) }
    };
    (MaxPool2dBackward, $approximate:expr, $value:expr) => {
        MaxPool2dBackward { x_grad: raised!(Float, $approximate, $value.x_grad) }
    };
    ($other:tt, $approximate:expr, $value:expr) => {{
        let _ = $approximate;
        $value
    }};
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

use {
    approximates, argument, forward, forward_quantized, lower, lower_quantized, lowered, raised, raised_float,
};
