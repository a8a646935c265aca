//! `groundswell audit`: what an archive holds, and what is wrong with it.
//!
//! Every byte of every checkpoint is read once, in parallel over checkpoints; what is kept of each
//! is small (`scan`), and then compared over the steps of a run (`steps`). Nothing is written.

mod report;
mod scan;
mod steps;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

pub use self::report::{Finding, Kind, Report, RunReport, Severity};
use self::scan::{Layouts, Scan, scan};
use super::checkpoints::relative;
use super::patience::patiently;
use super::{Observe, in_parallel};
use crate::archive::{self, Archive, CheckpointRef, Run, float_bytes, is_unsupported};
use crate::error::{Error, Name, Result};
use crate::tables::{CheckpointRow, Status};

/// What to audit.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    /// How to read what is not ours
    pub options: &'a archive::Options,
    /// Number of threads; the report does not depend on it
    pub threads: usize,
    /// Becomes the number of a signal when the work should stop
    pub stop: &'a AtomicUsize,
}

/// Read an archive from end to end.
///
/// # Errors
/// What [`Archive::survey`] says; [`Error::Interrupted`]. Damage is no error, but a finding.
pub fn audit(request: &Request<'_>, observe: Observe<'_>) -> Result<Report> {
    let (path, options) = (request.archive.to_owned(), request.options.clone());
    let archive =
        patiently(request.archive, options.io_timeout, move || Archive::survey(&path, &options))?;
    let layouts = Arc::new(Layouts::default());
    let files: Vec<&CheckpointRef> =
        archive.runs.iter().flat_map(|run| run.checkpoints.iter().chain(&run.optimizer)).collect();
    let scans = in_parallel(&files, request.threads, request.stop, observe, |source| {
        let (file, layouts) = (CheckpointRef::clone(source), Arc::clone(&layouts));
        Ok(patiently(&source.path, request.options.io_timeout, move || scan(&file, &layouts)))
    })?;
    let mut findings = about_archive(&archive);
    let mut scans = scans.into_iter();
    let mut runs = Vec::new();
    let mut owners: BTreeMap<[u8; 32], (String, u64)> = BTreeMap::new();
    for run in &archive.runs {
        let of_run: Vec<_> = scans.by_ref().take(run.checkpoints.len()).collect();
        let states: Vec<_> = scans.by_ref().take(run.optimizer.len()).collect();
        for (source, result) in
            run.checkpoints.iter().zip(&of_run).chain(run.optimizer.iter().zip(&states))
        {
            if let Err(error) = result {
                let finding = Finding::unreadable(error, &source.path, &archive.path);
                findings.push(Finding { step: Some(source.step), ..finding.of(run) });
            }
        }
        let good: Vec<(u64, &Scan)> = run
            .checkpoints
            .iter()
            .zip(&of_run)
            .filter_map(|(source, result)| Some((source.step, result.as_ref().ok()?)))
            .collect();
        findings.extend(about_run(run));
        findings.extend(about_steps(run, &good, &archive));
        findings.extend(shared(run, &good, &mut owners));
        let listed = run.checkpoints.iter().zip(&of_run);
        let verified = listed.clone().filter(|(source, scan)| scan.is_ok() && source.is_verified());
        let verified = verified.count();
        if verified < good.len() {
            let message = format!("{} checkpoints unverified: no digest", good.len() - verified);
            findings.push(Finding {
                code: Some("ST028"),
                ..Finding::new(Kind::Unverified, message).of(run)
            });
        }
        runs.push(RunReport {
            name: run.name.clone(),
            own: run.info.is_some(),
            first_step: run.checkpoints.first().map(|first| first.step),
            last_step: run.checkpoints.last().map(|last| last.step),
            checkpoints: listed.map(|(source, scan)| row(run, source, scan, &archive)).collect(),
            verified,
        });
    }
    super::analyze::mark_duplicates(runs.iter_mut().flat_map(|run| &mut run.checkpoints));
    findings.sort_by(|a, b| {
        let key = |f: &'_ Finding| (f.kind.severity(), f.run.clone(), f.step, f.path.clone());
        key(a).cmp(&key(b))
    });
    Ok(Report { runs, findings })
}

/// What the folder as a whole has to say.
fn about_archive(archive: &Archive) -> Vec<Finding> {
    let mut findings = Vec::new();
    for error in &archive.unreadable {
        let path = match error {
            Error::Read { path, .. }
            | Error::ArchiveFile { path, .. }
            | Error::OtherRun { path, .. } => path,
            _ => &archive.path,
        };
        findings.push(Finding::unreadable(error, path, &archive.path));
    }
    for refused in &archive.refused {
        findings.push(Finding::unreadable(&refused.error, &refused.path, &archive.path));
    }
    findings.extend(
        archive.warnings.iter().map(|text| Finding {
            code: Some("AR11"),
            ..Finding::new(Kind::Duplicate, text.clone())
        }),
    );
    if archive.unfinished > 0 {
        let message = format!("{} unfinished files or folders left out", archive.unfinished);
        findings.push(Finding { code: Some("AR06"), ..Finding::new(Kind::Unfinished, message) });
    }
    if archive.pickles > 0 {
        findings.push(Finding {
            code: Some("ST026"),
            action: Some("python examples/from_torch.py FILE OUT.safetensors converts one".into()),
            ..Finding::new(
                Kind::Pickles,
                format!("{} pickle files are not opened", archive.pickles),
            )
        });
    }
    findings
}

/// What a run's settings and logs have to say.
fn about_run(run: &Run) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = run.metrics() {
        let path = run.dir.join("metrics.jsonl");
        findings.push(Finding::unreadable(&error, &path, run.dir.parent().unwrap_or(&run.dir)));
    }
    if run.uncommitted > 0 {
        let message = format!("{} uncommitted files left out", run.uncommitted);
        findings.push(Finding { code: Some("AR06"), ..Finding::new(Kind::Unfinished, message) });
    }
    let last = run.checkpoints.last().map(|last| last.step);
    if let (Some(info), Some(last)) = (&run.info, last)
        && last < info.config.steps
    {
        let message = format!("the run has reached step {last} of {}", info.config.steps);
        findings.push(Finding::new(Kind::Unfinished, message));
    }
    let steps: Vec<u64> = run.checkpoints.iter().map(|checkpoint| checkpoint.step).collect();
    let missing = match (&run.info, last) {
        // The run itself says when it saved.
        (Some(info), Some(last)) => {
            let planned = (0..=last).filter(|step| info.config.save_at.contains(*step, last));
            planned.filter(|step| steps.binary_search(step).is_err()).collect()
        }
        _ => steps::missing(&steps),
    };
    if !missing.is_empty() {
        let message = format!("{} steps are missing: {}", missing.len(), steps::list(&missing));
        findings.push(Finding::new(Kind::MissingSteps, message));
    }
    findings.into_iter().map(|finding| finding.of(run)).collect()
}

/// What the checkpoints of a run say about each other, and each about itself.
fn about_steps(run: &Run, scans: &[(u64, &Scan)], archive: &Archive) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = |step: u64| {
        let source = run.checkpoints.iter().find(|checkpoint| checkpoint.step == step);
        source.map(|source| relative(&source.path, &archive.path))
    };
    let at =
        |step: u64, finding: Finding| Finding { step: Some(step), path: path(step), ..finding };
    let usual = steps::usual(scans);
    for &(step, scan) in scans {
        for change in usual.map_or(Vec::new(), |usual| steps::changes(&scan.layout, usual)) {
            let kind = if change.is_layout { Kind::Changed } else { Kind::DtypeChanged };
            let message = steps::about(&change.tensors, &change.what);
            let finding = Finding::new(kind, message).case("AR13");
            findings.push(at(step, finding.tensor(&change.tensors[0])));
        }
        let named = || scan.layout.tensors.iter().zip(&scan.tensors);
        let bad = || named().filter(|(_, kept)| kept.non_finite > 0);
        let tensors: Vec<String> = bad().map(|((name, ..), _)| name.clone()).collect();
        if let Some(first) = tensors.first() {
            let count: u64 = bad().map(|(_, kept)| kept.non_finite).sum();
            let what = format!("holds NaN or infinities ({count} values in all)");
            let finding = Finding::new(Kind::NonFinite, steps::about(&tensors, &what));
            findings.push(at(step, finding.case("ST030").tensor(first)));
        }
        for ((name, dtype, _), _) in named().filter(|((_, dtype, _), _)| is_unsupported(*dtype)) {
            let what = format!("has dtype {dtype}, which is not supported");
            let message = steps::about(std::slice::from_ref(name), &what);
            let finding = Finding::new(Kind::UnsupportedDtype, message);
            findings.push(at(step, finding.case("ST016").tensor(name)));
        }
        if scan.padded {
            let finding = Finding::new(Kind::Padded, "white space before the header");
            findings.push(at(step, finding.case("ST023")));
        }
    }
    // The first update of a warm-up has the learning rate 0.
    let warm_up = run.info.as_ref().is_some_and(|info| info.config.warmup > 0);
    for group in steps::equal(scans).into_iter().filter(|group| !(warm_up && *group == [0, 1])) {
        let message = format!("steps {} hold the same weights", steps::list(&group));
        findings.push(at(group[1], Finding::new(Kind::Duplicate, message)));
    }
    for (step, tensor, ratio) in steps::jumps(scans) {
        let shown = Name(tensor.clone());
        let message = format!(
            "tensor {shown} jumps and comes back: it is {ratio:.0} times as far from the steps \
             before and after as they are from each other"
        );
        findings
            .push(at(step, Finding { tensor: Some(tensor), ..Finding::new(Kind::Jump, message) }));
    }
    for (a, b, count) in steps::tied(scans) {
        let (a, b) = (Name(a), Name(b));
        let message = format!("tensors {a} and {b} hold the same values in {count} checkpoints");
        findings.push(Finding::new(Kind::Tied, message));
    }
    findings.into_iter().map(|finding| finding.of(run)).collect()
}

/// Checkpoints that hold the weights of an earlier run's: one finding per pair of runs.
fn shared(
    run: &Run,
    scans: &[(u64, &Scan)],
    owners: &mut BTreeMap<[u8; 32], (String, u64)>,
) -> Vec<Finding> {
    let mut with: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (step, scan) in scans {
        match owners.get(&scan.content) {
            Some((other, _)) if *other != run.name => {
                with.entry(other.clone()).or_default().push(*step)
            }
            Some(_) => {}
            None => {
                owners.insert(scan.content, (run.name.clone(), *step));
            }
        }
    }
    let finding = |(other, steps): (String, Vec<u64>)| {
        let (other, count) = (Name(other), steps.len());
        let steps = steps::list(&steps);
        let message = format!("{count} checkpoints hold weights of run {other}: steps {steps}");
        Finding::new(Kind::Shared, message).of(run)
    };
    with.into_iter().map(finding).collect()
}

/// The line of a checkpoint, as `analyze` writes it.
fn row(run: &Run, source: &CheckpointRef, scan: &Result<Scan>, archive: &Archive) -> CheckpointRow {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let row = CheckpointRow {
        run: run.name.clone(),
        step: number(source.step),
        file: relative(&source.path, &archive.path),
        bytes: number(source.bytes),
        status: Status::Unreadable,
        ..CheckpointRow::default()
    };
    let Ok(scan) = scan else { return row };
    let tensors = &scan.layout.tensors;
    let floats = || tensors.iter().filter(|(_, dtype, _)| float_bytes(*dtype).is_some());
    let mut dtypes: Vec<String> = floats().map(|(_, dtype, _)| dtype.to_string()).collect();
    dtypes.sort();
    dtypes.dedup();
    let n_params: usize = floats().map(|(_, _, shape)| shape.iter().product::<usize>()).sum();
    CheckpointRow {
        bytes: number(scan.bytes),
        blake3: Some(scan.blake3.clone()),
        dtype: Some(dtypes.join(",")),
        n_tensors: Some(number(tensors.len() as u64)),
        n_params: Some(number(n_params as u64)),
        status: if scan.tensors.iter().any(|kept| kept.non_finite > 0) {
            Status::NonFinite
        } else if tensors.iter().any(|(_, dtype, _)| is_unsupported(*dtype)) {
            Status::UnsupportedDtype
        } else {
            Status::Ok
        },
        ..row
    }
}
