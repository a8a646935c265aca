//! Files of lines that only grow.
//!
//! A line is there once its newline is on the disk. A killed writer leaves at most one torn line,
//! at the end and without a newline, which readers ignore.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::faults::{Operation, check};
use super::{folder_of, not_durable, sync_folder};
use crate::error::{Error, Result};

/// A file that is open for appending lines.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    /// After a failure the end of the file is unknown, and nothing may follow it.
    failed: bool,
}

impl Log {
    /// Open, or create durably. The caller has cut a torn last line before.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn open(path: &Path) -> Result<Self> {
        let existed = path.exists();
        let file = check(path, Operation::Create)
            .and_then(|()| OpenOptions::new().append(true).create(true).open(path));
        let file = file.map_err(Error::write(path))?;
        if !existed {
            sync_folder(folder_of(path))?;
        }
        Ok(Self { path: path.to_owned(), file, failed: false })
    }

    /// Append whole lines, which end in a newline, and wait until they are on the disk.
    ///
    /// # Errors
    /// [`Error::Write`]. The file is then cut back to its former length where possible, and takes
    /// no more lines.
    pub fn append(&mut self, lines: &str) -> Result<()> {
        self.append_later(lines)?;
        self.require_name()?;
        let synced = check(&self.path, Operation::Sync).and_then(|()| self.file.sync_data());
        let synced = synced.map_err(not_durable);
        self.failed = synced.is_err();
        synced.map_err(Error::write(&self.path))
    }

    /// What is appended to a file that was removed, or replaced by another, is lost.
    fn require_name(&mut self) -> Result<()> {
        let inode = |file: &Metadata| (file.dev(), file.ino());
        let there = std::fs::metadata(&self.path).and_then(|named| {
            let gone = || io::Error::new(ErrorKind::NotFound, "replaced meanwhile");
            let is_it = inode(&named) == inode(&self.file.metadata()?);
            is_it.then_some(()).ok_or_else(gone)
        });
        there.map_err(|error| {
            self.failed = true;
            let problem = format!("it was removed meanwhile: {error}");
            Error::Write { path: self.path.clone(), source: io::Error::new(error.kind(), problem) }
        })
    }

    /// Append whole lines without waiting: the next [`Log::append`] makes them durable, too.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_later(&mut self, lines: &str) -> Result<()> {
        if self.failed || !lines.ends_with('\n') {
            let problem = if self.failed { "after a failure" } else { "a torn line" };
            return Err(Error::Internal(format!("{}: append {problem}", self.path.display())));
        }
        let length = self.file.metadata().map_err(Error::write(&self.path))?.len();
        super::write_all(&mut self.file, &self.path, lines.as_bytes()).inspect_err(|_| {
            self.failed = true;
            // Best effort: if even this fails, readers ignore the torn line.
            if check(&self.path, Operation::Remove).is_ok() {
                let _ = self.file.set_len(length);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_across_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        Log::open(&path).unwrap().append("1\n2\n").unwrap();
        let mut log = Log::open(&path).unwrap();
        log.append_later("3\n").unwrap();
        log.append("4\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n3\n4\n");
        assert_eq!(log.append("torn").unwrap_err().exit_code(), 1);
    }

    #[test]
    fn lines_of_a_file_that_was_removed_are_not_lost_quietly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let mut log = Log::open(&path).unwrap();
        log.append("1\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = log.append("2\n").unwrap_err();
        assert!(error.to_string().contains("it was removed meanwhile"), "{error}");
        assert_eq!(error.exit_code(), 5);
        let mut log = Log::open(&path).unwrap();
        std::fs::rename(&path, dir.path().join("other")).unwrap();
        std::fs::write(&path, "").unwrap();
        let error = log.append("3\n").unwrap_err();
        assert!(error.to_string().contains("replaced meanwhile"), "{error}");
    }

    /// `/dev/full` refuses every byte, as a full disk does.
    #[test]
    fn after_a_failure_a_log_takes_no_more_lines() {
        let mut log = Log::open(Path::new("/dev/full")).unwrap();
        let error = log.append("1\n").unwrap_err();
        assert_eq!(error.code(), "CR05");
        assert!(error.to_string().contains("need 2 bytes"), "{error}");
        assert_eq!(log.append("2\n").unwrap_err().code(), "CR21");
    }
}
