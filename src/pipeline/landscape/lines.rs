//! `groundswell landscape --from A --to B`: losses on lines between checkpoints, and what stands in
//! the way on them. Tables `interpolation` and `barriers`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};

use super::align::Alignment;
use super::place::Place;
use super::{contexts, is_there, load, step_of};
use crate::archive::{self, Archive, CheckpointRef, Run};
use crate::blas;
use crate::error::{Error, Result};
use crate::landscape::{alphas, barriers, interpolate};
use crate::params::Params;
use crate::pipeline::measures::losses::{PointLosses, circuit_status, point_losses};
use crate::pipeline::output::{self, Output};
use crate::pipeline::run::RunContext;
use crate::pipeline::{Observe, Summary, in_parallel, patience};
use crate::tables::{BarrierRow, InterpolationRow, Row, Status};

/// Name under which the manifest keeps what the lines were computed from.
pub(super) const MEASURE: &str = "interpolation";

/// More points than anybody can look at are a slip of the keyboard.
const MOST_POINTS: usize = 100_000;

/// Lines whose ends are in memory at once.
const GROUP: usize = 8;

/// Which lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// From one checkpoint to another
    Line { from: Place, to: Place },
    /// From each of these to each that comes after it in the list
    Between(Vec<Place>),
    /// From each saved checkpoint to the one that was saved so many saves later
    Apart(usize),
}

/// What to evaluate.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    /// How to read what is not ours
    pub options: &'a archive::Options,
    pub out: &'a Path,
    pub lines: Wanted,
    /// Number of points on each, both ends included
    pub points: usize,
    /// How neurons and heads of the second checkpoint are matched to those of the first
    pub alignment: Alignment,
    /// Number of threads; the tables do not depend on it
    pub threads: usize,
    /// Becomes the number of a signal when the work should stop
    pub stop: &'a AtomicUsize,
}

/// Evaluate the lines, in every run of the archive unless a run is named; add them to
/// `interpolation` and `barriers`.
///
/// A run without one of the steps is skipped, unless there is no other. A line that is there already, with as
/// many points and of the same checkpoints, stays as it is.
///
/// # Errors
/// [`Error::Setting`] for a number of points that makes no line; [`Error::StepNotSaved`], before
/// anything is created; what is wrong with one of the checkpoints, such as [`Error::Shape`] if they
/// are of different networks; otherwise as [`crate::pipeline::analyze::analyze`].
pub fn lines(request: &Request<'_>, observe: Observe<'_>) -> Result<Summary> {
    crate::linalg::require_sound()?;
    if !(2..=MOST_POINTS).contains(&request.points) {
        let problem = format!("{} is not in 2..={MOST_POINTS}", request.points);
        return Err(Error::setting("points", problem, "25 is usual"));
    }
    let archive = patience::open(request.archive, request.options)?;
    let mut summary = Summary::default();
    let (wanted, errors) = resolve(request, &archive)?;
    let contexts = contexts(wanted.iter().map(|ends| ends.run))?;
    summary.skipped = errors.len() + archive.unreadable.len();
    summary.warnings.extend(errors.iter().chain(&archive.unreadable).map(Error::to_string));
    summary.warnings.extend(contexts.values().filter_map(RunContext::key_warning));
    // Before anything is created: that the first pair fits together.
    if let Some(first) = wanted.first() {
        Line::new(first, &contexts[first.run.name.as_str()], request.alignment)?;
    }

    let mut output = Output::open(request.out, request.archive)?;
    let mut points = output.rows::<InterpolationRow>()?;
    let mut heights = output.rows::<BarrierRow>()?;
    let before = output.parameters(MEASURE).and_then(Value::as_object).cloned();
    let mut provenance = before.unwrap_or_default();
    // Lines of checkpoints that are no longer those of the archive, and those computed anew now.
    let mut gone = BTreeSet::new();
    for (name, ends) in &provenance {
        if is_outdated(ends, &archive) {
            summary.warnings.push(format!("{name}: dropped, its checkpoints were replaced"));
            gone.insert(name.clone());
        }
    }
    gone.iter().for_each(|name| drop(provenance.remove(name)));
    let tables = [InterpolationRow::TABLE, BarrierRow::TABLE];
    let is_intact = output.is_intact(&tables)?;
    let asked = wanted.len();
    let (names, wanted): (Vec<String>, Vec<Ends<'_>>) = wanted
        .into_iter()
        .map(|ends| (ends.name(request.alignment), ends))
        .filter(|(name, ends)| {
            let now = ends.provenance(request.points);
            !(is_intact && is_there(provenance.get(name), &now))
        })
        .unzip();
    summary.reused = (asked - wanted.len()) * request.points;
    if wanted.is_empty() && gone.is_empty() {
        return Ok(summary);
    }
    gone.extend(names.iter().cloned());
    points.retain(|row| !gone.contains(&row.line()));
    heights.retain(|row| !gone.contains(&row.line()));
    let total = wanted.len() * request.points;
    for (group, names) in wanted.chunks(GROUP).zip(names.chunks(GROUP)) {
        let group: Vec<Line<'_>> = group
            .iter()
            .map(|ends| Line::new(ends, &contexts[ends.run.name.as_str()], request.alignment))
            .collect::<Result<_>>()?;
        let done = summary.computed;
        let tell = |now: usize, _: usize| observe(done + now, total);
        let (new, barriers) = evaluate(&group, request, &tell)?;
        summary.computed += new.len();
        points.extend(new);
        heights.extend(barriers);
        let described = group.iter().map(|line| line.ends.provenance(request.points));
        provenance.extend(names.iter().cloned().zip(described));
    }
    let contexts: Vec<&RunContext> = contexts.values().collect();
    let metadata = output::metadata(&archive, &contexts)?;
    let mut replacement = output.replace();
    replacement.table(points, &metadata)?;
    replacement.table(heights, &metadata)?;
    let provenance = [(MEASURE.to_owned(), Value::Object(provenance))];
    summary.tables = replacement.commit(provenance.into())?;
    Ok(summary)
}

/// The two checkpoints of a line.
#[derive(Debug, Clone, Copy)]
struct Ends<'a> {
    run: &'a Run,
    from: &'a CheckpointRef,
    to_run: &'a Run,
    to: &'a CheckpointRef,
}

/// The lines that are meant, each once, and why some runs have none.
fn resolve<'a>(request: &Request<'_>, archive: &'a Archive) -> Result<(Vec<Ends<'a>>, Vec<Error>)> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    let mut add = |lines: Result<Vec<Ends<'a>>>| match lines {
        Ok(lines) => found.extend(lines),
        Err(error) => errors.push(error),
    };
    let pairs: Vec<(&Place, &Place)> = match &request.lines {
        Wanted::Line { from, to } => vec![(from, to)],
        Wanted::Between(places) if places.len() < 2 => {
            let problem = format!("{} checkpoint makes no pair", places.len());
            return Err(Error::setting("between", problem, "name at least two"));
        }
        Wanted::Between(places) => {
            let after = |i: usize| places[i + 1..].iter().map(move |to| (&places[i], to));
            (0..places.len()).flat_map(after).collect()
        }
        Wanted::Apart(0) => {
            return Err(Error::setting("apart", "0 saves make no line", "1: consecutive saves"));
        }
        Wanted::Apart(lag) => {
            archive.runs.iter().for_each(|run| add(Ends::apart(run, *lag)));
            Vec::new()
        }
    };
    for (from, to) in pairs {
        match from.named(archive)? {
            Some(run) => add(Ends::new(archive, run, from, to).map(|ends| vec![ends])),
            None => {
                for run in &archive.runs {
                    add(Ends::new(archive, run, from, to).map(|ends| vec![ends]));
                }
            }
        }
    }
    let mut names = BTreeSet::new();
    found.retain(|ends| names.insert(ends.name(Alignment::None)));
    if found.is_empty() {
        let none = || Error::Internal("an archive without runs was opened".into());
        return Err(errors.into_iter().next().unwrap_or_else(none));
    }
    Ok((found, errors))
}

/// The name of a line, in the manifest and in messages.
fn name(run: &str, from: i64, to_run: &str, to: i64, alignment: &str) -> String {
    let to_run = if to_run == run { String::new() } else { format!(" in {to_run}") };
    let as_saved = alignment == Alignment::None.name();
    let how = if as_saved { String::new() } else { format!(", {alignment}") };
    format!("{run} {from} {to}{to_run}{how}")
}

/// What names a line, in the rows of its tables.
trait OfLine {
    fn line(&self) -> String;
}

macro_rules! of_line {
    ($($row:ty),+) => { $(
        impl OfLine for $row {
            fn line(&self) -> String {
                name(&self.run, self.from_step, &self.to_run, self.to_step, &self.alignment)
            }
        }
    )+ };
}
of_line!(InterpolationRow, BarrierRow);

/// Whether a line was computed from checkpoints that the archive has others of now. Of a run that it does not
/// have nobody knows.
pub(super) fn is_outdated(ends: &Value, archive: &Archive) -> bool {
    is_current(ends, archive) == Some(false)
}

fn is_current(ends: &Value, archive: &Archive) -> Option<bool> {
    let run = |name: &str| {
        let name = ends[name].as_str().or_else(|| ends["run"].as_str())?;
        archive.runs.iter().find(|run| run.name == name)
    };
    let (run, to_run) = (run("run")?, run("to_run")?);
    let known = |name: &str, run: &Run| {
        let step = ends[name]["step"].as_u64()?;
        let now = run.checkpoint(step).ok()?.blake3.as_deref();
        Some(ends[name]["blake3"].as_str() == now)
    };
    let last = run.checkpoints.last().map(|last| last.step) == ends["final"]["step"].as_u64();
    let all = [("from", run), ("to", to_run), ("final", run)];
    Some(last && all.iter().all(|(name, run)| known(name, run) == Some(true)))
}

impl<'a> Ends<'a> {
    fn new(archive: &'a Archive, run: &'a Run, from: &Place, to: &Place) -> Result<Self> {
        let from = from.step.checkpoint(run)?;
        let to_run = to.run(archive, run)?;
        Ok(Self { run, from, to_run, to: to.step.checkpoint(to_run)? })
    }

    /// All lines between checkpoints of a run that are `lag` saves apart.
    fn apart(run: &'a Run, lag: usize) -> Result<Vec<Self>> {
        let saved = &run.checkpoints;
        if saved.len() <= lag {
            let problem = format!("{} has {} checkpoints", run.name, saved.len());
            return Err(Error::setting("apart", problem, format!("below {} for it", saved.len())));
        }
        let pairs = saved.iter().zip(&saved[lag..]);
        Ok(pairs.map(|(from, to)| Self { run, from, to_run: run, to }).collect())
    }

    fn name(&self, alignment: Alignment) -> String {
        let (from, to) = (step_of(self.from), step_of(self.to));
        name(&self.run.name, from, &self.to_run.name, to, alignment.name())
    }

    /// What decides the line's rows: its ends, the checkpoint that fixes the keys, and how they are computed.
    fn provenance(&self, points: usize) -> Value {
        let describe = |checkpoint: &CheckpointRef| json!({ "step": checkpoint.step, "blake3": checkpoint.blake3 });
        json!({
            "run": self.run.name,
            "to_run": self.to_run.name,
            "final": self.run.checkpoints.last().map(describe),
            "from": describe(self.from),
            "blas": blas::info().to_string(),
            "to": describe(self.to),
            "points": points,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

/// A line to evaluate, with its two ends in memory.
struct Line<'a> {
    ends: &'a Ends<'a>,
    context: &'a RunContext,
    alignment: Alignment,
    start: Params<f64>,
    end: Params<f64>,
}

impl<'a> Line<'a> {
    fn new(ends: &'a Ends<'a>, context: &'a RunContext, alignment: Alignment) -> Result<Self> {
        let (start, end) = (load(ends.from, context)?, load(ends.to, context)?);
        let end = alignment.apply(&context.net, &start, end);
        Ok(Self { ends, context, alignment, start, end })
    }

    fn is_finite(&self) -> bool {
        self.start.values.iter().chain(self.end.values.iter()).all(|value| value.is_finite())
    }

    /// Why the losses of a point are missing, or what the rest of its row says.
    fn status(&self, losses: &PointLosses) -> Status {
        match losses.plain.train_loss {
            Some(_) => circuit_status(self.context),
            None if self.is_finite() => Status::Overflow,
            None => Status::NonFinite,
        }
    }
}

/// The points of some lines, all in parallel.
fn evaluate(
    lines: &[Line<'_>],
    request: &Request<'_>,
    observe: Observe<'_>,
) -> Result<(Vec<InterpolationRow>, Vec<BarrierRow>)> {
    let alphas = alphas(request.points);
    let points: Vec<(&Line<'_>, f64)> =
        lines.iter().flat_map(|line| alphas.iter().map(move |alpha| (line, *alpha))).collect();
    let losses = in_parallel(&points, request.threads, request.stop, observe, |(line, alpha)| {
        let theta = interpolate(&line.start.values, &line.end.values, *alpha);
        Ok(point_losses(line.context, &Params::from_values(line.context.net.layout(), &theta)))
    })?;
    let rows = points.iter().zip(&losses).map(|((line, alpha), point)| InterpolationRow {
        run: line.context.name.clone(),
        from_step: step_of(line.ends.from),
        to_step: step_of(line.ends.to),
        to_run: line.ends.to_run.name.clone(),
        alignment: line.alignment.name().to_owned(),
        alpha: *alpha,
        train_loss: point.plain.train_loss,
        test_loss: point.plain.test_loss,
        train_accuracy: point.plain.train_accuracy,
        test_accuracy: point.plain.test_accuracy,
        excluded_loss_train: point.excluded_loss_train,
        restricted_loss_all: point.restricted_loss_all,
        status: line.status(point),
    });
    let heights = lines.iter().zip(losses.chunks(alphas.len())).map(|(line, losses)| {
        let train: Option<Vec<f64>> = losses.iter().map(|point| point.plain.train_loss).collect();
        let found = train.and_then(|train| barriers(&alphas, &train));
        let missing = || losses.iter().find(|point| point.plain.train_loss.is_none());
        BarrierRow {
            run: line.context.name.clone(),
            from_step: step_of(line.ends.from),
            to_step: step_of(line.ends.to),
            to_run: line.ends.to_run.name.clone(),
            alignment: line.alignment.name().to_owned(),
            barrier_mean: found.map(|found| found.mean),
            barrier_linear: found.map(|found| found.linear),
            mli_delta: found.map(|found| found.mli_delta),
            status: match found {
                Some(_) => Status::Ok,
                None => missing().map_or(Status::NonFinite, |point| line.status(point)),
            },
        }
    });
    Ok((rows.collect(), heights.collect()))
}
