//! Instruction sets, and the one way to run an operation on them.
//!
//! An instruction set is a type that implements [`Isa`]: how quantized inputs are encoded for it, and its microkernels. An
//! operation is a struct that implements [`Op`], generic over the instruction set. [`Kernel::run`] brings the two together
//! in a function that is compiled with the features of the instruction set: one unsafe call for each set.
//!
//! A new instruction set is a file in `isa/<arch>/` with its microkernels and its `define_isa!` row, its `mod` and `pub(super) use`
//! lines in that folder's `mod.rs`, and a row in the table below. Its name goes into the tables of the crate's README and of
//! `docs/performance.md`. `define_isa!` detects features with x86's macro; another architecture makes the detector a
//! parameter of it.

mod conv_microkernel;
mod convert;
#[cfg(test)]
mod emulated;
mod encoding;
mod instruction_set;
mod microkernel;
mod portable;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::OnceLock;

pub(crate) use conv_microkernel::{
    ChannelOperands, ConvOperands, Depthwise3x3Operands, GatheredRows, IgemmOperands, KSteps, LINES_AT_ONCE,
    TRANSPOSED_ROWS,
};
pub(crate) use convert::{LANES, ShortFunction, ToCodes, ToFloats};
pub(crate) use encoding::InputEncoding;
pub(crate) use instruction_set::{Floats, Integers, Isa, Op, Role, WeightOnly};
pub(crate) use microkernel::{Accumulator, MR, Matrix, Microkernel, Operands, Sum, Sums};
pub(crate) use portable::Portable;
pub(crate) use tile::{
    ConvTile, Depthwise3x3, IgemmTile, TileSize, TileSizes, absmax, channel_tile, dequantize, encode,
    encode_bytes, gemm_tile, has_nan, rotate_64, scale, transpose, widen,
};

/// The environment variable that forces a kernel by name.
pub const OVERRIDE: &str = "BURN_INT8_KERNEL";

/// Declares [`Kernel`] from the instruction sets, fastest first.
macro_rules! table {
    ($($(#[$condition:meta])* $set:ident($isa:ty);)*) => {
        /// The instruction sets.
        #[derive(Clone, Copy)]
        enum Set {
            $($(#[$condition])* $set($isa),)*
            #[cfg(test)]
            EmulatedVnni(emulated::EmulatedVnni),
            #[cfg(test)]
            EmulatedSigned(emulated::EmulatedSigned),
        }

        impl Kernel {
            /// The names of all kernels that this build knows, fastest first, whether this CPU supports them or not.
            pub const NAMES: &[&str] = &[$($(#[$condition])* <$isa>::NAME,)*];

            /// Every kernel that the running CPU supports, fastest first; `portable` is always the last.
            pub fn all() -> impl Iterator<Item = Self> {
                [$($(#[$condition])* <$isa>::detect().map(|isa| Self(Set::$set(isa))),)*].into_iter().flatten()
            }

            /// The kernel's name: its instructions, as in [`NAMES`](Self::NAMES).
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($(#[$condition])* Set::$set(_) => <$isa>::NAME,)*
                    #[cfg(test)]
                    Set::EmulatedVnni(_) => emulated::EmulatedVnni::NAME,
                    #[cfg(test)]
                    Set::EmulatedSigned(_) => emulated::EmulatedSigned::NAME,
                }
            }

            /// Runs an operation with the instructions of this kernel.
            #[inline]
            pub(crate) fn run<O: Op>(self, op: O) -> O::Output {
                match self.0 {
                    $($(#[$condition])* Set::$set(isa) => isa.run(op),)*
                    #[cfg(test)]
                    Set::EmulatedVnni(isa) => isa.run(op),
                    #[cfg(test)]
                    Set::EmulatedSigned(isa) => isa.run(op),
                }
            }
        }
    };
}

table! {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(x86_64::Avx512Vnni);
    #[cfg(target_arch = "x86_64")]
    AvxVnni(x86_64::AvxVnni);
    #[cfg(target_arch = "x86_64")]
    Avx512VlVnni(x86_64::Avx512VlVnni);
    #[cfg(target_arch = "x86_64")]
    Avx2(x86_64::Avx2);
    Portable(portable::Portable);
}

/// A kernel that the running CPU supports: there is no way to get another.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::Kernel;
///
/// let names: Vec<_> = Kernel::all().map(Kernel::name).collect();
/// assert_eq!(names.last(), Some(&"portable"));
/// assert!(Kernel::by_name("portable").is_ok());
/// ```
#[derive(Clone, Copy)]
pub struct Kernel(Set);

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no kernel of this name for the running CPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no kernel of this CPU: {reason}; it supports {supported}", supported = supported.join(", "))]
#[non_exhaustive]
pub struct KernelError {
    /// The name as given.
    pub name: String,
    /// The fault of the name.
    pub reason: &'static str,
    /// The names of the kernels that the CPU supports.
    pub supported: Vec<&'static str>,
}

impl Kernel {
    /// The kernel in use: the fastest that the CPU supports, or the one that [`OVERRIDE`] names. It is chosen once.
    ///
    /// # Panics
    ///
    /// If [`OVERRIDE`] names a kernel that does not exist or that the CPU does not support.
    pub fn detect() -> Self {
        static DETECTED: OnceLock<Kernel> = OnceLock::new();
        *DETECTED.get_or_init(|| match std::env::var(OVERRIDE).ok().filter(|name| !name.is_empty()) {
            None => Self::all().next().expect("`portable` runs everywhere"),
            Some(name) => Self::by_name(&name).unwrap_or_else(|error| panic!("{OVERRIDE}: {error}")),
        })
    }

    /// The kernel of this name.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if there is no such kernel or the CPU lacks its instructions.
    pub fn by_name(name: &str) -> Result<Self, KernelError> {
        Self::all().find(|kernel| kernel.name() == name).ok_or_else(|| KernelError {
            name: name.into(),
            reason: if Self::NAMES.contains(&name) {
                "the CPU lacks its instructions"
            } else {
                "there is no such kernel"
            },
            supported: Self::all().map(Self::name).collect(),
        })
    }

    /// The kernels that tests compare: all that the CPU supports, and the layouts of some that it may lack.
    #[cfg(test)]
    pub(crate) fn tested() -> impl Iterator<Item = Self> {
        let vnni = emulated::EmulatedVnni::detect().map(Set::EmulatedVnni);
        let signed = emulated::EmulatedSigned::detect().map(Set::EmulatedSigned);
        Self::all().chain([vnni, signed].into_iter().flatten().map(Self))
    }
}
