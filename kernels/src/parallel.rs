//! The threads that share the work of an operation.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The multiply-adds below which a second thread costs more than it brings: waking one takes microseconds.
const WORTH_A_THREAD: usize = 1_500_000;

/// The number of threads that `operations` multiply-adds are worth, given what the pool has.
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

/// The turns of waiting, some tens of microseconds, before a thread goes to sleep.
const SPINS: usize = 2000;
