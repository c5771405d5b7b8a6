//! Every kernel against the definition.

use super::*;
use crate::isa::Kernel;

/// The error of weighted means of values below 1, from scores of some tens of products.
const ERROR: f64 = 2e-6;

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// Attention by its definition, in `f64`.
fn naive(task: &Attention<'_>) -> Vec<f64> {
    let (mut out, [queries, keys]) = (Vec::new(), task.rows);
    for (sample, query, head) in (0..task.batch * queries * task.heads)
        .map(|i| (i / task.heads / queries, i / task.heads % queries, i % task.heads))
    {
        let at =
            |vectors: &StridedHeads<'_>, head, row| vectors.get([sample, head, row], task.width).to_vec();
        let x = at(&task.queries, head, query);
        let score = |key| {
            let is_masked = |mask: &Mask<'_>| mask.keys[sample * mask.steps[0] + query * mask.steps[1] + key];
            let masked = task.mask.filter(is_masked);
            let y = at(&task.keys, head / task.group, key);
            let product: f64 = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(y)).sum();
            masked.map_or(product * f64::from(task.scale), |mask| f64::from(mask.score)).exp()
        };
        let weights: Vec<_> = (0..keys).map(score).collect();
        let sum = weights.iter().sum::<f64>() + f64::from(u8::from(task.quiet_softmax));
        for column in 0..task.width {
            let value = |key| f64::from(at(&task.values, head / task.group, key)[column]);
            out.push((0..keys).map(|key| weights[key] / sum * value(key)).sum());
        }
    }
    out
}

fn check(task: &Attention<'_>) {
    let expected = naive(task);
    let mut outs = Kernel::tested().map(|kernel| attention(kernel, task));
    let first = outs.next().expect("there is the portable kernel");
    assert!(outs.all(|out| out == first), "every kernel computes the same");
    assert_eq!(first.len(), expected.len());
    for (got, expected) in first.iter().zip(expected) {
        assert!((f64::from(*got) - expected).abs() < ERROR, "{got}, not {expected}");
    }
}

/// All sizes around blocks of 8 queries, 4 keys, 8 columns; heads that share keys; masks of each kind.
#[test]
fn every_kernel_equals_the_definition() {
    for (batch, heads, group) in [(1, 1, 1), (2, 3, 1), (2, 4, 2)] {
        for rows in [[1, 1], [1, 9], [2, 3], [7, 4], [8, 5], [9, 8], [17, 6]] {
            for width in [1, 7, 8, 20, 33] {
                let [queries, keys] = rows;
                let x = values(batch * heads * queries * width, 1);
                let [k, v] = [2, 3].map(|seed| values(batch * heads / group * keys * width, seed));
                let mut task = Attention {
                    batch,
                    heads,
                    group,
                    rows,
                    width,
                    queries: StridedHeads::by_row(&x, [queries, heads, width]),
                    keys: StridedHeads::by_row(&k, [keys, heads / group, width]),
                    values: StridedHeads::by_row(&v, [keys, heads / group, width]),
                    scale: 0.7,
                    mask: None,
                    quiet_softmax: width == 20,
                };
                check(&task);
                let mask: Vec<_> = (0..batch * queries * keys).map(|i| i % 3 == 1).collect();
                for steps in [[queries * keys, keys], [keys, 0], [0, keys], [0, 0]] {
                    task.mask = Some(Mask { keys: &mask, steps, score: -3.0 });
                    check(&task);
                }
            }
        }
    }
}

/// The sizes are enough for several threads: rows apart, and heads apart where there is one row.
#[test]
fn threads_leave_no_seam() {
    for (batch, rows, heads, width) in [(3, [40, 70], 4, 64), (1, [1, 3000], 8, 128)] {
        let [queries, keys] = rows;
        let x = values(batch * heads * queries * width, 4);
        let k = values(batch * heads * keys * width, 5);
        check(&Attention {
            batch,
            heads,
            group: 1,
            rows,
            width,
            queries: StridedHeads::by_row(&x, [queries, heads, width]),
            keys: StridedHeads::by_row(&k, [keys, heads, width]),
            values: StridedHeads::by_row(&k, [keys, heads, width]),
            scale: 0.1,
            mask: None,
            quiet_softmax: false,
        });
    }
}

/// The cut between threads changes no bit, for the one query of a token and for those of a text.
#[test]
fn any_number_of_threads_computes_the_same() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    for rows in [[1, 2000], [12, 200]] {
        let (heads, width) = (8, 64);
        let x = values(heads * rows[1] * width, 6);
        let vectors = |rows| StridedHeads::by_row(&x, [rows, heads, width]);
        let task = Attention {
            batch: 1,
            heads,
            group: 1,
            rows,
            width,
            queries: vectors(rows[0]),
            keys: vectors(rows[1]),
            values: vectors(rows[1]),
            scale: 0.1,
            mask: None,
            quiet_softmax: false,
        };
        let [one, many] = [1, 5].map(|threads| pool(threads).install(|| attention(Kernel::detect(), &task)));
        assert_eq!(one, many);
    }
}

/// A score that is not finite spoils its own query alone; keys that lie heads apart are found.
#[test]
fn not_a_number_stays_in_its_query() {
    let (queries, keys, width) = (9, 4, 8);
    let mut x = values(queries * width, 1);
    x[3 * width] = f32::NAN;
    let k = values(keys * width, 2);
    let vectors = |values| StridedHeads { values, steps: [0, 0, width] };
    let task = Attention {
        batch: 1,
        heads: 1,
        group: 1,
        rows: [queries, keys],
        width,
        queries: vectors(&x),
        keys: vectors(&k),
        values: vectors(&k),
        scale: 1.0,
        mask: None,
        quiet_softmax: false,
    };
    for kernel in Kernel::tested() {
        for (query, out) in attention(kernel, &task).chunks(width).enumerate() {
            assert!(out.iter().all(|x| x.is_nan() == (query == 3)), "{kernel:?}, query {query}");
        }
    }
}

#[test]
fn no_keys_give_zeros_and_no_queries_nothing() {
    let none = StridedHeads { values: &[], steps: [0, 0, 0] };
    for (rows, expected) in [([2, 0], 8), ([0, 3], 0)] {
        let task = Attention {
            batch: 1,
            heads: 2,
            group: 1,
            rows,
            width: 2,
            queries: none,
            keys: none,
            values: none,
            scale: 1.0,
            mask: None,
            quiet_softmax: false,
        };
        assert!(Kernel::tested().all(|kernel| attention(kernel, &task) == vec![0.0; expected]));
    }
}
