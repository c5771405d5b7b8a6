//! Attention and transformers, with their masks and caches.

use burn::nn::activation::ActivationConfig;
use burn::nn::attention::*;
use burn::nn::transformer::*;
use burn::prelude::*;

use super::cases;
use super::run::Run;

cases! {
    train: [
        multi_head_attention, masks, attention_step_by_step, cross_attention, feed_forward, encoder, encoder_step_by_step, decoder,
        decoder_step_by_step,
    ],
    train_nearly: [],
    infer: [generated_masks],
}

fn multi_head_attention<B: Backend>(run: &mut Run<B>) {
    for quiet in [false, true] {
        let config = MultiHeadAttentionConfig::new(8, 2).with_dropout(0.0).with_quiet_softmax(quiet);
        let layer = run.module(config.init(&run.device));
        let x = run.input([2, 5, 8]);
        let out = layer.forward(MhaInput::self_attn(x.clone()));
        run.output(out.context);
        run.output(out.weights);
        let (key, value) = (run.input([2, 3, 8]), run.input([2, 3, 8]));
        run.output(layer.forward(MhaInput::new(x, key, value)).context);
    }
}

fn masks<B: Backend>(run: &mut Run<B>) {
    let config = MultiHeadAttentionConfig::new(8, 2).with_dropout(0.0).with_min_float(-1e3);
    let layer = run.module(config.init(&run.device));
    let x = run.input([2, 5, 8]);
    let pad = run.mask([2, 5]);
    let causal = generate_autoregressive_mask::<B>(2, 5, &run.device);
    run.output(layer.forward(MhaInput::self_attn(x.clone()).mask_pad(pad.clone())).context);
    run.output(layer.forward(MhaInput::self_attn(x.clone()).mask_attn(causal.clone())).context);
    run.output(layer.forward(MhaInput::self_attn(x).mask_attn(causal).mask_pad(pad)).context);
}

fn attention_step_by_step<B: Backend>(run: &mut Run<B>) {
    let config = MultiHeadAttentionConfig::new(8, 2).with_dropout(0.0);
    let layer = run.module(config.init(&run.device));
    let (x, memory) = (run.input([2, 4, 8]), run.input([2, 3, 8]));
    let (mut own, mut cross) = (MhaCache::autoregressive(), MhaCache::autoregressive_cross_attention());
    for length in 1..=4 {
        let seen = x.clone().narrow(1, 0, length);
        let mask = generate_autoregressive_mask::<B>(2, length, &run.device);
        let input = MhaInput::self_attn(seen.clone()).mask_attn(mask);
        run.output(layer.forward_cache(input, &mut own).context);
        let input = MhaInput::new(seen, memory.clone(), memory.clone());
        run.output(layer.forward_cache(input, &mut cross).context);
    }
}

fn cross_attention<B: Backend>(run: &mut Run<B>) {
    for (heads, quiet) in [(4, false), (2, true)] {
        let config = CrossAttentionConfig::new(8, 6, 4, heads, 3).with_dropout(0.0).with_quiet_softmax(quiet);
        let layer = run.module(config.init(&run.device));
        let (query, context, mask) = (run.input([2, 4, 8]), run.input([2, 5, 6]), run.mask([2, 5]));
        run.output(layer.forward(query.clone(), context.clone(), None));
        run.output(layer.forward(query.clone(), context.clone(), Some(mask.clone())));
        let mut cache = CrossAttentionCache::new();
        for mask in [None, Some(mask)] {
            run.output(layer.forward_cache(query.clone(), context.clone(), mask, &mut cache));
        }
    }
}

fn feed_forward<B: Backend>(run: &mut Run<B>) {
    for activation in [ActivationConfig::Gelu, ActivationConfig::Relu] {
        let config = PositionWiseFeedForwardConfig::new(6, 9).with_dropout(0.0).with_activation(activation);
        let layer = run.module(config.init(&run.device));
        let x = run.input([2, 3, 6]);
        run.output(layer.forward(x));
    }
}

fn encoder_configs() -> [TransformerEncoderConfig; 2] {
    let config = TransformerEncoderConfig::new(8, 12, 2, 2).with_dropout(0.0);
    let other = config.clone().with_norm_first(true).with_quiet_softmax(true).with_layer_norm_eps(1e-3);
    [config, other.with_activation(ActivationConfig::Relu)]
}

fn encoder<B: Backend>(run: &mut Run<B>) {
    for config in encoder_configs() {
        let model = run.module(config.init(&run.device));
        let (x, pad) = (run.input([2, 5, 8]), run.mask([2, 5]));
        let causal = generate_autoregressive_mask::<B>(2, 5, &run.device);
        run.output(model.forward(TransformerEncoderInput::new(x.clone())));
        run.output(model.forward(TransformerEncoderInput::new(x).mask_pad(pad).mask_attn(causal)));
    }
}

fn encoder_step_by_step<B: Backend>(run: &mut Run<B>) {
    for config in encoder_configs() {
        let model = run.module(config.init(&run.device));
        let (x, mut cache) = (run.input([2, 4, 8]), model.new_autoregressive_cache());
        for length in 1..=4 {
            let mask = generate_autoregressive_mask::<B>(2, length, &run.device);
            let input = TransformerEncoderInput::new(x.clone().narrow(1, 0, length)).mask_attn(mask);
            run.output(model.forward_autoregressive_inference(input, &mut cache));
        }
    }
}

fn decoder_configs() -> [TransformerDecoderConfig; 2] {
    let config = TransformerDecoderConfig::new(8, 12, 2, 2).with_dropout(0.0);
    let other = config.clone().with_norm_first(true).with_quiet_softmax(true).with_layer_norm_eps(1e-3);
    [config, other.with_activation(ActivationConfig::Relu)]
}

fn decoder<B: Backend>(run: &mut Run<B>) {
    for config in decoder_configs() {
        let model = run.module(config.init(&run.device));
        let (x, memory) = (run.input([2, 5, 8]), run.input([2, 3, 8]));
        let (pad, memory_pad, memory_mask) = (run.mask([2, 5]), run.mask([2, 3]), run.mask([2, 5, 3]));
        let causal = generate_autoregressive_mask::<B>(2, 5, &run.device);
        run.output(model.forward(TransformerDecoderInput::new(x.clone(), memory.clone())));
        let input = TransformerDecoderInput::new(x, memory).target_mask_pad(pad).target_mask_attn(causal);
        run.output(model.forward(input.memory_mask_pad(memory_pad).memory_mask_attn(memory_mask)));
    }
}

fn decoder_step_by_step<B: Backend>(run: &mut Run<B>) {
    for config in decoder_configs() {
        let model = run.module(config.init(&run.device));
        let (x, memory) = (run.input([2, 4, 8]), run.input([2, 3, 8]));
        let mut cache = model.new_autoregressive_cache();
        for length in 1..=4 {
            let mask = generate_autoregressive_mask::<B>(2, length, &run.device);
            let input = TransformerDecoderInput::new(x.clone().narrow(1, 0, length), memory.clone());
            run.output(model.forward_autoregressive_inference(input.target_mask_attn(mask), &mut cache));
        }
    }
}

fn generated_masks<B: Backend>(run: &mut Run<B>) {
    run.data(generate_autoregressive_mask::<B>(2, 5, &run.device).into_data());
    let tokens = vec![vec![3, 4, 5], vec![6]];
    for length in [SeqLengthOption::NoMax, SeqLengthOption::Max(2), SeqLengthOption::Fixed(4)] {
        let padding = generate_padding_mask::<B>(0, tokens.clone(), length, &run.device);
        run.data(padding.tensor.into_data());
        run.data(padding.mask.into_data());
    }
}
