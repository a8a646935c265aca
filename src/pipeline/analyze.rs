//! `groundswell analyze`: every measure of every checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};

use super::checkpoints::{self, Item};
use super::measures::{MeasureKind, Rows};
use super::output::{self, Output};
use super::run::RunContext;
use super::{Observe, Summary, in_parallel};
use crate::archive::Archive;
use crate::blas;
use crate::error::{Error, Result};
use crate::progress::KEY_THRESHOLD;
use crate::tables::{CheckpointRow, FailureRow, Status, TrainingRow};

/// Name of the command in the manifest.
const COMMAND: &str = "analyze";

/// What to analyse.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    pub out: &'a Path,
    /// Empty: all
    pub measures: &'a [MeasureKind],
    /// Number of threads; the tables do not depend on it
    pub threads: usize,
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
    blas::require_one_thread()?;
    let archive = Archive::open(request.archive)?;
    let mut kinds: Vec<MeasureKind> = match request.measures {
        [] => MeasureKind::ALL.to_vec(),
        some => some.to_vec(),
    };
    kinds.sort();
    kinds.dedup();
    let mut output = Output::open(request.out, request.archive)?;
    let inputs = fingerprint(&archive);
    if is_done(&output, &kinds, inputs.as_deref())? {
        return Ok(Summary::default());
    }
    refuse_stale(&output, &kinds, inputs.as_deref())?;

    let (contexts, mut failures) = checkpoints::contexts(&archive);
    let items = checkpoints::items(&archive, &contexts);
    let measured = in_parallel(&items, request.threads, request.stop, observe, |item| {
        Ok(item.measure(&archive, |view| Rows::of(view, &kinds)))
    })?;

    let mut rows = Rows::default();
    let mut summary = Summary { computed: items.len(), ..Summary::default() };
    for (item, measured) in items.iter().zip(measured) {
        match measured {
            Ok(new) => rows.append(new),
            Err(failed) => {
                summary.internal_errors += usize::from(failed.internal);
                if kinds.contains(&MeasureKind::Checkpoints) {
                    rows.checkpoints.push(unread_checkpoint(item, failed.internal));
                }
                failures.push(failed.row);
            }
        }
    }
    if failures.len() >= items.len() && rows.progress.is_empty() && rows.spectra.is_empty() {
        let first = failures.first().map_or("", |row| row.message.as_str());
        let found = format!("none of {} checkpoints can be used; the first: {first}", items.len());
        return Err(Error::NothingUsable { path: request.archive.to_owned(), found });
    }
    mark_duplicates(&mut rows.checkpoints);
    if kinds.contains(&MeasureKind::Training) {
        for run in &archive.runs {
            match training(run) {
                Ok(new) => rows.training.extend(new),
                Err(error) => failures.push(FailureRow {
                    run: Some(run.name.clone()),
                    ..checkpoints::run_failure(&error, &archive.path)
                }),
            }
        }
    }
    summary.skipped = failures.len();
    let wanted = parameters(&kinds, inputs.as_deref(), failures.len());
    summary.warnings = contexts.iter().flatten().filter_map(RunContext::key_warning).collect();
    let contexts: Vec<&RunContext> = contexts.iter().flatten().collect();
    summary.tables = write(&mut output, rows, failures, &kinds, &archive, &contexts, wanted)?;
    Ok(summary)
}

fn unread_checkpoint(item: &Item<'_>, internal: bool) -> CheckpointRow {
    CheckpointRow {
        run: item.run.name.clone(),
        step: i64::try_from(item.source.step).unwrap_or(i64::MAX),
        file: item.file.clone(),
        bytes: i64::try_from(item.source.bytes).unwrap_or(i64::MAX),
        status: if internal { Status::InternalError } else { Status::Missing },
        ..CheckpointRow::default()
    }
}

fn mark_duplicates(rows: &mut [CheckpointRow]) {
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

fn write(
    output: &mut Output,
    rows: Rows,
    failures: Vec<FailureRow>,
    kinds: &[MeasureKind],
    archive: &Archive,
    contexts: &[&RunContext],
    parameters: Value,
) -> Result<Vec<(&'static str, u64)>> {
    let metadata = output::metadata(archive, contexts)?;
    let mut replacement = output.replace();
    macro_rules! tables {
        ($($kind:ident: $($field:ident),+;)+) => {
            $(if kinds.contains(&MeasureKind::$kind) {
                $(replacement.table(rows.$field, &metadata)?;)+
            })+
        };
    }
    tables! {
        Checkpoints: checkpoints;
        Training: training;
        Progress: progress;
        Frequencies: frequencies;
        Fourier: fourier;
        Neurons: neurons;
        Spectra: spectra, singular_values;
    }
    replacement.table(failures, &metadata)?;
    replacement.commit(COMMAND, parameters)
}

/// What the tables depend on besides the checkpoints.
fn parameters(kinds: &[MeasureKind], inputs: Option<&str>, failures: usize) -> Value {
    json!({
        "failures": failures,
        "inputs": inputs,
        "key_rule": "w_l",
        "key_threshold": KEY_THRESHOLD,
        "measures": kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
    })
}

/// Digest of everything that is read, from the manifests of the runs; `None` if some checkpoint has
/// no known digest, or a run could not be opened: then nothing is known to be unchanged.
fn fingerprint(archive: &Archive) -> Option<String> {
    if !archive.unreadable.is_empty() {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    for run in &archive.runs {
        let info = run.info.to_json().ok()?;
        hasher.update(&(info.len() as u64).to_le_bytes()).update(&info);
        hasher.update(run.name.as_bytes());
        for checkpoint in &run.checkpoints {
            // A known digest counts only for a file that is still there at its length.
            let length = std::fs::metadata(&checkpoint.path).ok()?.len();
            if length != checkpoint.bytes {
                return None;
            }
            hasher.update(&checkpoint.step.to_le_bytes());
            hasher.update(checkpoint.blake3.as_ref()?.as_bytes());
        }
    }
    Some(hasher.finalize().to_hex().to_string())
}

/// Whether these measures of these inputs are there already, without a failure: a file that could
/// not be used may have been restored since, and if not, that must be said again.
fn is_done(output: &Output, kinds: &[MeasureKind], inputs: Option<&str>) -> Result<bool> {
    let Some(before) = output.parameters(COMMAND) else { return Ok(false) };
    let names = before["measures"].as_array().map_or(&[][..], Vec::as_slice);
    let same = inputs.is_some() && before["inputs"].as_str() == inputs;
    let covered = kinds.iter().all(|kind| names.iter().any(|name| name == kind.name()));
    let complete = before["failures"] == 0;
    Ok(same && covered && complete && output.is_intact()?)
}

/// Tables of other checkpoints must not stay beside new ones.
fn refuse_stale(output: &Output, kinds: &[MeasureKind], inputs: Option<&str>) -> Result<()> {
    let Some(before) = output.parameters(COMMAND) else { return Ok(()) };
    if inputs.is_some() && before["inputs"].as_str() == inputs {
        return Ok(());
    }
    let stale: Vec<&str> = MeasureKind::ALL
        .iter()
        .filter(|kind| !kinds.contains(kind) && output.has(kind.name()))
        .map(|kind| kind.name())
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    Err(Error::OtherRun {
        path: output.dir().to_owned(),
        differences: format!("{} were computed from other checkpoints", stale.join(", ")),
    })
}
