//! The steps that outputs go through before they are stored.

use crate::vecmath::Activation;

/// One of the steps that outputs go through before they are stored.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A function of each output.
    Activate(Activation),
    /// The sum with another tensor, of the shape and the layout of the outputs.
    Add(&'a [f32]),
    /// An operation of each output with the number of its channel.
    Channels(ChannelOp, &'a [f32]),
}

impl Step<'_> {
    /// Applies it to neighbouring outputs of a row that has so many channels, from this channel on.
    #[inline(always)]
    pub(super) fn apply(&self, [row, channel]: [usize; 2], channels: usize, out: &mut [f32]) {
        match self {
            Self::Activate(activation) => activation.apply(out),
            Self::Add(other) => ChannelOp::Add.apply(out, &other[row * channels..][channel..channels]),
            Self::Channels(op, numbers) => op.apply(out, &numbers[channel..]),
        }
    }
}

/// An operation of an output, on the left, with the number of its channel: what a BatchNorm is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub enum ChannelOp {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl ChannelOp {
    #[inline(always)]
    fn apply(self, out: &mut [f32], numbers: &[f32]) {
        let each = out.iter_mut().zip(numbers);
        match self {
            Self::Add => each.for_each(|(out, y)| *out += y),
            Self::Subtract => each.for_each(|(out, y)| *out -= y),
            Self::Multiply => each.for_each(|(out, y)| *out *= y),
            Self::Divide => each.for_each(|(out, y)| *out /= y),
        }
    }
}

/// # Panics
///
/// If a tensor that is added has another number of values than the outputs, or an operation another number than the channels.
pub(crate) fn check_steps(steps: &[Step<'_>], outputs: usize, channels: usize) {
    for step in steps {
        match step {
            Step::Activate(_) => {}
            Step::Add(other) => {
                let len = other.len();
                assert!(len == outputs, "{len} values are to be added to {outputs} outputs");
            }
            Step::Channels(_, numbers) => {
                let len = numbers.len();
                assert!(len == channels, "{len} numbers are for {channels} channels");
            }
        }
    }
}
