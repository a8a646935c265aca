//! `groundswell analyze`: every measure of every checkpoint.
//!
//! 1. The archive is listed, the key frequencies of each run are fixed, and both become the plan.
//! 2. Units of work whose blocks are there and whose files are what they were are taken from before;
//!    the others are computed, in any order, and committed one by one.
//! 3. The tables are joined from the blocks, in the order of the plan.
//!
//! So the tables do not depend on threads, shards, interruptions or earlier attempts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::admission::Admission;
use super::dynamics::arrow::Arrows;
use super::dynamics::comparison::Comparison;
use super::job::Job;
pub use super::job::{Forecast, dry_run};
use super::measures::MeasureKind;
use super::merge::{self, Complete};
use super::output::Output;
use super::run::Choices;
use super::stop::Stop;
use super::store::inputs::Inputs;
use super::store::journal::{Journal, Line};
use super::store::plan::{self, Part, Plan, Unit};
use super::store::{self, Progress, Shard, Store};
use super::work::Work;
use super::{Observe, Summary, pool};
use crate::archive;
use crate::durable::{self, Locking};
use crate::dynamics::trajectory::Weighting;
use crate::error::{Error, Result};
use crate::tables::CheckpointRow;

/// What to analyse.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    /// How to read what is not ours
    pub options: &'a archive::Options,
    pub out: &'a Path,
    /// Empty: all
    pub measures: &'a [MeasureKind],
    /// Which part of the work; `None`: all, and the tables are joined
    pub shard: Option<Shard>,
    /// Number of threads; the tables do not depend on it
    pub threads: usize,
    /// Write no table if a single input cannot be used, or is not finite
    pub strict: bool,
    /// What checkpoints count in `trajectory`
    pub trajectory_weights: Weighting,
    /// How the circuit is measured
    pub choices: &'a Choices,
    /// Bytes that checkpoints in work may take together
    pub memory_limit: Option<u64>,
    pub locking: Locking,
    /// Becomes the number of a signal when the work should stop
    pub stop: &'a AtomicUsize,
}

/// Measure every checkpoint of an archive and write the tables.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NothingUsable`] for the archive; [`Error::OtherRun`] if the folder
/// holds tables of other checkpoints that this call would leave in place, or the plan of other shards;
/// what [`Output::open`] says; [`Error::Interrupted`].
pub fn analyze(request: &Request<'_>, observe: Observe<'_>) -> Result<Summary> {
    crate::linalg::require_sound()?;
    let mut job = Job::new(request)?;
    match request.shard {
        None => job.alone(request, observe),
        Some(shard) => job.together(request, shard, observe),
    }
}

impl Job {
    /// All of it, up to the tables.
    fn alone(&mut self, request: &Request<'_>, observe: Observe<'_>) -> Result<Summary> {
        let mut output = Output::open_with(request.out, request.archive, request.locking)?;
        let private = request.out.join(store::PRIVATE);
        let mut journal = Journal::read(&private)?;
        let units = self.plan.units();
        let mut summary = Summary { warnings: self.warnings.clone(), ..Summary::default() };
        summary.warnings.extend(journal.damaged.clone());
        let mut inputs = Inputs::new(&self.archive);
        let all = self.of_all_measures(&output);
        inputs.hash_changed(lines_of(&all, &units, &journal), request.threads, request.stop)?;
        self.refuse_stale(&output, &all, &units, &journal, &inputs)?;

        let current = believed(&inputs, request.strict);
        let before = Progress::of(&self.plan, &units, &journal, &current);
        let others = Progress::of(&all, &units, &journal, |_| true);
        let failures = merge::failures(&self.plan, &merge::complete(others));
        if !request.out.join(plan::FILE).exists() {
            write_plan(request.out, &self.plan)?;
        }
        if before.is_done.iter().all(|done| *done) {
            let lines = merge::complete(before);
            if merge::is_joined(&output, &self.plan, &lines, &failures)? {
                summary.count(&lines, &failures);
                return Ok(summary);
            }
        }
        summary.warnings.extend(changed(&self.plan, &units, &journal, &inputs));
        write_plan(request.out, &self.plan)?;
        let (lines, lost) =
            self.compute(request, &units, Shard::ALL, &journal, &inputs, observe, &mut summary)?;
        summary.warnings.extend(lost);
        lines.into_iter().for_each(|line| journal.insert(line));
        let done = Progress::of(&self.plan, &units, &journal, |_| true);
        let lines: Complete<'_> = merge::complete(done);
        merge::refuse_unusable(&self.plan, &lines, request.archive)?;
        let everything = merge::complete(Progress::of(&all, &units, &journal, |_| true));
        let failures = merge::failures(&self.plan, &everything);
        merge::join(&mut output, &self.plan, &lines, failures, &mut summary)?;
        Ok(summary)
    }

    /// The plan of these measures and of those whose tables are there.
    fn of_all_measures(&self, output: &Output) -> Plan {
        let mut all = self.plan.clone();
        for kind in MeasureKind::ALL.iter().filter(|kind| !self.plan.measures.contains_key(kind)) {
            if let Some(before) = output.parameters(kind.name()) {
                all.measures.insert(*kind, before["parameters"].clone());
            }
        }
        all
    }

    /// Tables of other checkpoints must not stay beside new ones.
    fn refuse_stale(
        &self,
        output: &Output,
        all: &Plan,
        units: &[Unit],
        journal: &Journal,
        inputs: &Inputs<'_>,
    ) -> Result<()> {
        let mut others = all.clone();
        others.measures.retain(|kind, _| !self.plan.measures.contains_key(kind));
        let progress = Progress::of(&others, units, journal, |line| inputs.are_unchanged(line));
        let is_stale = |(kind, lines): (MeasureKind, Vec<Option<&Line>>)| {
            let known: Option<Vec<&Line>> = lines.into_iter().collect();
            let kept = output.parameters(kind.name());
            let now = known.map(|lines| merge::provenance(&others, kind, &lines));
            let is_same = now.is_some_and(|now| merge::is_same(kept, &now));
            (!is_same).then_some(kind.name())
        };
        let stale: Vec<&str> = progress.lines.into_iter().filter_map(is_stale).collect();
        if stale.is_empty() {
            return Ok(());
        }
        Err(Error::OtherRun {
            path: output.dir().to_owned(),
            differences: format!(
                "{} were computed from other checkpoints, or nothing says from which; \
                 without --measures, or with these too, they are computed again",
                stale.join(", ")
            ),
        })
    }

    /// Compute the units that are not done; returns their lines, and what is to be said of blocks
    /// that were lost.
    #[expect(clippy::too_many_arguments, reason = "one caller alone, one for a shard")]
    pub(super) fn compute(
        &self,
        request: &Request<'_>,
        units: &[Unit],
        shard: Shard,
        journal: &Journal,
        inputs: &Inputs<'_>,
        observe: Observe<'_>,
        summary: &mut Summary,
    ) -> Result<(Vec<Line>, Option<String>)> {
        let store = Store::open(request.out, shard, journal)?;
        let is_current = believed(inputs, request.strict);
        let private = request.out.join(store::PRIVATE);
        let pool = pool(request.threads)?;
        // Which of the believed lines have lost their blocks.
        let believed: Vec<&Line> =
            lines_of(&self.plan, units, journal).filter(|line| is_current(line)).collect();
        let lost: BTreeSet<&str> = pool.install(|| {
            let lost = believed.par_iter().filter(|line| !store::is_intact(&private, line));
            lost.map(|line| line.basis.as_str()).collect()
        });
        let valid = |line: &Line| is_current(line) && !lost.contains(line.basis.as_str());
        let left: Vec<(&Unit, Vec<MeasureKind>)> = units
            .iter()
            .map(|unit| {
                let is_left = |kind: &MeasureKind| {
                    !journal.get(&self.plan.basis(*kind, unit)).is_some_and(valid)
                };
                (unit, self.plan.measures_of(unit).filter(is_left).collect())
            })
            .filter(|(_, kinds): &(_, Vec<_>)| !kinds.is_empty())
            .collect();
        let (blocks, runs): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|(unit, _)| unit.scope == Part::Block);
        let total: usize = blocks.iter().map(|(unit, _)| unit.checkpoints.len()).sum();
        let of_units = units.iter().filter(|unit| unit.scope == Part::Block);
        let all: usize = of_units.map(|unit| unit.checkpoints.len()).sum();
        if (1..all).contains(&total) {
            tracing::info!("resuming: {} of {all} checkpoints done", all - total);
        }
        summary.computed = total;
        summary.reused = all - total;

        let blocks_of = |run, kind| {
            blocks.iter().filter(|(unit, kinds)| unit.run == run && kinds.contains(&kind)).count()
        };
        let io_timeout = request.options.io_timeout;
        let (archive, each) = (&self.archive, || self.archive.runs.iter().enumerate());
        let comparisons = each().map(|(i, run)| {
            Comparison::new(archive, run, io_timeout, blocks_of(i, MeasureKind::Movement))
        });
        let arrows = each().zip(&self.subjects).map(|((i, run), subject)| {
            Arrows::new(archive, run, subject, io_timeout, blocks_of(i, MeasureKind::Arrow))
        });
        // What one measure read need not be read again by the one that looks at all checkpoints.
        let keeps = self.plan.measures.contains_key(&MeasureKind::Trajectory);
        let known = believed.iter().filter(|_| keeps).flat_map(|line| line.files.iter());
        let known = known.map(|read| (read.file.clone(), read.clone())).collect();
        let work = Work {
            archive: &self.archive,
            subjects: &self.subjects,
            plan: &self.plan,
            store: &store,
            comparisons: comparisons.collect(),
            arrows: arrows.collect(),
            weighting: request.trajectory_weights,
            admission: Admission::new(request.memory_limit),
            io_timeout,
            strict: request.strict,
            stop: Stop::new(request.stop),
            committed: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            total,
            observe,
            known: keeps.then(|| Mutex::new(known)),
        };
        let mut committed = Vec::new();
        let mut stopped = false;
        let mut take = |results: Vec<Result<Option<Vec<Line>>>>| {
            for result in results {
                match result? {
                    Some(lines) => committed.extend(lines),
                    None => stopped = true,
                }
            }
            Ok(())
        };
        take(pool.install(|| {
            let units = blocks.par_iter().with_max_len(1);
            units.map(|(unit, kinds)| work.unit(unit, kinds)).collect()
        }))?;
        // Each with all threads, since it is about a whole run.
        for (unit, kinds) in &runs {
            take(vec![pool.install(|| work.unit(unit, kinds))])?;
        }
        if let Some(signal) = work.stop.signal().filter(|_| stopped) {
            let done = summary.reused + work.committed.load(Ordering::Relaxed);
            return Err(Error::Interrupted {
                signal: i32::try_from(signal).unwrap_or(2),
                done: format!("{done} of {all} checkpoints done; run again to resume"),
                help: "what is done is kept, and no table was changed".into(),
            });
        }
        let lost = (!lost.is_empty())
            .then(|| format!("{} blocks were damaged or gone, and computed again", lost.len()));
        Ok((committed, lost))
    }
}

/// Which lines count: those about files as they are now and, where the user is strict, of which there is
/// nothing to say.
fn believed<'a>(inputs: &'a Inputs<'_>, strict: bool) -> impl Fn(&Line) -> bool + 'a {
    move |line| inputs.are_those_of(line) && (line.is_flawless || !strict)
}

/// The lines about these units, whatever they are worth.
pub(super) fn lines_of<'a>(
    plan: &'a Plan,
    units: &'a [Unit],
    journal: &'a Journal,
) -> impl Iterator<Item = &'a Line> {
    units.iter().flat_map(move |unit| {
        plan.measures_of(unit).filter_map(move |kind| journal.get(&plan.basis(kind, unit)))
    })
}

/// What to say of files that were edited since.
pub(super) fn changed(
    plan: &Plan,
    units: &[Unit],
    journal: &Journal,
    inputs: &Inputs<'_>,
) -> Option<String> {
    let changed: BTreeSet<&str> = lines_of(plan, units, journal)
        .filter(|line| line.is_final)
        .flat_map(|line| inputs.changed(line))
        .collect();
    let count = changed.len();
    (count > 0).then(|| {
        format!(
            "{count} input files changed since they were measured; their rows are computed again"
        )
    })
}

pub(super) fn write_plan(out: &Path, plan: &Plan) -> Result<()> {
    let (path, json) = (out.join(plan::FILE), plan.to_json()?);
    if std::fs::read(&path).is_ok_and(|before| before == json) {
        return Ok(());
    }
    durable::write(&path, &json)
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

#[cfg(test)]
mod tests;
