//! Reads that do not come back, as from a network drive that is gone: told of every minute, and
//! given up after `--io-timeout`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::archive::{self, Archive, Checkpoint, CheckpointRef, Header, Run};
use crate::error::{Error, Result};

/// How often a read that is still going on is told of.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Do `work`, a read of `path`, and wait for it no longer than `limit`.
///
/// It is done on a thread of its own, which is left behind if it does not come back: nothing can
/// end a read that hangs in the system.
///
/// # Errors
/// What `work` says, [`Error::Internal`] if it panics, or [`Error::TooSlow`].
pub(super) fn patiently<T: Send + 'static>(
    path: &Path,
    limit: Option<Duration>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = channel();
    let begun = Instant::now();
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        result.unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())))
    };
    // The receiver may be gone by then.
    let spawned = std::thread::Builder::new().spawn(move || drop(sender.send(work())));
    spawned.map_err(|error| Error::Internal(format!("no thread: {error}")))?;
    loop {
        let waited = begun.elapsed();
        let left = limit.map_or(WARN_EVERY, |limit| limit.saturating_sub(waited).min(WARN_EVERY));
        match receiver.recv_timeout(left) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Internal("a read ended without a result".into()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        match limit {
            Some(limit) if begun.elapsed() >= limit => {
                return Err(Error::TooSlow { path: path.to_owned(), seconds: limit.as_secs() });
            }
            _ => {
                let seconds = begun.elapsed().as_secs();
                tracing::warn!("{}: reading for {seconds} s", path.display());
            }
        }
    }
}

/// [`Archive::open_with`], waiting for it no longer than its `io_timeout`.
///
/// # Errors
/// As that, and as [`patiently`].
pub(super) fn open(path: &Path, options: &archive::Options) -> Result<Archive> {
    let (at, options) = (path.to_owned(), options.clone());
    patiently(path, options.io_timeout, move || Archive::open_with(&at, &options))
}

/// [`CheckpointRef::load`] of all tensors of a checkpoint of this run, waiting no longer than its
/// `io_timeout`.
///
/// # Errors
/// As that, and as [`patiently`].
pub(super) fn load(run: &Run, checkpoint: &CheckpointRef) -> Result<Checkpoint> {
    load_within(run.io_timeout, checkpoint)
}

/// The same with the limit itself.
///
/// # Errors
/// As [`load`].
pub(super) fn load_within(
    limit: Option<Duration>,
    checkpoint: &CheckpointRef,
) -> Result<Checkpoint> {
    let source = checkpoint.clone();
    patiently(&checkpoint.path, limit, move || source.load(None))
}

/// [`CheckpointRef::header`] in the same way.
///
/// # Errors
/// As that, and as [`patiently`].
pub(super) fn header(run: &Run, checkpoint: &CheckpointRef) -> Result<Header> {
    let source = checkpoint.clone();
    patiently(&checkpoint.path, run.io_timeout, move || source.header())
}

/// Do `then` if the process is still there `patience` after `stop` became the number of a signal.
///
/// # Errors
/// [`Error::Internal`] if there is no thread to wait.
pub fn when_late(
    stop: &Arc<AtomicUsize>,
    patience: Duration,
    then: impl FnOnce(usize) + Send + 'static,
) -> Result<()> {
    /// How often a signal is looked for.
    const EVERY: Duration = Duration::from_millis(100);
    let stop = Arc::clone(stop);
    let wait = move || {
        while stop.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(EVERY);
        }
        std::thread::sleep(patience);
        then(stop.load(Ordering::Relaxed));
    };
    let spawned = std::thread::Builder::new().name("signals".into()).spawn(wait);
    spawned.map(drop).map_err(|error| Error::Internal(format!("no thread: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_hangs_is_given_up() {
        let (_keep, never) = channel::<()>();
        let limit = Some(Duration::from_millis(20));
        let hang = move || never.recv().map_err(|_| Error::Internal("woken".into()));
        let error = patiently(Path::new("a/step5"), limit, hang).unwrap_err();
        assert_eq!(error.to_string(), "a/step5: read took over 0 s");
        assert_eq!((error.code(), error.exit_code()), ("AR19", 4));
    }

    #[test]
    fn who_is_late_after_a_signal_is_told_so() {
        let (stop, (sender, told)) = (Arc::new(AtomicUsize::new(0)), channel());
        when_late(&stop, Duration::from_millis(1), move |signal| sender.send(signal).unwrap())
            .unwrap();
        assert!(told.recv_timeout(Duration::from_millis(150)).is_err(), "there was no signal");
        stop.store(15, Ordering::Relaxed);
        assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), 15);
    }

    #[test]
    fn a_read_that_comes_back_is_taken() {
        assert_eq!(patiently(Path::new("a"), None, || Ok(5)).unwrap(), 5);
        let failed = patiently::<()>(Path::new("a"), None, || Err(Error::Internal("x".into())));
        assert!(failed.is_err());
        let panicked = patiently::<()>(Path::new("a"), None, || panic!("mistake"));
        assert_eq!(panicked.unwrap_err().to_string(), "internal error: mistake");
    }
}
