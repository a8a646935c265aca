//! From blocks to tables: the end of an analysis by one process, and `groundswell merge`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::Summary;
use super::measures::MeasureKind;
use super::output::Output;
use super::store::journal::{Journal, Line};
use super::store::plan::{self, Plan};
use super::store::{self, Progress, Shard, block_file};
use crate::claims::rules::rules;
use crate::durable::{self, Locking};
use crate::error::{Error, Result};
use crate::tables::{self, Block, CheckpointRow, FailureRow};

/// The lines of each measure, in the order of the plan; all of them are there.
pub(super) type Complete<'a> = BTreeMap<MeasureKind, Vec<&'a Line>>;

/// Join what the shards computed.
///
/// # Errors
/// [`Error::NotFound`] for a folder without a plan; [`Error::Incomplete`] with the shards that are
/// missing, and nothing is written; [`Error::Locked`] while one of them runs; [`Error::Write`].
pub fn merge(tables: &Path, locking: Locking) -> Result<Summary> {
    let no_plan = || Error::NotFound { path: tables.join(plan::FILE), kind: "plan of an analysis" };
    let plan = store::read_plan(tables)?.ok_or_else(no_plan)?;
    let mut output = Output::open_existing(tables, locking)?;
    let private = tables.join(store::PRIVATE);
    let journal = Journal::read(&private)?;
    let units = plan.units();
    let intact = |line: &Line| store::is_intact(&private, line);
    let progress = Progress::of(&plan, &units, &journal, intact);
    let missing: BTreeSet<usize> = (0..units.len())
        .filter(|unit| !progress.is_done[*unit])
        .map(|unit| unit % plan.shards + 1)
        .collect();
    if !missing.is_empty() {
        return Err(incomplete(tables, &plan, &missing));
    }
    let mut summary = Summary { warnings: journal.damaged.clone(), ..Summary::default() };
    let lines = complete(progress);
    refuse_mixed(&lines, tables)?;
    let failures = failures(&plan, &lines);
    if is_joined(&output, &plan, &lines, &failures)? {
        summary.count(&lines, &failures);
        remove_all_parts(tables, &lines)?;
        return Ok(summary);
    }
    refuse_unusable(&plan, &lines, tables)?;
    join(&mut output, &plan, &lines, failures, &mut summary)?;
    summary.computed = plan.checkpoints();
    Ok(summary)
}

fn incomplete(tables: &Path, plan: &Plan, missing: &BTreeSet<usize>) -> Error {
    let mut named: Vec<String> = missing.iter().take(20).map(usize::to_string).collect();
    if missing.len() > named.len() {
        named.push(format!("and {} more", missing.len() - named.len()));
    }
    let (n, named) = (plan.shards, named.join(", "));
    if n == 1 {
        let missing = "the analysis is not complete".into();
        let help = "run it again: it goes on where it ended, and joins its tables itself".into();
        return Error::Incomplete { path: tables.to_owned(), missing, help };
    }
    Error::Incomplete {
        path: tables.to_owned(),
        missing: format!("{} of {n} shards are not complete: {named}", missing.len()),
        help: format!(
            "run each again with the command of the others and --shard k/{n}; \
             what they have done is not done again"
        ),
    }
}

/// A file that was edited between two shards must not stand in the tables in both its forms.
fn refuse_mixed(lines: &Complete<'_>, tables: &Path) -> Result<()> {
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    for read in lines.values().flatten().flat_map(|line| line.files.iter()) {
        let Some(digest) = &read.blake3 else { continue };
        if known.insert(&read.file, digest).is_some_and(|other| other != digest) {
            return Err(Error::Incomplete {
                path: tables.to_owned(),
                missing: format!("{} changed between one shard and another", read.file),
                help: "run the shards again: only what changed is computed".into(),
            });
        }
    }
    Ok(())
}

/// All lines, of a progress without gaps.
pub(super) fn complete(progress: Progress<'_>) -> Complete<'_> {
    let lines = progress.lines.into_iter();
    lines.map(|(kind, lines)| (kind, lines.into_iter().flatten().collect())).collect()
}

/// What the manifest keeps of each measure: its tables are those of these blocks.
pub(super) fn provenance(plan: &Plan, kind: MeasureKind, lines: &[&Line]) -> Value {
    let mut hasher = blake3::Hasher::new();
    lines.iter().for_each(|line| {
        hasher.update(line.key().as_bytes());
    });
    json!({
        "blocks": hasher.finalize().to_hex().as_str(),
        "parameters": plan.measures.get(&kind),
        "inputs": inputs(plan, lines),
    })
}

/// Digest of the checkpoints of every run, by which tables of several measures are compared; without runs
/// of which some could not be read.
fn inputs<'a>(plan: &'a Plan, lines: &[&Line]) -> BTreeMap<&'a str, String> {
    let read = lines.iter().flat_map(|line| line.files.iter());
    let read = read.filter_map(|read| Some((read.file.as_str(), read.blake3.as_deref()?)));
    let read: BTreeMap<&str, &str> = read.collect();
    let of_run = |run: &'a plan::PlannedRun| {
        let mut hasher = blake3::Hasher::new();
        for checkpoint in &run.checkpoints {
            let digest = read.get(checkpoint.file.as_str())?;
            hasher.update(checkpoint.file.as_bytes()).update(b" ").update(digest.as_bytes());
        }
        Some((run.name.as_str(), hasher.finalize().to_hex().to_string()))
    };
    plan.runs.iter().filter_map(of_run).collect()
}

/// Whether what the manifest keeps of a measure is this. (The blocks decide the inputs, which older
/// versions did not write.)
pub(super) fn is_same(kept: Option<&Value>, now: &Value) -> bool {
    kept.is_some_and(|kept| ["blocks", "parameters"].iter().all(|part| kept[*part] == now[*part]))
}

/// Whether the tables in the folder are those of these blocks.
///
/// # Errors
/// [`Error::Read`].
pub(super) fn is_joined(
    output: &Output,
    plan: &Plan,
    lines: &Complete<'_>,
    failures: &[FailureRow],
) -> Result<bool> {
    let mut tables = vec![<FailureRow as tables::Row>::TABLE];
    for (kind, lines) in lines {
        if !is_same(output.parameters(kind.name()), &provenance(plan, *kind, lines)) {
            return Ok(false);
        }
        tables.extend(kind.tables());
    }
    let mut failures = failures.to_vec();
    failures.sort_by(tables::Row::compare_keys);
    Ok(output.is_intact(&tables)? && output.rows::<FailureRow>()? == failures)
}

/// The failures of the whole work: one row for a file, whatever was tried with it.
pub(super) fn failures(plan: &Plan, lines: &Complete<'_>) -> Vec<FailureRow> {
    let told = lines.values().flatten().flat_map(|line| &line.failures);
    let mut seen = BTreeSet::new();
    let all = plan.failures.iter().chain(told);
    all.filter(|failure| seen.insert(&failure.path)).cloned().map(FailureRow::from).collect()
}

/// An archive without one usable checkpoint is not an analysis with nothing in it.
///
/// # Errors
/// [`Error::NothingUsable`].
pub(super) fn refuse_unusable(plan: &Plan, lines: &Complete<'_>, archive: &Path) -> Result<()> {
    let internal = lines.values().flatten().any(|line| line.internal_errors > 0);
    let failures = failures(plan, lines);
    let mut failed = failures.iter().filter(|row| row.step.is_some());
    let count = plan.checkpoints();
    // Tables of logs alone need no checkpoint.
    let looked = lines.keys().any(|kind| *kind != MeasureKind::Training);
    if internal || !looked || failed.clone().count() < count {
        return Ok(());
    }
    let first = failed.next().or(failures.first()).map_or("", |row| row.message.as_str());
    let found = format!("none of {count} checkpoints can be used; the first: {first}");
    Err(Error::NothingUsable { path: archive.to_owned(), found })
}

/// Write the tables of these measures, and the failures of all.
///
/// # Errors
/// [`Error::TableFile`] if a block was damaged meanwhile; [`Error::Write`].
pub(super) fn join(
    output: &mut Output,
    plan: &Plan,
    lines: &Complete<'_>,
    failures: Vec<FailureRow>,
    summary: &mut Summary,
) -> Result<()> {
    let metadata = metadata(plan, lines, summary);
    let folder = output.dir().to_owned();
    let mut replacement = output.replace();
    for (kind, lines) in lines {
        let mut metadata = metadata.clone();
        metadata.extend(own_metadata(plan, *kind, lines));
        for table in kind.joinables() {
            let mut blocks = lines.iter().map(|line| read(&folder, line, table.table));
            if *kind == MeasureKind::Checkpoints {
                replacement.table(checkpoints(blocks)?, &metadata)?;
            } else {
                replacement.join(table, &mut blocks, &metadata)?;
            }
        }
    }
    summary.count(lines, &failures);
    replacement.table(failures, &metadata)?;
    let parameters =
        lines.iter().map(|(kind, lines)| (kind.name().to_owned(), provenance(plan, *kind, lines)));
    summary.tables = replacement.commit(parameters.collect())?;
    remove_all_parts(&folder, lines)
}

/// Remove the parts of tables that were joined.
fn remove_all_parts(folder: &Path, lines: &Complete<'_>) -> Result<()> {
    lines.keys().flat_map(|kind| kind.tables()).try_for_each(|table| remove_parts(folder, table))
}

impl Summary {
    /// Count what is told by exit codes.
    pub(super) fn count(&mut self, lines: &Complete<'_>, failures: &[FailureRow]) {
        self.skipped = failures.len();
        let most = |of: fn(&Line) -> usize| {
            let sums = lines.values().map(|lines| lines.iter().map(|line| of(line)).sum());
            sums.max().unwrap_or(0)
        };
        self.skipped_tensors = most(|line| line.unsupported);
        self.internal_errors = most(|line| line.internal_errors);
        if self.skipped_tensors > 0 {
            self.warnings.push(format!(
                "{} tensors are stored in types that are not read, such as C64 or F8, or are missing or of \
                 another shape than in their run's first checkpoint: see `status` in spectra",
                self.skipped_tensors
            ));
        }
    }
}

/// A table of a block.
fn read(folder: &Path, line: &Line, table: &str) -> Result<Block> {
    let path = block_file(folder, line, table);
    let bytes = std::fs::read(&path).map_err(Error::read(&path))?;
    Ok((path, bytes))
}

/// All rows of table `checkpoints`, with the first of those with the same bytes named: only who sees
/// all of them knows.
fn checkpoints(blocks: impl Iterator<Item = Result<Block>>) -> Result<Vec<CheckpointRow>> {
    let mut rows: Vec<CheckpointRow> = Vec::new();
    for block in blocks {
        let (path, bytes) = block?;
        rows.extend(tables::decode(&path, &bytes)?);
    }
    super::analyze::mark_duplicates(&mut rows);
    Ok(rows)
}

/// The plan's metadata, with the kernels that computed.
fn metadata(plan: &Plan, lines: &Complete<'_>, summary: &mut Summary) -> BTreeMap<String, String> {
    let list = |of: fn(&Line) -> &String| {
        let all: BTreeSet<&str> = lines.values().flatten().map(|line| of(line).as_str()).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    };
    let (blas, kernels) = (list(|line| &line.blas), list(|line| &line.kernel));
    if kernels.contains(", ") || blas.contains(", ") {
        summary.warnings.push(format!(
            "computed with {blas}, kernels {kernels}: the last bits of these tables depend on which \
             part was computed where"
        ));
    }
    let mut metadata = plan.metadata.clone();
    metadata.extend([("openblas".to_owned(), blas), ("kernel".to_owned(), kernels)]);
    metadata
}

/// By which rules the claims about a table would be judged: fixed before it was made.
fn rules_digest() -> (String, String) {
    ("rules_digest".to_owned(), rules().digest())
}

/// What the tables of one measure say besides.
fn own_metadata(plan: &Plan, kind: MeasureKind, lines: &[&Line]) -> Vec<(String, String)> {
    match kind {
        MeasureKind::Spectra => {
            let count: usize = lines.iter().map(|line| line.svd_fallbacks).sum();
            vec![("svd_fallbacks".to_owned(), count.to_string())]
        }
        MeasureKind::Trajectory => {
            let weights = plan.measures.get(&kind).and_then(|told| told["weights"].as_str());
            let weights = weights.map(|told| ("trajectory_weights".to_owned(), told.to_owned()));
            weights.into_iter().collect()
        }
        MeasureKind::Arrow => {
            let told = plan.measures.get(&kind);
            let of = |name: &str| {
                let value = told?.get(name).filter(|value| !value.is_null())?;
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Some((name.to_owned(), text))
            };
            let own = ["labels", "labels_at", "labels_of", "label_seed"].into_iter().filter_map(of);
            own.chain([rules_digest()]).collect()
        }
        MeasureKind::Shares => vec![rules_digest()],
        _ => Vec::new(),
    }
}

/// Join the blocks of one shard, for whoever wants to look before all are there. Returns the rows by
/// file.
///
/// # Errors
/// As [`join`].
pub(super) fn write_parts(
    tables: &Path,
    plan: &Plan,
    lines: &Complete<'_>,
    shard: Shard,
    summary: &mut Summary,
) -> Result<Vec<(String, u64)>> {
    let mut metadata = metadata(plan, lines, summary);
    metadata.insert("shard".to_owned(), shard.to_string());
    let mut written = Vec::new();
    for (kind, lines) in lines {
        let mut metadata = metadata.clone();
        metadata.extend(own_metadata(plan, *kind, lines));
        for table in kind.joinables() {
            let name = format!("{}/part-{}.parquet", table.table, shard.name());
            let path = tables.join(&name);
            durable::create_dir(&tables.join(table.table))?;
            let mut blocks = lines.iter().map(|line| read(tables, line, table.table));
            let mut batch = durable::Batch::default();
            let joined =
                batch.stage_with(&path, |file| table.join(&mut blocks, &metadata, file))?;
            batch.commit()?;
            written.push((name, joined.rows));
        }
    }
    Ok(written)
}

/// Whether all parts of a shard lie there, or the tables that they were joined to.
pub(super) fn has_parts(tables: &Path, plan: &Plan, shard: Shard) -> bool {
    let joined = tables.join(crate::tables::manifest::FILE).exists();
    let mut names = plan.measures.keys().flat_map(|kind| kind.tables());
    let part =
        |table: &&str| tables.join(format!("{table}/part-{}.parquet", shard.name())).exists();
    joined || names.all(part)
}

/// Whether a file is a part of ours: `part-00001-of-00003.parquet`.
fn is_part(name: &str) -> bool {
    let number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".parquet"));
    numbers.and_then(|rest| rest.split_once("-of-")).is_some_and(|(k, n)| number(k) && number(n))
}

/// Remove the parts of a table that was joined, and their folder if nothing else is in it.
fn remove_parts(tables: &Path, table: &str) -> Result<()> {
    let folder = tables.join(table);
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(Error::read(&folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if durable::is_temporary(&name) || is_part(&name) {
            durable::remove(&path)?;
        }
    }
    // Somebody else's files keep it.
    let _ = std::fs::remove_dir(&folder);
    Ok(())
}
