//! `groundswell-train sweep`.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use indicatif::MultiProgress;

use super::report::Progress;
use super::train::describe;
use super::{print, signals};
use crate::archive::Run;
use crate::doctor;
use crate::error::Error;
use crate::pipeline::landscape::place::StepName;
use crate::train::Outcome;
use crate::train::sweep::{self, Planned, Sharing};

/// Train a grid or a list of runs, side by side.
///
/// The file has a `preset`, a table `settings` for all runs, a table `grid` with lists of values,
/// and entries `run` with a name and settings. Run the same command again to continue; complete runs
/// are left alone.
///
/// Example: groundswell-train sweep sweep.toml --out runs/
#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    /// The sweep, in TOML
    #[arg(value_name = "SWEEP.toml", value_hint = clap::ValueHint::FilePath)]
    pub sweep: PathBuf,

    /// Folder for the runs, one folder each
    #[arg(long, value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    /// Number of threads for all runs together [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`sweep::plan`]; [`Error::Interrupted`]; otherwise the gravest of the runs' errors, after all
/// have ended.
pub fn run(args: &SweepArgs) -> anyhow::Result<u8> {
    let text = std::fs::read_to_string(&args.sweep).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Error::NotFound { path: args.sweep.clone(), kind: "sweep file" }
        }
        _ => Error::Read { path: args.sweep.clone(), source },
    })?;
    let plans = sweep::plan(&text, &args.sweep)?;
    let stop = signals::install()?;
    let threads = signals::threads(args.threads);
    let sharing = sweep::share(&plans, threads, doctor::memory());
    let Sharing { parallel, threads: each, short_of_memory } = sharing;
    let thread = if each == 1 { "thread" } else { "threads" };
    let why = if short_of_memory { ", as many as fit in memory" } else { "" };
    tracing::info!("{} runs, {parallel} side by side{why}, {each} {thread} each", plans.len());

    let all = MultiProgress::new();
    let shown: Vec<Mutex<Option<Progress>>> = plans.iter().map(|_| Mutex::new(None)).collect();
    let started = Instant::now();
    let ended = sweep::train_all(&plans, &args.out, sharing, &stop, &|index, report| {
        let (plan, Ok(mut progress)) = (&plans[index], shown[index].lock()) else { return };
        let steps = plan.config.steps;
        let begin = || Progress::among(&all, format!("{}:", plan.name), steps);
        let progress = progress.get_or_insert_with(begin);
        progress.update(report.step, || describe(report));
        if report.step == steps {
            progress.finish();
        }
    });
    for progress in &shown {
        if let Ok(Some(progress)) = progress.lock().as_deref() {
            progress.finish();
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    print(summary(args, &plans, &ended, seconds).as_bytes())?;
    let failed = ended
        .iter()
        .filter(|end| matches!(end, Err(error) if !matches!(error, Error::Interrupted { .. })));
    let failed = failed.count();
    for (plan, end) in plans.iter().zip(&ended) {
        match end {
            Err(Error::Interrupted { .. }) | Ok(_) => {}
            Err(error) => tracing::error!("{}: {error}", plan.name),
        }
    }
    // A stop that was asked for explains all unfinished runs; otherwise the gravest failure counts.
    let grave = |error: &Error| match error.exit_code() {
        1 => 0,
        5 => 1,
        4 => 2,
        _ => 3,
    };
    let errors = ended.into_iter().filter_map(Result::err);
    let first = errors.min_by_key(|error| match error {
        Error::Interrupted { .. } if failed == 0 => (0, 0),
        Error::Interrupted { .. } => (2, 0),
        error => (1, grave(error)),
    });
    match first {
        Some(Error::Interrupted { signal, .. }) => Err(Error::Interrupted {
            signal,
            done: "the runs under way are saved".into(),
            help: "run the same command again to continue".into(),
        }
        .into()),
        Some(error) => {
            let runs = plans.len();
            Err(anyhow::Error::from(error).context(format!("{failed} of {runs} runs failed")))
        }
        None => Ok(0),
    }
}

/// One line per run: how it ended, and when it memorised and generalised.
fn summary(
    args: &SweepArgs,
    plans: &[Planned],
    ended: &[crate::Result<Outcome>],
    seconds: f64,
) -> String {
    let width = plans.iter().map(|plan| plan.name.len()).max().unwrap_or(0).max(3);
    let mut text = format!(
        "{}: {} runs in {seconds:.1} s\n  {:<width$}  {:<17} {:>10} {:>11} {:>10}\n",
        args.out.display(),
        plans.len(),
        "run",
        "state",
        "memorised",
        "generalised",
        "test loss",
    );
    for (plan, end) in plans.iter().zip(ended) {
        let state = match end {
            Ok(Outcome::Complete(_)) => "trained",
            Ok(Outcome::AlreadyComplete) => "complete already",
            Err(Error::Interrupted { .. }) => "stopped",
            Err(_) => "failed",
        };
        let run = Run::open(&args.out.join(&plan.name)).ok();
        let step = |name: StepName| {
            let step = run.as_ref().and_then(|run| name.resolve(run).ok());
            step.map_or_else(|| "–".to_owned(), |step| step.to_string())
        };
        let rows = run.as_ref().and_then(|run| run.metrics().ok());
        let last = rows.as_ref().and_then(|rows| rows.last()).and_then(|row| row.test_loss);
        let last = last.map_or_else(|| "–".to_owned(), |loss| format!("{loss:.2e}"));
        text += &format!(
            "  {:<width$}  {state:<17} {:>10} {:>11} {last:>10}\n",
            plan.name,
            step(StepName::Memorised),
            step(StepName::Generalised),
        );
    }
    text
}
