//! The trait of instruction sets, the trait of operations, and the macro that makes the one from the other.

use super::conv_microkernel::{ConvMicrokernel, Shuffle};
use super::convert::{Convert, Encode};
use super::encoding::{InputEncoding, OffsetU8};
use super::microkernel::{Microkernel, Sum};

/// An instruction set: its encoding of inputs and its microkernels.
///
/// # Safety
///
/// A value exists only on a CPU that has the features of the instruction set, and the microkernels need no others.
pub(crate) unsafe trait Isa: Copy + Send + Sync {
    /// The encoding of quantized inputs.
    type Input: InputEncoding;
    /// Products of quantized inputs with INT8 weights.
    type Gemm: Microkernel<Sum = i32>;
    /// Products of float inputs with INT8 weights.
    type WeightOnly: Microkernel<Sum = f32>;
    /// Convolutions of quantized inputs.
    type Conv: ConvMicrokernel<Sum = i32>;
    /// Convolutions of floats, and the products of floats with float weights.
    type ConvFloat: ConvMicrokernel<Sum = f32> + Microkernel<Sum = f32>;
    /// The operations that move floats between lanes: transposition and rotation.
    type Shuffle: Shuffle;
    /// The passes from floats to the codes of inputs.
    type Convert: Convert + Encode<Self::Input> + Encode<OffsetU8>;
}

/// An operation that runs on any instruction set.
pub(crate) trait Op {
    /// The operation's result.
    type Output;

    /// Runs the operation. It must be `#[inline(always)]`, as all that it calls in its inner loops, so that it is compiled
    /// with the features of the instruction set.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

/// The choice of an instruction set's microkernels that an operation uses.
///
/// # Safety
///
/// `Gemm<I>` and `Conv<I>` are among the microkernels of `I`.
pub(crate) unsafe trait Role: Copy + Send + Sync + 'static {
    /// The element of a sum.
    type Sum: Sum;
    /// The microkernel of matrix products.
    type Gemm<I: Isa>: Microkernel<Sum = Self::Sum>;
    /// The microkernel of convolutions.
    type Conv<I: Isa>: ConvMicrokernel<Sum = Self::Sum>;
}

/// Quantized inputs and INT8 weights, summed in `i32`.
#[derive(Clone, Copy)]
pub(crate) struct Integers;

// SAFETY: both are types of `I`.
unsafe impl Role for Integers {
    type Sum = i32;
    type Gemm<I: Isa> = I::Gemm;
    type Conv<I: Isa> = I::Conv;
}

/// Float inputs and float weights, summed in `f32`.
#[derive(Clone, Copy)]
pub(crate) struct Floats;

// SAFETY: both are types of `I`.
unsafe impl Role for Floats {
    type Sum = f32;
    type Gemm<I: Isa> = I::ConvFloat;
    type Conv<I: Isa> = I::ConvFloat;
}

/// Float inputs and INT8 weights, which become floats in registers, summed in `f32`.
#[derive(Clone, Copy)]
pub(crate) struct WeightOnly;

// SAFETY: both are types of `I`.
unsafe impl Role for WeightOnly {
    type Sum = f32;
    type Gemm<I: Isa> = I::WeightOnly;
    type Conv<I: Isa> = I::ConvFloat;
}

/// Declares the type of an instruction set: its name, the CPU features that it needs, its encoding, its microkernels.
macro_rules! define_isa {
    (
        $(#[$doc:meta])* $set:ident = $name:literal,
        features: [$($feature:tt),*], input: $input:ty, gemm: $gemm:ty, weight_only: $weight_only:ty,
        conv: $conv:ty, conv_float: $conv_float:ty, shuffle: $shuffle:ty, convert: $convert:ty
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $set(());

        impl $set {
            pub(crate) const NAME: &'static str = $name;

            /// The instruction set, if the running CPU has its features.
            pub(crate) fn detect() -> Option<Self> {
                let detected = true $(&& std::arch::is_x86_feature_detected!($feature))*;
                detected.then_some(Self(()))
            }

            /// Runs an operation that is compiled for these features.
            #[inline]
            #[allow(unused_unsafe, reason = "without features the call is safe")]
            pub(crate) fn run<O: $crate::isa::instruction_set::Op>(self, op: O) -> O::Output {
                $(#[target_feature(enable = $feature)])*
                fn with_features<O: $crate::isa::instruction_set::Op>(isa: $set, op: O) -> O::Output {
                    op.run(isa)
                }
                // SAFETY: `self` exists, and only `detect` makes one, where the CPU has all of the features.
                unsafe { with_features(self, op) }
            }
        }

        // SAFETY: `detect` makes a value only on such a CPU, and the microkernels use the instructions of the features listed.
        unsafe impl $crate::isa::instruction_set::Isa for $set {
            type Input = $input;
            type Gemm = $gemm;
            type WeightOnly = $weight_only;
            type Conv = $conv;
            type ConvFloat = $conv_float;
            type Shuffle = $shuffle;
            type Convert = $convert;
        }
    };
}
pub(super) use define_isa;
