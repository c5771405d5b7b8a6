//! Layer normalization of float rows.

use crate::isa::{Isa, Kernel, Op};
use crate::parallel::{for_each, threads_for};
use crate::vecmath::sum;

/// The normalization of rows: `(x - mean) / sqrt(variance + epsilon) * gamma + beta`.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// One factor a column.
    pub gamma: &'a [f32],
    /// One summand a column, if there are any.
    pub beta: Option<&'a [f32]>,
    /// A number that is added to the variance.
    pub epsilon: f32,
}

/// The rows of `x`, or of `x` plus `residual`, normalized.
///
/// # Panics
///
/// If a slice does not match the others.
pub fn layer_norm(kernel: Kernel, x: &[f32], residual: Option<&[f32]>, norm: &Norm<'_>) -> Vec<f32> {
    let width = norm.gamma.len();
    let rows = x.len() / width.max(1);
    assert_eq!(x.len(), rows * width, "{} values are no rows of {width}", x.len());
    assert!(norm.beta.is_none_or(|beta| beta.len() == width), "gamma and beta differ in length");
    assert!(residual.is_none_or(|residual| residual.len() == x.len()), "the residual does not match");
    let mut out = x.to_vec();
    if out.is_empty() {
        return out;
    }
    let threads = threads_for(x.len() * VALUE_COST);
    let part = rows.div_ceil(threads * 4) * width;
    let parts = out.chunks_mut(part).enumerate().map(|(i, out)| {
        let residual = residual.map(|residual| &residual[i * part..][..out.len()]);
        (out, residual)
    });
    for_each(threads, parts, |(out, residual)| kernel.run(Normalize { rows: out, residual, norm }));
    out
}

/// The cost of a value, in multiply-adds of integers.
const VALUE_COST: usize = 32;

/// Normalizes rows in place, after it has added the residual's.
struct Normalize<'a> {
    rows: &'a mut [f32],
    residual: Option<&'a [f32]>,
    norm: &'a Norm<'a>,
}

impl Op for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        normalize(self.rows, self.residual, self.norm);
    }
}

#[inline(always)]
fn normalize(rows: &mut [f32], residual: Option<&[f32]>, norm: &Norm<'_>) {
    let width = norm.gamma.len();
    for (i, row) in rows.chunks_exact_mut(width).enumerate() {
        if let Some(residual) = residual {
            let residual = &residual[i * width..][..width];
            row.iter_mut().zip(residual).for_each(|(x, residual)| *x += residual);
        }
        let mean = sum(row, |x| x) / width as f32;
        let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
        let factor = 1.0 / (variance + norm.epsilon).sqrt();
        let scaled = row.iter_mut().zip(norm.gamma);
        scaled.for_each(|(x, gamma)| *x = (*x - mean) * factor * gamma);
        if let Some(beta) = norm.beta {
            row.iter_mut().zip(beta).for_each(|(x, beta)| *x += beta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of normalized values around 1, after sums of up to a thousand `f32`.
    const ERROR: f64 = 2e-6;

    #[test]
    fn rows_are_normalized_on_every_kernel_alike() {
        for (rows, width) in [(1, 1), (2, 3), (3, 16), (5, 17), (2, 384), (300, 100)] {
            let value = |i: usize| ((i * 7919) % 2003) as f32 / 1001.5 + (i % 7) as f32;
            let x: Vec<_> = (0..rows * width).map(value).collect();
            let y: Vec<_> = (0..rows * width).map(|i| value(i * 3 + 1)).collect();
            let gamma: Vec<_> = (0..width).map(|i| 1.0 + i as f32 / width as f32).collect();
            let beta: Vec<_> = gamma.iter().map(|gamma| gamma - 1.5).collect();
            for (residual, beta) in [(None, None), (Some(y.as_slice()), Some(beta.as_slice()))] {
                let norm = Norm { gamma: &gamma, beta, epsilon: 1e-5 };
                let mut outs = Kernel::tested().map(|kernel| layer_norm(kernel, &x, residual, &norm));
                let first = outs.next().expect("there is the portable kernel");
                assert!(outs.all(|out| out == first), "{rows} x {width}");
                let sum: Vec<_> = (0..x.len())
                    .map(|i| f64::from(x[i]) + residual.map_or(0.0, |residual| f64::from(residual[i])))
                    .collect();
                for (row, out) in sum.chunks(width).zip(first.chunks(width)) {
                    let mean = row.iter().sum::<f64>() / width as f64;
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                    for (i, (x, got)) in row.iter().zip(out).enumerate() {
                        let expected = (x - mean) / (variance + 1e-5).sqrt() * f64::from(gamma[i])
                            + beta.map_or(0.0, |beta| f64::from(beta[i]));
                        // One value alone: what is left of it is divided by the root of epsilon alone.
                        let error = if width == 1 { 1e-3 } else { ERROR };
                        assert!((f64::from(*got) - expected).abs() < error, "{got}, not {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_normalized_to_nothing() {
        for width in [0, 4] {
            let gamma = vec![1.0; width];
            let norm = Norm { gamma: &gamma, beta: None, epsilon: 1e-5 };
            assert!(Kernel::tested().all(|kernel| layer_norm(kernel, &[], None, &norm).is_empty()));
        }
    }

    #[test]
    #[should_panic(expected = "5 values are no rows of 4")]
    fn half_a_row_is_refused() {
        let norm = Norm { gamma: &[1.0; 4], beta: None, epsilon: 1e-5 };
        layer_norm(Kernel::detect(), &[0.0; 5], None, &norm);
    }
}
