//! The speed at which this machine reads memory: it bounds a model that reads all its weights for each token.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

/// Larger than any cache.
pub const BYTES: usize = 512 << 20;
const ROUNDS: usize = 9;

/// Bytes a second that all cores together read: the median of some rounds. Others use the memory, too, and a single round of
/// a moment without them is not what a model gets over seconds.
pub fn bandwidth() -> f64 {
    let words = vec![1_u64; BYTES / size_of::<u64>()];
    let part = words.len() / rayon::current_num_threads() / 8;
    let round = || {
        let start = Instant::now();
        let sum: u64 = words.par_chunks(part.max(1)).map(sum).reduce(|| 0, u64::wrapping_add);
        black_box(sum);
        BYTES as f64 / start.elapsed().as_secs_f64()
    };
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Adds up in several sums, so that none waits for another.
fn sum(words: &[u64]) -> u64 {
    const LANES: usize = 32;
    let mut sums = [0_u64; LANES];
    for words in words.as_chunks::<LANES>().0 {
        sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
    }
    sums.iter().fold(0, |sum, part| sum.wrapping_add(*part))
}
