//! From the weights of one output channel to integers.

use crate::range::Quantizer;

/// The way in which weights become integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Rounding {
    /// Each to the nearest integer: what Keras does.
    Nearest,
    /// Each to the nearest integer or, where it is nearly as near, to the other one, so that the errors of a channel add up to
    /// at most half a step, and so do those of its taps on one input channel, as nearly as that allows. What inputs have in
    /// common then passes without error: after a ReLU, and in images, that is most of them.
    KeepSums,
}

/// The rounding of one layer's weights.
pub(super) struct ChannelRounding {
    pub(super) rounding: Rounding,
    /// The places in a channel of the taps on each input channel; none where there is one tap.
    pub(super) kernels: Vec<Vec<usize>>,
}

/// One weight as an integer, and what is missing to the weight, in steps.
#[derive(Clone, Copy)]
struct Rounded {
    integer: i32,
    error: f32,
}

impl ChannelRounding {
    /// The integers of a channel's weights.
    pub(super) fn round(&self, quantizer: &Quantizer, weights: &[f32]) -> Vec<i8> {
        let rounded = |&w: &f32| {
            let integer = quantizer.quantize(w);
            Rounded { integer, error: quantizer.steps(w) - integer as f32 }
        };
        let mut channel: Vec<_> = weights.iter().map(rounded).collect();
        if self.rounding == Rounding::KeepSums {
            for kernel in &self.kernels {
                keep_sum(&mut channel, kernel.iter().copied(), quantizer);
            }
            let all = 0..channel.len();
            keep_sum(&mut channel, all, quantizer);
        }
        channel.iter().map(|rounded| rounded.integer as i8).collect()
    }
}

/// Moves the integers that are farthest from their weights by one, until the errors add up to at most half a step.
fn keep_sum(channel: &mut [Rounded], members: impl Iterator<Item = usize> + Clone, quantizer: &Quantizer) {
    let sum: f64 = members.clone().map(|member| f64::from(channel[member].error)).sum();
    let (moves, step) = (sum.abs().round_ties_even() as usize, sum.signum());
    let bounds = quantizer.qmin..=quantizer.qmax;
    let can_move = |member: &usize| bounds.contains(&(channel[*member].integer + step as i32));
    let mut candidates: Vec<_> = members.filter(can_move).collect();
    let moves = moves.min(candidates.len());
    if moves == 0 {
        return;
    }
    // The order is total, so that the choice does not depend on how a selection works.
    let farthest = |a: &usize, b: &usize| {
        let gain = |member: usize| channel[member].error * step as f32;
        gain(*b).total_cmp(&gain(*a)).then(a.cmp(b))
    };
    candidates.select_nth_unstable_by(moves - 1, farthest);
    for &member in &candidates[..moves] {
        channel[member].integer += step as i32;
        channel[member].error -= step as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::QuantRange;

    /// Rounds a channel whose largest weight is 127: a step is 1.
    fn round(rounding: Rounding, kernels: &[&[usize]], weights: &[f32]) -> Vec<i8> {
        let quantizer = Quantizer::new(127.0, QuantRange::Symmetric).unwrap();
        let kernels = kernels.iter().map(|kernel| kernel.to_vec()).collect();
        ChannelRounding { rounding, kernels }.round(&quantizer, weights)
    }

    fn error(weights: &[f32], integers: &[i8]) -> f32 {
        weights.iter().zip(integers).map(|(w, q)| w - f32::from(*q)).sum()
    }

    #[test]
    fn the_weights_that_are_nearest_to_a_tie_move() {
        let weights = [0.4, 0.3, 0.45, 127.0, -0.1];
        assert_eq!(round(Rounding::Nearest, &[], &weights), [0, 0, 0, 127, 0]);
        assert_eq!(round(Rounding::KeepSums, &[], &weights), [0, 0, 1, 127, 0]);
        let negative = weights.map(|w| -w);
        assert_eq!(round(Rounding::KeepSums, &[], &negative), [0, 0, -1, -127, 0]);
    }

    #[test]
    fn the_taps_of_an_input_channel_keep_their_sum_first() {
        let weights = [0.4, 0.4, 0.3, -0.4, -0.4, -0.3];
        assert_eq!(round(Rounding::KeepSums, &[], &weights), [0; 6]);
        assert_eq!(round(Rounding::KeepSums, &[&[0, 1, 2], &[3, 4, 5]], &weights), [1, 0, 0, -1, 0, 0]);
    }

    #[test]
    fn sums_are_kept_and_no_integer_is_farther_than_a_step_and_a_half_from_its_weight() {
        for len in [1, 2, 9, 25, 384] {
            for seed in 0..20 {
                let value = |i: usize| ((i * 7919 + seed * 104_729) % 10_007) as f32 / 10_007.0 * 20.0 - 3.0;
                let mut weights: Vec<_> = (0..len).map(value).collect();
                weights[len / 2] = 127.0; // the bound, which has nowhere to go
                let places: Vec<_> = (0..len).collect();
                let kernels: Vec<_> = places.chunks(3).collect();
                let integers = round(Rounding::KeepSums, &kernels, &weights);
                assert!(error(&weights, &integers).abs() <= 0.501, "{len} {seed}: {integers:?}");
                let close = weights.iter().zip(&integers).all(|(w, q)| (w - f32::from(*q)).abs() <= 1.5);
                assert!(close && integers[len / 2] == 127, "{len} {seed}");
            }
        }
    }

    /// Filters of 27 taps: the errors of nearest integers would add up to 1.5 steps on average.
    #[test]
    fn the_taps_of_a_filter_are_found_in_every_layout() {
        use crate::{ConvSpec, InputTransform, PackedWeights, WeightLayout};
        let plain = ConvSpec {
            axes: 3,
            channels: [6, 8],
            groups: 1,
            kernel: [3; 3],
            stride: [1; 3],
            dilation: [1; 3],
            transposed: false,
        };
        let grouped = ConvSpec { groups: 2, stride: [2, 1, 2], ..plain };
        let depthwise = ConvSpec { channels: [6, 6], groups: 6, ..plain };
        for spec in
            [plain, grouped, depthwise].into_iter().flat_map(|s| [s, ConvSpec { transposed: true, ..s }])
        {
            let layout = WeightLayout::Conv(spec);
            let w: Vec<_> = (0..layout.len()).map(|i| ((i * 7919) % 10_007) as f32 / 5003.5 - 1.0).collect();
            let how = (QuantRange::Symmetric, Rounding::KeepSums);
            let (packed, _) =
                PackedWeights::quantize_transformed(&w, &layout, how, InputTransform::default()).unwrap();
            let (q, scales) = (packed.to_integers(), packed.scales());
            let errors = w.iter().zip(&q).enumerate();
            let errors: Vec<_> =
                errors.map(|(i, (w, &q))| w / scales[layout.channel_of(i)] - f32::from(q)).collect();
            let mut channels = vec![0.0; layout.channels()];
            for (kernel, errors) in errors.chunks(27).enumerate() {
                let sum: f32 = errors.iter().sum();
                assert!(sum.abs() < 1.51, "{spec:?}: {sum}");
                channels[layout.channel_of(kernel * 27)] += sum;
            }
            assert!(channels.iter().all(|sum| sum.abs() < 0.51), "{spec:?}: {channels:?}");
        }
    }
}
