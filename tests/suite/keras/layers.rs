//! Keras' numbers for linear layers, on every backend, and for every CPU kernel.

use std::iter::zip;

use burn::module::Param;
use burn::nn;
use burn::prelude::*;
use burn::tensor::activation::{gelu, relu};
use burn_int8::nn::Linear;
use burn_int8::prelude::*;
use burn_int8_kernels::{Kernel, PackedWeights, QTensor, QuantRange, WeightLayout, gemm};

use super::golden::{CASES, Epsilon, GUIDE, Golden};
use super::reference::{
    CLOSE, KERAS_EPSILON, NO_EPSILON, absmax, assert_close, assert_inverse, fake_quantize, floats, product,
    quantize, tensor, transpose, wide,
};
use crate::support::models::on_every_backend;

/// The quantizer in `reference` is Keras', to the last bit: it may stand in for Keras.
#[test]
fn reference_is_keras() {
    let check = |golden: &Golden, x: &[f32], integers: &[i8], factors: &str| {
        let (q, f) = quantize(x, golden.k, KERAS_EPSILON);
        assert_eq!(q, integers, "{}", golden.case.file);
        assert_eq!(f, golden.get::<f32>(factors), "{}", golden.case.file);
    };
    for golden in CASES.iter().chain(&GUIDE).map(Golden::open) {
        check(&golden, &golden.columns, &golden.columns("kernel_int8"), "kernel_scale");
    }
    for golden in CASES.iter().map(Golden::open) {
        check(&golden, &golden.get("input"), &golden.get::<i8>("input_int8"), "input_scale");
    }
}

/// Inputs become Keras' integers and scales, but for its epsilon.
#[test]
fn inputs_are_keras() {
    for golden in CASES.iter().map(Golden::open) {
        let (name, k, input) = (golden.case.file, golden.k, golden.get("input"));
        let (integers, steps) = burn_int8_kernels::quantize_rows(&input, k, QuantRange::Symmetric);
        let keras = golden.get::<i8>("input_int8");
        let differing = zip(&integers, &keras).filter(|(ours, keras)| ours != keras);
        let expected = if let Epsilon::InMost(_, inputs) = golden.case.epsilon { inputs } else { 0 };
        assert_eq!(differing.count(), expected, "{name}");
        assert_eq!(integers, quantize(&input, k, NO_EPSILON).0, "{name}");
        assert_inverse(&steps, &golden.get::<f32>("input_scale"), &input, k, name);
    }
}

/// Every kernel sums Keras' integers as Keras does; what the files lack is summed up here.
#[test]
fn accumulators_are_keras() {
    let mut in_files = 0;
    for golden in CASES.iter().map(Golden::open) {
        let (name, k, n) = (golden.case.file, golden.k, golden.n);
        let (input, columns) = (golden.get::<i8>("input_int8"), golden.columns::<i8>("kernel_int8"));
        let sums = product(&wide(&input), &wide(&columns), k);
        let sums: Vec<_> = sums.into_iter().map(|sum| sum as i32).collect();
        if let Some((keras, _)) = golden.find::<i32>("acc_int32") {
            assert_eq!(sums, keras, "{name}");
            in_files += 1;
        }
        // The kernels quantize what they get: one more input, 127 times 0, makes that the identity.
        let rows = input.chunks_exact(k).map(|row| [row, &[127]].concat());
        let input: Vec<_> = rows.flatten().map(f32::from).collect();
        let weights = [transpose(&columns, k), vec![0; n]].concat();
        let weights = PackedWeights::from_qtensor(
            &QTensor::new(weights, vec![1.0; n], WeightLayout::Linear([k + 1, n])).unwrap(),
        );
        for kernel in Kernel::all() {
            let rows = sums.len() / weights.shape()[1];
            let got = gemm::accumulators(kernel, (&input, rows), QuantRange::Symmetric, &weights);
            assert_eq!(got, sums, "{name} on {}", kernel.name());
        }
    }
    assert_eq!(in_files, 8);
}

/// Weights become Keras' integers and scales, but for its epsilon.
fn weights_are_keras<B: Backend>() {
    for golden in CASES.iter().chain(&GUIDE).map(Golden::open) {
        let (name, k, n) = (golden.case.file, golden.k, golden.n);
        let layer = golden.int8_layer::<B>(QuantMode::Dynamic);
        let layer = layer.as_int8().expect("it was quantized");
        let ours = layer.integers();
        let pairs = zip(ours.clone(), transpose(&golden.columns::<i8>("kernel_int8"), k)).enumerate();
        let differing = pairs.filter(|(_, (ours, keras))| ours != keras);
        let differing: Vec<_> = differing.map(|(i, (q, keras))| ([i / n, i % n], q, keras)).collect();
        match golden.case.epsilon {
            Epsilon::Nowhere => assert_eq!(differing, [], "{name}"),
            Epsilon::InWeight(at, q, keras) => assert_eq!(differing, [(at, q, keras)], "{name}"),
            Epsilon::InMost(weights, _) => assert_eq!(differing.len(), weights, "{name}"),
        }
        assert_eq!(transpose(&ours, n), quantize(&golden.columns, k, NO_EPSILON).0, "{name}");
        assert_inverse(&layer.scales(), &golden.get::<f32>("kernel_scale"), &golden.columns, k, name);
    }
}

/// Outputs are Keras', with dynamic and with float activations.
fn outputs_are_keras<B: Backend>() {
    let names = ["output_int8", "output_int8_weight_only"];
    for golden in CASES.iter().map(Golden::open) {
        for (activations, name) in zip([QuantMode::Dynamic, QuantMode::WeightOnly], names) {
            let layer = golden.int8_layer::<B>(activations);
            let output = golden.apply(&layer, tensor(&golden.get("input")));
            let output = if golden.case.gelu { gelu(output) } else { output };
            golden.assert_keras(&floats(output), name, &golden.exact_output(activations), 1);
        }
    }
}

/// The gradient goes straight through an INT8 layer to its input, as in Keras, and past its own parameters.
fn gradients_are_keras<B: Backend>() {
    let (mut int8, mut float) = (0, 0);
    for golden in CASES.iter().map(Golden::open) {
        let Some((upstream, _)) = golden.find::<f32>("grad_upstream") else { continue };
        let name = golden.case.file;
        let (gradient, params) = golden.backward::<B>(&golden.int8_layer(QuantMode::Dynamic));
        let rows = transpose(&fake_quantize(&golden.columns, golden.k), golden.k);
        let exact = product(&wide(&upstream), &rows, golden.n);
        golden.assert_keras(&gradient, "grad_input_int8", &exact, 0);
        assert_eq!(params, 0, "{name}");
        int8 += 1;
        if let Some((keras, _)) = golden.find::<f32>("grad_input_float") {
            let (gradient, params) = golden.backward::<B>(&golden.float_layer());
            assert_close(&gradient, &wide(&keras), CLOSE, name);
            assert!(params > 0, "{name}: a float layer has gradients of its own");
            float += 1;
        }
    }
    assert_eq!((int8, float), (7, 2), "files with gradients");
}

/// The guide's model, as Keras trained it: two layers in a row, so that integers depend on computed floats.
fn guide_model_is_keras<B: Backend>() {
    let [hidden, target] = GUIDE.each_ref().map(Golden::open);
    let run = |first: Linear<B>, second: Linear<B>| {
        let x = relu(hidden.apply(&first, tensor(&hidden.get("input"))));
        (floats(x.clone()), floats(target.apply(&second, x)))
    };
    let (_, output) = run(hidden.float_layer(), target.float_layer());
    assert_close(&output, &wide(&hidden.get::<f32>("output_float")), CLOSE, "the float model");

    let dynamic = QuantMode::Dynamic;
    let (x, output) = run(hidden.int8_layer(dynamic), target.int8_layer(dynamic));
    let keras = hidden.get::<f32>("output_int8");
    assert_eq!(output.len(), keras.len());
    let rounding = (CLOSE + hidden.epsilon_share() + target.epsilon_share()) * f64::from(absmax(&keras));
    let mut flipped = 0;
    for (x, (&output, &keras)) in zip(x.chunks_exact(target.k), zip(&output, &keras)) {
        // If a last bit turns one integer of a row of `x` into its neighbour, the sum changes by a weight's
        // integer, at most 127, and the output by that times both steps: absmax / 127 of the row and of the weights.
        let step = f64::from(absmax(x)) * f64::from(absmax(&target.columns)) / 127.0;
        let error = (f64::from(output) - f64::from(keras)).abs();
        assert!(error <= step + rounding, "{output}, not {keras}");
        flipped += usize::from(error > rounding);
    }
    assert!(flipped <= 1, "{flipped} rows differ by more than rounding");
}

/// Ties go to even, in weights and inputs. Keras' files hold no tie, so here are some; an absmax of 127 swallows
/// epsilon, so every step is 1.
fn ties_go_to_even<B: Backend>() {
    let x = [127.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 125.5, -126.5];
    let k = x.len();
    let (ties, factors) = quantize(&x, k, KERAS_EPSILON);
    assert_eq!((&ties[..], &factors[..]), (&[127, 0, 0, 2, -2, 2, -2, 126, -126][..], &[1.0][..]));

    let quantize = |weight: Tensor<B, 1>, n| {
        let weight = Param::from_tensor(weight.reshape([k, n]));
        let layer = Linear::from(nn::Linear { weight, bias: None });
        layer.quantize(&Int8Config::keras()).expect("the weights are finite").0
    };
    let weights = quantize(tensor(&x), 1);
    assert_eq!(weights.as_int8().expect("it was quantized").integers(), ties, "weights");

    let diagonal: Vec<_> = (0..k * k).map(|i| if i % (k + 1) == 0 { 127.0 } else { 0.0 }).collect();
    let output = quantize(tensor(&diagonal), k).forward(tensor(&x).reshape([1, k]));
    let integers: Vec<_> = ties.iter().map(|&q| 127.0 * f32::from(q)).collect();
    assert_eq!(floats(output.flatten(0, 1)), integers, "inputs");
}

on_every_backend! {
    weights_are_keras outputs_are_keras gradients_are_keras guide_model_is_keras ties_go_to_even
}
