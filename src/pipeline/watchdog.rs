//! Work that may never end: LAPACK's drivers, which have been seen to hang.
//!
//! Each worker has a thread beside it that does such work while the worker waits, so that no more
//! cores are busy than there are workers. A thread that is late is left alone and another one takes
//! its place: LAPACK cannot be interrupted, and a stuck routine holds its core until the process ends.
//! Hence a limit on how often that may happen.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// The fifth late decomposition of a process is its last: cores are being lost.
const MOST_TIMEOUTS: usize = 5;
static TIMEOUTS: AtomicUsize = AtomicUsize::new(0);

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// Where the thread beside this one takes its work from. It ends when this one does.
    static BESIDE: RefCell<Option<Sender<Job>>> = const { RefCell::new(None) };
}

/// Longest time for a decomposition of a matrix `[m, n]`: 10 s + 20 ns · m n min(m, n), some hundred
/// times what one takes.
#[must_use]
pub fn time_limit((m, n): (usize, usize)) -> Duration {
    let operations = m as f64 * n as f64 * m.min(n) as f64;
    Duration::from_secs(10) + Duration::from_secs_f64((20e-9 * operations).min(1e9))
}

/// Apply `work` to each item, one after the other, on the thread beside this one. `None` for an item
/// that took longer than its limit.
///
/// # Errors
/// [`Error::Internal`] once five items of this process were late, or if there is no thread.
pub fn each_in_time<A: Send + Sync + 'static, T: Send + 'static>(
    items: Vec<A>,
    limit: impl Fn(&A) -> Duration,
    work: fn(&A) -> T,
) -> Result<Vec<Option<T>>> {
    let items = Arc::new(items);
    let mut done = Vec::with_capacity(items.len());
    while done.len() < items.len() {
        if TIMEOUTS.load(Ordering::Relaxed) >= MOST_TIMEOUTS {
            return Err(Error::Internal(format!(
                "{MOST_TIMEOUTS} matrix decompositions did not end in their time; \
                 `groundswell doctor` tests the BLAS library"
            )));
        }
        let (results, end) = start(&items, done.len(), work)?;
        let left = &items[done.len()..];
        let mut late = false;
        let mut seen = 0;
        while seen < left.len() && !late {
            match end.recv_timeout(limit(&left[seen])) {
                Ok(()) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Internal("a thread of the watchdog ended early".into()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = lock(&results).len();
                    late = now == seen;
                    seen = now;
                }
            }
        }
        let finished = std::mem::take(&mut *lock(&results));
        if late {
            BESIDE.with(|beside| beside.borrow_mut().take());
        }
        // It may have come in after all, at the last moment.
        late &= finished.len() == seen;
        for result in finished {
            done.push(Some(result.unwrap_or_else(|panic| resume_unwind(panic))));
        }
        if late {
            TIMEOUTS.fetch_add(1, Ordering::Relaxed);
            done.push(None);
        }
    }
    Ok(done)
}

/// Results so far, in order.
type Results<T> = Arc<Mutex<Vec<thread::Result<T>>>>;

fn lock<T>(results: &Results<T>) -> MutexGuard<'_, Vec<thread::Result<T>>> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begin with the item `from`. The end is told once, so that nobody wakes for each result.
fn start<A: Send + Sync + 'static, T: Send + 'static>(
    items: &Arc<Vec<A>>,
    from: usize,
    work: fn(&A) -> T,
) -> Result<(Results<T>, Receiver<()>)> {
    let (sender, end) = mpsc::channel();
    let results: Results<T> = Arc::default();
    let (items, found) = (Arc::clone(items), Arc::clone(&results));
    let job: Job = Box::new(move || {
        for item in &items[from..] {
            let result = catch_unwind(AssertUnwindSafe(|| work(item)));
            if Arc::strong_count(&found) == 1 {
                return; // Nobody waits any more: this one was late.
            }
            lock(&found).push(result);
        }
        drop(items);
        let _ = sender.send(());
    });
    BESIDE.with(|beside| {
        let mut beside = beside.borrow_mut();
        let jobs = match &mut *beside {
            Some(jobs) => jobs,
            none => none.insert(spawn()?),
        };
        jobs.send(job).map_err(|_| Error::Internal("the thread of the watchdog is gone".into()))
    })?;
    Ok((results, end))
}

fn spawn() -> Result<Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("lapack".into())
        .spawn(move || jobs.into_iter().for_each(|job| job()))
        .map_err(|error| Error::Internal(format!("no thread for the watchdog: {error}")))?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, since late items are counted for the whole process.
    #[test]
    fn late_work_is_left_behind() {
        let squares = |items: Vec<u64>| {
            each_in_time(
                items,
                |_| Duration::from_millis(50),
                |item| {
                    if *item == 99 {
                        thread::sleep(Duration::from_millis(400));
                    }
                    item * item
                },
            )
        };
        assert_eq!(squares(vec![1, 2, 3]).unwrap(), [Some(1), Some(4), Some(9)]);
        assert_eq!(squares(vec![]).unwrap(), []);
        assert_eq!(squares(vec![1, 99, 3]).unwrap(), [Some(1), None, Some(9)]);
        assert_eq!(squares(vec![99, 99, 99]).unwrap(), [None; 3]);
        assert_eq!(squares(vec![4]).unwrap(), [Some(16)]);

        let panics = || each_in_time(vec![1], |_| Duration::from_secs(1), |_: &i32| panic!("oh"));
        let caught = catch_unwind(AssertUnwindSafe(|| panics().map(|_: Vec<Option<()>>| ())));
        assert_eq!(*caught.unwrap_err().downcast_ref::<&str>().unwrap(), "oh");

        let error = squares(vec![99, 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "internal error: 5 matrix decompositions did not end in their time; \
             `groundswell doctor` tests the BLAS library"
        );
        assert_eq!(error.exit_code(), 1);
        TIMEOUTS.store(0, Ordering::Relaxed);
    }

    #[test]
    fn limits_grow_with_the_work() {
        assert_eq!(time_limit((128, 512)).as_millis(), 10_167);
        assert_eq!(time_limit((0, 0)).as_secs(), 10);
        assert!(time_limit((usize::MAX, usize::MAX)).as_secs() > 1_000_000);
    }
}
