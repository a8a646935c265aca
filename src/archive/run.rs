//! One run of an archive, read without touching the data of any checkpoint.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checkpoint::CheckpointRef;
use super::info::RunInfo;
use super::manifest::{Entry, Manifest, Part, step_of};
use super::metrics::{self, MetricsRow};
use crate::config::Facts;
use crate::durable;
use crate::error::{Error, Result};

/// A run: its settings, and where its checkpoints are.
#[derive(Debug, Clone)]
pub struct Run {
    /// The path of its folder below the archive, or the name of the archive's folder if that is it;
    /// bytes that are not UTF-8 stand as `\xNN`.
    pub name: String,
    pub dir: PathBuf,
    /// Its `run.json`; `None` for a run of another program.
    pub info: Option<RunInfo>,
    /// What is known of a run of another program all the same.
    pub facts: Facts,
    /// The committed checkpoints, by step. Where a folder has no `manifest.jsonl`, because only
    /// the checkpoints were copied, all that are there, without digests.
    pub checkpoints: Vec<CheckpointRef>,
    /// The committed optimiser states, by step.
    pub optimizer: Vec<CheckpointRef>,
    /// Checkpoints and temporaries without a line in the manifest: a save is going on, or was
    /// interrupted.
    pub uncommitted: usize,
    /// [`super::Options::io_timeout`]
    pub io_timeout: Option<Duration>,
}

impl Run {
    /// Read `run.json`, `manifest.jsonl` and the names in `checkpoints/`.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::ArchiveFile`] or [`Error::OtherRun`] for what cannot be
    /// understood in either file.
    pub fn open(dir: &Path) -> Result<Self> {
        let info = RunInfo::read(&dir.join("run.json"))?;
        let name = run_name(dir)?;
        let (files, temporaries) = saved_files(&dir.join(Part::Weights.folder()))?;
        let Some(manifest) = Manifest::read(&dir.join("manifest.jsonl"))? else {
            let checkpoints = files.into_iter().map(|(step, path, bytes)| CheckpointRef {
                run: name.clone(),
                step,
                path,
                bytes,
                blake3: None,
                is_index: false,
            });
            return Ok(Self {
                checkpoints: checkpoints.collect(),
                optimizer: Vec::new(),
                uncommitted: temporaries,
                name,
                dir: dir.to_owned(),
                info: Some(info),
                facts: Facts::default(),
                io_timeout: None,
            });
        };
        let refs = |part: Part, files: &BTreeMap<u64, Entry>| {
            let to_ref = |(step, entry): (&u64, &Entry)| CheckpointRef {
                run: name.clone(),
                step: *step,
                path: dir.join(part.name(*step)),
                bytes: entry.bytes,
                blake3: Some(entry.blake3.clone()),
                is_index: false,
            };
            files.iter().map(to_ref).collect::<Vec<_>>()
        };
        let checkpoints = refs(Part::Weights, &manifest.weights);
        let optimizer = refs(Part::Optimizer, &manifest.optimizer);
        let committed = |step: &u64| manifest.weights.contains_key(step);
        let extra = files.iter().filter(|(step, ..)| !committed(step)).count();
        Ok(Self {
            checkpoints,
            optimizer,
            uncommitted: extra + temporaries,
            name,
            dir: dir.to_owned(),
            info: Some(info),
            facts: Facts::default(),
            io_timeout: None,
        })
    }

    /// A run of another program.
    pub(super) fn foreign(
        dir: PathBuf,
        checkpoints: Vec<CheckpointRef>,
        facts: Facts,
    ) -> Result<Self> {
        let (name, optimizer) = (run_name(&dir)?, Vec::new());
        let io_timeout = None;
        Ok(Self {
            name,
            dir,
            info: None,
            facts,
            checkpoints,
            optimizer,
            uncommitted: 0,
            io_timeout,
        })
    }

    /// The same under the name that the path of its folder below the archive gives it; as it is,
    /// if that is the archive itself.
    pub(super) fn named(mut self, parts: &[String]) -> Self {
        if !parts.is_empty() {
            self.name = parts.join("/");
        }
        for file in self.checkpoints.iter_mut().chain(&mut self.optimizer) {
            file.run.clone_from(&self.name);
        }
        self
    }

    /// The checkpoint of `step`.
    ///
    /// # Errors
    /// [`Error::StepNotSaved`] with the nearest steps that are.
    pub fn checkpoint(&self, step: u64) -> Result<&CheckpointRef> {
        let found = self.checkpoints.binary_search_by_key(&step, |checkpoint| checkpoint.step);
        found.map(|index| &self.checkpoints[index]).map_err(|_| {
            let nearest: Vec<String> =
                self.nearest_steps(step).iter().map(u64::to_string).collect();
            Error::StepNotSaved {
                path: self.dir.clone(),
                step: step.to_string(),
                nearest: if nearest.is_empty() { "none".into() } else { nearest.join(", ") },
            }
        })
    }

    /// The saved step itself; otherwise the nearest below and the nearest above it, as far as
    /// there are any.
    #[must_use]
    pub fn nearest_steps(&self, step: u64) -> Vec<u64> {
        let steps = || self.checkpoints.iter().map(|checkpoint| checkpoint.step);
        let below = steps().rfind(|saved| *saved <= step);
        let above = steps().find(|saved| *saved >= step);
        let mut nearest: Vec<u64> = below.into_iter().chain(above).collect();
        nearest.dedup();
        nearest
    }

    /// What the trainer logged; nothing if the run has no `metrics.jsonl`.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::ArchiveFile`] with the line that cannot be read.
    pub fn metrics(&self) -> Result<Vec<MetricsRow>> {
        metrics::read(&self.dir.join("metrics.jsonl"))
    }
}

/// The name of a run: that of its folder, also for `.` and `..`.
pub(super) fn run_name(dir: &Path) -> Result<String> {
    let name = match dir.file_name() {
        Some(name) => name.to_owned(),
        None => {
            let full = fs::canonicalize(dir).map_err(Error::read(dir))?;
            full.file_name().unwrap_or(OsStr::new("/")).to_owned()
        }
    };
    Ok(escaped(&name))
}

/// A name as text: bytes that are not UTF-8 stand as `\xNN`.
#[must_use]
pub fn escaped(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02X}")));
    }
    text
}

/// Step, path and length.
type SavedFile = (u64, PathBuf, u64);

/// The checkpoints in a folder, by step, and the number of temporaries.
fn saved_files(folder: &Path) -> Result<(Vec<SavedFile>, usize)> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        result => result.map_err(Error::read(folder))?,
    };
    let (mut files, mut temporaries) = (Vec::new(), 0);
    for entry in entries {
        let entry = entry.map_err(Error::read(folder))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(step) = step_of(name) {
            // A link whose target is gone is a checkpoint that cannot be read, not an end.
            let bytes = fs::metadata(entry.path()).map_or(0, |file| file.len());
            files.push((step, entry.path(), bytes));
        }
        temporaries += usize::from(durable::is_temporary(name));
    }
    files.sort();
    Ok((files, temporaries))
}

#[cfg(test)]
mod tests;
