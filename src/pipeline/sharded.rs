//! An analysis in parts: the plan that all of them share, and the work of one.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::analyze::{Request, changed, lines_of, write_plan};
use super::job::Job;
use super::run::Subject;
use super::store::inputs::Inputs;
use super::store::journal::Journal;
use super::store::plan::{self, Plan, PlannedCheckpoint, Unit};
use super::store::{self, Progress, Shard};
use super::{Observe, Summary, merge};
use crate::archive::{Archive, CheckpointRef};
use crate::durable::{self, Lock, Locking};
use crate::error::{Error, Result};

impl Job {
    /// The part of one shard. Its tables are parts.
    pub(super) fn together(
        &mut self,
        request: &Request<'_>,
        shard: Shard,
        observe: Observe<'_>,
    ) -> Result<Summary> {
        let private = request.out.join(store::PRIVATE);
        durable::create_dir(&private)?;
        let _locks = match request.locking {
            Locking::Off => [Lock::none(), Lock::none()],
            Locking::On => [
                Lock::shared(&private.join("lock"))?,
                Lock::exclusive(&private.join(format!("lock-{}", shard.name())))?,
            ],
        };
        self.plan.shards = shard.n;
        let newer = self.freeze(request.out, request.locking)?;
        let mut summary = Summary { warnings: self.warnings.clone(), ..Summary::default() };
        if newer > 0 {
            summary.warnings.push(format!(
                "{newer} checkpoints are newer than the plan, and left out: \
                 an analysis without --shard takes them in"
            ));
        }
        let mut journal = Journal::read(&private)?;
        summary.warnings.extend(journal.damaged.clone());
        let units = self.plan.units();
        let own: Vec<Unit> = units
            .iter()
            .enumerate()
            .filter(|(i, _)| shard.has(*i))
            .map(|(_, unit)| unit.clone())
            .collect();
        let mut inputs = Inputs::new(&self.archive);
        inputs.hash_changed(lines_of(&self.plan, &own, &journal), request.threads, request.stop)?;
        summary.warnings.extend(changed(&self.plan, &own, &journal, &inputs));
        let (lines, lost) =
            self.compute(request, &own, shard, &journal, &inputs, observe, &mut summary)?;
        summary.warnings.extend(lost);
        let is_new = !lines.is_empty() || !merge::has_parts(request.out, &self.plan, shard);
        lines.into_iter().for_each(|line| journal.insert(line));
        let done = Progress::of(&self.plan, &own, &journal, |_| true);
        let lines = merge::complete(done);
        let failures = merge::failures(&self.plan, &lines);
        summary.count(&lines, &failures);
        if is_new {
            summary.parts =
                merge::write_parts(request.out, &self.plan, &lines, shard, &mut summary)?;
        }
        Ok(summary)
    }

    /// Take up the plan of the first shard, or be the first. Returns the number of checkpoints that
    /// came since.
    fn freeze(&mut self, out: &Path, locking: Locking) -> Result<usize> {
        let _lock = match locking {
            Locking::Off => Lock::none(),
            Locking::On => Lock::patient(&out.join(store::PRIVATE).join("lock-plan"))?,
        };
        let Some(frozen) = store::read_plan(out)? else {
            write_plan(out, &self.plan)?;
            // Without locks another process may have written its own at the same moment.
            return match store::read_plan(out)? {
                Some(plan) if plan == self.plan => Ok(0),
                _ => self.freeze(out, locking),
            };
        };
        let differs = |what: &str, there: String, here: String| Error::OtherRun {
            path: out.join(plan::FILE),
            differences: format!("{what} is {there} there, {here} here"),
        };
        let (there, here) = (&frozen, &self.plan);
        if there.shards != here.shards {
            let [there, here] = [there, here].map(|plan| plan.shards.to_string());
            return Err(differs("number of shards", there, here));
        }
        if there.version != here.version {
            return Err(differs("version", there.version.clone(), here.version.clone()));
        }
        if there.measures != here.measures {
            let list = |plan: &Plan| json!(plan.measures).to_string();
            return Err(differs("measures", list(there), list(here)));
        }
        let newer = align(&mut self.archive, &mut self.subjects, &self.plan, &frozen, out)?;
        self.plan = frozen;
        Ok(newer)
    }
}

/// The files of a plan, as they are now; those that are gone, too.
fn aligned(
    files: Vec<CheckpointRef>,
    planned: &[PlannedCheckpoint],
    run: &str,
    archive: &Archive,
) -> Vec<CheckpointRef> {
    let here = |planned: &PlannedCheckpoint| {
        let path = archive.path.join(&planned.file);
        let known = files.iter().find(|file| file.path == path).cloned();
        known.unwrap_or_else(|| CheckpointRef {
            run: run.to_owned(),
            step: planned.step,
            path,
            bytes: planned.bytes,
            blake3: None,
            is_index: false,
        })
    };
    planned.iter().map(here).collect()
}

/// Make the archive's runs those of a frozen plan: what came later is left out, and counted; what is
/// gone will fail when it is read.
fn align(
    archive: &mut Archive,
    subjects: &mut Vec<Subject>,
    found: &Plan,
    frozen: &Plan,
    out: &Path,
) -> Result<usize> {
    let other = |differences: String| Error::OtherRun { path: out.join(plan::FILE), differences };
    let mut here: BTreeMap<String, _> = BTreeMap::new();
    let runs = std::mem::take(&mut archive.runs).into_iter().zip(std::mem::take(subjects));
    for ((run, subject), planned) in runs.zip(&found.runs) {
        here.insert(run.name.clone(), (run, subject, planned));
    }
    let mut newer = 0;
    for planned in &frozen.runs {
        let Some((mut run, mut subject, now)) = here.remove(&planned.name) else {
            return Err(other(format!("run {} is there, and not in this archive", planned.name)));
        };
        if (&now.subject, &now.circuit) != (&planned.subject, &planned.circuit) {
            let name = &planned.name;
            return Err(other(format!("run {name} has other settings or key frequencies here")));
        }
        let mut files: BTreeMap<String, CheckpointRef> = std::mem::take(&mut run.checkpoints)
            .into_iter()
            .zip(&now.checkpoints)
            .map(|(file, planned)| (planned.file.clone(), file))
            .collect();
        run.checkpoints = planned
            .checkpoints
            .iter()
            .map(|checkpoint| {
                files.remove(&checkpoint.file).unwrap_or_else(|| CheckpointRef {
                    run: planned.name.clone(),
                    step: checkpoint.step,
                    path: archive.path.join(&checkpoint.file),
                    bytes: checkpoint.bytes,
                    blake3: None,
                    is_index: false,
                })
            })
            .collect();
        run.optimizer = aligned(run.optimizer, &planned.optimizer, &planned.name, archive);
        let other_step = |(file, planned): (&CheckpointRef, &PlannedCheckpoint)| {
            (file.step != planned.step).then(|| (planned.file.clone(), planned.step, file.step))
        };
        let mut both = run.checkpoints.iter().zip(&planned.checkpoints);
        if let Some((file, there, here)) = both.find_map(other_step) {
            return Err(other(format!("{file} is step {there} there, {here} here")));
        }
        newer += files.len();
        // `last` is that of the plan.
        if let Some(context) = &mut subject.network {
            context.end_with(&run);
        }
        archive.runs.push(run);
        subjects.push(subject);
    }
    newer += here.values().map(|(run, ..)| run.checkpoints.len()).sum::<usize>();
    Ok(newer)
}
