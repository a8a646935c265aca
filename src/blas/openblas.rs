//! OpenBLAS: what the linked library says of itself.

use std::sync::OnceLock;

use super::{BlasInfo, ffi};

/// The library, its version and its kernel.
#[must_use]
pub fn info() -> BlasInfo {
    let config = ffi::config(); // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH … Zen MAX_THREADS=64"
    let mut words = config.split_whitespace();
    BlasInfo {
        library: words.next().unwrap_or("unknown").into(),
        version: words.next().unwrap_or("unknown").into(),
        kernel: ffi::core_name(),
    }
}

/// How the library was built to run in parallel.
#[must_use]
pub fn threading() -> &'static str {
    match ffi::parallel() {
        0 => "serial build",
        1 => "own threads",
        2 => "OpenMP",
        _ => "unknown",
    }
}

/// Number of threads that a call uses now.
#[must_use]
pub fn threads() -> i32 {
    one_thread();
    ffi::threads()
}

/// Set the library to one thread, once. Every matrix product and every decomposition comes here
/// first.
pub(crate) fn one_thread() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| ffi::set_threads(1));
}

/// Builds whose concurrent calls are known to disturb each other: serial ones without locks, and
/// versions with races (numpy issue 29391).
pub(super) fn is_suspect(info: &BlasInfo) -> bool {
    let racy = ["0.3.28", "0.3.29", "0.3.30"].contains(&info.version.as_str());
    racy || ffi::parallel() == 0
}
