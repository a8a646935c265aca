//! SIGINT, SIGTERM and SIGUSR1 (which batch systems send before the end) ask the engines to stop;
//! a second signal ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;

use super::report;
use crate::pipeline::when_late;

/// A number that becomes that of the first signal; SIGUSR1 counts as SIGTERM.
///
/// # Errors
/// If the system refuses to install a handler.
pub fn install() -> anyhow::Result<Arc<AtomicUsize>> {
    let stop = Arc::new(AtomicUsize::new(0));
    let again = Arc::new(AtomicBool::new(false));
    for (signal, counts_as) in [(SIGINT, SIGINT), (SIGTERM, SIGTERM), (SIGUSR1, SIGTERM)] {
        // In this order: the first signal only sets the flags, the second finds `again` set.
        flag::register_conditional_shutdown(signal, 128 + counts_as, Arc::clone(&again))?;
        flag::register(signal, Arc::clone(&again))?;
        flag::register_usize(signal, Arc::clone(&stop), usize::try_from(counts_as)?)?;
    }
    // Left alone it ends the process; noted and ignored, the write fails, and says so.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(stop)
}

/// How long the engines have to end by themselves after a signal.
const PATIENCE: Duration = Duration::from_millis(4500);

/// End the program if the engines do not come back soon after a signal, say from a read that hangs.
/// What was committed is complete at every moment, so nothing is lost.
///
/// # Errors
/// If there is no thread for it.
pub fn insist(stop: &Arc<AtomicUsize>) -> anyhow::Result<()> {
    Ok(when_late(stop, PATIENCE, |signal| {
        report::tell(format_args!("stopped: work in progress was dropped; run again to resume"));
        std::process::exit(128 + i32::try_from(signal).unwrap_or(SIGINT));
    })?)
}

/// OpenBLAS serves at most this many callers at once in the builds of the distributions.
const MOST_THREADS: usize = 64;

/// Number of cores that this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Number of threads to work with: as asked, otherwise one per core.
#[must_use]
pub fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(cores, usize::from).min(MOST_THREADS)
}
