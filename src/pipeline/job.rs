//! What `analyze` is asked for, found out: the archive, its runs, and the plan.

use serde_json::{Value, json};

use super::analyze::{Request, lines_of};
use super::checkpoints::{self, relative};
use super::measures::{MeasureKind, shares};
use super::output;
use super::patience;
use super::run::{RunContext, Subject};
use super::store::inputs::Inputs;
use super::store::journal::{Journal, Line};
use super::store::plan::{self, Part, Plan, PlannedCheckpoint, PlannedRun, Unit};
use super::store::{self, Progress, Shard};
use super::work::memory;
use crate::archive::{self, Archive, CheckpointRef, RunPattern};
use crate::claims::nulls::LABEL_SEED;
use crate::config::Split;
use crate::error::{Error, Result};
use crate::progress::KEY_THRESHOLD;

/// An archive, and what is to be made of it.
pub(super) struct Job {
    /// Its runs are those of the plan.
    pub archive: Archive,
    /// One for each run
    pub subjects: Vec<Subject>,
    pub plan: Plan,
    pub warnings: Vec<String>,
}

impl Job {
    /// List the archive, and fix the key frequencies of its runs.
    ///
    /// # Errors
    /// As [`super::analyze::analyze`], before any work.
    pub(super) fn new(request: &Request<'_>) -> Result<Self> {
        output::refuse_inside(request.out, request.archive).or_else(|error| match error {
            // The archive's own absence is told as such.
            Error::Read { .. } => Ok(()),
            error => Err(error),
        })?;
        let archive = patience::open(request.archive, request.options)?;
        let mut archive = if request.strict { flawless(archive)? } else { archive };
        request.choices.check(&archive)?;
        let (contexts, failures) = checkpoints::contexts(&archive, request.choices);
        let warnings = warnings(&archive, &contexts);
        let runs = std::mem::take(&mut archive.runs).into_iter().zip(contexts);
        let (runs, subjects): (Vec<_>, Vec<_>) =
            runs.filter_map(|(run, subject)| Some((run, subject?))).unzip();
        archive.runs = runs;
        let usual = MeasureKind::ALL.iter().copied().filter(|kind| !kind.is_on_request());
        let kinds = match request.measures {
            [] => usual.collect(),
            some => some.to_vec(),
        };
        let parameters = kinds.iter().map(|kind| (*kind, parameters(*kind, request)));
        let mut plan = Plan::new(1, parameters.collect());
        let networks: Vec<&RunContext> =
            subjects.iter().filter_map(|subject| subject.network.as_ref()).collect();
        plan.metadata = output::metadata(&archive, &networks)?;
        plan.failures = failures.into_iter().map(plan::Failure::from).collect();
        let planned = archive.runs.iter().zip(&subjects);
        plan.runs = planned.map(|(run, subject)| planned_run(&archive, run, subject)).collect();
        Ok(Self { archive, subjects, plan, warnings })
    }
}

/// What there is to do, without doing anything.
///
/// # Errors
/// As [`analyze`](super::analyze::analyze), before any work.
pub fn dry_run(request: &Request<'_>) -> Result<Forecast> {
    let job = Job::new(request)?;
    let journal = Journal::read(&request.out.join(store::PRIVATE))?;
    let mut plan = job.plan;
    plan.shards = request.shard.map_or(1, |shard| shard.n);
    let shard = request.shard.unwrap_or(Shard::ALL);
    let units = plan.units();
    let mut inputs = Inputs::new(&job.archive);
    inputs.hash_changed(lines_of(&plan, &units, &journal), request.threads, request.stop)?;
    let private = request.out.join(store::PRIVATE);
    let valid = |line: &Line| inputs.are_those_of(line) && store::is_intact(&private, line);
    let progress = Progress::of(&plan, &units, &journal, valid);
    let own = units.iter().enumerate().filter(|(i, _)| shard.has(*i));
    let left: Vec<&Unit> =
        own.clone().filter(|(i, _)| !progress.is_done[*i]).map(|(_, u)| u).collect();
    let refs =
        |unit: &Unit| job.archive.runs[unit.run].checkpoints[unit.checkpoints.clone()].iter();
    let blocks = left.iter().filter(|unit| unit.scope == Part::Block);
    let checkpoints = blocks.clone().flat_map(|unit| refs(unit));
    let kinds: Vec<MeasureKind> = plan.measures.keys().copied().collect();
    let needs = blocks
        .clone()
        .flat_map(|unit| refs(unit).map(|source| memory(source, &job.subjects[unit.run], &kinds)));
    Ok(Forecast {
        checkpoints: checkpoints.clone().count(),
        bytes: checkpoints.map(|file| file.bytes).sum(),
        memory: needs.max().unwrap_or(0) * request.threads as u64,
        units: own.count(),
        units_left: left.len(),
        measures: kinds,
    })
}

/// What an analysis would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    pub measures: Vec<MeasureKind>,
    /// Units of work, of this shard
    pub units: usize,
    /// Those that are not done yet
    pub units_left: usize,
    /// Checkpoints to read
    pub checkpoints: usize,
    /// Bytes to read, once
    pub bytes: u64,
    /// Bytes of memory that checkpoints in work take at most, roughly
    pub memory: u64,
}

fn planned_run(archive: &Archive, run: &archive::Run, subject: &Subject) -> PlannedRun {
    let checkpoint = |file: &CheckpointRef| PlannedCheckpoint {
        step: file.step,
        file: relative(&file.path, &archive.path),
        bytes: file.bytes,
        blake3: file.blake3.clone(),
    };
    let circuit = subject.network.as_ref().map(|network| {
        let keys = network.keys.as_ref();
        let missing = network.keys_missing.as_ref().map(Error::code);
        json!({ "keys": keys.map(|keys| &keys.keys), "missing": missing })
    });
    PlannedRun {
        name: run.name.clone(),
        subject: subject_digest(run, subject),
        circuit: json!(circuit).to_string(),
        checkpoints: run.checkpoints.iter().map(checkpoint).collect(),
        optimizer: run.optimizer.iter().map(checkpoint).collect(),
    }
}

/// Digest of what is known of a run besides its checkpoints.
fn subject_digest(run: &archive::Run, subject: &Subject) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    add(format!("{:?}", run.facts).as_bytes());
    add(format!("{:?}", subject.shapes).as_bytes());
    // Of a network of another program, the sizes come from its checkpoints.
    add(format!("{:?}", subject.network.as_ref().map(|network| &network.net)).as_bytes());
    if let Some(Split::File(pairs)) = &run.facts.split {
        add(&std::fs::read(pairs).unwrap_or_default());
    }
    add(&std::fs::read(run.dir.join("run.json")).unwrap_or_default());
    hasher.finalize().to_hex().to_string()
}

/// What decides the rows of a measure, besides its own code and the files.
fn parameters(kind: MeasureKind, request: &Request<'_>) -> Value {
    let mut parameters = json!({});
    if kind == MeasureKind::Arrow {
        let labels = &request.choices.labels;
        return json!({
            "key_rule": request.choices.keys.to_string(),
            "key_threshold": KEY_THRESHOLD,
            "labels": labels.count,
            "labels_at": labels.at.to_string(),
            "labels_of": request.choices.labels_of.as_ref().map(RunPattern::as_str),
            "label_seed": LABEL_SEED,
        });
    }
    if kind.is_of_network() {
        parameters["key_rule"] = request.choices.keys.to_string().into();
        parameters["protocol"] = request.choices.protocol.name().into();
        if kind.is_of_places() {
            parameters["at"] = request.choices.at.to_string().into();
        }
        if kind == MeasureKind::Shares {
            parameters["kernel_at"] = request.choices.kernel_at.to_string().into();
            parameters["kernel_probes"] = shares::PROBES.into();
            parameters["kernel_seed"] = shares::SEED.into();
        }
        parameters["precision"] = request.choices.precision.name().into();
        parameters["key_threshold"] = KEY_THRESHOLD.into();
    }
    if kind == MeasureKind::Trajectory {
        parameters["weights"] = request.trajectory_weights.name().into();
    }
    parameters
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
