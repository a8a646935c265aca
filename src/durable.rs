//! The one place that writes files.
//!
//! A file under its final name is complete, and was on the disk before it got that name: its bytes
//! go to a temporary sibling, `.<name>.<pid>-<random>.gs-tmp`, which is synced and renamed; then
//! the folder is synced, which makes the name durable. Readers and killed writers therefore see
//! the old file or the new one, never a part. What may only grow, a log, is in [`Log`]; who may
//! write at all is settled by [`Lock`].
//!
//! After a failed fsync the pages may be marked clean though they never reached the disk, so a
//! second fsync of the same descriptor proves nothing. It is never tried: the temporary is removed
//! and the error reported.

mod lock;
mod log;

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub use lock::Lock;
pub use log::Log;

use crate::error::{Error, Result};

const TEMPORARY: &str = ".gs-tmp";

/// Write one file, replacing what had its name.
///
/// # Errors
/// [`Error::Write`]; the old file, if there was one, is then untouched.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut batch = Batch::default();
    batch.stage(path, bytes)?;
    batch.commit()
}

/// Files that get their names together: each folder is synced once for all of them.
///
/// Dropped without [`Batch::commit`], it leaves nothing behind.
#[derive(Debug, Default)]
pub struct Batch {
    staged: VecDeque<Staged>,
}

#[derive(Debug)]
struct Staged {
    temporary: PathBuf,
    path: PathBuf,
}

impl Batch {
    /// Write the bytes of `path` to a synced temporary beside it.
    ///
    /// # Errors
    /// [`Error::Write`]; the temporary is removed.
    pub fn stage(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let (temporary, mut file) = create_temporary(path)?;
        let written = file
            .write_all(bytes)
            .map_err(|error| explain(error, bytes.len()))
            .and_then(|()| file.sync_all().map_err(not_durable));
        if let Err(source) = written {
            remove_quietly(&temporary);
            return Err(Error::Write { path: path.to_owned(), source });
        }
        self.staged.push_back(Staged { temporary, path: path.to_owned() });
        Ok(())
    }

    /// Give all files their final names, in the order in which they were staged, durably.
    ///
    /// # Errors
    /// [`Error::Write`]. A file that could not be renamed stays under its temporary name, which the
    /// message tells; those behind it are removed.
    pub fn commit(mut self) -> Result<()> {
        let mut folders = BTreeSet::new();
        while let Some(Staged { temporary, path }) = self.staged.pop_front() {
            if let Err(error) = fs::rename(&temporary, &path) {
                let kept = format!("{error}; the data are in {}", temporary.display());
                return Err(Error::Write { path, source: io::Error::new(error.kind(), kept) });
            }
            folders.insert(folder_of(&path).to_owned());
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for staged in &self.staged {
            remove_quietly(&staged.temporary);
        }
    }
}

/// Create a folder and those above it, durably. An existing folder is left as it is.
///
/// # Errors
/// [`Error::Write`], also if the name belongs to something that is no folder.
pub fn create_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = folder_of(path);
    create_dir(parent)?;
    match fs::create_dir(path) {
        // Another process was faster; whoever created it, the name must be durable.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        result => result.map_err(Error::write(path))?,
    }
    sync_folder(parent)
}

/// Remove the temporaries that a killed process left in `folder` (not in folders below it), and
/// say how many. Anything whose name is not exactly of our pattern stays. Call it under the lock.
///
/// # Errors
/// [`Error::Write`] if the folder cannot be listed or a temporary not be removed.
pub fn sweep_temporaries(folder: &Path) -> Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(folder).map_err(Error::write(folder))? {
        let entry = entry.map_err(Error::write(folder))?;
        if entry.file_name().to_str().is_some_and(is_temporary) {
            fs::remove_file(entry.path()).map_err(Error::write(&entry.path()))?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Whether `name` is one that [`Batch`] gives to a temporary.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    let ours = |name: &str| {
        let (name, tag) = name.strip_prefix('.')?.strip_suffix(TEMPORARY)?.rsplit_once('.')?;
        let (pid, random) = tag.split_once('-')?;
        let digits = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
        let hex = random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(!name.is_empty() && digits && hex)
    };
    ours(name).unwrap_or(false)
}

/// Make the names in a folder durable.
fn sync_folder(folder: &Path) -> Result<()> {
    static WARNED: AtomicBool = AtomicBool::new(false);
    match File::open(folder).and_then(|open| open.sync_all()) {
        // Some network file systems cannot sync a folder; there is nothing better to do on them.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            if !WARNED.swap(true, Ordering::Relaxed) {
                tracing::warn!(folder = %folder.display(), "this file system cannot sync a folder");
            }
            Ok(())
        }
        result => result.map_err(not_durable).map_err(Error::write(folder)),
    }
}

fn create_temporary(path: &Path) -> Result<(PathBuf, File)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    loop {
        // The standard library's hash keys are its one source of randomness.
        let random = RandomState::new().hash_one(path);
        let tag = format!(".{name}.{}-{random:016x}{TEMPORARY}", std::process::id());
        let temporary = folder_of(path).join(tag);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => return Ok((temporary, result.map_err(Error::write(path))?)),
        }
    }
}

/// The folder that holds `path`; `.` for a bare name.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// For the way out of a failure, whose error is the one to report.
fn remove_quietly(path: &Path) {
    let _ = fs::remove_file(path);
}

fn not_durable(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("could not make it durable: {error}"))
}

fn explain(error: io::Error, needed: usize) -> io::Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            io::Error::new(error.kind(), format!("{error}; need {needed} bytes"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_and_replaced_without_remains() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.json"]);
    }

    #[test]
    fn a_batch_shows_nothing_before_its_commit() {
        let dir = tempfile::tempdir().unwrap();
        let mut batch = Batch::default();
        batch.stage(&dir.path().join("a"), b"1").unwrap();
        batch.stage(&dir.path().join("b"), b"2").unwrap();
        assert!(names(dir.path()).iter().all(|name| is_temporary(name)));
        drop(batch);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn failures_name_the_file_and_keep_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("nowhere/a");
        let error = write(&missing, b"x").unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("CR05", 5));
        assert!(error.to_string().starts_with(&format!("could not write {}", missing.display())));

        // A name that is taken by a folder cannot be renamed over: the data are kept, and named.
        let taken = dir.path().join("taken");
        create_dir(&taken.join("full")).unwrap();
        let mut batch = Batch::default();
        batch.stage(&taken, b"x").unwrap();
        batch.stage(&dir.path().join("behind"), b"y").unwrap();
        let message = batch.commit().unwrap_err().to_string();
        let (_, kept) = message.split_once("the data are in ").unwrap();
        assert_eq!(fs::read(kept).unwrap(), b"x");
        assert_eq!(names(dir.path()).len(), 2, "one temporary and the folder");
    }

    #[test]
    fn folders_are_created_with_their_parents() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir(&deep).unwrap();
        create_dir(&deep).unwrap();
        assert!(deep.is_dir());
        write(&dir.path().join("file"), b"").unwrap();
        assert_eq!(create_dir(&dir.path().join("file")).unwrap_err().exit_code(), 5);
    }

    #[test]
    fn only_our_temporaries_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = [
            ".a.1-0123456789abcde.gs-tmp", // 15 digits
            ".a.x-0123456789abcdef.gs-tmp",
            ".gs-tmp",
            "a.1-0123456789abcdef.gs-tmp",
            "a.gs-tmp",
        ];
        for name in foreign {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        let (ours, _) = create_temporary(&dir.path().join("step.safetensors")).unwrap();
        assert!(is_temporary(ours.file_name().unwrap().to_str().unwrap()));
        assert_eq!(sweep_temporaries(dir.path()).unwrap(), 1);
        assert_eq!(names(dir.path()), foreign);
    }

    /// `/dev/full` refuses every byte, as a full disk does.
    #[test]
    fn a_full_disk_is_told_with_the_bytes_needed() {
        let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = explain(full.write_all(&[0; 64]).unwrap_err(), 64);
        assert!(error.to_string().ends_with("; need 64 bytes"), "{error}");
    }
}
