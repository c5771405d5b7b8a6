//! Attention over float vectors: scores, softmax, weighted sums, one pass for each few queries.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::isa::{Isa, Kernel, Op};
use crate::parallel::{for_each, threads_for};
use crate::vecmath::{exp, larger, softmax, total};

/// StridedHeads of the heads of a batch, somewhere in a slice.
#[derive(Clone, Copy)]
pub struct StridedHeads<'a> {
    /// The slice.
    pub values: &'a [f32],
    /// The distances from one sample to the next, from one head to the next, from one row to the next.
    pub steps: [usize; 3],
}

impl<'a> StridedHeads<'a> {
    /// The vectors of a row-major tensor `[batch, rows, heads, width]`.
    pub fn by_row(values: &'a [f32], [rows, heads, width]: [usize; 3]) -> Self {
        Self { values, steps: [rows * heads * width, width, heads * width] }
    }

    #[inline(always)]
    fn get(&self, at: [usize; 3], width: usize) -> &'a [f32] {
        let [batch, head, row] = self.steps;
        &self.values[at[0] * batch + at[1] * head + at[2] * row..][..width]
    }
}

/// Masked keys, and the score that replaces theirs.
#[derive(Clone, Copy)]
pub struct Mask<'a> {
    /// Rows of all keys, `true` for a masked key.
    pub keys: &'a [bool],
    /// The distances from one sample to the next, from one query to the next.
    pub steps: [usize; 2],
    /// The score of a masked key.
    pub score: f32,
}

/// `softmax(q · kᵀ * scale) · v`, head by head.
pub struct Attention<'a> {
    /// The samples.
    pub batch: usize,
    /// The heads of the queries.
    pub heads: usize,
    /// The heads of queries that share one head of keys and values.
    pub group: usize,
    /// The queries and the keys of a head.
    pub rows: [usize; 2],
    /// The numbers of a vector.
    pub width: usize,
    /// The queries, `rows[0]` a head.
    pub queries: StridedHeads<'a>,
    /// The keys, `rows[1]` a head.
    pub keys: StridedHeads<'a>,
    /// The values, one for each key.
    pub values: StridedHeads<'a>,
    /// The factor of each score.
    pub scale: f32,
    /// The masked keys; `None`: every query sees every key.
    pub mask: Option<Mask<'a>>,
    /// True if weights may add up to less than 1: a score of 0 competes that has no value.
    pub quiet_softmax: bool,
}

/// The attention of all queries, row-major `[batch, queries, heads, width]`.
///
/// # Panics
///
/// If a slice ends before its vectors do, or heads can't be parted into groups.
pub fn attention(kernel: Kernel, task: &Attention<'_>) -> Vec<f32> {
    task.check_output();
    let (row, [queries, keys]) = (task.heads * task.width, task.rows);
    let mut out = vec![0.0; task.batch * queries * row];
    if out.is_empty() || keys == 0 {
        return out;
    }
    task.check_inputs();
    let threads = threads_for(out.len() * keys * SCORE_COST);
    // A few queries of all heads, or heads apart where there is one. Not by threads: these must not change a sum.
    if queries > 1 {
        let samples = out.chunks_mut(queries * row).enumerate();
        let parts = samples.flat_map(|(sample, out)| {
            let parts = out.chunks_mut(QUERIES * row).enumerate();
            parts.map(move |(i, out)| (QueryBlock { sample, query: i * QUERIES, heads: 0..task.heads }, out))
        });
        for_each(threads, parts, |(part, out)| kernel.run(Attend { task, part: &part, out }));
    } else {
        let parts = out.chunks_mut(task.width).enumerate().map(|(i, out)| {
            let (sample, head) = (i / task.heads, i % task.heads);
            (QueryBlock { sample, query: 0, heads: head..head + 1 }, out)
        });
        for_each(threads, parts, |(part, out)| kernel.run(Attend { task, part: &part, out }));
    }
    out
}

/// The cost of an output for each key, in multiply-adds of integers: two of floats, and their memory.
const SCORE_COST: usize = 16;

/// At most [`QUERIES`] queries of one sample, and some of their heads.
struct QueryBlock {
    sample: usize,
    /// The first of the queries.
    query: usize,
    heads: Range<usize>,
}

/// The queries that look at a key together, one to a lane.
const QUERIES: usize = 8;
/// The keys that are looked at together.
const KEYS: usize = 4;
/// The numbers of a value that are summed together.
const COLUMNS: usize = 8;

/// One number for each of some queries.
type Lanes = [f32; QUERIES];

/// Computes a part; `out` has a row of its heads for each of its queries.
struct Attend<'a> {
    task: &'a Attention<'a>,
    part: &'a QueryBlock,
    out: &'a mut [f32],
}

impl Op for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        attend(self.task, self.part, self.out);
    }
}

#[inline(always)]
fn attend(task: &Attention<'_>, part: &QueryBlock, out: &mut [f32]) {
    let row = part.heads.len() * task.width;
    let mut scores = vec![[0.0; QUERIES]; task.rows[1]];
    let mut queries = vec![[0.0; QUERIES]; task.width];
    for (column, head) in part.heads.clone().enumerate() {
        let at = [part.sample, head, part.query];
        let columns = column * task.width..(column + 1) * task.width;
        if out.len() == row {
            attend_one(task, at, scores.as_flattened_mut(), &mut out[columns]);
        } else {
            let rows = out.chunks_mut(row).map(|row| &mut row[columns.clone()]);
            attend_block(task, at, (&mut queries, &mut scores), rows);
        }
    }
}

/// Computes a single query of a head.
#[inline(always)]
fn attend_one(task: &Attention<'_>, [sample, head, query]: [usize; 3], scores: &mut [f32], out: &mut [f32]) {
    let (keys, width, shared) = (task.rows[1], task.width, head / task.group);
    let (scores, x) = (&mut scores[..keys], task.queries.get([sample, head, query], width));
    for (key, score) in scores.iter_mut().enumerate() {
        *score = product(x, task.keys.get([sample, shared, key], width)) * task.scale;
    }
    if let Some((hidden, score)) = task.mask_of(sample, query) {
        let hidden = scores.iter_mut().zip(hidden).filter(|(_, hidden)| **hidden);
        hidden.for_each(|(weight, _)| *weight = score);
    }
    softmax(scores, task.quiet_softmax);
    out.fill(0.0);
    for (key, weight) in scores.iter().enumerate() {
        let values = task.values.get([sample, shared, key], width);
        out.iter_mut().zip(values).for_each(|(out, value)| *out += weight * value);
    }
}

/// Computes as many queries of a head as `out` has rows, at most [`QUERIES`].
#[inline(always)]
fn attend_block<'o>(
    task: &Attention<'_>,
    [sample, head, query]: [usize; 3],
    (queries, scores): (&mut [Lanes], &mut [Lanes]),
    out: impl Iterator<Item = &'o mut [f32]>,
) {
    let (width, shared) = (task.width, head / task.group);
    let mut out: Vec<_> = out.collect();
    queries.fill([0.0; QUERIES]);
    for n in 0..out.len() {
        let x = task.queries.get([sample, head, query + n], width);
        queries.iter_mut().zip(x).for_each(|(lanes, x)| lanes[n] = *x);
    }
    for (i, scores) in scores.chunks_mut(KEYS).enumerate() {
        let key = |key: usize| task.keys.get([sample, shared, i * KEYS + key], width);
        match scores {
            [a, b, c, d] => [*a, *b, *c, *d] = products(queries, std::array::from_fn(key), task.scale),
            few => few
                .iter_mut()
                .enumerate()
                .for_each(|(n, out)| [*out] = products(queries, [key(n)], task.scale)),
        }
    }
    for n in 0..out.len() {
        if let Some((hidden, score)) = task.mask_of(sample, query + n) {
            let hidden = scores.iter_mut().zip(hidden).filter(|(_, hidden)| **hidden);
            hidden.for_each(|(lanes, _)| lanes[n] = score);
        }
    }
    let factors = weights(scores, task.quiet_softmax);
    let whole = width / COLUMNS * COLUMNS;
    for column in (0..whole).step_by(COLUMNS) {
        let sums = weighted_sum::<COLUMNS>(task, [sample, shared, column], scores, factors);
        out.iter_mut().zip(sums).for_each(|(out, sums)| out[column..][..COLUMNS].copy_from_slice(&sums));
    }
    for column in whole..width {
        let sums = weighted_sum::<1>(task, [sample, shared, column], scores, factors);
        out.iter_mut().zip(sums).for_each(|(out, [sum])| out[column] = sum);
    }
}

impl Attention<'_> {
    /// Panics unless the heads can be parted and the output is not larger than memory can be.
    fn check_output(&self) {
        let Self { batch, heads, group, rows: [queries, _], width, .. } = *self;
        assert!(
            group > 0 && heads.is_multiple_of(group),
            "{heads} heads can't share keys in groups of {group}"
        );
        let sizes = [batch, queries, heads, width, size_of::<f32>()];
        let bytes = sizes.into_iter().try_fold(1usize, |bytes, size| bytes.checked_mul(size.max(1)));
        assert!(
            bytes.is_some_and(|bytes| bytes <= isize::MAX as usize),
            "the output is larger than memory can be"
        );
    }

    /// Panics unless every vector is in its slice, counted without wrapping.
    fn check_inputs(&self) {
        let Self { batch, heads, group, rows: [queries, keys], width, .. } = *self;
        let fits = |len: usize, counts: &[usize], steps: &[usize], width: usize| {
            let last = counts
                .iter()
                .zip(steps)
                .map(|(&count, &step)| count.saturating_sub(1) as u128 * step as u128);
            counts.contains(&0) || last.sum::<u128>() + width as u128 <= len as u128
        };
        let of_keys = [batch, heads / group, keys];
        for (vectors, counts) in
            [(&self.queries, [batch, heads, queries]), (&self.keys, of_keys), (&self.values, of_keys)]
        {
            let ends = fits(vectors.values.len(), &counts, &vectors.steps, width);
            assert!(ends, "{} values end before vectors {counts:?} of {width}", vectors.values.len());
        }
        if let Some(Mask { keys: mask, steps, .. }) = &self.mask {
            assert!(fits(mask.len(), &[batch, queries], steps, keys), "the mask ends before its last query");
        }
    }

    /// The masked keys of a query, and their score.
    #[inline(always)]
    fn mask_of(&self, sample: usize, query: usize) -> Option<(&[bool], f32)> {
        let Mask { keys, steps, score } = self.mask?;
        Some((&keys[sample * steps[0] + query * steps[1]..][..self.rows[1]], score))
    }
}

/// The product of two vectors.
#[inline(always)]
fn product(x: &[f32], y: &[f32]) -> f32 {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
    let sums = x.iter().zip(y).fold([0.0; 16], |sums, (x, y)| multiply_add(sums, *x, *y));
    x_rest.iter().zip(y_rest).fold(total(sums), |sum, (x, y)| sum + x * y)
}

/// The scores of `N` keys.
#[inline(always)]
fn products<const N: usize>(queries: &[Lanes], keys: [&[f32]; N], scale: f32) -> [Lanes; N] {
    let keys = keys.map(|key| &key[..queries.len()]);
    let mut sums = [[0.0; QUERIES]; N];
    for (i, queries) in queries.iter().enumerate() {
        for n in 0..N {
            sums[n] = multiply_add(sums[n], *queries, [keys[n][i]; QUERIES]);
        }
    }
    sums.map(|sums| sums.map(|sum| sum * scale))
}

/// Turns the scores of each lane into weights, but for a factor.
#[inline(always)]
fn weights(scores: &mut [Lanes], quiet_softmax: bool) -> Lanes {
    let mut largest = [f32::NEG_INFINITY; QUERIES];
    for scores in scores.iter() {
        largest = std::array::from_fn(|n| larger(largest[n], scores[n]));
    }
    for scores in scores.iter_mut() {
        *scores = std::array::from_fn(|n| scores[n] - largest[n]);
    }
    scores.as_flattened_mut().iter_mut().for_each(|x| *x = exp(*x));
    let mut sums = if quiet_softmax { largest.map(|x| exp(-x)) } else { [0.0; QUERIES] };
    for weights in scores.iter() {
        sums = std::array::from_fn(|n| sums[n] + weights[n]);
    }
    sums.map(|sum| 1.0 / sum)
}

/// The weighted sums of some columns of the values, for each lane.
#[inline(always)]
fn weighted_sum<const WIDTH: usize>(
    task: &Attention<'_>,
    [sample, head, column]: [usize; 3],
    weights: &[Lanes],
    factors: Lanes,
) -> [[f32; WIDTH]; QUERIES] {
    let mut sums = [[0.0; WIDTH]; QUERIES];
    for (key, weights) in weights.iter().enumerate() {
        let values = &task.values.get([sample, head, key], task.width)[column..][..WIDTH];
        let values: [f32; WIDTH] = std::array::from_fn(|i| values[i]);
        for n in 0..QUERIES {
            sums[n] = multiply_add(sums[n], [weights[n]; WIDTH], values);
        }
    }
    std::array::from_fn(|n| sums[n].map(|sum| sum * factors[n]))
}

/// Adds products by value, so that arrays stay in registers.
#[inline(always)]
fn multiply_add<const N: usize>(mut sums: [f32; N], x: [f32; N], y: [f32; N]) -> [f32; N] {
    for i in 0..N {
        sums[i] += x[i] * y[i];
    }
    sums
}
