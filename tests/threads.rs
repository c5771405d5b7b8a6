//! Tensors and models of `Int8<NdArray>` that several threads use. The tests have a binary of their own, and run one at a time: they
//! count the memory of the process.

#[allow(dead_code, unused_imports, unused_macros, reason = "the suite uses the rest")]
#[path = "suite/support/models.rs"]
mod models;

use std::sync::{Barrier, Mutex};
use std::thread;

use burn::backend::NdArray;
use burn::nn;
use burn::prelude::*;
use burn_int8::Int8;
use burn_int8::prelude::*;
use models::{burns_linear, floats, tensor};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Held by the test that runs.
static ALONE: Mutex<()> = Mutex::new(());

type B = Int8<NdArray>;

/// Tensors that two threads take at once: enough that they meet at some.
const BATCH: usize = 64;

/// The number of tensors; `BURN_INT8_ROUNDS` raises it.
fn rounds() -> usize {
    std::env::var("BURN_INT8_ROUNDS").map_or(20_000, |rounds| rounds.parse().expect("a number"))
}

/// The bytes that the process holds more after the rounds than before: names, and what the test runner keeps.
const SLACK: usize = 64 * 1024;

/// Two threads consume the last two clones of each tensor that `make` makes.
fn consume(make: impl Fn() -> Tensor<B, 2>, use_up: impl Fn(Tensor<B, 2>) -> Vec<f32> + Sync) {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let expected = use_up(make());
    let run = |rounds: usize| {
        for _ in 0..rounds.div_ceil(BATCH) {
            let ours: Vec<_> = (0..BATCH).map(|_| make()).collect();
            let (theirs, start) = (ours.clone(), Barrier::new(2));
            let all = |tensors: Vec<Tensor<B, 2>>| {
                start.wait();
                tensors.into_iter().for_each(|tensor| assert_eq!(use_up(tensor), expected));
            };
            thread::scope(|scope| {
                scope.spawn(|| all(ours));
                scope.spawn(|| all(theirs));
            });
        }
    };
    run(BATCH * 8); // buffers that stay are made
    let before = MEMORY.current_usage();
    run(rounds());
    let after = MEMORY.current_usage();
    assert!(after <= before + SLACK, "{before} bytes before, {after} after");
}

#[test]
fn the_last_clones_of_a_float_tensor() {
    consume(
        || tensor([4, 4], 1),
        |tensor| floats((tensor + 1.0).slice_assign([0..1, 0..1], models::tensor([1, 1], 2))),
    );
}

/// A weight that no parameter holds any more.
fn weight() -> Tensor<B, 2> {
    let (layer, _) = burns_linear::<B>(4, 4, false, 1).quantize(&Int8Config::new()).expect("a float layer");
    layer.weight.val()
}

#[test]
fn the_last_clones_of_an_int8_weight() {
    let x = tensor::<B, 2>([2, 4], 3);
    consume(weight, |weight| floats(x.clone().matmul(weight)));
    consume(weight, |weight| floats(weight.transpose() + 1.0));
}

#[derive(Module, Debug)]
struct Model<B: Backend> {
    conv: nn::conv::Conv1d<B>,
    strided: nn::conv::Conv1d<B>,
    lstm: nn::Lstm<B>,
    head: nn::Linear<B>,
}

impl<B: Backend> Model<B> {
    fn new() -> Self {
        let device = Default::default();
        let conv = nn::conv::Conv1dConfig::new(6, 8, 3).init(&device);
        let mut strided = nn::conv::Conv1dConfig::new(6, 8, 3).with_stride(2).init(&device);
        strided.weight = conv.weight.clone(); // one weight in two layouts
        let lstm = nn::LstmConfig::new(8, 16, true).init(&device);
        Self { conv, strided, lstm, head: burns_linear(16, 5, true, 1) }
    }

    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let x = Tensor::cat(vec![self.conv.forward(x.clone()), self.strided.forward(x)], 2);
        self.head.forward(self.lstm.forward(x.swap_dims(1, 2), None).0)
    }
}

/// The first calls lay out the weights of convolutions, all at once.
#[test]
fn four_threads_on_one_model() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let float = Model::<B>::new();
    let xs: Vec<_> = (0..4).map(|seed| tensor::<B, 3>([2, 6, 21], seed)).collect();
    xs.iter().for_each(|x| drop(float.forward(x.clone()))); // parameters are drawn on first use
    let quantized = || float.clone().quantize(&Int8Config::new()).expect("float layers").0;
    let model = quantized();
    let expected: Vec<_> = xs.iter().map(|x| floats(model.forward(x.clone()))).collect();
    for _ in 0..20 {
        let (model, start) = (quantized(), Barrier::new(4));
        thread::scope(|scope| {
            for (x, expected) in xs.iter().zip(&expected) {
                let (model, start) = (&model, &start);
                scope.spawn(move || {
                    start.wait();
                    (0..3).for_each(|_| assert_eq!(&floats(model.forward(x.clone())), expected));
                });
            }
        });
    }
}
