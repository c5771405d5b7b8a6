//! The images, where they come from is in README.md.

use std::error::Error;
use std::num::ParseIntError;

use burn::prelude::*;

pub const SIDE: usize = 8;
pub const CLASSES: usize = 10;
/// The largest value of a pixel.
pub const INK: u8 = 16;

#[derive(Clone)]
pub struct Digit {
    /// Its line in digits.csv, from 1.
    pub line: usize,
    pub pixels: Vec<u8>,
    pub class: usize,
}

/// The digits for training and for the test: four fifths and one fifth, the same ones in every run.
pub fn load() -> Result<(Vec<Digit>, Vec<Digit>), Box<dyn Error>> {
    let mut digits = Vec::new();
    for (index, line) in include_str!("digits.csv").lines().enumerate() {
        let digit =
            parse(index + 1, line).map_err(|error| format!("digits.csv, line {}: {error}", index + 1))?;
        digits.push(digit);
    }
    shuffle(&mut digits, 0); // the file is in the order of its writers
    let test = digits.split_off(digits.len() - digits.len().div_ceil(5));
    Ok((digits, test))
}

fn parse(line: usize, text: &str) -> Result<Digit, String> {
    let numbers: Result<Vec<u8>, ParseIntError> = text.split(',').map(str::parse).collect();
    let mut pixels = numbers.map_err(|error| error.to_string())?;
    let class = pixels.pop().map_or(CLASSES, usize::from);
    if pixels.len() != SIDE * SIDE || class >= CLASSES || pixels.iter().any(|pixel| *pixel > INK) {
        return Err(format!("{} pixels of 0 to {INK} and a class below {CLASSES} expected", SIDE * SIDE));
    }
    Ok(Digit { line, pixels, class })
}

/// `[n, 1, SIDE, SIDE]`, values in 0..1.
pub fn images<B: Backend>(digits: &[Digit], device: &B::Device) -> Tensor<B, 4> {
    let values: Vec<_> = digits
        .iter()
        .flat_map(|digit| &digit.pixels)
        .map(|pixel| f32::from(*pixel) / f32::from(INK))
        .collect();
    Tensor::from_data(TensorData::new(values, [digits.len(), 1, SIDE, SIDE]), device)
}

/// `[n]`
pub fn classes<B: Backend>(digits: &[Digit], device: &B::Device) -> Tensor<B, 1, Int> {
    let values: Vec<_> = digits.iter().map(|digit| digit.class as i64).collect();
    Tensor::from_data(TensorData::new(values, [digits.len()]), device)
}

/// A random order, the same everywhere for the same seed.
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for i in (1..items.len()).rev() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        items.swap(i, (state >> 33) as usize % (i + 1)); // the high bits are the random ones
    }
}
