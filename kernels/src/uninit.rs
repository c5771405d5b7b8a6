//! Output memory that is written once, without zeros first.
//!
//! The length of an output is never taken from a number that somebody counted: a [`Block`] keeps for each of its rows how
//! many elements from the start on are initialised, lets writers fill only the next ones, and takes from what they return
//! that they did. Zeros written first would cost 2 to 3 % of a product with a large output.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(test)]
mod tests;

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
    if lens.iter().any(|&len| len > SMALL / size_of::<T>().max(1)) {
        keep_memory();
    }
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
        // of `Block::initialized`). They are `len`: all of them.
        unsafe { out.set_len(len) };
    }
    outs
}

/// The bytes of an output from which glibc would get memory from the system, and give it back.
const SMALL: usize = 128 << 10;
/// The largest block that teaches glibc to keep blocks, less what it adds to one.
const LARGEST_KEPT: usize = (32 << 20) - (64 << 10);

/// Makes glibc keep the memory of outputs from layer to layer. It keeps blocks up to the largest one, of up to 32 MB, that was ever
/// freed; larger ones it gets from the system and gives back each time, and each page then costs a fault. Nothing is written to
/// the block that teaches it that, so it takes no memory. Other allocators do not mind.
fn keep_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(black_box(Vec::<u8>::with_capacity(LARGEST_KEPT))));
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
        self.into_block_at(0, n)
    }

    /// The same for a part of a larger matrix, in which its first row is this one.
    pub(crate) fn into_block_at(self, first_row: usize, n: usize) -> Block<'a, T> {
        Block::whole(self.elements, n, [first_row, 0], self.count)
    }

    /// Cuts a row-major matrix with rows of `n` into blocks of at most `rows` x `columns`, left to right, then down.
    pub(crate) fn into_blocks(self, n: usize, [rows, columns]: [usize; 2]) -> Blocks<'a, T> {
        assert!((1..=BLOCK_ROWS).contains(&rows) && columns > 0 && n > 0);
        let count = self.count;
        Blocks {
            rest: self.elements,
            n,
            size: [rows, columns],
            band: Rows::Whole(&mut [], n),
            band_rows: 0,
            next: [0, n],
            count,
        }
    }
}

/// The most rows of a [`Block`].
pub(crate) const BLOCK_ROWS: usize = 64;

/// The elements of a block's rows.
#[allow(clippy::large_enum_variant, reason = "a box would cost each block an allocation")]
enum Rows<'a, T> {
    /// Rows of this length, one behind the other: nothing is to be set up for each of them.
    Whole(&'a mut [MaybeUninit<T>], usize),
    /// Parts of the rows of a wider matrix.
    Parts([&'a mut [MaybeUninit<T>]; BLOCK_ROWS]),
}

impl<T> Rows<'_, T> {
    #[inline(always)]
    fn row(&mut self, row: usize) -> &mut [MaybeUninit<T>] {
        match self {
            Self::Whole(elements, n) => &mut elements[row * *n..][..*n],
            Self::Parts(rows) => rows[row],
        }
    }
}

/// A rectangle of a row-major output matrix, whose rows are written from left to right.
pub(crate) struct Block<'a, T> {
    pub(crate) first_row: usize,
    pub(crate) first_column: usize,
    rows: Rows<'a, T>,
    columns: usize,
    /// The elements of each row that are initialised: those from its start on. What is not a row has none.
    initialized: [usize; BLOCK_ROWS],
    len: usize,
    count: &'a AtomicUsize,
}

impl<'a, T> Block<'a, T> {
    /// Rows of `n`, one behind the other.
    fn whole(
        elements: &'a mut [MaybeUninit<T>],
        n: usize,
        [first_row, first_column]: [usize; 2],
        count: &'a AtomicUsize,
    ) -> Self {
        let len = elements.len() / n;
        assert!(len <= BLOCK_ROWS, "{len} rows are too many for a block");
        let (rows, initialized) = (Rows::Whole(elements, n), [0; BLOCK_ROWS]);
        Self { first_row, first_column, rows, columns: n, initialized, len, count }
    }
}

impl<T: Copy> Block<'_, T> {
    pub(crate) fn rows(&self) -> usize {
        self.len
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
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
        let initialized = &mut self.initialized[row];
        assert!(*initialized == columns.start, "a row is written from left to right");
        let out = &mut self.rows.row(row)[columns];
        let (start, len) = (out.as_ptr(), out.len());
        let filled = fill(out);
        // The writer shows by what it returns that these elements are initialised.
        assert!(
            std::ptr::eq(filled.as_ptr().cast(), start) && filled.len() == len,
            "a writer fills what it gets"
        );
        *initialized += len;
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
    pub(crate) fn append_rows<const N: usize, const AT_ONCE: usize>(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
        values: &[[T; N]],
    ) {
        for (row, values) in rows.zip(values) {
            let initialized = &mut self.initialized[row];
            assert!(*initialized == columns.start, "a row is written from left to right");
            let out = &mut self.rows.row(row)[columns.clone()];
            *initialized += init_copy::<_, AT_ONCE>(out, values).len();
        }
    }

    /// Initialises all rows, each with its value, so that elements can be written in any order.
    pub(crate) fn fill(&mut self, value: impl Fn(usize) -> T) {
        for (i, initialized) in self.initialized.iter_mut().enumerate().take(self.len) {
            let (value, row) = (value(i), self.rows.row(i));
            row[*initialized..].iter_mut().for_each(|element| _ = element.write(value));
            *initialized = row.len();
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
        let initialized = self.initialized[row];
        let out = self.rows.row(row)[..initialized][first..].iter_mut().step_by(step);
        out.zip(values).for_each(|(out, value)| _ = out.write(value));
    }
}

impl<T> Drop for Block<'_, T> {
    fn drop(&mut self) {
        let initialized = self.initialized[..self.len].iter().sum();
        self.count.fetch_add(initialized, Ordering::Relaxed);
    }
}

/// The blocks of a matrix, left to right, then down.
pub(crate) struct Blocks<'a, T> {
    rest: &'a mut [MaybeUninit<T>],
    n: usize,
    size: [usize; 2],
    /// The rest of the rows that are being cut.
    band: Rows<'a, T>,
    band_rows: usize,
    /// The first row and column of the next block.
    next: [usize; 2],
    count: &'a AtomicUsize,
}

impl<'a, T: Copy> Blocks<'a, T> {
    /// Takes the next rows off the matrix; false at its end, however often it is asked.
    fn next_band(&mut self) -> bool {
        let rows = self.size[0].min(self.rest.len() / self.n);
        if rows == 0 {
            return false;
        }
        let (band, rest) = std::mem::take(&mut self.rest).split_at_mut(rows * self.n);
        self.rest = rest;
        self.next = [self.next[0] + self.band_rows, 0];
        self.band_rows = rows;
        self.band = if rows == 1 || self.size[1] >= self.n {
            Rows::Whole(band, self.n)
        } else {
            let mut rows = band.chunks_exact_mut(self.n);
            Rows::Parts(std::array::from_fn(|_| rows.next().unwrap_or_default()))
        };
        true
    }

    /// Takes the next columns off the band.
    fn next_columns(&mut self, columns: usize) -> Rows<'a, T> {
        match &mut self.band {
            Rows::Whole(elements, _) => {
                let (part, rest) = std::mem::take(elements).split_at_mut(columns * self.band_rows);
                *elements = rest;
                Rows::Whole(part, columns)
            }
            Rows::Parts(rows) => Rows::Parts(std::array::from_fn(|row| {
                let all = std::mem::take(&mut rows[row]);
                let (part, rest) = all.split_at_mut(columns.min(all.len()));
                rows[row] = rest;
                part
            })),
        }
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
        let rows = self.next_columns(columns);
        self.next[1] += columns;
        let (initialized, len, count) = ([0; BLOCK_ROWS], self.band_rows, self.count);
        Some(Block { first_row, first_column, rows, columns, initialized, len, count })
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
    if !rest.is_empty() {
        rest.iter_mut().zip(values).for_each(|(out, &value)| _ = out.write(value));
    }
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
