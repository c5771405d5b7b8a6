//! Activations of float values that no product writes.

use crate::isa::{Isa, Kernel, Op};
use crate::parallel::{for_each, threads_for};
use crate::uninit::{Block, collect_uninit, init_copy};
use crate::vecmath::Activation;

/// The activation of each value.
///
/// # Example
///
/// ```
/// use burn_int8_kernels::{Activation, Kernel, activate};
///
/// let out = activate(Kernel::detect(), &[-100.0, 0.0, 100.0], Activation::Sigmoid);
/// assert_eq!(out, [0.0, 0.5, 1.0]);
/// ```
pub fn activate(kernel: Kernel, x: &[f32], activation: Activation) -> Vec<f32> {
    let threads = threads_for(x.len() * VALUE_COST);
    let part = x.len().div_ceil(threads * 4).max(1);
    let [out] = collect_uninit([x.len()], |[out]| {
        let parts = out.chunks(part).zip(x.chunks(part));
        for_each(threads, parts, |(out, x)| {
            let out = out.into_block(x.len());
            kernel.run(Activate { out, x, activation });
        });
    });
    out
}

/// The cost of a value, in multiply-adds of integers.
const VALUE_COST: usize = 64;
/// The values that are copied and then changed, so few that they are in the fastest cache.
const STRETCH: usize = 2048;

/// Writes the activations of `x` to the one row of `out`.
struct Activate<'a> {
    out: Block<'a, f32>,
    x: &'a [f32],
    activation: Activation,
}

impl Op for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, _isa: I) {
        for (x, start) in self.x.chunks(STRETCH).zip((0..).step_by(STRETCH)) {
            self.out.append(0, start..start + x.len(), |out| {
                let values = init_copy::<_, STRETCH>(out, x);
                self.activation.apply(values);
                values
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel gives the bits of one value after the other, whatever the length and however many threads.
    #[test]
    fn all_kernels_and_lengths_agree() {
        for length in [0, 1, 17, 300, 200_000] {
            let x: Vec<f32> = (0..length).map(|i| (i % 601) as f32 / 30.0 - 10.0).collect();
            for activation in [Activation::Gelu, Activation::Sigmoid, Activation::Tanh] {
                let one = |x: &f32| {
                    let mut value = [*x];
                    activation.apply(&mut value);
                    value[0].to_bits()
                };
                let expected: Vec<_> = x.iter().map(one).collect();
                for kernel in Kernel::all() {
                    let out = activate(kernel, &x, activation).into_iter().map(f32::to_bits);
                    assert!(out.eq(expected.iter().copied()), "{kernel:?}, {activation:?}, {length}");
                }
            }
        }
    }
}
