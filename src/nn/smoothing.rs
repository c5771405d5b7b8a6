//! SmoothQuant's factors, as powers of two.

use burn_int8_kernels::{InputTransform, WeightLayout};

/// The shift of each input of a layer, given the largest magnitude that was seen of each: the share `percent` of the difference
/// between inputs goes over to the weights. The input that is shifted least is not shifted at all.
///
/// Inputs that were never seen, or are multiplied with zeros only, are not shifted; they would say nothing about the others either.
pub(super) fn shifts(inputs: &[f32], weights: &[f32], layout: &WeightLayout, percent: u8) -> Vec<u8> {
    let largest_weights = largest_weights(weights, layout);
    let strength = f32::from(percent) / 100.0;
    let exponent = |(&input, &weight): (&f32, &f32)| {
        let exponent = strength * input.log2() - (1.0 - strength) * weight.log2();
        exponent.is_finite().then(|| exponent.round_ties_even())
    };
    let exponents: Vec<_> = inputs.iter().zip(&largest_weights).map(exponent).collect();
    // A few small inputs must not push all others to the largest shift.
    let largest = exponents.iter().flatten().copied().fold(f32::NEG_INFINITY, f32::max);
    let smallest = exponents.iter().flatten().copied().fold(f32::INFINITY, f32::min);
    let smallest = smallest.max(largest - f32::from(InputTransform::LARGEST_SHIFT));
    let shift = |exponent: &Option<f32>| exponent.map_or(0, |exponent| (exponent - smallest).max(0.0) as u8);
    exponents.iter().map(shift).collect()
}

/// The largest magnitude among the weights of each input.
fn largest_weights(weights: &[f32], layout: &WeightLayout) -> Vec<f32> {
    let mut largest = vec![0f32; layout.inputs()];
    for (index, weight) in weights.iter().enumerate() {
        let input = match *layout {
            WeightLayout::Linear([_, n]) => index / n,
            _ => index % largest.len(),
        };
        largest[input] = largest[input].max(weight.abs());
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAR: WeightLayout = WeightLayout::Linear([3, 2]);

    #[test]
    fn large_inputs_are_shifted() {
        let weights = [1.0, -0.5, 0.5, 1.0, 1.0, 1.0];
        assert_eq!(shifts(&[1.0, 64.0, 4.0], &weights, &LINEAR, 100), [0, 6, 2]);
        assert_eq!(shifts(&[1.0, 64.0, 4.0], &weights, &LINEAR, 50), [0, 3, 1]);
        assert_eq!(shifts(&[1.0, 1e30, 4.0], &weights, &LINEAR, 100), [0, 16, 0]);
    }

    #[test]
    fn weights_count_where_the_strength_is_below_one() {
        let table = WeightLayout::Table([2, 2]);
        assert_eq!(shifts(&[1.0, 1.0], &[16.0, 1.0, -8.0, 0.5], &table, 50), [0, 2]);
        assert_eq!(shifts(&[1.0, 1.0], &[16.0, 1.0, -8.0, 0.5], &table, 100), [0, 0]);
    }

    #[test]
    fn inputs_without_values_or_weights_are_left() {
        let weights = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(shifts(&[5.0, 0.0, 2.0], &weights, &LINEAR, 50), [0, 0, 0]);
        assert_eq!(shifts(&[0.0; 3], &weights, &LINEAR, 50), [0, 0, 0]);
        assert_eq!(shifts(&[f32::INFINITY, 2.0, 8.0], &[1.0; 6], &LINEAR, 100), [0, 0, 2]);
    }
}
