//! Disjoint pieces of an output matrix, and the threads that take them.

use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::pack::NR;

/// Multiply-adds below which a second thread costs more than it brings: waking one takes microseconds.
const WORTH_A_THREAD: usize = 1_500_000;

/// How many threads `operations` multiply-adds are worth, given what the pool has.
pub(super) fn threads_for(operations: usize) -> usize {
    if operations < 2 * WORTH_A_THREAD {
        return 1; // without asking: the question alone would start the pool
    }
    (operations / WORTH_A_THREAD).clamp(1, rayon::current_num_threads())
}

/// Runs `work` on every item; up to `threads` threads take items as they get free, the calling one among them.
pub(super) fn for_each<T: Send>(
    threads: usize,
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(T) + Sync,
) {
    if threads <= 1 {
        return items.for_each(work);
    }
    let queue = Mutex::new(items);
    let next = || queue.lock().unwrap_or_else(|e| e.into_inner()).next();
    let drain = || {
        while let Some(item) = next() {
            work(item);
        }
    };
    let helping = AtomicUsize::new(threads - 1);
    // In place: the calling thread starts at once instead of waiting for the pool to wake.
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| {
                drain();
                helping.fetch_sub(1, Ordering::Release);
            });
        }
        drain();
        // The others are about to end: falling asleep and being woken would take longer.
        let spins = (0..SPINS).take_while(|_| helping.load(Ordering::Acquire) > 0);
        spins.for_each(|_| std::hint::spin_loop());
    });
}

/// Turns of waiting, some tens of microseconds, before a thread goes to sleep.
const SPINS: usize = 2000;

/// Most rows of a [`Block`].
pub(super) const BLOCK_ROWS: usize = 64;

/// Part of a row that has not been written yet.
pub(super) type Unwritten<'a, T> = &'a mut [MaybeUninit<T>];

/// Writes as many of `values` as there is room for; returns how many. `USUALLY` so many: then whole vectors, without a call.
#[inline(always)]
pub(super) fn write<T: Copy, const USUALLY: usize>(out: Unwritten<'_, T>, values: &[T]) -> usize {
    match (out.as_chunks_mut::<USUALLY>(), values.as_chunks::<USUALLY>()) {
        (([out], []), ([values, ..], _)) => *out = values.map(MaybeUninit::new),
        _ => out.iter_mut().zip(values).for_each(|(out, &value)| _ = out.write(value)),
    }
    out.len().min(values.len())
}

/// A rectangle of a row-major output matrix, to be written.
pub(super) struct Block<'a, T> {
    pub(super) first_row: usize,
    pub(super) first_column: usize,
    rows: [Unwritten<'a, T>; BLOCK_ROWS],
    len: usize,
    written: usize,
}

impl<'a, T: Copy> Block<'a, T> {
    /// All of a matrix of at most [`BLOCK_ROWS`] rows of `n`.
    pub(super) fn whole(matrix: Unwritten<'a, T>, n: usize) -> Self {
        let len = matrix.len() / n;
        assert!(len <= BLOCK_ROWS, "{len} rows are too many for a block");
        let mut rows = matrix.chunks_exact_mut(n);
        let rows = std::array::from_fn(|_| rows.next().unwrap_or_default());
        Self { first_row: 0, first_column: 0, rows, len, written: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.len
    }

    pub(super) fn columns(&self) -> usize {
        self.rows.first().map_or(0, |row| row.len())
    }

    /// Writes part of one row, both counted from the block's corner: as many of `values` as there are `columns`.
    #[inline(always)]
    pub(super) fn write(&mut self, row: usize, columns: std::ops::Range<usize>, values: &[T]) {
        let out = &mut self.rows[row][columns];
        let values = &values[..out.len()];
        self.written += write::<_, NR>(out, values);
    }

    /// Lets `write` fill part of one row, both counted from the block's corner; it returns how many elements it has written,
    /// each counted once.
    #[inline(always)]
    pub(super) fn fill(
        &mut self,
        row: usize,
        columns: std::ops::Range<usize>,
        write: impl FnOnce(Unwritten<'_, T>) -> usize,
    ) {
        self.written += write(&mut self.rows[row][columns]);
    }

    /// Lets `write` fill some columns of some rows, the columns counted from the block's corner; it returns how many elements
    /// it has written, each of them once and counted once.
    #[inline(always)]
    pub(super) fn fill_rows(
        &mut self,
        rows: std::ops::Range<usize>,
        write: impl FnOnce(&mut [Unwritten<'a, T>]) -> usize,
    ) {
        self.written += write(&mut self.rows[rows]);
    }

    /// Writes `values` into every `step`-th element of a row, from `first` on, counted from the block's corner.
    #[inline(always)]
    pub(super) fn write_every(
        &mut self,
        row: usize,
        first: usize,
        step: usize,
        values: impl Iterator<Item = T>,
    ) {
        let out = self.rows[row][first..].iter_mut().step_by(step);
        self.written += out.zip(values).map(|(out, value)| _ = out.write(value)).count();
    }

    /// How many elements have been written.
    pub(super) fn written(&self) -> usize {
        self.written
    }
}

/// Cuts a row-major matrix into blocks of at most `rows` x `columns`, left to right, then down.
pub(super) struct Blocks<'a, T> {
    rest: Unwritten<'a, T>,
    n: usize,
    size: [usize; 2],
    band: Block<'a, T>,
    next_row: usize,
}

impl<'a, T: Copy> Blocks<'a, T> {
    pub(super) fn new(matrix: Unwritten<'a, T>, n: usize, [rows, columns]: [usize; 2]) -> Self {
        assert!((1..=BLOCK_ROWS).contains(&rows) && columns > 0 && n > 0);
        let band = Block { first_row: 0, first_column: n, rows: empty_rows(), len: 0, written: 0 };
        Self { rest: matrix, n, size: [rows, columns], band, next_row: 0 }
    }

    /// Takes the next rows off the matrix; false at its end.
    fn next_band(&mut self) -> bool {
        let len = self.size[0].min(self.rest.len() / self.n);
        let (band, rest) = std::mem::take(&mut self.rest).split_at_mut(len * self.n);
        self.rest = rest;
        self.band = Block { first_row: self.next_row, ..Block::whole(band, self.n) };
        self.next_row += len;
        len > 0
    }
}

impl<'a, T: Copy> Iterator for Blocks<'a, T> {
    type Item = Block<'a, T>;

    fn next(&mut self) -> Option<Block<'a, T>> {
        if self.band.columns() == 0 && !self.next_band() {
            return None;
        }
        let columns = self.size[1].min(self.band.columns());
        let band = &mut self.band;
        let mut rows = empty_rows();
        for (row, rest) in rows.iter_mut().zip(&mut band.rows).take(band.len) {
            (*row, *rest) = std::mem::take(rest).split_at_mut(columns);
        }
        let first_column = band.first_column;
        band.first_column += columns;
        Some(Block { first_row: band.first_row, first_column, rows, len: band.len, written: 0 })
    }
}

fn empty_rows<'a, T>() -> [Unwritten<'a, T>; BLOCK_ROWS] {
    std::array::from_fn(|_| Default::default())
}
