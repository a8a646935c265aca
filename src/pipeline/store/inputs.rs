//! Whether the files of an archive are still those that a journal tells of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::journal::{Line, ReadFile};
use crate::archive::{self, Archive, CheckpointRef, read};
use crate::error::Result;
use crate::pipeline::checkpoints::relative;
use crate::pipeline::in_parallel;
use crate::pipeline::patience::patiently;

/// The files of an archive as they are now.
///
/// A digest from before is believed only if device, inode, length and both times of change are what
/// they were; otherwise the bytes are hashed again.
#[derive(Debug)]
pub struct Inputs<'a> {
    files: BTreeMap<String, Source<'a>>,
    identities: BTreeMap<String, Option<String>>,
    /// Digests of the files whose identity changed
    digests: BTreeMap<String, Option<String>>,
    io_timeout: Option<Duration>,
}

/// Where a file of an archive is.
#[derive(Debug)]
enum Source<'a> {
    Checkpoint(&'a CheckpointRef),
    File(PathBuf),
}

impl<'a> Inputs<'a> {
    /// The checkpoints, states of optimisers and logs of an archive.
    #[must_use]
    pub fn new(archive: &'a Archive) -> Self {
        let name = |path: &PathBuf| relative(path, &archive.path);
        let checkpoints =
            archive.checkpoints().chain(archive.runs.iter().flat_map(|run| &run.optimizer));
        let checkpoints = checkpoints.map(|file| (name(&file.path), Source::Checkpoint(file)));
        let logs = archive.runs.iter().map(|run| run.dir.join("metrics.jsonl"));
        let logs = logs.map(|path| (name(&path), Source::File(path)));
        let files: BTreeMap<_, _> = checkpoints.chain(logs).collect();
        let identities = files.iter().map(|(name, file)| (name.clone(), file.identity())).collect();
        let io_timeout = archive.runs.first().and_then(|run| run.io_timeout);
        Self { files, identities, digests: BTreeMap::new(), io_timeout }
    }

    /// Hash the files, on `threads` threads, that are no longer those of these lines at first sight.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`].
    pub fn hash_changed<'b>(
        &mut self,
        lines: impl IntoIterator<Item = &'b Line>,
        threads: usize,
        stop: &AtomicUsize,
    ) -> Result<()> {
        let read = lines.into_iter().flat_map(|line| line.files.iter());
        let changed: BTreeSet<&str> = read
            .filter(|read| read.blake3.is_some() && !self.is_same(read))
            .map(|read| read.file.as_str())
            .collect();
        let changed: Vec<&str> = changed.into_iter().collect();
        let digests = in_parallel(&changed, threads, stop, &|_, _| {}, |name| {
            Ok(self.files.get(*name).and_then(|file| file.digest(self.io_timeout)))
        })?;
        self.digests.extend(changed.into_iter().map(str::to_owned).zip(digests));
        Ok(())
    }

    /// Whether all files that a line was made from are still what they were.
    #[must_use]
    pub fn are_those_of(&self, line: &Line) -> bool {
        line.is_final && self.are_unchanged(line)
    }

    /// The same, also if another attempt might come to other rows.
    #[must_use]
    pub fn are_unchanged(&self, line: &Line) -> bool {
        line.files.iter().all(|read| self.is_current(read))
    }

    /// The files of a line that are not what they were.
    pub fn changed<'b>(&self, line: &'b Line) -> impl Iterator<Item = &'b str> {
        let changed = line.files.iter().filter(|read| !self.is_current(read));
        changed.map(|read| read.file.as_str())
    }

    fn is_same(&self, read: &ReadFile) -> bool {
        self.identities.get(&read.file) == Some(&read.identity)
    }

    fn is_current(&self, read: &ReadFile) -> bool {
        let digest = || self.digests.get(&read.file).and_then(Option::as_ref);
        self.is_same(read) || (read.blake3.is_some() && digest() == read.blake3.as_ref())
    }
}

impl Source<'_> {
    fn identity(&self) -> Option<String> {
        match self {
            Self::Checkpoint(file) => file.identity(),
            Self::File(path) => archive::identity(std::slice::from_ref(path)),
        }
    }

    fn digest(&self, io_timeout: Option<Duration>) -> Option<String> {
        let digest = match self {
            Self::Checkpoint(file) => {
                let source = CheckpointRef::clone(file);
                patiently(&file.path, io_timeout, move || source.digest())
            }
            Self::File(path) => {
                let source = path.clone();
                patiently(path, io_timeout, move || read::digest(&source))
            }
        };
        digest.ok().map(|(_, digest)| digest)
    }
}
