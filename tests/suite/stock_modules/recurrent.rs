//! Recurrent nets.

use burn::nn::activation::ActivationConfig;
use burn::nn::*;
use burn::prelude::*;

use super::cases;
use super::run::Run;

cases! {
    train: [rnn, birnn, lstm, bilstm, gru, bigru],
    train_nearly: [],
    infer: [],
}

fn rnn<B: Backend>(run: &mut Run<B>) {
    let config = RnnConfig::new(3, 4, true);
    let configs = [
        config.clone(),
        config.clone().with_reverse(true).with_batch_first(false),
        RnnConfig::new(3, 4, false).with_clip(Some(0.4)).with_hidden_activation(ActivationConfig::Relu),
    ];
    for config in configs {
        let model = run.module(config.init(&run.device));
        let (x, state) = (run.input([2, 5, 3]), run.input([if config.batch_first { 2 } else { 5 }, 4]));
        for state in [None, Some(RnnState::new(state))] {
            let (out, state) = model.forward(x.clone(), state);
            run.output(out);
            run.output(state.hidden);
        }
    }
}

fn birnn<B: Backend>(run: &mut Run<B>) {
    let config = BiRnnConfig::new(3, 4, true);
    let other = config.clone().with_batch_first(false).with_clip(Some(0.4));
    for config in [config, other.with_hidden_activation(ActivationConfig::Relu)] {
        let model = run.module(config.init(&run.device));
        let (x, state) = (run.input([2, 5, 3]), run.input([2, if config.batch_first { 2 } else { 5 }, 4]));
        for state in [None, Some(RnnState::new(state))] {
            let (out, state) = model.forward(x.clone(), state);
            run.output(out);
            run.output(state.hidden);
        }
    }
}

fn lstm<B: Backend>(run: &mut Run<B>) {
    let config = LstmConfig::new(3, 4, true);
    let other = LstmConfig::new(3, 4, false).with_clip(Some(0.4)).with_input_forget(true);
    let other = other
        .with_gate_activation(HardSigmoidConfig::new().into())
        .with_cell_activation(ActivationConfig::Softsign)
        .with_hidden_activation(ActivationConfig::Relu);
    for config in [config.clone(), config.with_reverse(true).with_batch_first(false), other] {
        let model = run.module(config.init(&run.device));
        let batch = if config.batch_first { 2 } else { 5 };
        let (x, cell, hidden) = (run.input([2, 5, 3]), run.input([batch, 4]), run.input([batch, 4]));
        for state in [None, Some(LstmState::new(cell, hidden))] {
            let (out, state) = model.forward(x.clone(), state);
            run.output(out);
            run.output(state.cell);
            run.output(state.hidden);
        }
    }
}

fn bilstm<B: Backend>(run: &mut Run<B>) {
    let config = BiLstmConfig::new(3, 4, true);
    let other = BiLstmConfig::new(3, 4, false).with_batch_first(false).with_clip(Some(0.4));
    for config in [config, other.with_input_forget(true)] {
        let model = run.module(config.init(&run.device));
        let batch = if config.batch_first { 2 } else { 5 };
        let (x, cell, hidden) = (run.input([2, 5, 3]), run.input([2, batch, 4]), run.input([2, batch, 4]));
        for state in [None, Some(LstmState::new(cell, hidden))] {
            let (out, state) = model.forward(x.clone(), state);
            run.output(out);
            run.output(state.cell);
            run.output(state.hidden);
        }
    }
}

fn gru<B: Backend>(run: &mut Run<B>) {
    let config = GruConfig::new(3, 4, true);
    let other = GruConfig::new(3, 4, false).with_clip(Some(0.4));
    let other = other
        .with_gate_activation(HardSigmoidConfig::new().into())
        .with_hidden_activation(ActivationConfig::Softsign);
    for config in [config.clone(), config.with_reset_after(false), other] {
        let model = run.module(config.init(&run.device));
        let (x, state) = (run.input([2, 5, 3]), run.input([2, 4]));
        for state in [None, Some(state)] {
            run.output(model.forward(x.clone(), state));
        }
    }
}

fn bigru<B: Backend>(run: &mut Run<B>) {
    let config = BiGruConfig::new(3, 4, true);
    let other = config.clone().with_reset_after(false).with_batch_first(false).with_clip(Some(0.4));
    for config in [config, other] {
        let model = run.module(config.init(&run.device));
        let (x, state) = (run.input([2, 5, 3]), run.input([2, if config.batch_first { 2 } else { 5 }, 4]));
        for state in [None, Some(state)] {
            let (out, state) = model.forward(x.clone(), state);
            run.output(out);
            run.output(state);
        }
    }
}
