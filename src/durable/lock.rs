//! Who may write to a folder: a lock of the operating system on a file in it.
//!
//! The system frees the lock when its process ends, however it ends. What stands in the file (pid,
//! host, start) serves the message to the second process only and is never trusted.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// A lock that is held until it is dropped. Its file stays: removing it would let two processes
/// hold locks on two files of one name.
#[derive(Debug)]
pub struct Lock {
    /// None where locking was turned off
    _file: Option<File>,
}

/// Whether to lock at all: some file systems have no locks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Locking {
    #[default]
    On,
    /// Whoever asks for this sees to it that no other process writes there.
    Off,
}

impl Lock {
    /// No lock, for `--no-lock`.
    #[must_use]
    pub fn none() -> Self {
        Self { _file: None }
    }

    /// Wait until no other process holds `path`, and be its only holder.
    ///
    /// # Errors
    /// [`Error::Write`] if the file system knows no locks.
    pub fn patient(path: &Path) -> Result<Self> {
        let file = open(path)?;
        settle(path, file.lock().map_err(TryLockError::Error))?;
        Ok(Self { _file: Some(file) })
    }

    /// Be the only holder of `path`, which is created if need be.
    ///
    /// # Errors
    /// [`Error::Locked`] at once if another process holds it, with what is known of that process;
    /// [`Error::Write`] if the file system knows no locks.
    pub fn exclusive(path: &Path) -> Result<Self> {
        let mut file = open(path)?;
        settle(path, file.try_lock())?;
        sign(path, &mut file)?;
        Ok(Self { _file: Some(file) })
    }

    /// Hold `path` together with others that hold it shared.
    ///
    /// # Errors
    /// As [`Lock::exclusive`].
    pub fn shared(path: &Path) -> Result<Self> {
        let mut file = open(path)?;
        settle(path, file.try_lock_shared())?;
        // Of several holders the last to come is named.
        sign(path, &mut file)?;
        Ok(Self { _file: Some(file) })
    }
}

fn open(path: &Path) -> Result<File> {
    // Not truncated on opening: until the lock is ours, the content is another's.
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(Error::write(path))
}

/// Say who holds the lock.
fn sign(path: &Path, file: &mut File) -> Result<()> {
    let holder = format!("pid {} on host {} since {}\n", std::process::id(), host(), now());
    // Not synced: after a power loss nobody holds the lock anyway.
    file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(Error::write(path))
}

fn settle(path: &Path, tried: Result<(), TryLockError>) -> Result<()> {
    match tried {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(path).unwrap_or_default();
            let holder = holder.lines().next().unwrap_or("another process");
            let holder = holder.chars().take(200).collect::<String>().escape_debug().to_string();
            Err(Error::Locked { path: path.to_owned(), holder })
        }
        Err(TryLockError::Error(error)) => {
            let problem = format!("this file system has no locks: {error}");
            let source = io::Error::new(error.kind(), problem);
            Err(Error::Write { path: path.to_owned(), source })
        }
    }
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

/// The time as `2026-01-31T23:59:59Z`.
fn now() -> String {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(elapsed.as_secs())
}

/// Seconds since 1970-01-01 as a date and time of the proleptic Gregorian calendar.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn utc(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468; // Since 0000-03-01, so that leap days end a year.
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153; // 0 is March.
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_holder_is_told_about_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let lock = Lock::exclusive(&path).unwrap();
        for refused in [Lock::exclusive(&path), Lock::shared(&path)] {
            let error = refused.unwrap_err();
            assert_eq!((error.code(), error.exit_code()), ("CR12", 11));
            let expected = format!("in use by pid {} on host ", std::process::id());
            assert!(error.to_string().contains(&expected), "{error}");
        }
        drop(lock);
        let _one = Lock::shared(&path).unwrap();
        let _two = Lock::shared(&path).unwrap();
        assert!(Lock::exclusive(&path).is_err());
    }

    /// Golden values: `date -u -d @SECONDS +%FT%TZ`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
