//! Writing a run, so that it can be killed at any moment and continued.
//!
//! A save does, in this order: weights and optimiser state under their names; the line of
//! `metrics.jsonl`; the lines of `manifest.jsonl`. Each is on the disk before the next begins. The
//! manifest line of the weights is the commit; that of the optimiser state stands before it, and
//! the line that takes the older state back behind it. [`RunWriter::resume`] cuts back to the last
//! commit, finishes what came after it, and so gives the bytes of a run that was never killed.

mod parked;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, CheckpointRef};
use super::info::RunInfo;
use super::jsonl;
use super::manifest::{Manifest, Part, removed_line, saved_line};
use super::metrics::MetricsRow;
use super::run::{Run, run_name};
use super::walk::contents;
use super::write::{TensorRef, to_bytes};
use crate::config::SaveOptimizer;
use crate::durable::{self, Batch, Lock, Log};
use crate::error::{Error, Result};

/// Writes the files of one run, and holds its lock.
#[derive(Debug)]
pub struct RunWriter {
    dir: PathBuf,
    name: String,
    keep: SaveOptimizer,
    metrics: Log,
    manifest: Log,
    /// The last step that was saved.
    saved: Option<u64>,
    /// The step whose optimiser state the next save makes superfluous.
    superseded: Option<u64>,
    /// States of an interrupted run that the next save makes superfluous.
    parked: Vec<PathBuf>,
    _lock: Lock,
}

/// A step to be saved.
#[derive(Debug, Clone, Copy)]
pub struct Save<'a> {
    pub weights: &'a [TensorRef<'a>],
    /// Ignored with [`SaveOptimizer::Never`]
    pub optimizer: Option<&'a [TensorRef<'a>]>,
    /// They tell the step, too.
    pub metrics: &'a MetricsRow,
}

/// Where training begins.
#[derive(Debug)]
pub enum Start {
    /// At the initialisation.
    New(RunWriter),
    /// Behind a saved step.
    Resumed {
        writer: RunWriter,
        /// Tensors as they were saved; widening to f64 loses nothing.
        weights: Box<Checkpoint>,
        optimizer: Box<Checkpoint>,
    },
    /// Nowhere: the last step is saved.
    Complete,
}

impl RunWriter {
    /// Begin a run in `dir`, which is new, empty, or holds the same run complete.
    ///
    /// # Errors
    /// [`Error::Unfinished`] or [`Error::OtherRun`] if it holds a run; [`Error::NotARun`] if it
    /// holds anything else; [`Error::Locked`] if a process is writing it; [`Error::Write`].
    pub fn create(dir: &Path, info: &RunInfo) -> Result<Start> {
        let Some(theirs) = existing(dir)? else { return begin(dir, info) };
        same_run(dir, info, &theirs)?;
        let run = Run::open(dir)?;
        if is_complete(&run) {
            return Ok(Start::Complete);
        }
        // If the run is still going on, this is the better message.
        let _lock = Lock::exclusive(&dir.join(".lock"))?;
        let step = run.checkpoints.last().map_or(0, |checkpoint| checkpoint.step);
        Err(Error::Unfinished { path: dir.to_owned(), step, steps: info.config.steps })
    }

    /// Continue the run in `dir` behind its last step of which weights and optimiser state match
    /// their digests, and cut the logs there; begin it, if there is no such step.
    ///
    /// With [`SaveOptimizer::Never`] there is none before the end, so the run begins again, which
    /// gives the same bits.
    ///
    /// # Errors
    /// [`Error::OtherRun`] if settings, program version or BLAS differ from those of the run;
    /// [`Error::NotARun`], [`Error::Locked`], [`Error::Write`]; [`Error::ArchiveFile`] for a damaged
    /// log.
    pub fn resume(dir: &Path, info: &RunInfo) -> Result<Start> {
        let Some(theirs) = existing(dir)? else { return begin(dir, info) };
        same_run(dir, info, &theirs)?;
        let differences = info.program_differences(&theirs);
        // What is complete is left alone, whatever wrote it.
        if !differences.is_empty() && !is_complete(&Run::open(dir)?) {
            let differences = differences.join("; ");
            return Err(Error::OtherRun { path: dir.to_owned(), differences });
        }
        let lock = Lock::exclusive(&dir.join(".lock"))?;
        let mut writer = Self::open(dir, info, lock)?;
        // Read under the lock: until now another process could have gone on.
        let run = Run::open(dir)?;
        if is_complete(&run) {
            writer.cut_to(Some(info.config.steps))?;
            // A kill between the last commit and the end of its save leaves them.
            writer.parked.iter().try_for_each(|path| remove(path))?;
            return Ok(Start::Complete);
        }
        if let Some((after, state)) = writer.find_parked(&run) {
            writer.cut_to(after)?;
            let state = Box::new(state);
            return Ok(Start::Resumed { writer, weights: state.clone(), optimizer: state });
        }
        let found = run.optimizer.iter().rev().find_map(|state| intact(&run, state));
        writer.cut_to(found.as_ref().map(|(weights, _)| weights.step))?;
        Ok(match found {
            Some((weights, optimizer)) => Start::Resumed {
                writer,
                weights: Box::new(weights),
                optimizer: Box::new(optimizer),
            },
            None => Start::New(writer),
        })
    }

    /// Save steps, in ascending order: see the module for the order on the disk. Several steps are
    /// saved as one after the other would be, with one sync of each folder and log for all of them.
    ///
    /// # Errors
    /// [`Error::Write`]: the steps saved before stay valid, and the run can be resumed.
    /// [`Error::Internal`] if a step was saved before.
    pub fn save(&mut self, saves: &[Save<'_>]) -> Result<()> {
        if saves.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        let (mut rows, mut lines) = (String::new(), String::new());
        let (mut last, mut state, mut superseded) = (self.saved, self.superseded, Vec::new());
        for save in saves {
            let step = save.metrics.step;
            if let Some(last) = last.filter(|last| step <= *last) {
                return Err(Error::Internal(format!("step {step} saved after step {last}")));
            }
            let optimizer = save.optimizer.filter(|_| self.keep != SaveOptimizer::Never);
            lines += &self.stage(&mut batch, save, optimizer)?;
            if optimizer.is_some() {
                if let Some(older) = state.take() {
                    lines += &removed_line(Part::Optimizer, older)?;
                    superseded.push(older);
                }
                state = Some(step).filter(|_| self.keep == SaveOptimizer::Last);
            }
            rows += &jsonl::line(save.metrics)?;
            last = Some(step);
        }
        batch.commit()?;
        self.metrics.append(&rows)?;
        self.manifest.append(&lines)?;
        (self.saved, self.superseded) = (last, state);
        superseded.into_iter().try_for_each(|older| self.unlink(Part::Optimizer, older))?;
        for path in std::mem::take(&mut self.parked) {
            remove(&path)?;
        }
        Ok(())
    }

    /// Write the files of a step under temporary names; returns their lines of the manifest.
    fn stage(
        &self,
        batch: &mut Batch,
        save: &Save<'_>,
        optimizer: Option<&[TensorRef<'_>]>,
    ) -> Result<String> {
        let step = save.metrics.step;
        let mut metadata = BTreeMap::from([
            ("run".to_owned(), self.name.clone()),
            ("step".to_owned(), step.to_string()),
        ]);
        let state = optimizer.map(|state| to_bytes(state, &metadata)).transpose()?;
        let losses =
            [("train_loss", save.metrics.train_loss), ("test_loss", save.metrics.test_loss)];
        for (key, loss) in losses {
            // The shortest text that reads as the same number again.
            metadata.extend(loss.map(|loss| (key.to_owned(), format!("{loss:?}"))));
        }
        let weights = to_bytes(save.weights, &metadata)?;
        batch.stage(&self.dir.join(Part::Weights.name(step)), &weights)?;
        let mut lines = String::new();
        if let Some(state) = &state {
            batch.stage(&self.dir.join(Part::Optimizer.name(step)), state)?;
            lines += &saved_line(Part::Optimizer, step, state)?;
        }
        lines += &saved_line(Part::Weights, step, &weights)?;
        Ok(lines)
    }

    /// Keep the state of a step that the schedule does not save, until the next save.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn park(
        &mut self,
        step: u64,
        weights: &[TensorRef<'_>],
        optimizer: &[TensorRef<'_>],
    ) -> Result<()> {
        let tensors = [weights, optimizer].concat();
        self.parked.push(parked::write(&self.dir, step, self.saved, &tensors)?);
        Ok(())
    }

    /// The parked state behind the last save that is intact, and the step of that save.
    fn find_parked(&self, run: &Run) -> Option<(Option<u64>, Checkpoint)> {
        let last = run.checkpoints.last();
        if last.is_some_and(|last| last.load(None).is_err()) {
            return None;
        }
        let after = last.map(|last| last.step);
        self.parked.iter().find_map(|path| parked::load(path, after)).map(|state| (after, state))
    }

    /// The last step that was saved.
    #[must_use]
    pub fn saved(&self) -> Option<u64> {
        self.saved
    }

    fn unlink(&self, part: Part, step: u64) -> Result<()> {
        remove(&self.dir.join(part.name(step)))
    }

    /// Under the lock: complete the folder, sweep it, and open the logs.
    ///
    /// The logs come before the folders: a folder of checkpoints without a manifest would be taken
    /// for a copy, in which every file counts.
    fn open(dir: &Path, info: &RunInfo, lock: Lock) -> Result<Self> {
        durable::sweep_temporaries(dir)?;
        let metrics = Log::open(&dir.join("metrics.jsonl"))?;
        let manifest = Log::open(&dir.join("manifest.jsonl"))?;
        for part in [Part::Weights, Part::Optimizer] {
            durable::create_dir(&dir.join(part.folder()))?;
            durable::sweep_temporaries(&dir.join(part.folder()))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            name: run_name(dir)?,
            keep: info.config.save_optimizer,
            metrics,
            manifest,
            saved: None,
            superseded: None,
            parked: parked::list(dir)?,
            _lock: lock,
        })
    }

    /// Bring logs and optimiser states to where they were right after the save of `step`; before
    /// the first save, without one. Complete checkpoints behind it stay, and will be replaced.
    fn cut_to(&mut self, step: Option<u64>) -> Result<()> {
        let path = self.dir.join("metrics.jsonl");
        let rows = jsonl::read::<MetricsRow>(&path)?.unwrap_or_default();
        let kept = rows.iter().filter(|row| step.is_some_and(|step| row.value.step <= step));
        let text: String = kept.map(|row| row.raw.as_str()).collect();
        self.metrics = replace_log(&path, &text)?;

        let path = self.dir.join("manifest.jsonl");
        let mut manifest = Manifest::read(&path)?.unwrap_or_default();
        manifest.cut_after(step)?;
        if self.keep == SaveOptimizer::Last {
            let states: Vec<u64> = manifest.optimizer.keys().copied().collect();
            for older in states.into_iter().filter(|state| Some(*state) != step) {
                manifest.remove(Part::Optimizer, older)?;
            }
            self.superseded = step.filter(|step| manifest.optimizer.contains_key(step));
        }
        self.manifest = replace_log(&path, &manifest.text())?;
        // Also those whose line was written just before a kill.
        manifest.removed.iter().try_for_each(|(part, step)| self.unlink(*part, *step))?;
        self.saved = step;
        Ok(())
    }
}

/// Remove a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(Error::write(path)),
    }
}

/// Give a log this content, unless it has it already, and open it.
fn replace_log(path: &Path, text: &str) -> Result<Log> {
    if fs::read(path).map_err(Error::read(path))? != text.as_bytes() {
        durable::write(path, text.as_bytes())?;
    }
    Log::open(path)
}

/// Write what a new run begins with.
fn begin(dir: &Path, info: &RunInfo) -> Result<Start> {
    durable::create_dir(dir)?;
    let lock = Lock::exclusive(&dir.join(".lock"))?;
    if dir.join("run.json").exists() {
        // Between the look and the lock, another process has begun a run here, and left.
        return Err(Error::Locked { path: dir.to_owned(), holder: "another process".into() });
    }
    durable::write(&dir.join("run.json"), &info.to_json()?)?;
    RunWriter::open(dir, info, lock).map(Start::New)
}

/// The run that `dir` holds; `None` if it holds nothing, or what a kill before `run.json` leaves.
fn existing(dir: &Path) -> Result<Option<RunInfo>> {
    let path = dir.join("run.json");
    if path.exists() {
        return RunInfo::read(&path).map(Some);
    }
    if !dir.exists() {
        return Ok(None);
    }
    let not_a_run = |found| Error::NotARun { path: dir.to_owned(), found };
    if !dir.is_dir() {
        return Err(not_a_run(contents(dir)?));
    }
    for entry in fs::read_dir(dir).map_err(Error::read(dir))? {
        let name = entry.map_err(Error::read(dir))?.file_name();
        let ours = name.to_str().is_some_and(|name| name == ".lock" || durable::is_temporary(name));
        if !ours {
            return Err(not_a_run(contents(dir)?));
        }
    }
    Ok(None)
}

fn same_run(dir: &Path, info: &RunInfo, theirs: &RunInfo) -> Result<()> {
    let differences = info.differences(theirs);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::OtherRun { path: dir.to_owned(), differences: differences.join("; ") })
}

/// Whether the weights of the last step are there, and match their digest.
fn is_complete(run: &Run) -> bool {
    let steps = run.info.as_ref().map(|info| info.config.steps);
    let last = run.checkpoints.iter().find(|checkpoint| Some(checkpoint.step) == steps);
    last.is_some_and(|last| last.blake3.is_some() && last.load(None).is_ok())
}

/// Weights and optimiser state of a step, if both match their digests.
fn intact(run: &Run, state: &CheckpointRef) -> Option<(Checkpoint, Checkpoint)> {
    let load = |file: &CheckpointRef| {
        let loaded = file.load(None);
        if let Err(error) = &loaded {
            tracing::warn!(step = file.step, "not resumed from here: {error}");
        }
        loaded.ok()
    };
    Some((load(run.checkpoint(state.step).ok()?)?, load(state)?))
}

#[cfg(test)]
mod tests;
