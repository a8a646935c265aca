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
//! An archive is such a folder, or safetensors files of other programs whose paths tell their steps
//! (`place`), or a folder of both. Step t means: after t updates. Knows no mathematics, starts no
//! threads, and never writes to what it reads; [`RunWriter`] alone writes, through
//! [`crate::durable`].

pub mod header;
pub mod info;
pub mod metrics;
pub mod read;
pub mod write;

mod checkpoint;
mod float;
#[cfg(test)]
mod fuzz;
mod jsonl;
mod manifest;
mod place;
mod run;
#[cfg(test)]
pub(crate) mod sample;
mod sha256;
mod shards;
mod slice;
mod steps;
mod walk;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use checkpoint::{Checkpoint, CheckpointRef};
pub use float::{float_bytes, is_unsupported, widen};
pub use header::{Dtype, Header, TensorInfo};
pub use info::{RunInfo, Versions};
pub use metrics::MetricsRow;
pub use read::{Tensor, identity};
pub use run::{Run, escaped};
pub use slice::Slices;
pub use steps::{RunPattern, StepPattern};
pub use write::{Data, TensorRef};
pub use writer::{RunWriter, Save, Start};

use crate::config::Facts;
use crate::config::facts::FACTS_FILE;
use crate::error::{Error, Result};

/// How to read an archive that is not ours.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the step stands in the path of a checkpoint.
    pub step_pattern: Option<StepPattern>,
    /// Only the runs whose names match; all of them otherwise.
    pub run_pattern: Option<RunPattern>,
    /// Follow links that lead out of the archive.
    pub follow_links: bool,
    /// What the archive does not say; it counts before an `archive.toml`.
    pub facts: Facts,
    /// How long the engines wait for a read.
    pub io_timeout: Option<Duration>,
}

/// A file that cannot take a place among the checkpoints, and why.
#[derive(Debug)]
pub struct Refused {
    pub path: PathBuf,
    pub error: Error,
}

impl Refused {
    fn new(error: Error, path: PathBuf) -> Self {
        Self { path, error }
    }
}

/// The runs in a folder.
#[derive(Debug)]
pub struct Archive {
    pub path: PathBuf,
    /// By name.
    pub runs: Vec<Run>,
    /// Why some folders with a `run.json` are not among the runs: one broken run does not stop the
    /// others.
    pub unreadable: Vec<Error>,
    /// Files that look like checkpoints and are none of any run, by path.
    pub refused: Vec<Refused>,
    /// Oddities that cost nothing.
    pub warnings: Vec<String>,
    /// Number of files that torch or pickle wrote; none is opened.
    pub pickles: usize,
    /// What saves in progress, or interrupted ones, have left outside of our own runs.
    pub unfinished: usize,
}

impl Archive {
    /// Open an archive: a folder of our own runs, or of checkpoints whose paths tell their steps.
    /// Reads no tensor.
    ///
    /// # Errors
    /// As [`Archive::open_with`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &Options::default())
    }

    /// The same, told how to read what is not ours.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NothingUsable`], with what is there instead, if there is no
    /// checkpoint; the error of the first run or file if none can be read; [`Error::Setting`] if no run
    /// has a name that is meant; [`Error::Pickle`];
    /// [`Error::ConfigFile`] for an `archive.toml` that cannot be understood; what [`Facts::check`]
    /// says.
    pub fn open_with(path: &Path, options: &Options) -> Result<Self> {
        let archive = Self::survey(path, options)?;
        if archive.runs.iter().any(|run| !run.checkpoints.is_empty()) {
            return Ok(archive);
        }
        let refused = archive.refused.into_iter().map(|file| file.error);
        match archive.unreadable.into_iter().chain(refused).next() {
            Some(first) => Err(first),
            None => Err(nothing_usable(path)?),
        }
    }

    /// The same, also if nothing in it can be used.
    ///
    /// # Errors
    /// As [`Archive::open_with`], if there is not even a file that looks like a checkpoint.
    pub fn survey(path: &Path, options: &Options) -> Result<Self> {
        if !path.exists() {
            return Err(Error::NotFound { path: path.to_owned(), kind: "archive" });
        }
        if !path.is_dir() {
            let is_pickle = walk::is_pickle(path);
            let pickle = Error::Pickle { path: path.to_owned() };
            return Err(if is_pickle { pickle } else { nothing_usable(path)? });
        }
        let mut found = walk::walk(path, options.follow_links)?;
        let mut warnings = Vec::new();
        let placed = place::place(&mut found, options.step_pattern.as_ref(), &mut warnings);
        let (mut runs, mut unreadable) = (Vec::new(), Vec::new());
        for (dir, parts) in &found.runs {
            match Run::open(dir) {
                Ok(run) => runs.push(run.named(parts)),
                Err(error) => unreadable.push(error),
            }
        }
        let shared = Facts::read(&path.join(FACTS_FILE))?;
        for place::Placed { parts, dir, checkpoints } in placed {
            let own = Facts::read(&dir.join(FACTS_FILE))?;
            let facts = options.facts.clone().or(own).or(shared.clone());
            facts.check()?;
            runs.push(Run::foreign(dir, checkpoints, facts)?.named(&parts));
        }
        let has_checkpoints = runs.iter().any(|run| !run.checkpoints.is_empty());
        if !has_checkpoints && unreadable.is_empty() && found.refused.is_empty() {
            return Err(nothing_usable(path)?);
        }
        if let Some(pattern) = &options.run_pattern {
            let (meant, others): (Vec<Run>, Vec<Run>) =
                runs.into_iter().partition(|run| pattern.is_match(&run.name));
            if meant.is_empty() {
                let names: Vec<&str> = others.iter().map(|run| run.name.as_str()).collect();
                let problem = format!("{}: no run has such a name", path.display());
                let help = format!("the runs are {}", names.join(", "));
                return Err(Error::setting("run-regex", problem, help));
            }
            runs = meant;
        }
        runs.iter_mut().for_each(|run| run.io_timeout = options.io_timeout);
        runs.sort_by(|a, b| a.name.cmp(&b.name));
        let mut refused = found.refused;
        refused.sort_by(|a, b| a.path.cmp(&b.path));
        refused.dedup_by(|a, b| a.path == b.path);
        let (pickles, unfinished) = (found.pickles, found.unfinished);
        let path = path.to_owned();
        Ok(Self { path, runs, unreadable, refused, warnings, pickles, unfinished })
    }

    /// All checkpoints, by run and step.
    pub fn checkpoints(&self) -> impl Iterator<Item = &CheckpointRef> {
        self.runs.iter().flat_map(|run| &run.checkpoints)
    }
}

/// A folder that [`Run::open`] reads.
fn is_run(folder: &Path) -> bool {
    folder.join("run.json").exists()
}

fn nothing_usable(path: &Path) -> Result<Error> {
    let found = format!("0 checkpoints; {}", walk::contents(path)?);
    Ok(Error::NothingUsable { path: path.to_owned(), found })
}

#[cfg(test)]
mod tests;
