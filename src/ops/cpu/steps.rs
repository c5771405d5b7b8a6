//! The steps of outputs, as the kernels take them.

use std::borrow::Cow;

use burn::prelude::*;

use crate::ops::op::OutputStep;
use burn_int8_kernels::Step;

/// The steps, with the values of their tensors.
pub(super) fn steps<'a, B: Backend>(
    steps: &[OutputStep<B>],
    operands: &'a [Cow<'_, [f32]>],
) -> Vec<Step<'a>> {
    let mut operands = operands.iter();
    let mut operand = || operands.next().expect("one operand for each step that has a tensor");
    let step = |step: &OutputStep<B>| match step {
        OutputStep::Activate(activation) => Step::Activate(*activation),
        OutputStep::Add(_) => Step::Add(operand()),
        OutputStep::Channels(op, _) => Step::Channels(*op, operand()),
    };
    steps.iter().map(step).collect()
}
