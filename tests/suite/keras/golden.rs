//! The layers of Keras' files.

use std::iter::zip;

use burn::backend::Autodiff;
use burn::module::Param;
use burn::nn;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn_int8::nn::Linear;
use burn_int8::prelude::*;
use safetensors::SafeTensors;

use super::reference::{
    CLOSE, KERAS_EPSILON, absmax, assert_close, fake_quantize, floats, product, tensor, transpose, wide,
};

/// The places where Keras' epsilon shows in the integers.
pub enum Epsilon {
    Nowhere,
    /// The weight at `[input, output]` has two integers: ours, and Keras'.
    InWeight([usize; 2], i8, i8),
    /// They are about as small as epsilon: in so many weights and inputs of the layer.
    InMost(usize, usize),
}

impl Epsilon {
    /// Says whether it shows in what is computed with the weights of one input (`axis` 0) or output (1).
    pub fn reaches(&self, axis: usize, index: usize) -> bool {
        match self {
            Self::Nowhere => false,
            Self::InWeight(at, ..) => at[axis] == index,
            Self::InMost(..) => true,
        }
    }
}

/// One layer of a golden file.
pub struct Case {
    pub file: &'static str,
    /// The part of the names of its tensors that says which case it is.
    pub prefix: &'static str,
    /// Heads that come before the inputs in the shape of the kernel.
    pub heads: usize,
    pub gelu: bool,
    pub epsilon: Epsilon,
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
pub static CASES: [Case; 13] = [
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
pub static GUIDE: [Case; 2] = [
    Case { prefix: "hidden.", ..case("guide_mlp_10_32_1") },
    Case { prefix: "target.", ..case("guide_mlp_10_32_1") },
];

/// A layer of a golden file; an einsum is the product of matrices that it amounts to.
pub struct Golden {
    pub case: &'static Case,
    pub file: Vec<u8>,
    pub k: usize,
    pub n: usize,
    /// The kernel as `[n, k]`: a row for each output.
    pub columns: Vec<f32>,
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
    pub fn open(case: &'static Case) -> Self {
        let file = read(case.file);
        let mut golden = Self { case, file, k: 0, n: 0, columns: Vec::new() };
        golden.n = golden.get::<f32>("kernel_scale").len();
        golden.columns = golden.columns("kernel");
        golden.k = golden.columns.len() / golden.n;
        golden
    }

    /// A tensor of this layer or, failing that, of the file.
    pub fn find<T: bytemuck::Pod>(&self, name: &str) -> Option<(Vec<T>, Vec<usize>)> {
        let own = find(&self.file, &format!("{}{name}", self.case.prefix));
        own.or_else(|| find(&self.file, name))
    }

    pub fn get<T: bytemuck::Pod>(&self, name: &str) -> Vec<T> {
        self.find(name).unwrap_or_else(|| panic!("{} has no {name}", self.case.file)).0
    }

    /// A kernel `[heads, k, n / heads]` as `[n, k]`.
    pub fn columns<T: bytemuck::Pod>(&self, name: &str) -> Vec<T> {
        let (kernel, width) = (self.get::<T>(name), self.n / self.case.heads);
        let heads = kernel.chunks_exact(kernel.len() / self.case.heads);
        heads.flat_map(|head| transpose(head, width)).collect()
    }

    pub fn float_layer<B: Backend>(&self) -> Linear<B> {
        let weight = tensor(&transpose(&self.columns, self.k)).reshape([self.k, self.n]);
        let bias = self.find("bias").map(|(bias, _)| Param::from_tensor(tensor(&bias)));
        nn::Linear { weight: Param::from_tensor(weight), bias }.into()
    }

    pub fn int8_layer<B: Backend>(&self, activations: QuantMode) -> Linear<B> {
        let config = Int8Config::keras().with_mode(activations);
        self.float_layer::<B>().quantize(&config).expect("the weights are finite").0
    }

    /// Applies `layer` to flat inputs, in their real rank; but if an einsum sums over two axes, they are one.
    pub fn apply<B: Backend>(&self, layer: &Linear<B>, input: Tensor<B, 1>) -> Tensor<B, 1> {
        let (_, shape) = self.find::<f32>("input").expect("every file has inputs");
        match *shape {
            [m, _] => layer.forward(input.reshape([m, self.k])).flatten(0, 1),
            [a, b, ..] => layer.forward(input.reshape([a, b, self.k])).flatten(0, 2),
            _ => panic!("an input of shape {shape:?}"),
        }
    }

    /// The gradient of the input, and how many parameters have one.
    pub fn backward<B: Backend>(&self, layer: &Linear<Autodiff<B>>) -> (Vec<f32>, usize) {
        let input = tensor::<Autodiff<B>>(&self.get("input")).require_grad();
        let output = self.apply(layer, input.clone());
        let grads = (output * tensor(&self.get("grad_upstream"))).sum().backward();
        let gradient = input.grad(&grads).expect("the input has a gradient");
        (floats(gradient), GradientsParams::from_grads(grads, layer).len())
    }

    /// The share by which epsilon makes Keras' steps of weights larger, where it does not show in integers.
    pub fn epsilon_share(&self) -> f64 {
        let columns = self.columns.chunks_exact(self.k).enumerate();
        let compared = columns.filter(|&(output, _)| !self.case.epsilon.reaches(1, output));
        let absmax = compared.map(|(_, column)| absmax(column)).filter(|&max| max > 0.0);
        f64::from(KERAS_EPSILON / absmax.fold(f32::INFINITY, f32::min))
    }

    /// The output without any rounding but that to integers.
    pub fn exact_output(&self, activations: QuantMode) -> Vec<f64> {
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
    pub fn assert_keras(&self, got: &[f32], name: &str, exact: &[f64], axis: usize) {
        let mut want = wide(&self.get::<f32>(name));
        for (i, (want, &exact)) in zip(&mut want, exact).enumerate() {
            if self.case.epsilon.reaches(axis, i % [self.k, self.n][axis]) {
                *want = exact;
            }
        }
        assert_close(got, &want, CLOSE + self.epsilon_share(), &format!("{name} of {}", self.case.file));
    }
}
