//! Output memory that is written once, without zeros first.
//!
//! The length of an output is never taken from a number that somebody counted: a [`Block`] keeps for each of its rows how
//! many elements from the start on are initialised, lets writers fill only the next ones, and takes from what they return
//! that they did. Zeros written first would cost 2 to 3 % of a product with a large output.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Vectors of the `lens` values that `fill` writes through the blocks of each slice.
///
/// # Panics
///
/// If an element is not written.
#[allow(unsafe_code, reason = "the one place where a length is set")]
pub(crate) fn collect_uninit<T: Copy, const N: usize>(
    lens: [usize; N],
    fill: impl FnOnce([UninitSlice<'_, T>; N]),
) -> [Vec<T>; N] {
    let mut outs = lens.map(Vec::with_capacity);
    let counts = [(); N].map(|()| AtomicUsize::new(0));
    let mut each = outs.iter_mut().zip(lens).zip(&counts);
    fill(std::array::from_fn(|_| {
        let ((out, len), count) = each.next().expect("one for each of `N`");
        UninitSlice { elements: &mut out.spare_capacity_mut()[..len], count }
    }));
    for ((out, len), count) in outs.iter_mut().zip(lens).zip(counts) {
        assert_eq!(count.into_inner(), len, "every output is written");
        // SAFETY: the capacity is at least `len`. The slice of `len` elements was cut only into disjoint parts, up to the rows
        // of blocks; each block adds once, when it is dropped, how many elements of its rows are initialised (the invariant
        // of `Row`). They are `len`: all of them.
        unsafe { out.set_len(len) };
    }
    outs
}

/// A part of an output that is still to be written.
pub(crate) struct UninitSlice<'a, T> {
    elements: &'a mut [MaybeUninit<T>],
    /// The initialised elements of the whole output.
    count: &'a AtomicUsize,
}

impl<'a, T: Copy> UninitSlice<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.elements.len()
    }

    /// Cuts into parts of `len` elements; the last one may be shorter.
    pub(crate) fn chunks(self, len: usize) -> impl Iterator<Item = Self> {
        let count = self.count;
        self.elements.chunks_mut(len).map(move |elements| Self { elements, count })
    }

    /// All of it as one block of rows of `n`: at most [`BLOCK_ROWS`] of them.
    pub(crate) fn into_block(self, n: usize) -> Block<'a, T> {
        let (rows, len) = split_rows(self.elements, n);
        Block { first_row: 0, first_column: 0, rows, len, count: self.count }
    }

    /// Cuts a row-major matrix with rows of `n` into blocks of at most `rows` x `columns`, left to right, then down.
    pub(crate) fn into_blocks(self, n: usize, [rows, columns]: [usize; 2]) -> Blocks<'a, T> {
        assert!((1..=BLOCK_ROWS).contains(&rows) && columns > 0 && n > 0);
        let count = self.count;
        Blocks {
            rest: self.elements,
            n,
            size: [rows, columns],
            band: no_rows(),
            band_rows: 0,
            next: [0, n],
            count,
        }
    }
}

/// The most rows of a [`Block`].
pub(crate) const BLOCK_ROWS: usize = 64;

/// The elements of one row of a block; those before `initialized` are initialised.
struct Row<'a, T> {
    elements: &'a mut [MaybeUninit<T>],
    initialized: usize,
}

fn no_rows<'a, T>() -> [Row<'a, T>; BLOCK_ROWS] {
    std::array::from_fn(|_| Row { elements: &mut [], initialized: 0 })
}

fn split_rows<T>(matrix: &mut [MaybeUninit<T>], n: usize) -> ([Row<'_, T>; BLOCK_ROWS], usize) {
    let len = matrix.len() / n;
    assert!(len <= BLOCK_ROWS, "{len} rows are too many for a block");
    let mut rows = matrix.chunks_exact_mut(n);
    let rows = std::array::from_fn(|_| Row { elements: rows.next().unwrap_or_default(), initialized: 0 });
    (rows, len)
}

/// A rectangle of a row-major output matrix, whose rows are written from left to right.
pub(crate) struct Block<'a, T> {
    pub(crate) first_row: usize,
    pub(crate) first_column: usize,
    rows: [Row<'a, T>; BLOCK_ROWS],
    len: usize,
    count: &'a AtomicUsize,
}

impl<T: Copy> Block<'_, T> {
    pub(crate) fn rows(&self) -> usize {
        self.len
    }

    pub(crate) fn columns(&self) -> usize {
        self.rows.first().map_or(0, |row| row.elements.len())
    }

    /// Lets `fill` write the next elements of a row, which are the ones at `columns` from the block's first column on.
    ///
    /// # Panics
    ///
    /// If these are not the next ones, or `fill` does not return all of what it got.
    #[inline(always)]
    pub(crate) fn append(
        &mut self,
        row: usize,
        columns: Range<usize>,
        fill: impl for<'o> FnOnce(&'o mut [MaybeUninit<T>]) -> &'o mut [T],
    ) {
        let row = &mut self.rows[row];
        assert!(row.initialized == columns.start, "a row is written from left to right");
        let out = &mut row.elements[columns];
        let (start, len) = (out.as_ptr(), out.len());
        let filled = fill(out);
        // The writer shows by what it returns that these elements are initialised.
        assert!(
            std::ptr::eq(filled.as_ptr().cast(), start) && filled.len() == len,
            "a writer fills what it gets"
        );
        row.initialized += len;
    }

    /// Writes the next elements of a row: as many of `values` as there are `columns`.
    #[inline(always)]
    pub(crate) fn append_copy<const AT_ONCE: usize>(
        &mut self,
        row: usize,
        columns: Range<usize>,
        values: &[T],
    ) {
        self.append(row, columns, |out| init_copy::<_, AT_ONCE>(out, values));
    }

    /// Writes the next elements of some rows: the start of one of `values` each, as many as there are `columns`.
    #[inline(always)]
    pub(crate) fn append_rows<const N: usize>(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
        values: &[[T; N]],
    ) {
        for (row, values) in self.rows[rows].iter_mut().zip(values) {
            assert!(row.initialized == columns.start, "a row is written from left to right");
            let out = &mut row.elements[columns.clone()];
            row.initialized += init_copy::<_, 16>(out, values).len();
        }
    }

    /// Initialises all rows, each with its value, so that elements can be written in any order.
    pub(crate) fn fill(&mut self, value: impl Fn(usize) -> T) {
        for (i, row) in self.rows[..self.len].iter_mut().enumerate() {
            let value = value(i);
            row.elements[row.initialized..].iter_mut().for_each(|element| _ = element.write(value));
            row.initialized = row.elements.len();
        }
    }

    /// Writes `values` over every `step`-th element of a row, from `first` on, after [`fill`](Self::fill).
    #[inline(always)]
    pub(crate) fn overwrite(
        &mut self,
        row: usize,
        first: usize,
        step: usize,
        values: impl Iterator<Item = T>,
    ) {
        let row = &mut self.rows[row];
        let out = row.elements[..row.initialized][first..].iter_mut().step_by(step);
        out.zip(values).for_each(|(out, value)| _ = out.write(value));
    }
}

impl<T> Drop for Block<'_, T> {
    fn drop(&mut self) {
        let initialized = self.rows[..self.len].iter().map(|row| row.initialized).sum();
        self.count.fetch_add(initialized, Ordering::Relaxed);
    }
}

/// The blocks of a matrix, left to right, then down.
pub(crate) struct Blocks<'a, T> {
    rest: &'a mut [MaybeUninit<T>],
    n: usize,
    size: [usize; 2],
    /// The rest of the rows that are being cut.
    band: [Row<'a, T>; BLOCK_ROWS],
    band_rows: usize,
    /// The first row and column of the next block.
    next: [usize; 2],
    count: &'a AtomicUsize,
}

impl<T: Copy> Blocks<'_, T> {
    /// Takes the next rows off the matrix; false at its end, however often it is asked.
    fn next_band(&mut self) -> bool {
        let rows = self.size[0].min(self.rest.len() / self.n);
        if rows == 0 {
            return false;
        }
        let (band, rest) = std::mem::take(&mut self.rest).split_at_mut(rows * self.n);
        self.rest = rest;
        self.next = [self.next[0] + self.band_rows, 0];
        (self.band, self.band_rows) = split_rows(band, self.n);
        true
    }
}

impl<'a, T: Copy> Iterator for Blocks<'a, T> {
    type Item = Block<'a, T>;

    fn next(&mut self) -> Option<Block<'a, T>> {
        if self.next[1] == self.n && !self.next_band() {
            return None;
        }
        let [first_row, first_column] = self.next;
        let columns = self.size[1].min(self.n - first_column);
        let mut rows = no_rows();
        for (row, rest) in rows.iter_mut().zip(&mut self.band).take(self.band_rows) {
            (row.elements, rest.elements) = std::mem::take(&mut rest.elements).split_at_mut(columns);
        }
        self.next[1] += columns;
        Some(Block { first_row, first_column, rows, len: self.band_rows, count: self.count })
    }
}

/// Writes the first of `values`, as many as there is room for, `AT_ONCE` at a time: in whole vectors, without a call.
///
/// # Panics
///
/// If there are fewer values.
#[inline(always)]
#[allow(unsafe_code, reason = "what is written is initialised")]
pub(crate) fn init_copy<'o, T: Copy, const AT_ONCE: usize>(
    out: &'o mut [MaybeUninit<T>],
    values: &[T],
) -> &'o mut [T] {
    let values = &values[..out.len()];
    let (chunks, rest) = out.as_chunks_mut::<AT_ONCE>();
    let (from, values) = values.as_chunks::<AT_ONCE>();
    chunks.iter_mut().zip(from).for_each(|(out, values)| *out = values.map(MaybeUninit::new));
    rest.iter_mut().zip(values).for_each(|(out, &value)| _ = out.write(value));
    // SAFETY: `values` is as long as `out`, and each element of `out` has been written.
    unsafe { assume_init(out) }
}

/// Writes what `f` makes of the first of `values`, as many as there is room for.
///
/// # Panics
///
/// If there are fewer values.
#[inline(always)]
#[allow(unsafe_code, reason = "what is written is initialised")]
pub(crate) fn init_map<'o, S: Copy, T: Copy>(
    out: &'o mut [MaybeUninit<T>],
    values: &[S],
    f: impl Fn(S) -> T,
) -> &'o mut [T] {
    let values = &values[..out.len()];
    for (out, &value) in out.iter_mut().zip(values) {
        out.write(f(value));
    }
    // SAFETY: `values` is as long as `out`, and each element of `out` has been written.
    unsafe { assume_init(out) }
}

/// [`init_map`] of pairs.
///
/// # Panics
///
/// If there are fewer of either.
#[inline(always)]
#[allow(unsafe_code, reason = "what is written is initialised")]
pub(crate) fn init_map_pairs<'o, S: Copy, P: Copy, T: Copy>(
    out: &'o mut [MaybeUninit<T>],
    (values, others): (&[S], &[P]),
    f: impl Fn(S, P) -> T,
) -> &'o mut [T] {
    let (values, others) = (&values[..out.len()], &others[..out.len()]);
    for ((out, &value), &other) in out.iter_mut().zip(values).zip(others) {
        out.write(f(value, other));
    }
    // SAFETY: `values` and `others` are as long as `out`, and each element of `out` has been written.
    unsafe { assume_init(out) }
}

/// The same elements as values.
///
/// # Safety
///
/// All are initialised.
#[inline(always)]
#[allow(unsafe_code, reason = "`assume_init_mut` of slices needs Rust 1.93")]
unsafe fn assume_init<T>(elements: &mut [MaybeUninit<T>]) -> &mut [T] {
    let elements: *mut [MaybeUninit<T>] = elements;
    // SAFETY: `MaybeUninit<T>` has the layout of `T`, the caller vouches that all are initialised, and the borrow goes on.
    unsafe { &mut *(elements as *mut [T]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_a_matrix() {
        let [out] = collect_uninit([7 * 10], |[out]| {
            let mut blocks = out.into_blocks(10, [3, 4]);
            for mut block in blocks.by_ref() {
                let (rows, columns) = (block.rows(), block.columns());
                for row in 0..rows {
                    let first = (block.first_row + row) * 10 + block.first_column;
                    block.append(row, 0..1, |out| init_map(out, &[first], |x| x));
                    let rest: Vec<_> = (first + 1..first + columns).collect();
                    block.append_copy::<64>(row, 1..columns, &rest);
                }
            }
            assert!(blocks.next().is_none(), "threads ask once more each");
        });
        assert_eq!(out, (0..70).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "every output is written")]
    fn an_element_that_is_not_written_is_no_output() {
        collect_uninit([4], |[out]| out.into_block(2).append_copy::<2>(0, 0..2, &[1, 2]));
    }

    #[test]
    #[should_panic(expected = "from left to right")]
    fn an_element_that_is_written_twice_does_not_count_for_another() {
        collect_uninit([4], |[out]| {
            let mut block = out.into_block(4);
            block.append_copy::<2>(0, 0..2, &[1, 2]);
            block.append_copy::<2>(0, 0..2, &[1, 2]);
        });
    }

    #[test]
    #[should_panic(expected = "a writer fills what it gets")]
    fn a_writer_that_returns_other_memory_is_found_out() {
        collect_uninit([2], |[out]| out.into_block(2).append(0, 0..2, |_| Vec::leak(vec![1, 2])));
    }

    #[test]
    #[should_panic(expected = "a writer fills what it gets")]
    fn a_writer_that_returns_less_is_found_out() {
        collect_uninit([2], |[out]| {
            out.into_block(2).append(0, 0..2, |out| init_copy::<_, 2>(&mut out[..1], &[1]));
        });
    }

    #[test]
    fn elements_in_any_order_are_written_over_a_value() {
        let [out] = collect_uninit([6], |[out]| {
            let mut block = out.into_block(3);
            block.fill(|_| 0);
            block.overwrite(0, 0, 2, [1, 2].into_iter());
            block.overwrite(1, 1, 2, [3].into_iter());
        });
        assert_eq!(out, [1, 0, 2, 0, 3, 0]);
    }
}
