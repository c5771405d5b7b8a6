//! Device memory with its length: the one place where a kernel's argument is made.

use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::server::Handle;

/// Elements in device memory, one after another.
#[derive(Clone)]
pub(super) struct Buffer {
    handle: Handle,
    len: usize,
}

impl Buffer {
    /// Memory for so many elements, not initialized.
    pub(super) fn new<R: CubeRuntime>(client: &ComputeClient<R>, len: usize, element: usize) -> Self {
        let bytes = len.checked_mul(element).expect("a buffer whose bytes can be counted");
        Self { handle: client.empty(bytes), len }
    }

    /// The elements of a contiguous tensor.
    pub(super) fn of<R: CubeRuntime>(tensor: &CubeTensor<R>) -> Self {
        assert!(tensor.is_contiguous(), "kernels read contiguous tensors");
        Self { handle: tensor.handle.clone(), len: tensor.meta.num_elements() }
    }

    /// Memory with these words in it.
    pub(super) fn from_words<R: CubeRuntime>(client: &ComputeClient<R>, words: &[i32]) -> Self {
        Self { handle: client.create_from_slice(bytemuck::cast_slice(words)), len: words.len() }
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The argument of a kernel that reads or writes vectors of `width` elements.
    #[allow(unsafe_code, reason = "CubeCL takes lengths on trust")]
    pub(super) fn arg<R: CubeRuntime>(&self, width: usize) -> ArrayArg<R> {
        // SAFETY: `len` elements are in the allocation: `new` has asked for that many, and a contiguous tensor has as many as
        // its shape says. Rounding down leaves no vector outside.
        unsafe { ArrayArg::from_raw_parts(self.handle.clone(), self.len / width) }
    }
}
