//! The distance of outputs from those of float: plain data, and the sums that it is computed from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The distance of what INT8 computes from what float computes, on the same inputs.
///
/// # Example
///
/// ```
/// use burn_int8::Distortion;
///
/// let exact = Distortion::between(&[1.0, 2.0], &[1.0, 2.0]);
/// assert_eq!(exact, Some(Distortion::Zero));
/// let close = Distortion::between(&[3.0, 4.0], &[3.0, 3.5]).unwrap();
/// assert_eq!(close.sqnr_db(), 20.0); // 25 of signal, 0.25 of noise
/// assert_eq!(Distortion::between(&[1.0, 2.0], &[1.0, f32::NAN]), Some(Distortion::Infinite));
/// assert_eq!(Distortion::between(&[], &[]), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Distortion {
    /// All values are equal.
    Zero,
    /// Some values differ.
    Finite {
        /// Signal to quantization noise in dB: `10 * log10(sum(float^2) / sum((int8 - float)^2))`.
        sqnr_db: f64,
        /// The cosine of the angle between all values of float and all of INT8; 0 if those of INT8 are all zero.
        cosine: f64,
    },
    /// No number says how far they are: there is a NaN or an infinity among the values, or float has only zeros where INT8 has
    /// not. It is worse than any number.
    Infinite,
}

impl Distortion {
    /// The distance of `int8` from `float`; none if there are no values.
    ///
    /// # Panics
    ///
    /// If one has more values than the other.
    pub fn between(float: &[f32], int8: &[f32]) -> Option<Self> {
        let mut sums = ErrorSums::default();
        sums.add_values(float, int8);
        sums.distortion()
    }

    /// Signal to quantization noise in dB: infinite for equal values, minus infinity where no number says how far they are.
    pub fn sqnr_db(&self) -> f64 {
        match *self {
            Self::Zero => f64::INFINITY,
            Self::Finite { sqnr_db, .. } => sqnr_db,
            Self::Infinite => f64::NEG_INFINITY,
        }
    }

    /// The cosine: 1 for equal values, minus infinity where no number says how far they are.
    pub fn cosine(&self) -> f64 {
        match *self {
            Self::Zero => 1.0,
            Self::Finite { cosine, .. } => cosine,
            Self::Infinite => f64::NEG_INFINITY,
        }
    }
}

impl fmt::Display for Distortion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.pad("exact"),
            Self::Finite { sqnr_db, .. } => f.pad(&format!("{sqnr_db:.1} dB")),
            Self::Infinite => f.pad("not finite"),
        }
    }
}

/// Sums over pairs of values, from which a distortion is computed. A value that is not finite makes a sum that is not, and
/// squares of finite `f32` never do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ErrorSums {
    pub(crate) values: u64,
    signal: f64,
    noise: f64,
    product: f64,
    /// The squares of the values that are compared with the signal.
    power: f64,
}

impl ErrorSums {
    /// Adds pairs of values.
    ///
    /// # Panics
    ///
    /// If one has more values than the other.
    pub(crate) fn add_values(&mut self, float: &[f32], int8: &[f32]) {
        assert_eq!(float.len(), int8.len(), "outputs of INT8 are as many as those of float");
        self.values += float.len() as u64;
        for (&float, &int8) in float.iter().zip(int8) {
            let (float, int8) = (f64::from(float), f64::from(int8));
            self.signal += float * float;
            self.noise += (int8 - float) * (int8 - float);
            self.product += int8 * float;
            self.power += int8 * int8;
        }
    }

    /// Adds values that no number says the error of.
    pub(crate) fn add_infinite(&mut self, values: usize) {
        self.values += values as u64;
        self.noise = if values == 0 { self.noise } else { f64::INFINITY };
    }

    /// Adds other sums.
    pub(crate) fn add(&mut self, other: &Self) {
        self.values += other.values;
        self.signal += other.signal;
        self.noise += other.noise;
        self.product += other.product;
        self.power += other.power;
    }

    /// The distortion; none if there are no values.
    pub(crate) fn distortion(&self) -> Option<Distortion> {
        let Self { values, signal, noise, product, power } = *self;
        let is_finite = signal.is_finite() && noise.is_finite();
        Some(match () {
            () if values == 0 => return None,
            () if is_finite && noise == 0.0 => Distortion::Zero,
            () if !is_finite || signal == 0.0 => Distortion::Infinite,
            () => Distortion::Finite {
                sqnr_db: 10.0 * (signal / noise).log10(),
                cosine: if power == 0.0 { 0.0 } else { product / (signal * power).sqrt() },
            },
        })
    }
}
