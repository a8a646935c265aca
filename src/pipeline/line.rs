//! `groundswell landscape --from A --to B`: losses on the line between two checkpoints.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::AtomicUsize;

use serde_json::json;

use super::measures::losses::{PointLosses, circuit_status, point_losses};
use super::output::{self, Output};
use super::run::RunContext;
use super::{Observe, Summary, in_parallel};
use crate::archive::{Archive, Run};
use crate::blas;
use crate::error::{Error, Result};
use crate::landscape::{alphas, barriers, interpolate};
use crate::params::Params;
use crate::tables::{BarrierRow, InterpolationRow, Status};
use crate::weights;

/// Name of the command in the manifest.
const COMMAND: &str = "landscape.line";

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
        let absent = |reached: String| Error::StepNotSaved {
            path: run.dir.clone(),
            step: self.to_string(),
            nearest: reached,
        };
        let first_reaching = |which: fn(&crate::archive::MetricsRow) -> Option<f64>, least: f64| {
            let rows = run.metrics()?;
            let found = rows
                .iter()
                .filter(|row| run.checkpoint(row.step).is_ok())
                .find(|row| which(row).is_some_and(|accuracy| accuracy >= least));
            let best = rows.iter().filter_map(which).fold(0.0, f64::max);
            found
                .map(|row| row.step)
                .ok_or_else(|| absent(format!("none; its accuracy reached {:.1} %", 100.0 * best)))
        };
        match self {
            Self::Number(step) => saved(step),
            Self::First | Self::Last => {
                let mut steps = run.checkpoints.iter().map(|checkpoint| checkpoint.step);
                let step = if self == Self::First { steps.next() } else { steps.next_back() };
                step.ok_or_else(|| absent("none".into()))
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
/// # Errors
/// [`Error::Setting`] for fewer than two points; [`Error::StepNotSaved`]; what is wrong with one of
/// the two checkpoints; otherwise as [`super::analyze::analyze`].
pub fn line(request: &Request<'_>, observe: Observe<'_>) -> Result<Summary> {
    blas::require_one_thread()?;
    if request.points < 2 {
        let problem = format!("{} points make no line", request.points);
        return Err(Error::setting("points", problem, "give at least 2; 25 is usual"));
    }
    let archive = Archive::open(request.archive)?;
    let ends = |run: &Run| Ok((request.from.resolve(run)?, request.to.resolve(run)?));
    // A step that is not saved is told before anything is created.
    let ends = archive.runs.iter().map(ends).collect::<Result<Vec<_>>>()?;
    let mut output = Output::open(request.out, request.archive)?;
    let mut points = output.rows::<InterpolationRow>()?;
    let mut heights = output.rows::<BarrierRow>()?;
    let mut summary = Summary::default();
    let (mut inputs, mut contexts) = (Vec::new(), Vec::new());
    for (run, (from, to)) in archive.runs.iter().zip(ends) {
        let context = RunContext::new(run)?;
        let (new, barrier) = run_line(request, &context, run, from, to, observe)?;
        summary.computed += new.len();
        summary.warnings.extend(context.key_warning());
        // A line computed anew replaces the old one.
        let line = (&barrier.run, barrier.from_step, barrier.to_step);
        points.retain(|row| (&row.run, row.from_step, row.to_step) != line);
        heights.retain(|row| (&row.run, row.from_step, row.to_step) != line);
        points.extend(new);
        heights.push(barrier);
        inputs.push(run.name.clone());
        contexts.push(context);
    }
    let metadata = output::metadata(&archive, &contexts.iter().collect::<Vec<_>>())?;
    let mut replacement = output.replace();
    replacement.table(points, &metadata)?;
    replacement.table(heights, &metadata)?;
    summary.tables = replacement.commit(COMMAND, json!({ "runs": inputs }))?;
    Ok(summary)
}

fn run_line(
    request: &Request<'_>,
    context: &RunContext,
    run: &Run,
    from: u64,
    to: u64,
    observe: Observe<'_>,
) -> Result<(Vec<InterpolationRow>, BarrierRow)> {
    let load = |step: u64| -> Result<Params<f64>> {
        let checkpoint = run.checkpoint(step)?.load(None)?;
        weights::from_checkpoint(&checkpoint, context.net.layout(), "")
    };
    let (start, end) = (load(from)?, load(to)?);
    let alphas = alphas(request.points);
    let losses = in_parallel(&alphas, request.threads, request.stop, observe, |alpha| {
        let theta = interpolate(&start.values, &end.values, *alpha);
        point_losses(context, &Params::from_values(context.net.layout(), theta))
    })?;
    let step = |step: u64| i64::try_from(step).unwrap_or(i64::MAX);
    let (from_step, to_step) = (step(from), step(to));
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
