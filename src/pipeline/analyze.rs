//! `groundswell analyze`: every measure of every checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::checkpoints::{self, Failed, Item};
use super::measures::{MeasureKind, Rows};
use super::output::{self, Output};
use super::patience::patiently;
use super::run::{RunContext, Subject};
use super::{Observe, Summary, dynamics, in_parallel};
use crate::archive::{self, Archive};
use crate::blas;
use crate::config::Split;
use crate::dynamics::trajectory::Weighting;
use crate::error::{Error, Result};
use crate::progress::KEY_THRESHOLD;
use crate::tables::{CheckpointRow, TrainingRow};

/// What to analyse.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    /// How to read what is not ours
    pub options: &'a archive::Options,
    pub out: &'a Path,
    /// Empty: all
    pub measures: &'a [MeasureKind],
    /// Number of threads; the tables do not depend on it
    pub threads: usize,
    /// Write nothing if a single input cannot be used, or is not finite
    pub strict: bool,
    /// What checkpoints count in `trajectory`
    pub trajectory_weights: Weighting,
    /// Becomes the number of a signal when the work should stop
    pub stop: &'a AtomicUsize,
}

/// Measure every checkpoint of an archive and write the tables.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NothingUsable`] for the archive; [`Error::OtherRun`] if the folder
/// holds tables of other checkpoints that this call would leave in place; what [`Output::open`]
/// says; [`Error::Interrupted`].
pub fn analyze(request: &Request<'_>, observe: Observe<'_>) -> Result<Summary> {
    crate::linalg::require_sound()?;
    let archive = Archive::open_with(request.archive, request.options)?;
    let mut kinds: Vec<MeasureKind> = match request.measures {
        [] => MeasureKind::ALL.to_vec(),
        some => some.to_vec(),
    };
    kinds.sort();
    kinds.dedup();
    let archive = if request.strict { flawless(archive)? } else { archive };
    let mut output = Output::open(request.out, request.archive)?;
    let inputs = fingerprint(&archive, request.options.io_timeout);
    let wanted = |kind| parameters(&inputs, kind, request.trajectory_weights);
    if is_done(&output, &kinds, wanted)? {
        return Ok(Summary::default());
    }
    refuse_stale(&output, &kinds, &inputs)?;

    let (contexts, mut failures) = checkpoints::contexts(&archive);
    let items = checkpoints::items(&archive, &contexts, request.options.io_timeout);
    let measured = in_parallel(&items, request.threads, request.stop, observe, |item| {
        let measured = item.measure(&archive, |view| {
            if request.strict {
                view.require_flawless()?;
            }
            Ok((Rows::of(view, &kinds)?, view.unsupported()))
        });
        match measured {
            Err(failed) if request.strict => Err(failed.error),
            measured => Ok(measured),
        }
    })?;

    let nothing_usable = measured.iter().all(Result::is_err);
    let usable: BTreeSet<(&str, u64)> = items
        .iter()
        .zip(&measured)
        .filter(|(_, measured)| measured.is_ok())
        .map(|(item, _)| (item.run.name.as_str(), item.source.step))
        .collect();
    let mut rows = Rows::default();
    let mut summary = Summary { computed: items.len(), ..Summary::default() };
    let mut unsupported = 0;
    for (item, measured) in items.iter().zip(measured) {
        match measured {
            Ok((new, skipped)) => {
                rows.append(new);
                unsupported += skipped;
            }
            Err(failed) => {
                summary.internal_errors += usize::from(failed.internal);
                if kinds.contains(&MeasureKind::Checkpoints) {
                    rows.checkpoints.push(unread_checkpoint(item, &failed));
                }
                failures.push(failed.row);
            }
        }
    }
    if nothing_usable && summary.internal_errors == 0 {
        let first = failures.first().map_or("", |row| row.message.as_str());
        let found = format!("none of {} checkpoints can be used; the first: {first}", items.len());
        return Err(Error::NothingUsable { path: request.archive.to_owned(), found });
    }
    let of_runs = dynamics::Request {
        archive: &archive,
        usable: &usable,
        movement: kinds.contains(&MeasureKind::Movement),
        trajectory: kinds.contains(&MeasureKind::Trajectory).then_some(request.trajectory_weights),
        threads: request.threads,
        stop: request.stop,
        observe,
    };
    let of_runs = of_runs.measure()?;
    rows.movement = of_runs.movement;
    rows.trajectory = of_runs.trajectory;
    summary.internal_errors += of_runs.internal_errors;
    for failure in of_runs.failures {
        // One row per file, whatever was tried with it.
        if failures.iter().all(|known| known.path != failure.path) {
            failures.push(failure);
        }
    }
    mark_duplicates(&mut rows.checkpoints);
    if kinds.contains(&MeasureKind::Training) {
        for run in &archive.runs {
            match training(run) {
                Ok(logged) => rows.training.extend(logged),
                Err(error) => failures.push(checkpoints::run_file_failure(&error, run, &archive)),
            }
        }
    }
    summary.skipped = failures.len();
    summary.warnings = warnings(&archive, &contexts);
    if unsupported > 0 {
        summary.skipped_tensors = unsupported;
        summary.warnings.push(format!(
            "{unsupported} tensors are stored in types that are not read, such as C64 or F8"
        ));
    }
    let networks: Vec<&RunContext> =
        contexts.iter().flatten().filter_map(|subject| subject.network.as_ref()).collect();
    let metadata = output::metadata(&archive, &networks)?;
    let provenance = kinds.iter().map(|kind| {
        let mut provenance = wanted(*kind);
        provenance["failures"] = failures.len().into();
        (kind.name().to_owned(), provenance)
    });
    let provenance = provenance.collect();
    let own = |kind| match kind {
        MeasureKind::Spectra => {
            // Matrices whose singular values did not come from the first driver.
            let subjects = contexts.iter().flatten();
            let count: usize =
                subjects.map(|subject| subject.svd_fallbacks.load(Ordering::Relaxed)).sum();
            Some(("svd_fallbacks".to_owned(), count.to_string()))
        }
        MeasureKind::Trajectory => {
            Some(("trajectory_weights".to_owned(), request.trajectory_weights.to_string()))
        }
        _ => None,
    };
    let mut replacement = output.replace();
    rows.write(&kinds, &mut replacement, &metadata, own)?;
    replacement.table(failures, &metadata)?;
    summary.tables = replacement.commit(provenance)?;
    Ok(summary)
}

/// The archive, if everything in it has its place.
fn flawless(archive: Archive) -> Result<Archive> {
    let mut archive = archive;
    let refused = archive.refused.drain(..).map(|file| file.error);
    let first = archive.unreadable.drain(..).chain(refused).next();
    first.map_or(Ok(archive), Err)
}

/// What the reader of the tables should know about the archive.
fn warnings(archive: &Archive, contexts: &[Option<Subject>]) -> Vec<String> {
    let mut warnings = archive.warnings.clone();
    for subject in contexts.iter().flatten() {
        warnings.extend(subject.network.as_ref().and_then(RunContext::key_warning));
        warnings.extend(
            subject
                .unknown
                .as_ref()
                .map(|reason| format!("{}: only the weights are measured: {reason}", subject.name)),
        );
    }
    let problem = "a save is going on, or was interrupted";
    for run in archive.runs.iter().filter(|run| run.uncommitted > 0) {
        warnings.push(format!("{}: {} files left out: {problem}", run.name, run.uncommitted));
    }
    if archive.unfinished > 0 {
        warnings.push(format!("{} unfinished files left out: {problem}", archive.unfinished));
    }
    if archive.pickles > 0 {
        let help = "examples/from_torch.py converts them";
        warnings.push(format!("{} pickle files are not opened; {help}", archive.pickles));
    }
    warnings
}

fn unread_checkpoint(item: &Item<'_>, failed: &Failed) -> CheckpointRow {
    CheckpointRow {
        run: item.run.name.clone(),
        step: i64::try_from(item.source.step).unwrap_or(i64::MAX),
        file: item.file.clone(),
        bytes: i64::try_from(item.source.bytes).unwrap_or(i64::MAX),
        status: failed.status,
        ..CheckpointRow::default()
    }
}

pub(super) fn mark_duplicates<'a>(rows: impl IntoIterator<Item = &'a mut CheckpointRow>) {
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    for row in rows {
        let Some(digest) = &row.blake3 else { continue };
        match first.get(digest) {
            Some(file) => row.duplicate_of = Some(file.clone()),
            None => {
                first.insert(digest.clone(), row.file.clone());
            }
        }
    }
}

fn training(run: &crate::archive::Run) -> Result<Vec<TrainingRow>> {
    let rows = run.metrics()?.into_iter().map(|row| TrainingRow {
        run: run.name.clone(),
        step: i64::try_from(row.step).unwrap_or(i64::MAX),
        train_loss: row.train_loss,
        test_loss: row.test_loss,
        train_accuracy: row.train_accuracy,
        test_accuracy: row.test_accuracy,
        learning_rate: row.learning_rate,
        gradient_norm: row.gradient_norm,
        tiny_second_moment: row.tiny_second_moment,
    });
    Ok(rows.collect())
}

/// What decides the rows of a measure, besides its own code.
fn parameters(inputs: &str, kind: MeasureKind, trajectory_weights: Weighting) -> Value {
    let mut parameters = json!({
        "failures": 0,
        "inputs": inputs,
        "blas": blas::info().to_string(),
        "key_rule": "w_l",
        "key_threshold": KEY_THRESHOLD,
        "version": env!("CARGO_PKG_VERSION"),
    });
    if kind == MeasureKind::Trajectory {
        parameters["weights"] = trajectory_weights.name().into();
    }
    parameters
}

/// Digest of everything that is read: settings, logs and checkpoints. The digest of a checkpoint is
/// that of its manifest, if the file has that length; otherwise that of its bytes.
fn fingerprint(archive: &Archive, io_timeout: Option<Duration>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    for error in &archive.unreadable {
        add(checkpoints::failure(error, &archive.path).message.as_bytes());
    }
    for refused in &archive.refused {
        add(checkpoints::failure(&refused.error, &archive.path).message.as_bytes());
    }
    for run in &archive.runs {
        add(run.name.as_bytes());
        add(format!("{:?}", run.facts).as_bytes());
        if let Some(Split::File(pairs)) = &run.facts.split {
            add(&std::fs::read(pairs).unwrap_or_default());
        }
        for file in ["run.json", "metrics.jsonl"] {
            add(&std::fs::read(run.dir.join(file)).unwrap_or_default());
        }
        for checkpoint in &run.checkpoints {
            let length = std::fs::metadata(&checkpoint.path).map_or(0, |file| file.len());
            let known = checkpoint.blake3.clone().filter(|_| length == checkpoint.bytes);
            let digest = known.or_else(|| {
                let file = checkpoint.clone();
                let read = patiently(&checkpoint.path, io_timeout, move || file.digest());
                Some(read.ok()?.1)
            });
            add(&checkpoint.step.to_le_bytes());
            add(digest.unwrap_or_default().as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Whether these measures of these inputs are there already, without a failure: a file that could
/// not be used may have been restored since, and if not, that must be said again.
fn is_done(
    output: &Output,
    kinds: &[MeasureKind],
    wanted: impl Fn(MeasureKind) -> Value,
) -> Result<bool> {
    let same = |kind: &MeasureKind| output.parameters(kind.name()) == Some(&wanted(*kind));
    let tables: Vec<&str> = kinds.iter().flat_map(|kind| kind.tables()).copied().collect();
    Ok(kinds.iter().all(same) && output.is_intact(&tables)?)
}

/// Tables of other checkpoints must not stay beside new ones.
fn refuse_stale(output: &Output, kinds: &[MeasureKind], inputs: &str) -> Result<()> {
    let stale = |kind: &&MeasureKind| {
        let before = output.parameters(kind.name());
        !kinds.contains(kind) && before.is_some_and(|before| before["inputs"] != inputs)
    };
    let stale: Vec<&str> = MeasureKind::ALL.iter().filter(stale).map(|kind| kind.name()).collect();
    if stale.is_empty() {
        return Ok(());
    }
    Err(Error::OtherRun {
        path: output.dir().to_owned(),
        differences: format!("{} were computed from other checkpoints", stale.join(", ")),
    })
}
