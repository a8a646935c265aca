//! `groundswell status`: how far an analysis is.

use std::path::Path;

use super::measures::MeasureKind;
use super::merge;
use super::output;
use super::store::journal::{Journal, Line};
use super::store::plan::{self, Plan};
use super::store::{self, Progress};
use crate::error::{Error, Result};

/// How far an analysis is. Reads no checkpoint, and no block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub runs: usize,
    pub checkpoints: usize,
    /// Of each measure, in units
    pub measures: Vec<(MeasureKind, Count)>,
    /// Of each shard, in units; one if there are no shards
    pub shards: Vec<Count>,
    /// Files that could not be used so far
    pub failures: usize,
    /// Whether the tables were joined
    pub is_joined: bool,
    /// Journal lines that could not be read
    pub damaged: Vec<String>,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub done: usize,
    pub of: usize,
}

impl Count {
    fn add(&mut self, is_done: bool) {
        self.of += 1;
        self.done += usize::from(is_done);
    }
}

/// How far the analysis in this folder is.
///
/// # Errors
/// [`Error::NotFound`] if there is none; [`Error::TableFile`] for a damaged plan.
pub fn status(tables: &Path) -> Result<Status> {
    let no_plan = || Error::NotFound { path: tables.join(plan::FILE), kind: "plan of an analysis" };
    let plan: Plan = store::read_plan(tables)?.ok_or_else(no_plan)?;
    let journal = Journal::read(&tables.join(store::PRIVATE))?;
    let units = plan.units();
    let progress = Progress::of(&plan, &units, &journal, |line| line.is_final);
    let mut shards = vec![Count::default(); plan.shards];
    for (unit, is_done) in progress.is_done.iter().enumerate() {
        shards[unit % plan.shards].add(*is_done);
    }
    let measures = progress.lines.iter().map(|(kind, lines)| {
        (*kind, Count { done: lines.iter().flatten().count(), of: lines.len() })
    });
    let measures: Vec<(MeasureKind, Count)> = measures.collect();
    let is_complete = measures.iter().all(|(_, part)| part.done == part.of);
    let lines = merge::complete(progress);
    let failures = merge::failures(&plan, &lines).len();
    let listed = output::read_manifest(tables)?.parameters;
    let is_of = |(kind, lines): (&MeasureKind, &Vec<&Line>)| {
        merge::is_same(listed.get(kind.name()), &merge::provenance(&plan, *kind, lines))
    };
    let is_joined = is_complete && lines.iter().all(is_of);
    let checkpoints = plan.checkpoints();
    let (runs, damaged) = (plan.runs.len(), journal.damaged);
    Ok(Status { runs, checkpoints, measures, shards, failures, is_joined, damaged })
}
