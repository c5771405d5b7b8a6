//! The sums over all calls of a layer: their size depends on the layer, not on the number of inputs.

use crate::distortion::ErrorSums;

/// The sums over what reached a layer, and over what came out of it.
#[derive(Debug, Clone)]
pub(crate) struct Statistics {
    pub(crate) calls: u64,
    pub(crate) input: InputSums,
    /// The error of each scheme that was tried.
    pub(crate) errors: Vec<ErrorSums>,
}

impl Statistics {
    pub(super) fn new(schemes: usize) -> Self {
        Self { calls: 0, input: InputSums::new(0), errors: vec![ErrorSums::default(); schemes] }
    }

    /// Adds a call.
    pub(super) fn add(&mut self, input: &InputSums, errors: &[ErrorSums]) {
        self.calls += 1;
        self.input.add(input);
        self.errors.iter_mut().zip(errors).for_each(|(sums, error)| sums.add(error));
    }
}

/// The range of inputs and the sum of their squares; of finite values, as one that is not would hide the others.
#[derive(Debug, Clone)]
pub(crate) struct InputSums {
    /// The number of finite values.
    pub(crate) values: u64,
    /// The number of values that are NaN or infinite.
    pub(crate) non_finite: u64,
    pub(crate) min: f32,
    pub(crate) max: f32,
    pub(crate) squares: f64,
    /// The largest magnitude in each channel.
    pub(crate) channels: Vec<f32>,
}

impl InputSums {
    pub(crate) fn new(channels: usize) -> Self {
        let (min, max) = (f32::INFINITY, f32::NEG_INFINITY);
        Self { values: 0, non_finite: 0, min, max, squares: 0.0, channels: vec![0.0; channels] }
    }

    /// Adds values that have `run` neighbours of one channel, then as many of the next, and so on from the first again.
    pub(crate) fn add_values(&mut self, x: &[f32], run: usize) {
        let Self { values, non_finite, min, max, squares, channels } = self;
        let channel_count = channels.len();
        for (index, run) in x.chunks(run.max(1)).enumerate() {
            let absmax = &mut channels[index % channel_count];
            for &x in run {
                if !x.is_finite() {
                    *non_finite += 1;
                    continue;
                }
                *values += 1;
                *min = min.min(x);
                *max = max.max(x);
                *absmax = absmax.max(x.abs());
                *squares += f64::from(x) * f64::from(x);
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.values += other.values;
        self.non_finite += other.non_finite;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.squares += other.squares;
        self.channels.resize(self.channels.len().max(other.channels.len()), 0.0);
        self.channels.iter_mut().zip(&other.channels).for_each(|(a, b)| *a = a.max(*b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_the_last_axis_or_runs_along_it() {
        let x = [1.0, -2.0, 3.0, 4.0, f32::NAN, -6.0];
        let mut rows = InputSums::new(3);
        rows.add_values(&x, 1);
        assert_eq!(rows.channels, [4.0, 2.0, 6.0]);
        assert_eq!((rows.values, rows.non_finite, rows.min, rows.max), (5, 1, -6.0, 4.0));
        assert_eq!(rows.squares, 1.0 + 4.0 + 9.0 + 16.0 + 36.0);
        let mut images = InputSums::new(2);
        images.add_values(&x, 3);
        images.add_values(&[], 3);
        assert_eq!(images.channels, [3.0, 6.0]);
        let mut sums = InputSums::new(0);
        sums.add(&rows);
        sums.add(&rows);
        assert_eq!((sums.values, sums.channels), (10, vec![4.0, 2.0, 6.0]));
    }
}
