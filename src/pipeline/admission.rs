//! Who may take memory: checkpoints wait until there is enough for them, so that many threads do not
//! load many large ones at once.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Share of the memory of the process that is used, unless told otherwise.
const SHARE: f64 = 0.8;

/// A budget of bytes.
#[derive(Debug)]
pub(super) struct Admission {
    limit: u64,
    used: Mutex<u64>,
    freed: Condvar,
}

/// Bytes that are given back when this is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    admission: &'a Admission,
    bytes: u64,
}

impl Admission {
    /// So many bytes; otherwise four fifths of what the control group or the machine has.
    pub(super) fn new(limit: Option<u64>) -> Self {
        let share = || crate::doctor::memory().map_or(u64::MAX, |all| (SHARE * all as f64) as u64);
        Self { limit: limit.unwrap_or_else(share), used: Mutex::new(0), freed: Condvar::new() }
    }

    /// Wait for so many bytes for the file at `path`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if there will never be enough.
    pub(super) fn admit(&self, path: &Path, bytes: u64) -> Result<Permit<'_>> {
        if bytes > self.limit {
            let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
            let (needed, limit) = (megabytes(bytes), self.limit / 1_000_000);
            return Err(Error::TooLarge { path: path.to_owned(), needed, limit });
        }
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |used: &mut u64| *used > self.limit - bytes;
        let mut used = self.freed.wait_while(used, is_full).unwrap_or_else(PoisonError::into_inner);
        *used += bytes;
        Ok(Permit { admission: self, bytes })
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.admission.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.admission.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_is_given_than_there_is() {
        let admission = Admission::new(Some(100));
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for i in 0..40 {
                let (admission, now, most) = (&admission, &now, &most);
                scope.spawn(move || {
                    let bytes = 20 + i % 30;
                    let _permit = admission.admit(Path::new("a"), bytes).unwrap();
                    most.fetch_max(
                        now.fetch_add(bytes, Ordering::SeqCst) + bytes,
                        Ordering::SeqCst,
                    );
                    std::thread::yield_now();
                    now.fetch_sub(bytes, Ordering::SeqCst);
                });
            }
        });
        let most = most.into_inner();
        assert!((20..=100).contains(&most), "{most}");
        assert_eq!(*admission.used.lock().unwrap(), 0);
    }

    #[test]
    fn what_never_fits_is_refused_at_once() {
        let admission = Admission::new(Some(2_000_000));
        let _all = admission.admit(Path::new("a"), 2_000_000).unwrap();
        let error = admission.admit(Path::new("b"), 2_000_001).unwrap_err();
        assert_eq!(error.to_string(), "b: needs about 3 MB of memory, and 2 MB may be used");
        assert_eq!((error.code(), error.exit_code()), ("CR20", 4));
    }
}
