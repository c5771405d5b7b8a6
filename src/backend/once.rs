//! A value that is computed for the first who asks for it, and shared by all.

use std::sync::{Mutex, OnceLock};

/// Such a value.
///
/// It is computed once, but where a thread of rayon's pool asks while another computes it: that one computes it for itself. If it
/// waited, it might wait for itself, as a thread that waits for its pool takes up other work of the pool meanwhile.
#[derive(Debug)]
pub(super) struct Once<T> {
    value: OnceLock<T>,
    /// Held by whoever computes it.
    computing: Mutex<()>,
}

impl<T> Once<T> {
    pub(super) fn new() -> Self {
        Self { value: OnceLock::new(), computing: Mutex::new(()) }
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    pub(super) fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    pub(super) fn get_or_compute(&self, compute: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.value.get() {
            return value;
        }
        let _computing = if rayon::current_thread_index().is_some() {
            self.computing.try_lock().ok()
        } else {
            Some(self.computing.lock().unwrap_or_else(|e| e.into_inner()))
        };
        if let Some(value) = self.value.get() {
            return value;
        }
        let value = compute();
        self.value.get_or_init(|| value)
    }
}
