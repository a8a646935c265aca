//! SIGINT, SIGTERM and SIGUSR1 (which batch systems send before the end) ask the engines to stop;
//! a second signal ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

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
    Ok(stop)
}

/// Number of threads where none is asked for: one per core that this process may use.
#[must_use]
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
