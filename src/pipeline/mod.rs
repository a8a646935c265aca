//! Analyses: from an archive to tables.
//!
//! What a measure is stands in the mathematics, what a file is in the storage; here they are
//! joined, in parallel over checkpoints. Rows are collected in the order of the checkpoints, so the
//! tables do not depend on the number of threads.
//!
//! - [`audit`] lists what is there and what is wrong with it.
//! - [`analyze`] measures every checkpoint; one that cannot be used is a row of `failures`.
//! - [`checkpoints::measure_archive`] applies a measure of your own.
//! - [`claims`] finds onsets among the tables that are there.
//! - [`landscape`] evaluates the losses on lines and planes through weight space, and curvature.
//! - [`mod@toy`] trains the two-basins toy.

mod admission;
pub mod analyze;
pub mod audit;
pub mod checkpoints;
pub mod claims;
mod dynamics;
pub mod evaluation;
mod job;
mod keys;
pub mod landscape;
pub mod matrices;
pub mod measures;
pub mod merge;
pub mod output;
mod patience;
pub mod places;
mod pullback;
pub mod run;
mod sharded;
pub mod status;
mod stop;
pub mod store;
pub mod toy;
pub mod verify;
pub mod view;
pub mod watchdog;
mod work;

use std::sync::atomic::{AtomicUsize, Ordering};

pub use patience::when_late;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Tables written, with their numbers of rows
    pub tables: Vec<(&'static str, u64)>,
    /// Parts of tables written, with their numbers of rows
    pub parts: Vec<(String, u64)>,
    /// Number of checkpoints, or points of a line, that were computed
    pub computed: usize,
    /// Number of checkpoints whose rows were there already
    pub reused: usize,
    /// Inputs that could not be used
    pub skipped: usize,
    /// Tensors of measured checkpoints that could not be used
    pub skipped_tensors: usize,
    /// Programming errors that were caught
    pub internal_errors: usize,
    /// What the reader of the tables should know
    pub warnings: Vec<String>,
}

impl Summary {
    /// 0 complete, 1 a caught mistake of the program, 3 some inputs skipped.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self { internal_errors: 1.., .. } => 1,
            Self { skipped: 1.., .. } | Self { skipped_tensors: 1.., .. } => 3,
            _ => 0,
        }
    }
}

/// Progress of the work: done, total.
pub type Observe<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Apply `work` to all items on `threads` threads; results in the order of the items.
///
/// # Errors
/// [`Error::Interrupted`] once `stop` is the number of a signal: running items are finished, no
/// other is begun. The first error of `work`, by item.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    stop: &AtomicUsize,
    observe: Observe<'_>,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let pool = pool(threads)?;
    let done = AtomicUsize::new(0);
    let results: Vec<Option<Result<R>>> = pool.install(|| {
        items
            .par_iter()
            .with_max_len(1)
            .map(|item| {
                if stop.load(Ordering::Relaxed) != 0 {
                    return None;
                }
                let result = work(item);
                observe(done.fetch_add(1, Ordering::Relaxed) + 1, items.len());
                Some(result)
            })
            .collect()
    });
    let signal = stop.load(Ordering::Relaxed);
    let interrupted = || interrupted(signal, done.load(Ordering::Relaxed), items.len());
    results.into_iter().map(|result| result.ok_or_else(interrupted)?).collect()
}

fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Error::Internal(format!("no threads: {error}")))
}

fn interrupted(signal: usize, done: usize, total: usize) -> Error {
    Error::Interrupted {
        signal: i32::try_from(signal).unwrap_or(2),
        done: format!("{done} of {total} done"),
        help: "no table was changed; run the same command again".into(),
    }
}
