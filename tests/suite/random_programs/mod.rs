//! Random programs of tensor operations give the same on `Int8<NdArray>`, with weights in INT8, and on `NdArray`, where this crate's
//! layers compute what a layer computes, and everything else reads dequantized weights.

mod machine;
mod reference;
mod step;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

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

/// Runs the same steps on both and compares all that is left, bit for bit; what kernels compute between layers is off.
fn compare(program: &[[u8; 6]], config: &Int8Config) {
    without_fusion(|| compare_unfused(program, config));
}

fn compare_unfused(program: &[[u8; 6]], config: &Int8Config) {
    let mut reference = Reference::new(config);
    let mut machine = Machine::quantized(config);
    let mut steps = Vec::new();
    for code in program {
        let Some(step) = step::decode(*code, reference.shapes()) else { continue };
        machine.run(&step);
        reference.run(&step);
        steps.push(step);
        assert_eq!(machine.shapes(), reference.shapes(), "{steps:#?}");
    }
    for (place, (got, expected)) in machine.into_data().into_iter().zip(reference.into_data()).enumerate() {
        assert_eq!((&got.shape, got.dtype), (&expected.shape, expected.dtype), "value {place} of {steps:#?}");
        assert!(got.bytes == expected.bytes, "value {place} is {got}, not {expected}, after {steps:#?}");
    }
}

proptest! {
    #[test]
    fn give_the_same(
        program in proptest::collection::vec(any::<[u8; 6]>(), 1..40), config in 0usize..4,
    ) {
        compare(&program, &configs()[config]);
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
        let mut reference = Reference::new(&Int8Config::new());
        for code in program {
            if let Some(step) = step::decode(code, reference.shapes()) {
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
