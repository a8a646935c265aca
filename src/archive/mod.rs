//! Archives of training runs: files in, typed values out.
//!
//! ```text
//! RUN_DIR/
//!   run.json                                written first, never changed
//!   checkpoints/step_00000100.safetensors   weights
//!   optimizer/step_00000100.safetensors     state of the optimiser, where kept
//!   metrics.jsonl                           a line per logged step
//!   manifest.jsonl                          a line per file: its commit, with its BLAKE3
//! ```
//!
//! An archive is such a folder, or a folder of such folders. Step t means: after t updates.
//! Knows no mathematics, starts no threads, and never writes to what it reads; [`RunWriter`] alone
//! writes, through [`crate::durable`].

pub mod header;
pub mod info;
pub mod metrics;
pub mod read;
pub mod write;

mod float;
mod jsonl;
mod manifest;
mod run;
#[cfg(test)]
pub(crate) mod sample;
mod slice;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use float::float_bytes;
pub use header::{Dtype, Header, TensorInfo};
pub use info::{RunInfo, Versions};
pub use metrics::MetricsRow;
pub use read::Tensor;
pub use run::{Checkpoint, CheckpointRef, Run, escaped};
pub use slice::Slices;
pub use write::{Data, TensorRef};
pub use writer::{RunWriter, Start};

use crate::error::{Error, Result};

/// The runs in a folder.
#[derive(Debug)]
pub struct Archive {
    pub path: PathBuf,
    /// By name.
    pub runs: Vec<Run>,
    /// Why some folders with a `run.json` are not among the runs: one broken run does not stop the
    /// others.
    pub unreadable: Vec<Error>,
}

impl Archive {
    /// Open a run folder, or a folder of run folders. Reads no checkpoint.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NothingUsable`], with what is there instead, if there is no
    /// checkpoint; the error of the first run if none can be read.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::NotFound { path: path.to_owned(), kind: "archive" });
        }
        let (mut runs, mut unreadable) = (Vec::new(), Vec::new());
        for folder in run_folders(path)? {
            match Run::open(&folder) {
                Ok(run) => runs.push(run),
                Err(error) => unreadable.push(error),
            }
        }
        if runs.iter().all(|run| run.checkpoints.is_empty()) {
            if !unreadable.is_empty() {
                return Err(unreadable.swap_remove(0));
            }
            let found = format!("0 checkpoints; {}", contents(path)?);
            return Err(Error::NothingUsable { path: path.to_owned(), found });
        }
        runs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { path: path.to_owned(), runs, unreadable })
    }

    /// All checkpoints, by run and step.
    pub fn checkpoints(&self) -> impl Iterator<Item = &CheckpointRef> {
        self.runs.iter().flat_map(|run| &run.checkpoints)
    }
}

/// The folders with a `run.json`: `path` itself, or those right below it, by name.
fn run_folders(path: &Path) -> Result<Vec<PathBuf>> {
    let is_run = |folder: &Path| folder.join("run.json").exists();
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    if is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::read(path))? {
        let folder = entry.map_err(Error::read(path))?.path();
        if is_run(&folder) {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

/// What a folder holds, right in it and in the folders below, by kind: `3 other files: 2 .pt,
/// 1 .txt`. Hidden files do not count.
fn contents(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return Ok("this is a file, not a folder".into());
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::read(&folder))? {
            let entry = entry.map_err(Error::read(&folder))?;
            let (path, is_folder) =
                (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if is_folder && depth < 2 {
                folders.push((path, depth + 1));
            } else if !is_folder {
                let kind = path.extension().map_or_else(
                    || "without extension".to_owned(),
                    |extension| format!(".{}", extension.to_string_lossy().escape_debug()),
                );
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    let total: usize = kinds.values().sum();
    if total == 0 {
        return Ok("no other files".into());
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count)); // Stable: then by name.
    let shown: Vec<String> =
        kinds.iter().take(5).map(|(kind, count)| format!("{count} {kind}")).collect();
    let more = if kinds.len() > 5 { ", …" } else { "" };
    let files = if total == 1 { "file" } else { "files" };
    Ok(format!("{total} other {files}: {}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests;
