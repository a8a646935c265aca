//! `groundswell landscape --from A --to B`: losses on the line between two checkpoints.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};

use super::measures::losses::{PointLosses, circuit_status, point_losses};
use super::output::{self, Output};
use super::patience;
use super::run::{RunContext, Subject};
use super::{Observe, Summary, in_parallel};
use crate::archive::{self, CheckpointRef, Run};
use crate::blas;
use crate::error::{Error, Result};
use crate::landscape::{alphas, barriers, interpolate};
use crate::params::Params;
use crate::tables::{BarrierRow, InterpolationRow, Status};
use crate::weights;

/// Name under which the manifest keeps what the lines were computed from.
const MEASURE: &str = "interpolation";

/// More points than anybody can look at are a slip of the keyboard.
const MOST_POINTS: usize = 100_000;

/// A step, by number or by what happened there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepName {
    Number(u64),
    /// The first saved step
    First,
    /// The last saved step
    Last,
    /// The first saved step with train accuracy of at least 99.9 %
    Memorised,
    /// The first saved step with test accuracy of at least 99 %
    Generalised,
}

impl FromStr for StepName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "first" => Self::First,
            "last" => Self::Last,
            "memorised" => Self::Memorised,
            "generalised" => Self::Generalised,
            _ => Self::Number(text.parse().map_err(|_| {
                Error::UnknownName {
                    kind: "step",
                    found: text.into(),
                    known: ["a number", "first", "last", "memorised", "generalised"]
                        .map(str::to_owned)
                        .into(),
                }
            })?),
        })
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(step) => write!(f, "{step}"),
            Self::First => f.write_str("first"),
            Self::Last => f.write_str("last"),
            Self::Memorised => f.write_str("memorised"),
            Self::Generalised => f.write_str("generalised"),
        }
    }
}

impl StepName {
    /// The saved step that is meant, in this run.
    ///
    /// # Errors
    /// [`Error::StepNotSaved`], with the nearest ones or with what the run reached.
    pub fn resolve(self, run: &Run) -> Result<u64> {
        let saved = |step: u64| run.checkpoint(step).map(|found| found.step);
        let first_reaching = |which: fn(&crate::archive::MetricsRow) -> Option<f64>, least: f64| {
            let rows = run.metrics()?;
            let found = rows
                .iter()
                .filter(|row| run.checkpoint(row.step).is_ok())
                .find(|row| which(row).is_some_and(|accuracy| accuracy >= least));
            let best = rows.iter().filter_map(which).fold(0.0, f64::max);
            found.map(|row| row.step).ok_or_else(|| Error::NeverReached {
                path: run.dir.clone(),
                what: format!("{self} (accuracy of {:.1} %)", 100.0 * least),
                best: format!("{:.1} %", 100.0 * best),
            })
        };
        match self {
            Self::Number(step) => saved(step),
            Self::First | Self::Last => {
                let mut steps = run.checkpoints.iter().map(|checkpoint| checkpoint.step);
                let step = if self == Self::First { steps.next() } else { steps.next_back() };
                step.ok_or_else(|| Error::StepNotSaved {
                    path: run.dir.clone(),
                    step: self.to_string(),
                    nearest: "none".into(),
                })
            }
            Self::Memorised => first_reaching(|row| row.train_accuracy, 0.999),
            Self::Generalised => first_reaching(|row| row.test_accuracy, 0.99),
        }
    }
}

/// Which line to evaluate.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    /// How to read what is not ours
    pub options: &'a archive::Options,
    pub out: &'a Path,
    pub from: StepName,
    pub to: StepName,
    /// Number of points, both ends included
    pub points: usize,
    /// Number of threads; the tables do not depend on it
    pub threads: usize,
    /// Becomes the number of a signal when the work should stop
    pub stop: &'a AtomicUsize,
}

/// Evaluate the line in every run of the archive; add it to `interpolation` and `barriers`.
///
/// A run without one of the two steps is skipped, unless there is no other.
///
/// # Errors
/// [`Error::Setting`] for a number of points that makes no line; [`Error::StepNotSaved`], before
/// anything is created; what is wrong with one of the two checkpoints; otherwise as
/// [`super::analyze::analyze`].
pub fn line(request: &Request<'_>, observe: Observe<'_>) -> Result<Summary> {
    crate::linalg::require_sound()?;
    if !(2..=MOST_POINTS).contains(&request.points) {
        let problem = format!("{} is not in 2..={MOST_POINTS}", request.points);
        return Err(Error::setting("points", problem, "25 is usual"));
    }
    let archive = patience::open(request.archive, request.options)?;
    let mut summary = Summary::default();
    let mut lines = Vec::new();
    let mut errors = Vec::new();
    for run in &archive.runs {
        match Line::new(request, run) {
            Ok(line) => lines.push(line),
            Err(error) => errors.push(error),
        }
    }
    if lines.is_empty() {
        let none = || Error::Internal("an archive without runs was opened".into());
        return Err(errors.into_iter().next().unwrap_or_else(none));
    }
    summary.skipped = errors.len() + archive.unreadable.len();
    summary.warnings.extend(errors.iter().chain(&archive.unreadable).map(Error::to_string));

    let mut output = Output::open(request.out, request.archive)?;
    let mut points = output.rows::<InterpolationRow>()?;
    let mut heights = output.rows::<BarrierRow>()?;
    let before = output.parameters(MEASURE).and_then(Value::as_object).cloned();
    let mut provenance = before.unwrap_or_default();
    // Lines of checkpoints that are no longer those of the archive, and those computed anew now.
    let mut forget = |line: &str| {
        let is_it = |run: &str, from: i64, to: i64| key(run, from, to) == line;
        points.retain(|row| !is_it(&row.run, row.from_step, row.to_step));
        heights.retain(|row| !is_it(&row.run, row.from_step, row.to_step));
    };
    for (line, ends) in provenance.clone() {
        // From the end: the name of a run may hold spaces.
        let name = line.rsplitn(3, ' ').nth(2);
        let run = archive.runs.iter().find(|run| Some(run.name.as_str()) == name);
        if run.is_some_and(|run| !is_current(&ends, run)) {
            summary.warnings.push(format!("{line}: dropped, its checkpoints were replaced"));
            forget(&line);
            provenance.remove(&line);
        }
    }
    for line in &lines {
        forget(&line.key());
        provenance.insert(line.key(), line.provenance());
    }
    for line in &lines {
        let (new, barrier) = line.evaluate(request, observe)?;
        summary.computed += new.len();
        summary.warnings.extend(line.context.key_warning());
        points.extend(new);
        heights.push(barrier);
    }
    let contexts: Vec<&RunContext> = lines.iter().map(|line| &line.context).collect();
    let metadata = output::metadata(&archive, &contexts)?;
    let mut replacement = output.replace();
    replacement.table(points, &metadata)?;
    replacement.table(heights, &metadata)?;
    let provenance = [(MEASURE.to_owned(), Value::Object(provenance))];
    summary.tables = replacement.commit(provenance.into())?;
    Ok(summary)
}

/// A line to evaluate, with its two ends in memory.
struct Line<'a> {
    run: &'a Run,
    context: RunContext,
    from: &'a CheckpointRef,
    to: &'a CheckpointRef,
    start: Params<f64>,
    end: Params<f64>,
}

/// The name of a line in the manifest.
fn key(run: &str, from: i64, to: i64) -> String {
    format!("{run} {from} {to}")
}

/// Whether the checkpoints that a line was computed from are still those of the run.
fn is_current(ends: &Value, run: &Run) -> bool {
    let known = |name: &str| {
        let step = ends[name]["step"].as_u64()?;
        let now = run.checkpoint(step).ok()?.blake3.as_deref();
        Some(ends[name]["blake3"].as_str() == now)
    };
    let last = run.checkpoints.last().map(|last| last.step) == ends["final"]["step"].as_u64();
    last && ["from", "to", "final"].iter().all(|name| known(name) == Some(true))
}

impl<'a> Line<'a> {
    fn new(request: &Request<'_>, run: &'a Run) -> Result<Self> {
        let from = run.checkpoint(request.from.resolve(run)?)?;
        let to = run.checkpoint(request.to.resolve(run)?)?;
        let context = Subject::new(run)?.into_network()?;
        let load = |checkpoint: &CheckpointRef| -> Result<Params<f64>> {
            weights::of_network(&patience::load(run, checkpoint)?, &context.net)
        };
        let (start, end) = (load(from)?, load(to)?);
        Ok(Self { run, context, from, to, start, end })
    }

    fn steps(&self) -> (i64, i64) {
        let step = |checkpoint: &CheckpointRef| i64::try_from(checkpoint.step).unwrap_or(i64::MAX);
        (step(self.from), step(self.to))
    }

    fn key(&self) -> String {
        let (from, to) = self.steps();
        key(&self.context.name, from, to)
    }

    /// The checkpoints that decide the line's rows: its ends, and the one that fixes the keys.
    fn provenance(&self) -> Value {
        let describe = |checkpoint: &CheckpointRef| json!({ "step": checkpoint.step, "blake3": checkpoint.blake3 });
        json!({
            "final": self.run.checkpoints.last().map(describe),
            "from": describe(self.from),
            "blas": blas::info().to_string(),
            "to": describe(self.to),
        })
    }

    fn evaluate(
        &self,
        request: &Request<'_>,
        observe: Observe<'_>,
    ) -> Result<(Vec<InterpolationRow>, BarrierRow)> {
        let context = &self.context;
        let alphas = alphas(request.points);
        let losses = in_parallel(&alphas, request.threads, request.stop, observe, |alpha| {
            let theta = interpolate(&self.start.values, &self.end.values, *alpha);
            point_losses(context, &Params::from_values(context.net.layout(), &theta))
        })?;
        let (from_step, to_step) = self.steps();
        let rows = alphas.iter().zip(&losses).map(|(alpha, point)| {
            let PointLosses { plain, excluded_loss_train, restricted_loss_all } = point.clone();
            InterpolationRow {
                run: context.name.clone(),
                from_step,
                to_step,
                alpha: *alpha,
                train_loss: plain.train_loss,
                test_loss: plain.test_loss,
                train_accuracy: plain.train_accuracy,
                test_accuracy: plain.test_accuracy,
                excluded_loss_train,
                restricted_loss_all,
                status: match plain.train_loss {
                    Some(_) => circuit_status(context),
                    None => Status::NonFinite,
                },
            }
        });
        let train: Option<Vec<f64>> = losses.iter().map(|point| point.plain.train_loss).collect();
        let found = train.and_then(|train| barriers(&alphas, &train));
        let barrier = BarrierRow {
            run: context.name.clone(),
            from_step,
            to_step,
            barrier_mean: found.map(|found| found.mean),
            barrier_linear: found.map(|found| found.linear),
            mli_delta: found.map(|found| found.mli_delta),
            status: if found.is_some() { Status::Ok } else { Status::NonFinite },
        };
        Ok((rows.collect(), barrier))
    }
}
