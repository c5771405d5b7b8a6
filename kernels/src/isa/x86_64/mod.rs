//! The instruction sets of x86-64.

mod avx2;
mod avx512_vnni;
mod convert_256;
mod convert_512;
mod shuffle;
mod vnni256;

pub(super) use avx2::Avx2;
pub(super) use avx512_vnni::Avx512Vnni;
pub(super) use vnni256::{Avx512VlVnni, AvxVnni};
