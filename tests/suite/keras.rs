//! Keras' own numbers (`tests/golden`) against the layers, on two backends, and every CPU kernel.
//!
//! Keras adds `1e-7` to an absmax before it divides, we do not. Where that shows in an integer, [`CASES`] names it, and
//! what depends on it is compared with exact arithmetic in `f64` instead.

use std::iter::zip;

use burn::backend::Autodiff;
use burn::module::Param;
use burn::nn;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::activation::{gelu, relu};
use burn_int8::nn::Linear;
use burn_int8::prelude::*;
use burn_int8_kernels::{Kernel, PackedWeights, QTensor, QuantRange, WeightLayout, gemm};
use safetensors::SafeTensors;

use crate::support::models::on_every_backend;

/// The numbers that Keras and we add to an absmax.
pub const KERAS_EPSILON: f32 = 1e-7;
pub const NO_EPSILON: f32 = 0.0;
/// The tolerance of outputs and gradients, relative to the largest: both sides round sums in f32, each in an order of its own,
/// and epsilon makes Keras' steps of inputs (absmax 0.8 and more) larger by up to 1.3e-7.
pub const CLOSE: f64 = 1e-6;
/// The tolerance of our step times Keras' factor, once epsilon is accounted for: three operations round (`absmax / 127`,
/// `absmax + epsilon`, `127 / sum`), each by at most a quarter of this.
const SCALE_ROUNDING: f64 = 2.0 * f32::EPSILON as f64;

/// The places where Keras' epsilon shows in the integers.
enum Epsilon {
    Nowhere,
    /// The weight at `[input, output]` has two integers: ours, and Keras'.
    InWeight([usize; 2], i8, i8),
    /// They are about as small as epsilon: in so many weights and inputs of the layer.
    InMost(usize, usize),
}

impl Epsilon {
    /// Says whether it shows in what is computed with the weights of one input (`axis` 0) or output (1).
    fn reaches(&self, axis: usize, index: usize) -> bool {
        match self {
            Self::Nowhere => false,
            Self::InWeight(at, ..) => at[axis] == index,
            Self::InMost(..) => true,
        }
    }
}

/// One layer of a golden file.
struct Case {
    file: &'static str,
    /// The part of the names of its tensors that says which case it is.
    prefix: &'static str,
    /// Heads that come before the inputs in the shape of the kernel.
    heads: usize,
    gelu: bool,
    epsilon: Epsilon,
}

const fn case(file: &'static str) -> Case {
    Case { file, prefix: "", heads: 1, gelu: false, epsilon: Epsilon::Nowhere }
}

/// One near-tie among 32,768: -51.50001 steps of ours, -51.49997 of Keras'.
const NEAR_TIE: Epsilon = Epsilon::InWeight([84, 83], -52, -51);
/// The 1e-9 that is alone in its column: to us the largest, to Keras a hundredth of its epsilon.
const LONE_1E9: Epsilon = Epsilon::InWeight([5, 7], 127, 1);
/// All but one of 96 weights, 53 of 64 inputs.
const MIN_ABSMAX: Epsilon = Epsilon::InMost(95, 53);

/// The layers that come with inputs and outputs.
static CASES: [Case; 13] = [
    case("dense_7x5"),
    case("dense_1x1"),
    case("dense_5x1_batch1"),
    Case { epsilon: NEAR_TIE, ..case("dense_256x128") },
    Case { gelu: true, ..case("dense_rank3_12x20") },
    Case { epsilon: LONE_1E9, ..case("dense_24x12_zeros") },
    case("dense_96x40_outliers"),
    Case { epsilon: MIN_ABSMAX, ..case("dense_16x6_tiny") },
    Case { heads: 3, ..case("einsum_q_btd_ndh") },
    case("einsum_kv_bsd_kdh"), // of one head
    case("einsum_ffn_btd_df"),
    case("einsum_mha_q_abc_cde_bias"),
    case("einsum_mha_o_abcd_cde_bias"),
];

/// The layers of the guide's model.
static GUIDE: [Case; 2] = [
    Case { prefix: "hidden.", ..case("guide_mlp_10_32_1") },
    Case { prefix: "target.", ..case("guide_mlp_10_32_1") },
];

/// A layer of a golden file; an einsum is the product of matrices that it amounts to.
struct Golden {
    case: &'static Case,
    file: Vec<u8>,
    k: usize,
    n: usize,
    /// The kernel as `[n, k]`: a row for each output.
    columns: Vec<f32>,
}

/// The bytes of a golden file.
pub fn read(file: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{file}.safetensors", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A tensor of a golden file, with its shape.
pub fn find<T: bytemuck::Pod>(file: &[u8], name: &str) -> Option<(Vec<T>, Vec<usize>)> {
    let tensors = SafeTensors::deserialize(file).expect("a golden file is whole");
    let view = tensors.tensor(name).ok()?;
    Some((bytemuck::pod_collect_to_vec(view.data()), view.shape().to_vec()))
}

impl Golden {
    fn open(case: &'static Case) -> Self {
        let file = read(case.file);
        let mut golden = Self { case, file, k: 0, n: 0, columns: Vec::new() };
        golden.n = golden.get::<f32>("kernel_scale").len();
        golden.columns = golden.columns("kernel");
        golden.k = golden.columns.len() / golden.n;
        golden
    }

    /// A tensor of this layer or, failing that, of the file.
    fn find<T: bytemuck::Pod>(&self, name: &str) -> Option<(Vec<T>, Vec<usize>)> {
        let own = find(&self.file, &format!("{}{name}", self.case.prefix));
        own.or_else(|| find(&self.file, name))
    }

    fn get<T: bytemuck::Pod>(&self, name: &str) -> Vec<T> {
        self.find(name).unwrap_or_else(|| panic!("{} has no {name}", self.case.file)).0
    }

    /// A kernel `[heads, k, n / heads]` as `[n, k]`.
    fn columns<T: bytemuck::Pod>(&self, name: &str) -> Vec<T> {
        let (kernel, width) = (self.get::<T>(name), self.n / self.case.heads);
        let heads = kernel.chunks_exact(kernel.len() / self.case.heads);
        heads.flat_map(|head| transpose(head, width)).collect()
    }

    fn float_layer<B: Backend>(&self) -> Linear<B> {
        let weight = tensor(&transpose(&self.columns, self.k)).reshape([self.k, self.n]);
        let bias = self.find("bias").map(|(bias, _)| Param::from_tensor(tensor(&bias)));
        nn::Linear { weight: Param::from_tensor(weight), bias }.into()
    }

    fn int8_layer<B: Backend>(&self, activations: QuantMode) -> Linear<B> {
        let config = Int8Config::keras().with_mode(activations);
        self.float_layer::<B>().quantize(&config).expect("the weights are finite").0
    }

    /// Applies `layer` to flat inputs, in their real rank; but if an einsum sums over two axes, they are one.
    fn apply<B: Backend>(&self, layer: &Linear<B>, input: Tensor<B, 1>) -> Tensor<B, 1> {
        let (_, shape) = self.find::<f32>("input").expect("every file has inputs");
        match *shape {
            [m, _] => layer.forward(input.reshape([m, self.k])).flatten(0, 1),
            [a, b, ..] => layer.forward(input.reshape([a, b, self.k])).flatten(0, 2),
            _ => panic!("an input of shape {shape:?}"),
        }
    }

    /// The gradient of the input, and how many parameters have one.
    fn backward<B: Backend>(&self, layer: &Linear<Autodiff<B>>) -> (Vec<f32>, usize) {
        let input = tensor::<Autodiff<B>>(&self.get("input")).require_grad();
        let output = self.apply(layer, input.clone());
        let grads = (output * tensor(&self.get("grad_upstream"))).sum().backward();
        let gradient = input.grad(&grads).expect("the input has a gradient");
        (floats(gradient), GradientsParams::from_grads(grads, layer).len())
    }

    /// The share by which epsilon makes Keras' steps of weights larger, where it does not show in integers.
    fn epsilon_share(&self) -> f64 {
        let columns = self.columns.chunks_exact(self.k).enumerate();
        let compared = columns.filter(|&(output, _)| !self.case.epsilon.reaches(1, output));
        let absmax = compared.map(|(_, column)| absmax(column)).filter(|&max| max > 0.0);
        f64::from(KERAS_EPSILON / absmax.fold(f32::INFINITY, f32::min))
    }

    /// The output without any rounding but that to integers.
    fn exact_output(&self, activations: QuantMode) -> Vec<f64> {
        let input = self.get("input");
        let input = match activations {
            QuantMode::Dynamic => fake_quantize(&input, self.k),
            QuantMode::WeightOnly => wide(&input),
            other => unreachable!("Keras has no {other:?}"),
        };
        let bias = self.find::<f32>("bias").map_or(vec![0.0; self.n], |(bias, _)| bias);
        let product = product(&input, &fake_quantize(&self.columns, self.k), self.k);
        zip(product, wide(&bias).iter().cycle()).map(|(y, b)| y + b).collect()
    }

    /// Asserts that `got` is what Keras says, or `exact` where epsilon shows in the weights of an index along `axis`.
    fn assert_keras(&self, got: &[f32], name: &str, exact: &[f64], axis: usize) {
        let mut want = wide(&self.get::<f32>(name));
        for (i, (want, &exact)) in zip(&mut want, exact).enumerate() {
            if self.case.epsilon.reaches(axis, i % [self.k, self.n][axis]) {
                *want = exact;
            }
        }
        assert_close(got, &want, CLOSE + self.epsilon_share(), &format!("{name} of {}", self.case.file));
    }
}

/// `[_, n]` to `[n, _]`.
pub fn transpose<T: Copy>(matrix: &[T], n: usize) -> Vec<T> {
    let column = |j| matrix.iter().skip(j).step_by(n).copied();
    (0..n).flat_map(column).collect()
}

fn tensor<B: Backend>(values: &[f32]) -> Tensor<B, 1> {
    Tensor::from_data(TensorData::from(values), &B::Device::default())
}

pub fn floats<B: Backend>(tensor: Tensor<B, 1>) -> Vec<f32> {
    tensor.into_data().to_vec().expect("the backends compute in f32")
}

pub fn wide<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

pub fn absmax(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, v| v.abs().max(max))
}

/// Keras' quantizer: the integers, and the factor of each row of `k`.
pub fn quantize(x: &[f32], k: usize, epsilon: f32) -> (Vec<i8>, Vec<f32>) {
    let (mut integers, mut factors) = (Vec::new(), Vec::new());
    for row in x.chunks_exact(k) {
        let factor = 127.0 / (absmax(row) + epsilon);
        // Without epsilon, zeros times an infinite factor are NaN, which is 0 as an integer.
        let round = |&v: &f32| (v * factor).round_ties_even().clamp(-127.0, 127.0) as i8;
        integers.extend(row.iter().map(round));
        factors.push(factor);
    }
    (integers, factors)
}

/// The numbers that our integers stand for.
pub fn fake_quantize(x: &[f32], k: usize) -> Vec<f64> {
    let mut values = wide(&quantize(x, k, NO_EPSILON).0);
    for (values, x) in zip(values.chunks_exact_mut(k), x.chunks_exact(k)) {
        values.iter_mut().for_each(|v| *v *= f64::from(absmax(x)) / 127.0);
    }
    values
}

/// `x · wᵀ`, the rows of both `k` long.
fn product(x: &[f64], w: &[f64], k: usize) -> Vec<f64> {
    let dot = |x, w| zip::<&[f64], &[f64]>(x, w).map(|(x, w)| x * w).sum();
    let row = |x| w.chunks_exact(k).map(move |w| dot(x, w));
    x.chunks_exact(k).flat_map(row).collect()
}

pub fn assert_close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0, |max: f64, v| v.abs().max(max));
    for (i, (&got, want)) in zip(got, want).enumerate() {
        let error = (f64::from(got) - want).abs() / largest;
        assert!(error <= tolerance, "{what}, {i}: {got}, not {want}; {error:e} of the largest");
    }
}

/// Asserts that step times factor is 1 for each row of `k`, but for epsilon.
pub fn assert_inverse(steps: &[f32], factors: &[f32], x: &[f32], k: usize, what: &str) {
    assert_eq!(steps.len(), factors.len(), "{what}");
    for (row, (&step, &factor)) in zip(x.chunks_exact(k), zip(steps, factors)) {
        let absmax = f64::from(absmax(row));
        assert!(step.is_finite() && step > 0.0, "{what}: a step of {step}");
        let product = f64::from(step) * f64::from(factor) * (1.0 + f64::from(KERAS_EPSILON) / absmax);
        let close = (product - 1.0).abs() <= SCALE_ROUNDING;
        assert!(close || absmax == 0.0, "{what}: {step} times {factor} is {product}");
    }
}

/// The quantizer in this file is Keras', to the last bit: it may stand in for Keras.
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
