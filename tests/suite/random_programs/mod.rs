//! Random programs of tensor operations give the same on `Int8<NdArray>`, with weights in INT8, and on `NdArray`, where this crate's
//! layers compute what a layer computes, and everything else reads dequantized weights.
//!
//! The values that kernels compute between layers in another order than `NdArray`, if they may, are near its own; no step goes on
//! with them, since a layer would round two near inputs to two integers.

mod machine;
mod reference;
mod step;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use burn::tensor::TensorData;
use burn_int8::prelude::*;
use burn_int8::without_fusion;
use machine::Machine;
use reference::Reference;

/// The schemes that differ in what they leave open, and one that rotates inputs as narrow as those of a program.
fn configs() -> [Int8Config; 4] {
    [
        Int8Config::new(),
        Int8Config::keras(),
        Int8Config::new().with_mode(QuantMode::WeightOnly),
        Int8Config::new().with_rotation(Rotation::Block(8)),
    ]
}

/// The greatest error of an activation or a softmax of the kernels: some ulps, of values near 1 or their own size.
const KERNELS: f32 = 4e-6;

fn is_near(got: &TensorData, expected: &TensorData) -> bool {
    let near = |(got, expected): (f32, f32)| (got - expected).abs() <= KERNELS * expected.abs().max(1.0);
    got.iter::<f32>().zip(expected.iter::<f32>()).all(near)
}

/// Runs the same steps on both and compares all that is left, bit for bit.
fn compare(program: &[[u8; 6]], config: &Int8Config, is_fused: bool) {
    let mut reference = Reference::new(config, is_fused);
    let mut machine = Machine::quantized(config);
    let mut steps = Vec::new();
    for code in program {
        let Some(step) = reference.decode(*code) else { continue };
        machine.run(&step);
        reference.run(&step);
        steps.push(step);
        assert_eq!(machine.shapes(), reference.shapes(), "{steps:#?}");
    }
    let near = reference.near();
    for (place, (got, expected)) in machine.into_data().into_iter().zip(reference.into_data()).enumerate() {
        assert_eq!((&got.shape, got.dtype), (&expected.shape, expected.dtype), "value {place} of {steps:#?}");
        let is_same = got.bytes == expected.bytes || near[place] && is_near(&got, &expected);
        assert!(is_same, "value {place} is {got}, not {expected}, after {steps:#?}");
    }
}

proptest! {
    #[test]
    fn give_the_same(
        program in proptest::collection::vec(any::<[u8; 6]>(), 1..40), config in 0usize..4, is_fused in any::<bool>(),
    ) {
        let config = &configs()[config];
        if is_fused {
            compare(&program, config, true);
        } else {
            without_fusion(|| compare(&program, config, false));
        }
    }
}

/// Programs reach the steps that compute in integers.
#[test]
fn compute_in_integers() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let programs = proptest::collection::vec(any::<[u8; 6]>(), 1..40);
    let mut products = [0; 4];
    for _ in 0..200 {
        let program = programs.new_tree(&mut runner).expect("no filter").current();
        let mut reference = Reference::new(&Int8Config::new(), true);
        for code in program {
            if let Some(step) = reference.decode(code) {
                reference.run(&step);
            }
        }
        products.iter_mut().zip(reference.int8).for_each(|(sum, count)| *sum += count);
    }
    assert!(
        products.iter().all(|count| *count >= 10),
        "products, convolutions, transposed ones, look-ups: {products:?}"
    );
}
