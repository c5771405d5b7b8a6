//! Parts of the model whose formulas are not those of the textbook.

use burn::backend::NdArray;
use burn::prelude::*;

use crate::block::gelu_tanh;
use crate::rope::Frequencies;

#[test]
fn gelu_is_that_with_a_tangent() {
    let inputs: Vec<f32> =
        (-2000..=2000).map(|at| at as f32 / 100.0).chain([-1e30, -1e3, 1e3, 1e30]).collect();
    let expected = inputs.iter().map(|&x| {
        let x = f64::from(x);
        let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        0.5 * x * (1.0 + z.tanh())
    });
    let count = inputs.len();
    let x = Tensor::<NdArray, 2>::from_data(TensorData::new(inputs.clone(), [1, count]), &Default::default());
    let found: Vec<f32> = gelu_tanh(x).into_data().to_vec().unwrap();
    for ((x, found), expected) in inputs.iter().zip(found).zip(expected) {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 1e-6 * expected.abs().max(1.0), "{x}: {found}, not {expected}");
    }
}

/// The positions are also far into a text, where angles are thousands of turns.
#[test]
fn halves_are_turned() {
    const START: usize = 30_000;
    let x = [0.5f32, -1.0, 2.0, 0.25, 1.5, -0.75];
    let rotation = Frequencies::new(1e4, 6).rotation::<NdArray>(START, 2, &Default::default());
    let both = TensorData::new([x, x].concat(), [1, 2, 1, 6]);
    let found: Vec<f32> =
        rotation.apply(Tensor::from_data(both, &Default::default())).into_data().to_vec().unwrap();
    for (position, found) in (START..).zip(found.chunks_exact(6)) {
        for pair in 0..3 {
            let angle = position as f64 * 1e4f64.powf(-(pair as f64) / 3.0);
            let (a, b) = (f64::from(x[pair]), f64::from(x[pair + 3]));
            let expected = [a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()];
            for (found, expected) in [found[pair], found[pair + 3]].iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{found}, not {expected}");
            }
        }
    }
}
