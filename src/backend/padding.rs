//! Zeros around an image, put off until a convolution reads it: it takes them for its own padding.
//!
//! Burn pads by writing the image into a tensor that is zero, which copies it. Layers do that where the zeros of two sides differ.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, FloatDType, Scalar, Slice, TensorMetadata};

use super::once::Once;
use super::tensor::Int8Tensor;

/// A tensor that has one value everywhere, computed for the first who reads it.
#[derive(Debug)]
pub(super) struct Constant<B: Backend> {
    shape: Shape,
    value: Scalar,
    device: B::Device,
    dtype: FloatDType,
    computed: Once<FloatTensor<B>>,
}

impl<B: Backend> Constant<B> {
    pub(super) fn new(shape: Shape, value: Scalar, device: B::Device, dtype: FloatDType) -> Self {
        Self { shape, value, device, dtype, computed: Once::new() }
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype.into()
    }

    pub(super) fn device(&self) -> B::Device {
        self.device.clone()
    }

    pub(super) fn tensor(&self) -> FloatTensor<B> {
        let make = || B::float_full(self.shape.clone(), self.value, &self.device, self.dtype);
        self.computed.get_or_compute(make).clone()
    }
}

/// An image with zeros around it.
#[derive(Debug)]
pub(super) struct Padded<B: Backend> {
    image: Int8Tensor<B>,
    slices: Vec<Slice>,
    zeros: Arc<Constant<B>>,
    computed: Once<FloatTensor<B>>,
}

impl<B: Backend> Padded<B> {
    /// `image` written over a part of `zeros`, if that puts zeros around it: in front of and behind its pixels, in all channels.
    /// The image itself if it does something else.
    #[allow(clippy::result_large_err, reason = "the image is written at once, then")]
    pub(super) fn new(
        zeros: &Arc<Constant<B>>,
        slices: &[Slice],
        image: Int8Tensor<B>,
    ) -> Result<Self, Int8Tensor<B>> {
        let (outer, inner) = (&zeros.shape, image.shape());
        let is_image = (3..=5).contains(&outer.num_dims()) && slices.len() == outer.num_dims();
        let is_zero = zeros.value.elem::<f64>() == 0.0 && image.dtype() == zeros.dtype();
        let places = slices.iter().zip(outer.iter().zip(inner.iter()));
        let fits = |(axis, (slice, (&outer, &inner))): (usize, (&Slice, (&usize, &usize)))| {
            let range = slice.to_range(outer);
            slice.step == 1 && range.len() == inner && range.end <= outer && (axis > 1 || inner == outer)
        };
        if is_image && is_zero && places.enumerate().all(fits) {
            let (slices, zeros) = (slices.to_vec(), zeros.clone());
            return Ok(Self { image, slices, zeros, computed: Once::new() });
        }
        Err(image)
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.zeros.shape
    }

    pub(super) fn dtype(&self) -> DType {
        self.zeros.dtype()
    }

    pub(super) fn device(&self) -> B::Device {
        self.zeros.device()
    }

    pub(super) fn image(&self) -> &Int8Tensor<B> {
        &self.image
    }

    /// The image of the last handle; another one shares it.
    pub(super) fn into_image(this: Arc<Self>) -> Int8Tensor<B> {
        Arc::try_unwrap(this).map_or_else(|shared| shared.image.clone(), |padded| padded.image)
    }

    /// The zeros in front of the image and behind it, along each of three axes.
    pub(super) fn padding(&self) -> [[usize; 2]; 3] {
        let mut padding = [[0; 2]; 3];
        let missing = 5 - self.shape().num_dims();
        for (axis, slice) in self.slices.iter().enumerate().skip(2) {
            let outer = self.shape()[axis];
            let range = slice.to_range(outer);
            padding[axis - 2 + missing] = [range.start, outer - range.end];
        }
        padding
    }

    pub(super) fn tensor(&self) -> FloatTensor<B> {
        let write =
            || B::float_slice_assign(self.zeros.tensor(), &self.slices, self.image.clone().into_float());
        self.computed.get_or_compute(write).clone()
    }
}
