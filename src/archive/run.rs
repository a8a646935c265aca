//! One run of an archive, read without touching the data of any checkpoint.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::header::Header;
use super::info::RunInfo;
use super::manifest::{Entry, Manifest, Part, step_of};
use super::metrics::{self, MetricsRow};
use super::read::{self, Tensor};
use crate::durable;
use crate::error::{Error, Fault, Result};

/// A run: its settings, and where its checkpoints are.
#[derive(Debug, Clone)]
pub struct Run {
    /// The name of its folder; bytes that are not UTF-8 stand as `\xNN`.
    pub name: String,
    pub dir: PathBuf,
    pub info: RunInfo,
    /// The committed checkpoints, by step. Where a folder has no `manifest.jsonl`, because only
    /// the checkpoints were copied, all that are there, without digests.
    pub checkpoints: Vec<CheckpointRef>,
    /// The committed optimiser states, by step.
    pub optimizer: Vec<CheckpointRef>,
    /// Checkpoints and temporaries without a line in the manifest: a save is going on, or was
    /// interrupted.
    pub uncommitted: usize,
}

/// Where a checkpoint is. Holds no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRef {
    /// [`Run::name`]
    pub run: String,
    /// Optimiser updates taken; 0 is the initialisation.
    pub step: u64,
    pub path: PathBuf,
    /// Length of the file, as in the manifest if there is one.
    pub bytes: u64,
    /// BLAKE3 of the file in hexadecimal, as in the manifest.
    pub blake3: Option<String>,
}

/// A checkpoint in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub step: u64,
    /// Also holds the metadata, and lists the tensors that were not loaded.
    pub header: Header,
    /// The tensors asked for, in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Length of the file.
    pub bytes: u64,
    /// BLAKE3 of the file in hexadecimal: of exactly the bytes that were decoded.
    pub blake3: String,
    /// For messages.
    pub path: PathBuf,
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
            });
            let checkpoints = checkpoints.collect();
            let (dir, optimizer, uncommitted) = (dir.to_owned(), Vec::new(), temporaries);
            return Ok(Self { name, dir, info, checkpoints, optimizer, uncommitted });
        };
        let refs = |part: Part, files: &BTreeMap<u64, Entry>| {
            let to_ref = |(step, entry): (&u64, &Entry)| CheckpointRef {
                run: name.clone(),
                step: *step,
                path: dir.join(part.name(*step)),
                bytes: entry.bytes,
                blake3: Some(entry.blake3.clone()),
            };
            files.iter().map(to_ref).collect::<Vec<_>>()
        };
        let checkpoints = refs(Part::Weights, &manifest.weights);
        let optimizer = refs(Part::Optimizer, &manifest.optimizer);
        let committed = |step: &u64| manifest.weights.contains_key(step);
        let extra = files.iter().filter(|(step, ..)| !committed(step)).count();
        let (dir, uncommitted) = (dir.to_owned(), extra + temporaries);
        Ok(Self { name, dir, info, checkpoints, optimizer, uncommitted })
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

impl CheckpointRef {
    /// Read the header alone. The digest is not checked: that takes the whole file.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Checkpoint`] with the first fault of the header.
    pub fn header(&self) -> Result<Header> {
        read::header(&self.path).map_err(|error| self.missing(error))
    }

    /// Read the tensors in `wanted`, or all that hold floating-point numbers, and check the whole
    /// file against the digest in the manifest.
    ///
    /// # Errors
    /// As [`read::load`], and [`Fault::Digest`]. A file of the right length that is broken is
    /// reported by its digest, because the header's own complaint is then only a consequence; one
    /// of another length by the complaint, which tells more.
    pub fn load(&self, wanted: Option<&[&str]>) -> Result<Checkpoint> {
        let loaded = read::load(&self.path, wanted, true).map_err(|error| self.missing(error));
        let found = match &loaded {
            Ok(contents) => contents.blake3.clone(),
            Err(Error::Checkpoint { .. } | Error::MissingTensor { .. })
                if self.blake3.is_some() =>
            {
                let (bytes, found) = read::digest(&self.path)?;
                (bytes == self.bytes).then_some(found)
            }
            Err(_) => None,
        };
        if let (Some(expected), Some(found)) = (&self.blake3, &found)
            && expected != found
        {
            let fault = Fault::Digest { expected: expected.clone(), found: found.clone() };
            return Err(Error::Checkpoint { path: self.path.clone(), fault });
        }
        loaded.map(|contents| Checkpoint {
            step: self.step,
            header: contents.header,
            tensors: contents.tensors,
            bytes: contents.bytes,
            blake3: found.unwrap_or_default(),
            path: self.path.clone(),
        })
    }

    /// Say of a file that is not there that it ought to be.
    fn missing(&self, error: Error) -> Error {
        match error {
            Error::Read { path, source } if source.kind() == ErrorKind::NotFound => {
                let problem = "disappeared while running, or was never copied here";
                Error::Read { path, source: io::Error::new(ErrorKind::NotFound, problem) }
            }
            other => other,
        }
    }
}

impl Checkpoint {
    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })
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
