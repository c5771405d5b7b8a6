//! Linear layers, embeddings and small modules.

use burn::nn::*;
use burn::prelude::*;

use super::cases;
use super::run::Run;

cases! {
    train: [
        linear, linear_saved_transposed, linear_of_one_axis, gates, embedding, embedding_tied_to_a_head, positional_encoding,
        rotary_encoding, unfold,
    ],
    train_nearly: [],
    infer: [sinusoids, noise_in_inference],
}

fn linear<B: Backend>(run: &mut Run<B>) {
    for bias in [true, false] {
        let layer = run.module(LinearConfig::new(5, 7).with_bias(bias).init(&run.device));
        let x = [run.input([3, 5]), run.input([1, 5])];
        x.into_iter().for_each(|x| run.output(layer.forward(x)));
        let x = run.input([2, 3, 4, 5]);
        run.output(layer.forward(x));
    }
}

fn linear_saved_transposed<B: Backend>(run: &mut Run<B>) {
    let config = LinearConfig::new(5, 7).with_layout(LinearLayout::Col);
    let layer = run.module(config.init(&run.device));
    let x = run.input([3, 5]);
    run.output(layer.forward(x));
    let again = layer.clone().load_record(layer.into_record());
    let x = run.input([2, 3, 5]);
    run.output(again.forward(x));
}

fn linear_of_one_axis<B: Backend>(run: &mut Run<B>) {
    let layer = run.module(LinearConfig::new(5, 7).init(&run.device));
    let x = run.input([5]);
    run.output(layer.forward(x));
}

fn gates<B: Backend>(run: &mut Run<B>) {
    for bias in [true, false] {
        let initializer = Initializer::Zeros;
        let gate = run.module(GateController::new(3, 4, bias, initializer, &run.device));
        let (x, hidden) = (run.input([2, 3]), run.input([2, 4]));
        run.output(gate.gate_product(x, hidden));
    }
}

fn embedding<B: Backend>(run: &mut Run<B>) {
    let layer = run.module(EmbeddingConfig::new(11, 6).init(&run.device));
    for shape in [[2, 5], [1, 1]] {
        let indices = run.ints(shape, 11);
        run.output(layer.forward(indices));
    }
}

fn embedding_tied_to_a_head<B: Backend>(run: &mut Run<B>) {
    let layer = run.module(EmbeddingConfig::new(11, 6).init(&run.device));
    let indices = run.ints([2, 5], 11);
    let x = layer.forward(indices);
    run.output(x.matmul(layer.weight.val().transpose().unsqueeze()));
}

fn positional_encoding<B: Backend>(run: &mut Run<B>) {
    let config = PositionalEncodingConfig::new(6).with_max_sequence_size(9).with_max_timescale(100);
    let layer = run.module(config.init(&run.device));
    let x = run.input([2, 5, 6]);
    run.output(layer.forward(x));
}

fn rotary_encoding<B: Backend>(run: &mut Run<B>) {
    let config = RotaryEncodingConfig::new(12, 6).with_theta(500.0);
    let mut layer = run.module(config.init(&run.device));
    let x = run.input([2, 3, 5, 6]);
    run.output(layer.forward(x.clone()));
    run.output(layer.apply(x.clone(), 2));
    layer.shift(4);
    run.output(layer.apply(x.clone(), 5));
    let scaled = config.init_with_frequency_scaling(|frequencies| frequencies.sqrt(), &run.device);
    run.output(scaled.forward(x));
}

fn unfold<B: Backend>(run: &mut Run<B>) {
    let config = Unfold4dConfig::new([2, 3]);
    let strided = config.clone().with_stride([2, 1]).with_padding([1, 2]).with_dilation([1, 2]);
    for config in [config, strided] {
        let layer = run.plain(config.init());
        let x = run.input([2, 3, 5, 6]);
        run.output(layer.forward(x));
    }
}

fn sinusoids<B: Backend>(run: &mut Run<B>) {
    run.output(generate_sinusoids(7, 6, 1000, &run.device));
}

/// Without autodiff these two hand on what they get; what they draw is compared with the generator held.
fn noise_in_inference<B: Backend>(run: &mut Run<B>) {
    let (dropout, noise) = (DropoutConfig::new(0.5).init(), GaussianNoiseConfig::new(0.5).init());
    let (dropout, noise) = (run.plain(dropout), run.plain(noise));
    let x = run.input([3, 4]);
    run.output(noise.forward(dropout.forward(x)));
}
