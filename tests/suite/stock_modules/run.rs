//! One run of a case on a backend.

use std::any::type_name;
use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::TensorData;
use burn::tensor::backend::AutodiffBackend;

use crate::support::models::values;

/// Hands a case its inputs and parameters, the same on every backend, and keeps what it computes.
pub struct Run<B: Backend> {
    pub device: B::Device,
    /// The names of the modules that were run.
    pub used: BTreeSet<String>,
    drawn: usize,
    outputs: Vec<TensorData>,
    /// A sum of all outputs, each number with a weight of its own.
    loss: Option<Tensor<B, 1>>,
    /// The inputs and parameters whose gradients are wanted, without their ranks.
    tracked: Vec<Tensor<B, 1>>,
}

impl<B: Backend> Run<B> {
    pub fn of(case: fn(&mut Self)) -> Self {
        let mut run = Self {
            device: Default::default(),
            used: BTreeSet::new(),
            drawn: 0,
            outputs: Vec::new(),
            loss: None,
            tracked: Vec::new(),
        };
        case(&mut run);
        assert!(!run.outputs.is_empty(), "a case has outputs");
        run
    }

    /// Numbers that no other tensor of the run has.
    fn draw<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<B, D> {
        self.drawn += 1;
        Tensor::from_data(TensorData::new(values(shape.iter().product(), self.drawn), shape), &self.device)
    }

    fn track<const D: usize>(&mut self, tensor: &Tensor<B, D>) {
        self.tracked.push(Tensor::from_primitive(tensor.clone().into_primitive()));
    }

    /// An input in `-1.0..1.0` whose gradient is compared.
    pub fn input<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<B, D> {
        let input = self.draw(shape).require_grad();
        self.track(&input);
        input
    }

    /// An input in `0.1..0.9`, for logarithms.
    pub fn probabilities<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<B, D> {
        self.input(shape) * 0.4 + 0.5
    }

    /// Integers in `0..below`.
    pub fn ints<const D: usize>(&mut self, shape: [usize; D], below: usize) -> Tensor<B, D, Int> {
        ((self.draw(shape).detach() * 0.49 + 0.5) * below as f32).int()
    }

    /// A mask that is true at every third place or so.
    pub fn mask<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<B, D, Bool> {
        self.draw(shape).greater_elem(0.4)
    }

    /// The module with parameters that are the same on every backend, and whose gradients are compared.
    pub fn module<M: Module<B>>(&mut self, module: M) -> M {
        let module = self.plain(module);
        module.map(&mut Fill { run: self, path: Vec::new() })
    }

    /// A module without parameters.
    pub fn plain<M>(&mut self, module: M) -> M {
        self.used.insert(short(type_name::<M>()));
        module
    }

    /// An output of floats, which must be finite: a case that computes NaNs shows nothing.
    pub fn output<const D: usize>(&mut self, output: Tensor<B, D>) {
        let data = output.to_data();
        assert!(data.iter::<f32>().all(f32::is_finite), "output {} is not finite", self.outputs.len());
        self.outputs.push(data);
        let weighted = (output.clone() * self.draw(output.dims()).detach()).sum();
        self.loss = Some(match self.loss.take() {
            Some(loss) => loss + weighted,
            None => weighted,
        });
    }

    /// An output without a gradient.
    pub fn data(&mut self, data: TensorData) {
        self.outputs.push(data);
    }
}

/// The name of a type without modules and parameters.
fn short(name: &str) -> String {
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name).into()
}

/// Exchanges the parameters of a module.
struct Fill<'a, B: Backend> {
    run: &'a mut Run<B>,
    path: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for Fill<'_, B> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.into());
        if let Some((_, container)) = container.split_once(':') {
            self.run.used.insert(container.into());
        }
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let mut filled = self.run.draw(tensor.dims());
        if self.path.iter().any(|name| name == "running_var") {
            filled = filled * 0.4 + 0.5; // a variance is positive
        }
        if tensor.is_require_grad() {
            filled = filled.detach().require_grad();
            self.run.track(&filled);
        }
        Param::from_mapped_value(id, filled, mapper)
    }
}

/// The outputs of a case.
pub fn outputs<B: Backend>(case: fn(&mut Run<B>)) -> Vec<TensorData> {
    Run::of(case).outputs
}

/// The outputs of a case, then the gradients of its inputs and parameters; an empty one where there is none.
pub fn gradients<B: AutodiffBackend>(case: fn(&mut Run<B>)) -> Vec<TensorData> {
    let Run { outputs, loss, tracked, .. } = Run::of(case);
    let gradients = loss.expect("an output of floats").backward();
    let all: Vec<_> = tracked.iter().map(|tensor| tensor.grad(&gradients)).collect();
    assert!(all.iter().any(Option::is_some), "a case that trains has a gradient");
    let none = || TensorData::new(Vec::<f32>::new(), [0]);
    let data = all.into_iter().map(|gradient| gradient.map_or_else(none, |gradient| gradient.into_data()));
    outputs.into_iter().chain(data).collect()
}

/// Asserts that the numbers are the same, bit for bit: zeros of different signs and NaNs of different payloads are not.
pub fn assert_same(without: Vec<TensorData>, with: Vec<TensorData>) {
    assert_eq!(without.len(), with.len());
    for (index, (without, with)) in without.iter().zip(&with).enumerate() {
        assert_eq!((&without.shape, without.dtype), (&with.shape, with.dtype), "tensor {index}");
        assert!(without.bytes == with.bytes, "tensor {index}: {with}, not {without}");
    }
}

/// The greatest share of a tensor's largest magnitude by which two runs of Burn's own were seen to differ where a gradient is that of a
/// logarithm or of a deformable convolution.
const RUNS: f32 = 1e-4;

/// Asserts that the numbers are the same but for what differs from run to run.
pub fn assert_near(without: Vec<TensorData>, with: Vec<TensorData>) {
    assert_eq!(without.len(), with.len());
    for (index, (without, with)) in without.iter().zip(&with).enumerate() {
        assert_eq!((&without.shape, without.dtype), (&with.shape, with.dtype), "tensor {index}");
        let largest = without.iter::<f32>().fold(0f32, |largest, number| largest.max(number.abs()));
        let error =
            without.iter::<f32>().zip(with.iter::<f32>()).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(error <= RUNS * largest, "tensor {index}: {error} of {largest}");
    }
}
