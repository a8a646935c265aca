//! What a disk may do to those who write, for tests: the n-th operation below a folder fails, or
//! everything from it on, as after a kill. In the programs every operation is allowed.

use std::io;
use std::path::Path;

/// A step on the way of bytes to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Of a file or a folder
    Create,
    Write,
    Sync,
    Rename,
    Remove,
}

/// Whether this may happen to this path.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "it fails in tests")]
pub(crate) fn check(_path: &Path, _operation: Operation) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use injected::{Faults, Kind, check};

#[cfg(test)]
mod injected {
    use std::path::PathBuf;
    use std::sync::{Mutex, PoisonError};

    use super::{Operation, Path, io};

    static ACTIVE: Mutex<Vec<Plan>> = Mutex::new(Vec::new());

    /// What happens at the n-th operation.
    #[derive(Debug, Clone, Copy)]
    pub(crate) enum Kind {
        /// It alone fails, with this error of the system.
        Errno(i32),
        /// It and all after it fail, so that nothing is cleaned up: the process was killed.
        Killed,
    }

    #[derive(Debug)]
    struct Plan {
        below: PathBuf,
        seen: Vec<(Operation, PathBuf)>,
        fail: Option<(usize, Kind)>,
    }

    /// Faults below one folder, until it is dropped.
    #[derive(Debug)]
    pub(crate) struct Faults {
        below: PathBuf,
    }

    fn active() -> std::sync::MutexGuard<'static, Vec<Plan>> {
        ACTIVE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl Faults {
        /// Count the operations below the folder, and let the n-th, from 0, fail.
        pub(crate) fn below(folder: &Path, fail: Option<(usize, Kind)>) -> Self {
            active().push(Plan { below: folder.to_owned(), seen: Vec::new(), fail });
            Self { below: folder.to_owned() }
        }

        /// What was done so far, failed operations among them.
        pub(crate) fn seen(&self) -> Vec<(Operation, PathBuf)> {
            let active = active();
            let plan = active.iter().find(|plan| plan.below == self.below);
            plan.map(|plan| plan.seen.clone()).unwrap_or_default()
        }
    }

    impl Drop for Faults {
        fn drop(&mut self) {
            active().retain(|plan| plan.below != self.below);
        }
    }

    pub(crate) fn check(path: &Path, operation: Operation) -> io::Result<()> {
        let mut active = active();
        let Some(plan) = active.iter_mut().find(|plan| path.starts_with(&plan.below)) else {
            return Ok(());
        };
        let at = plan.seen.len();
        plan.seen.push((operation, path.to_owned()));
        match plan.fail {
            Some((n, Kind::Errno(errno))) if at == n => Err(io::Error::from_raw_os_error(errno)),
            Some((n, Kind::Killed)) if at >= n => Err(io::Error::other("killed")),
            _ => Ok(()),
        }
    }
}
