//! Losses.

use burn::nn::loss::*;
use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use super::cases;
use super::run::Run;

cases! {
    train: [
        binary_cross_entropy, cosine_embedding, cross_entropy, ctc, huber, kl_divergence, lp, mse, poisson, rnnt, smooth_l1,
    ],
    train_nearly: [],
    infer: [],
}

const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::Auto];

fn binary_cross_entropy<B: Backend>(run: &mut Run<B>) {
    let config = BinaryCrossEntropyLossConfig::new();
    let weighted = config.clone().with_weights(Some(vec![0.5, 2.0, 1.5]));
    let targets = run.ints([4, 3], 2);
    for config in [config.clone().with_logits(true), weighted.clone().with_logits(true)] {
        let loss = run.module(config.init(&run.device));
        let x = run.input([4, 3]);
        run.output(loss.forward(x, targets.clone()));
    }
    for config in [config.with_smoothing(Some(0.1)), weighted] {
        let loss = run.module(config.init(&run.device));
        let x = run.probabilities([4, 3]);
        run.output(loss.forward(x, targets.clone()));
    }
}

fn cosine_embedding<B: Backend>(run: &mut Run<B>) {
    for reduction in REDUCTIONS {
        let config = CosineEmbeddingLossConfig::new().with_margin(0.2).with_reduction(reduction);
        let loss = run.plain(config.init());
        let (a, b, target) = (run.input([4, 3]), run.input([4, 3]), run.ints([4], 2) * 2 - 1);
        run.output(loss.forward(a.clone(), b.clone(), target.clone()));
        run.output(loss.forward_no_reduction(a, b, target));
    }
}

fn cross_entropy<B: Backend>(run: &mut Run<B>) {
    let config = CrossEntropyLossConfig::new();
    let configs = [
        config.clone(),
        config.clone().with_pad_tokens(Some(vec![0, 2])).with_smoothing(Some(0.1)),
        config.clone().with_weights(Some(vec![0.5, 1.0, 2.0, 0.7])),
        config.with_weights(Some(vec![0.5, 1.0, 2.0, 0.7])).with_smoothing(Some(0.2)),
    ];
    let targets = Tensor::from_ints([1, 3, 0, 1, 2], &run.device);
    for logits in [true, false] {
        for config in configs.clone() {
            let loss = run.module(config.with_logits(logits).init(&run.device));
            let x = if logits { run.input([5, 4]) } else { run.probabilities([5, 4]) };
            run.output(loss.forward(x, targets.clone()));
        }
    }
}

fn ctc<B: Backend>(run: &mut Run<B>) {
    let targets = Tensor::<B, 2, Int>::from_ints([[1, 2, 2], [3, 1, 0]], &run.device);
    let inputs = Tensor::<B, 1, Int>::from_ints([8, 6], &run.device);
    let lengths = Tensor::<B, 1, Int>::from_ints([3, 2], &run.device);
    for zero_infinity in [true, false] {
        let loss = run.plain(CTCLossConfig::new().with_zero_infinity(zero_infinity).init());
        let x = log_softmax(run.input([8, 2, 4]), 2);
        run.output(loss.forward(x.clone(), targets.clone(), inputs.clone(), lengths.clone()));
        for reduction in REDUCTIONS {
            let (targets, inputs, lengths) = (targets.clone(), inputs.clone(), lengths.clone());
            run.output(loss.forward_with_reduction(x.clone(), targets, inputs, lengths, reduction));
        }
    }
}

fn huber<B: Backend>(run: &mut Run<B>) {
    let loss = run.plain(HuberLossConfig::new(0.3).init());
    let (x, y) = (run.input([4, 3]), run.input([4, 3]));
    for reduction in REDUCTIONS {
        run.output(loss.forward(x.clone(), y.clone(), reduction));
    }
    run.output(loss.forward_residuals(x.clone()));
    run.output(loss.forward_no_reduction(x, y));
}

fn kl_divergence<B: Backend>(run: &mut Run<B>) {
    for log_target in [true, false] {
        let loss = run.plain(KLDivLossConfig::new().with_log_target(log_target).init());
        let x = log_softmax(run.input([4, 3]), 1);
        let y = if log_target { log_softmax(run.input([4, 3]), 1) } else { run.probabilities([4, 3]) };
        for reduction in [Reduction::BatchMean, Reduction::Mean, Reduction::Sum, Reduction::Auto] {
            run.output(loss.forward(x.clone(), y.clone(), reduction));
        }
        run.output(loss.forward_no_reduction(x, y));
    }
}

fn lp<B: Backend>(run: &mut Run<B>) {
    for p in [1.0, 2.0, 3.0, 2.5] {
        let loss = run.plain(LpLossConfig::new(p).init());
        let (x, y) = (run.input([4, 3, 2]), run.input([4, 3, 2]));
        for reduction in REDUCTIONS {
            run.output(loss.forward(x.clone(), y.clone(), reduction));
        }
        run.output(loss.forward_reduce_dims(x.clone(), y.clone(), &[1, 2]));
        run.output(loss.forward_no_reduction(x, y));
    }
}

fn mse<B: Backend>(run: &mut Run<B>) {
    let loss = run.plain(MseLoss::new());
    let (x, y) = (run.input([4, 3]), run.input([4, 3]));
    for reduction in REDUCTIONS {
        run.output(loss.forward(x.clone(), y.clone(), reduction));
    }
    run.output(loss.forward_no_reduction(x, y));
}

fn poisson<B: Backend>(run: &mut Run<B>) {
    for (log_input, full) in [(true, false), (false, true)] {
        let config = PoissonNllLossConfig::new().with_log_input(log_input).with_full(full).with_eps(1e-6);
        let loss = run.plain(config.init());
        let (x, y) = (run.probabilities([4, 3]), run.probabilities([4, 3]) * 5.0);
        for reduction in REDUCTIONS {
            run.output(loss.forward(x.clone(), y.clone(), reduction));
        }
        run.output(loss.forward_no_reduction(x, y));
    }
}

fn rnnt<B: Backend>(run: &mut Run<B>) {
    let targets = Tensor::<B, 2, Int>::from_ints([[1, 2], [3, 1]], &run.device);
    let times = Tensor::<B, 1, Int>::from_ints([4, 3], &run.device);
    let lengths = Tensor::<B, 1, Int>::from_ints([2, 1], &run.device);
    for logits in [true, false] {
        let loss = run.plain(RNNTLossConfig::new().with_logits(logits).init());
        let x = run.input([2, 4, 3, 5]);
        let x = if logits { x } else { log_softmax(x, 3) };
        run.output(loss.forward(x.clone(), targets.clone(), times.clone(), lengths.clone()));
        for reduction in REDUCTIONS {
            let (targets, times, lengths) = (targets.clone(), times.clone(), lengths.clone());
            run.output(loss.forward_with_reduction(x.clone(), targets, times, lengths, reduction));
        }
    }
}

fn smooth_l1<B: Backend>(run: &mut Run<B>) {
    let loss = run.plain(SmoothL1LossConfig::new().with_beta(0.4).init());
    let (x, y) = (run.input([4, 3, 2]), run.input([4, 3, 2]));
    for reduction in REDUCTIONS {
        run.output(loss.forward_with_reduction(x.clone(), y.clone(), reduction));
    }
    run.output(loss.forward_reduce_dims(x.clone(), y.clone(), &[1, 2]));
    run.output(loss.forward(x, y));
}
