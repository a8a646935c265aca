//! What the linked BLAS is, and that it keeps to one thread.
//!
//! Exactly one layer owns the cores: the engines' `rayon` pool. BLAS threads below it fight over
//! the same cores (eight callers with two BLAS threads each did not finish in seconds what one
//! thread did in 0.2 s) and may change the order of summation, so every call has one thread.

mod ffi;

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which BLAS computes: recorded in `run.json` and in the metadata of every table, because other
/// kernels sum in another order and give other last bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlasInfo {
    /// `OpenBLAS`
    pub library: String,
    /// Its version, such as `0.3.21`
    pub version: String,
    /// Its kernel for this processor, such as `Zen` or `SkylakeX`
    pub kernel: String,
}

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

/// Number of threads that a BLAS call uses now.
#[must_use]
pub fn threads() -> i32 {
    one_thread();
    ffi::threads()
}

/// Set BLAS to one thread, once. Every matrix product and every decomposition comes here first.
pub(crate) fn one_thread() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| ffi::set_threads(1));
}

/// Make sure that BLAS keeps to one thread, before any work.
///
/// # Errors
/// [`Error::Blas`] with the line to type, if the library ignores the request (OpenMP builds can).
pub fn require_one_thread() -> Result<BlasInfo> {
    match threads() {
        1 if is_suspect() => Err(Error::Blas {
            problem: format!(
                "{} {} is not safe to call from several threads",
                info().library,
                info().version
            ),
            help: "install another build or version of OpenBLAS: 0.3.28 to 0.3.30 have races, and \
                   serial builds have no locks"
                .into(),
        }),
        1 => Ok(info()),
        threads => Err(Error::Blas {
            problem: format!("{threads} threads per call stay in force ({})", threading()),
            help: "start again with OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 before the command"
                .into(),
        }),
    }
}

/// Builds whose concurrent calls are known to disturb each other: serial ones without locks, and
/// versions with races (numpy issue 29391).
fn is_suspect() -> bool {
    let racy = ["0.3.28", "0.3.29", "0.3.30"].contains(&info().version.as_str());
    racy || ffi::parallel() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blas_is_named_and_keeps_to_one_thread() {
        let info = require_one_thread().unwrap();
        assert_eq!(info.library, "OpenBLAS");
        assert!(info.version.split('.').count() >= 2, "{info:?}");
        assert!(!info.kernel.is_empty());
    }
}
