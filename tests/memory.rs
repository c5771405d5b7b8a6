//! The memory that quantizing, running and observing a model allocate. The test has a binary of its own: it counts for the whole process.

use burn::backend::NdArray;
use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn_int8::nn::{Linear, LinearConfig};
use burn_int8::prelude::*;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const SIZE: usize = 768;
/// One INT8 layer, packed.
const LAYER: usize = SIZE * SIZE;
/// Names, reports, scales, and what the test runner does meanwhile.
const SLACK: usize = LAYER / 4;

/// A loader of ones.
struct Ones;

impl<B: Backend> ModuleMapper<B> for Ones {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor) = (param.id, Tensor::ones(param.lazy_shape(), &param.lazy_device()));
        param.transform_for_load(tensor, id)
    }
}

/// One test, so that nothing else allocates beside it.
#[test]
fn memory() {
    let device = Default::default();
    let init = |_| LinearConfig::new(SIZE, SIZE).init::<NdArray>(&device);
    let model: Vec<Linear<NdArray>> = (0..8).map(init).collect();
    let x = Tensor::<NdArray, 2>::ones([2, SIZE], &device);
    for layer in &model {
        layer.forward(x.clone()); // parameters are initialised on first use
    }

    // Quantizing takes the float model and one INT8 layer, and leaves a quarter.
    let float = MEMORY.current_usage();
    assert!(float >= 8 * 4 * LAYER, "the float model is in memory");
    MEMORY.reset_peak_usage();
    let (model, _) = model.quantize(&Int8Config::new()).expect("float layers");
    let peak = MEMORY.peak_usage() - float;
    assert!(peak <= LAYER + SLACK, "{peak} bytes above the float model; a layer has {LAYER}");
    let int8 = MEMORY.current_usage();
    assert!(int8 <= float - 8 * 3 * LAYER + SLACK, "{int8} bytes of INT8, {float} of float");

    // A forward allocates its output and little else: no copy of a weight, in either mode.
    let run = |model: &Vec<Linear<NdArray>>| model.iter().fold(x.clone(), |x, layer| layer.forward(x));
    let per_forward = |model: &Vec<Linear<NdArray>>| {
        run(model); // buffers that stay are made in the first call
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        run(model);
        MEMORY.peak_usage() - before
    };
    let bytes = per_forward(&model);
    assert!(bytes <= 4 * 2 * 2 * SIZE + 4096, "{bytes} bytes in a forward");
    let weight_only = Int8Config::new().with_mode(QuantMode::WeightOnly);
    let model: Vec<_> = (0..8).map(init).collect::<Vec<_>>().quantize(&weight_only).expect("float").0;
    let bytes = per_forward(&model);
    assert!(bytes <= 4 * 2 * 2 * SIZE + 4096, "{bytes} bytes in a weight-only forward");

    // Quantizing while loading takes the INT8 model and one float layer.
    drop(model);
    let fresh: Vec<Linear<NdArray>> = (0..8).map(init).collect();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let (model, report) = fresh.quantize_on_load(&Int8Config::new(), &mut Ones).expect("float layers");
    let peak = MEMORY.peak_usage() - before;
    assert!(peak <= (8 + 4) * LAYER + SLACK, "{peak} bytes; INT8 has {}", 8 * LAYER);
    let (kept, told) = (MEMORY.current_usage() - before, report.memory_bytes());
    assert!(kept.abs_diff(told) <= SLACK, "{kept} bytes are in memory, the report says {told}");
    drop(model);

    // Observing a layer takes as much for a million rows as for a thousand, and its integers are gone afterwards.
    let layer = LinearConfig::new(4, 2).init::<NdArray>(&device);
    let rows = Tensor::<NdArray, 2>::ones([1000, 4], &device);
    let once = layer.sensitivity(&Int8Config::new(), |layer| drop(layer.forward(rows.clone())));
    drop(once); // buffers that stay are made in the first call
    let before = MEMORY.current_usage();
    let sensitivity = layer.sensitivity(&Int8Config::new(), |layer| {
        layer.forward(rows.clone());
        let first = MEMORY.current_usage();
        for _ in 1..1000 {
            layer.forward(rows.clone());
        }
        let grown = MEMORY.current_usage().saturating_sub(first);
        assert!(grown < 4096, "{grown} bytes for 999 batches more");
    });
    let sensitivity = sensitivity.expect("a layer that was called");
    assert_eq!(sensitivity.layers[0].input.expect("floats").values, 4_000_000);
    let kept = MEMORY.current_usage().saturating_sub(before);
    assert!(kept < 4096, "{kept} bytes are kept for a table of one row");
}
