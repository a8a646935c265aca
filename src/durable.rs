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

pub(crate) mod faults;
mod lock;
mod log;

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use faults::{Operation, check};
pub use lock::{Lock, Locking};
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

/// Files and folders that get their names together: each folder that holds them is synced once for
/// all of them.
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
        self.stage_with(path, |file| write_all(file, path, bytes))
    }

    /// The same with a function that fills the file, which it may read, too.
    ///
    /// # Errors
    /// [`Error::Write`], also for such an error of `fill` without a path, and whatever else `fill`
    /// says; the temporary is removed.
    pub fn stage_with<T>(
        &mut self,
        path: &Path,
        fill: impl FnOnce(&mut File) -> Result<T>,
    ) -> Result<T> {
        let (temporary, mut file) = create_temporary(path)?;
        let filled = fill(&mut file).and_then(|filled| {
            sync(&file, path)?;
            Ok(filled)
        });
        match filled {
            Ok(_) => self.staged.push_back(Staged { temporary, path: path.to_owned() }),
            Err(_) => remove_quietly(&temporary),
        }
        filled.map_err(|error| match error {
            Error::Write { source, .. } => Error::Write { path: path.to_owned(), source },
            other => other,
        })
    }

    /// Write a folder with these files, by name, to a synced temporary beside `path`.
    ///
    /// # Errors
    /// [`Error::Write`]; the temporary is removed.
    pub fn stage_folder<'a>(
        &mut self,
        path: &Path,
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<()> {
        let temporary = temporary_name(path);
        let write = || {
            check(&temporary, Operation::Create).map_err(Error::write(path))?;
            fs::create_dir(&temporary).map_err(Error::write(path))?;
            for (name, bytes) in files {
                let inside = temporary.join(name);
                check(&inside, Operation::Create).map_err(Error::write(&inside))?;
                let mut file = File::create_new(&inside).map_err(Error::write(&inside))?;
                write_all(&mut file, &inside, bytes)?;
                sync(&file, &inside)?;
            }
            sync_folder(&temporary)
        };
        let written = write();
        match written {
            Ok(()) => self.staged.push_back(Staged { temporary, path: path.to_owned() }),
            Err(_) => remove_quietly(&temporary),
        }
        written
    }

    /// Give all files their final names, in the order in which they were staged, durably. A folder
    /// takes the place of one that has its name.
    ///
    /// # Errors
    /// [`Error::Write`]. A file that could not be renamed stays under its temporary name, which the
    /// message tells; those behind it are removed.
    pub fn commit(mut self) -> Result<()> {
        let mut folders = BTreeSet::new();
        while let Some(Staged { temporary, path }) = self.staged.pop_front() {
            if temporary.is_dir() && path.is_dir() {
                remove_folder(&path)?;
            }
            let renamed = check(&path, Operation::Rename);
            if let Err(error) = renamed.and_then(|()| fs::rename(&temporary, &path)) {
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

/// Remove a file of ours; nothing happens if there is none. Its name may come back with a power
/// loss, so what must stay gone needs another sign.
///
/// # Errors
/// [`Error::Write`].
pub fn remove(path: &Path) -> Result<()> {
    match check(path, Operation::Remove).and_then(|()| fs::remove_file(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::write(path)(error)),
        _ => Ok(()),
    }
}

/// Remove a folder of ours with all that is in it.
///
/// # Errors
/// [`Error::Write`].
pub fn remove_folder(path: &Path) -> Result<()> {
    match check(path, Operation::Remove).and_then(|()| fs::remove_dir_all(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::write(path)(error)),
        _ => Ok(()),
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
    match check(path, Operation::Create).and_then(|()| fs::create_dir(path)) {
        // Another process was faster; whoever created it, the name must be durable.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        result => result.map_err(Error::write(path))?,
    }
    sync_folder(parent)
}

/// Remove the temporaries, files and folders, that a killed process left in `folder` (not in folders
/// below it), and say how many. Anything whose name is not exactly of our pattern stays. Call it under the lock.
///
/// # Errors
/// [`Error::Write`] if the folder cannot be listed or a temporary not be removed.
pub fn sweep_temporaries(folder: &Path) -> Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(folder).map_err(Error::write(folder))? {
        let entry = entry.map_err(Error::write(folder))?;
        if entry.file_name().to_str().is_some_and(is_temporary) {
            let path = entry.path();
            if path.is_dir() {
                remove_folder(&path)?
            } else {
                remove(&path)?
            }
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
    let synced = check(folder, Operation::Sync)
        .and_then(|()| File::open(folder))
        .and_then(|open| open.sync_all());
    match synced {
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
    loop {
        let temporary = temporary_name(path);
        let created = check(path, Operation::Create).and_then(|()| {
            OpenOptions::new().read(true).write(true).create_new(true).open(&temporary)
        });
        match created {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => return Ok((temporary, result.map_err(Error::write(path))?)),
        }
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The standard library's hash keys are its one source of randomness.
    let random = RandomState::new().hash_one(path);
    let tag = format!(".{name}.{}-{random:016x}{TEMPORARY}", std::process::id());
    folder_of(path).join(tag)
}

/// Write all bytes to the file that will be `path`.
fn write_all(file: &mut File, path: &Path, bytes: &[u8]) -> Result<()> {
    let written = match check(path, Operation::Write) {
        Ok(()) => file.write_all(bytes),
        Err(error) => {
            // As a full disk does.
            let _ = file.write_all(&bytes[..bytes.len() / 2]);
            Err(error)
        }
    };
    written.map_err(|error| Error::write(path)(explain(error, bytes.len())))
}

/// Wait until the file that will be `path` is on the disk.
fn sync(file: &File, path: &Path) -> Result<()> {
    let synced = check(path, Operation::Sync).and_then(|()| file.sync_all());
    synced.map_err(not_durable).map_err(Error::write(path))
}

/// The folder that holds `path`; `.` for a bare name.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// For the way out of a failure, whose error is the one to report.
fn remove_quietly(path: &Path) {
    if check(path, Operation::Remove).is_ok() {
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
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
mod tests;
