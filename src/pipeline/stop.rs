//! When to begin nothing more, and when to drop what has begun.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long work that has begun may go on after a signal.
const GRACE: Duration = Duration::from_secs(3);

/// A signal, and how long it is ago.
#[derive(Debug)]
pub(super) struct Stop<'a> {
    signal: &'a AtomicUsize,
    seen: OnceLock<Instant>,
    /// An error ended the work.
    given_up: AtomicBool,
}

impl<'a> Stop<'a> {
    pub(super) fn new(signal: &'a AtomicUsize) -> Self {
        Self { signal, seen: OnceLock::new(), given_up: AtomicBool::new(false) }
    }

    /// The signal that came, if one did: nothing more is begun.
    pub(super) fn signal(&self) -> Option<usize> {
        Some(self.signal.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }

    /// Whether nothing more is to be begun.
    pub(super) fn is_near(&self) -> bool {
        self.signal().is_some() || self.given_up.load(Ordering::Relaxed)
    }

    /// Whether what has begun is to be dropped.
    pub(super) fn is_here(&self) -> bool {
        let late = |_| self.seen.get_or_init(Instant::now).elapsed() > GRACE;
        self.given_up.load(Ordering::Relaxed) || self.signal().is_some_and(late)
    }

    /// End the work of all threads.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}
