//! The checkpoints of an archive as units of work, and what becomes of those that fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::in_parallel;
use super::measures::Measure;
use super::patience::patiently;
use super::run::{Choices, Subject};
use super::store::journal::ReadFile;
use super::view::{self, View};
use crate::archive::{Archive, Checkpoint, CheckpointRef, Run, escaped};
use crate::error::{Error, Result};
use crate::tables::{FailureRow, Status};

/// One checkpoint to measure.
#[derive(Debug)]
pub struct Item<'a> {
    pub run: &'a Subject,
    pub source: &'a CheckpointRef,
    /// Path relative to the archive
    pub file: String,
    /// How long reading it may take
    pub io_timeout: Option<Duration>,
}

/// A checkpoint that could not be measured.
#[derive(Debug)]
pub struct Failed {
    pub row: FailureRow,
    pub error: Error,
    /// By a mistake of the program, not of the file
    pub internal: bool,
    /// For its row in table `checkpoints`
    pub status: Status,
}

/// Apply one measure to every checkpoint of an archive, on `threads` threads.
///
/// Returns the rows in the order of runs and steps, and what could not be measured. The rows do not
/// depend on the number of threads.
///
/// # Errors
/// What [`Archive::open`] says.
pub fn measure_archive<M: Measure>(
    path: &Path,
    measure: &M,
    threads: usize,
) -> Result<(Vec<M::Row>, Vec<FailureRow>)> {
    crate::linalg::require_sound()?;
    let archive = Archive::open(path)?;
    let (contexts, mut failures) = contexts(&archive, &Choices::default());
    let items = items(&archive, &contexts, None);
    let never = AtomicUsize::new(0);
    let measured = in_parallel(&items, threads, &never, &|_, _| {}, |item| {
        Ok(item.measure(&archive, |view| measure.rows(view)).1)
    })?;
    let mut rows = Vec::new();
    for measured in measured {
        match measured {
            Ok(new) => rows.extend(new),
            Err(failed) => failures.push(failed.row),
        }
    }
    Ok((rows, failures))
}

/// What the measures of each run share, in the order of the runs; `None`, and a row of `failures`,
/// for a run that cannot be described.
pub(super) fn contexts(
    archive: &Archive,
    choices: &Choices,
) -> (Vec<Option<Subject>>, Vec<FailureRow>) {
    let mut failures: Vec<FailureRow> =
        archive.unreadable.iter().map(|error| run_failure(error, &archive.path)).collect();
    failures.extend(archive.refused.iter().map(|refused| FailureRow {
        path: relative(&refused.path, &archive.path),
        ..failure(&refused.error, &archive.path)
    }));
    let contexts = archive.runs.iter().map(|run| {
        Subject::with(run, choices, Some(archive))
            .map_err(|error| {
                failures.push(run_file_failure(&error, run, archive));
            })
            .ok()
    });
    (contexts.collect(), failures)
}

/// A run whose settings or log cannot be used.
pub(super) fn run_file_failure(error: &Error, run: &Run, archive: &Archive) -> FailureRow {
    let file = match error {
        Error::ArchiveFile { path, .. } | Error::Read { path, .. } => path.clone(),
        _ => run.dir.join("run.json"),
    };
    FailureRow {
        path: relative(&file, &archive.path),
        run: Some(run.name.clone()),
        ..failure(error, &archive.path)
    }
}

/// Every checkpoint of the runs that have a context.
pub(super) fn items<'a>(
    archive: &'a Archive,
    contexts: &'a [Option<Subject>],
    io_timeout: Option<Duration>,
) -> Vec<Item<'a>> {
    let known = archive.runs.iter().zip(contexts);
    known
        .filter_map(|(run, context)| Some((run, context.as_ref()?)))
        .flat_map(|(run, context)| {
            run.checkpoints.iter().map(move |source| Item {
                run: context,
                source,
                file: relative(&source.path, &archive.path),
                io_timeout,
            })
        })
        .collect()
}

impl Item<'_> {
    /// Load and measure; one checkpoint's fault, or a mistake of the program on it, must not cost
    /// the others. Also what was read.
    pub(super) fn measure<R>(
        &self,
        archive: &Archive,
        measure: impl FnOnce(&View<'_>) -> Result<R>,
    ) -> (ReadFile, Result<R, Box<Failed>>) {
        self.consume(archive, |view| measure(&view))
    }

    /// The same for work that takes the view apart.
    pub(super) fn consume<R>(
        &self,
        archive: &Archive,
        measure: impl FnOnce(View<'_>) -> Result<R>,
    ) -> (ReadFile, Result<R, Box<Failed>>) {
        self.load(archive, |checkpoint| {
            measure(View::new(self.run, self.source, &self.file, checkpoint)?)
        })
    }

    /// Load and check, with `strict` also what it holds, and no more.
    pub(super) fn read(
        &self,
        archive: &Archive,
        strict: bool,
    ) -> (ReadFile, Result<(), Box<Failed>>) {
        self.load(
            archive,
            |checkpoint| {
                if strict { view::require_flawless(&checkpoint) } else { Ok(()) }
            },
        )
    }

    fn load<R>(
        &self,
        archive: &Archive,
        then: impl FnOnce(Checkpoint) -> Result<R>,
    ) -> (ReadFile, Result<R, Box<Failed>>) {
        let mut read = self.unread();
        let work = || {
            let source = self.source.clone();
            let load = move || source.load(None);
            let checkpoint = patiently(&self.source.path, self.io_timeout, load)?;
            read.blake3 = Some(checkpoint.blake3.clone());
            then(checkpoint)
        };
        let result = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())));
        (read, result.map_err(|error| self.failed(archive, error)))
    }

    /// As if reading it had failed with this error.
    pub(super) fn refused<R>(
        &self,
        archive: &Archive,
        error: Error,
    ) -> (ReadFile, Result<R, Box<Failed>>) {
        (self.unread(), Err(self.failed(archive, error)))
    }

    fn unread(&self) -> ReadFile {
        ReadFile { file: self.file.clone(), identity: self.source.identity(), blake3: None }
    }

    fn failed(&self, archive: &Archive, error: Error) -> Box<Failed> {
        Box::new(Failed {
            internal: matches!(error, Error::Internal(_)),
            status: match &error {
                Error::MissingTensor { .. } => Status::Missing,
                Error::Shape { .. } => Status::ShapeChanged,
                Error::Internal(_) => Status::InternalError,
                Error::TooLarge { .. } => Status::TooLarge,
                _ => Status::Unreadable,
            },
            row: checkpoint_failure(&error, self.source, self.file.clone(), &archive.path),
            error,
        })
    }
}

/// The row of a checkpoint that could not be used.
pub(super) fn checkpoint_failure(
    error: &Error,
    checkpoint: &CheckpointRef,
    file: String,
    archive: &Path,
) -> FailureRow {
    FailureRow {
        path: file,
        run: Some(checkpoint.run.clone()),
        step: i64::try_from(checkpoint.step).ok(),
        ..failure(error, archive)
    }
}

/// Whether the same file may be usable at the next attempt: what failed is the device, the program
/// or the limit, not the bytes.
pub(super) fn is_passing(error: &Error) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match error {
        Error::Read { source, .. } => !matches!(source.kind(), NotFound | PermissionDenied),
        Error::TooSlow { .. } | Error::TooLarge { .. } | Error::Internal(_) => true,
        _ => false,
    }
}

/// Code and message of an error, without the machine's paths.
pub(super) fn failure(error: &Error, archive: &Path) -> FailureRow {
    // `join` adds a `/` unless the archive was named with one.
    let (message, prefix) = (error.to_string(), archive.join("").display().to_string());
    FailureRow {
        code: error.code().to_owned(),
        message: message.strip_prefix(&prefix).unwrap_or(&message).to_owned(),
        ..FailureRow::default()
    }
}

fn run_failure(error: &Error, archive: &Path) -> FailureRow {
    let path = match error {
        Error::Read { path, .. }
        | Error::ArchiveFile { path, .. }
        | Error::OtherRun { path, .. } => relative(path, archive),
        _ => String::new(),
    };
    FailureRow { path, ..failure(error, archive) }
}

/// Path relative to the archive, with `/` between folders and `\xNN` for bytes that are no UTF-8.
pub(super) fn relative(path: &Path, archive: &Path) -> String {
    escaped(path.strip_prefix(archive).unwrap_or(path).as_os_str())
}
