//! The gradient of an INT8 layer: that of the float layer which its integers stand for.

use burn::prelude::*;

use super::layer::FloatLayer;
use super::qlayer::QLayer;
use super::weight::WeightParam;

/// The integer computation, with the gradient of the float one: straight through the rounding of the activations.
///
/// All layers are linear in their input but for the bias, which is frozen. So `float` is given zeros that have the gradient of
/// `x`, in a layer without bias: its output is zeros, too, whatever the size of `x`, and adds the gradient alone. A row of `x`
/// with a NaN or an infinity gives NaN.
pub(super) fn straight_through<L: FloatLayer, const D: usize>(
    layer: &QLayer<L>,
    x: Tensor<L::Backend, D>,
    int8: impl FnOnce(Tensor<L::Backend, D>) -> Tensor<L::Backend, D>,
    float: impl FnOnce(&L, Tensor<L::Backend, D>) -> Tensor<L::Backend, D>,
) -> Tensor<L::Backend, D> {
    if !L::Backend::ad_enabled(&x.device()) {
        return int8(x);
    }
    let dtype = x.dtype();
    let weight = L::Weight::dequantized(&layer.weight);
    // In the weight's float type, not in that of the input: large weights are infinite in half floats.
    let zeros = (x.clone() - x.clone().detach()).cast(weight.dtype());
    let zeros = float(&L::new(&layer.options, weight, None), zeros).cast(dtype);
    int8(x.detach()) + zeros
}
