//! `groundswell-train`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;

use super::report::{CommonArgs, Progress};
use super::sweep::{self, SweepArgs};
use super::{print, signals};
use crate::config::{PRESETS, Settings};
use crate::error::Error;
use crate::train::{self, Outcome, Report, Request};

/// Train a small network and save an archive of its checkpoints.
///
/// Settings come from the options, then from the TOML file, then from the preset. The same settings
/// give the same bytes, for any number of threads, interrupted and resumed or not.
///
/// Example: groundswell-train --preset demo --out runs/demo
#[derive(Debug, Parser)]
#[command(
    name = "groundswell-train",
    version,
    after_help = presets_help(),
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct TrainArgs {
    #[command(subcommand)]
    command: Option<Command>,

    /// Folder of the run; created, or continued with --resume
    #[arg(long, value_name = "RUN_DIR", required = true, value_hint = clap::ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    /// Settings to start from: nanda2023 (the default), transformer-lens or demo
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,

    /// TOML file with settings; its keys are the options' names with `_` for `-`
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Continue an unfinished run from its last complete checkpoint
    #[arg(long)]
    pub resume: bool,

    /// Number of threads [default: one per core]; the result does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    #[command(flatten)]
    pub settings: Settings,

    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Sweep(SweepArgs),
}

fn presets_help() -> String {
    let lines: Vec<String> =
        PRESETS.iter().map(|preset| format!("  {:<16} {}", preset.name, preset.about)).collect();
    format!("Presets:\n{}", lines.join("\n"))
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`train::run`].
pub fn run(args: &TrainArgs) -> anyhow::Result<u8> {
    let Some(out) = &args.out else { return Ok(2) }; // clap requires it
    let preset = Settings::preset(args.preset.as_deref().unwrap_or(PRESETS[0].name))?;
    let file = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => {
                    Error::NotFound { path: path.clone(), kind: "configuration file" }
                }
                _ => Error::Read { path: path.clone(), source },
            })?;
            Settings::from_toml(&text, path)?
        }
        None => Settings::default(),
    };
    let config = args.settings.clone().or(file).or(preset).resolve()?;
    let stop = signals::install()?;
    let started = Instant::now();
    let mut progress = Progress::new("steps", config.steps);
    let request = Request {
        config: &config,
        out,
        resume: args.resume,
        threads: signals::threads(args.threads),
        stop: &stop,
    };
    let outcome = train::run(&request, &mut |report| {
        progress.update(report.step, || describe(report));
    });
    progress.finish();
    let out = out.display();
    let text = match outcome? {
        Outcome::AlreadyComplete => format!("{out}: complete already, nothing to do\n"),
        Outcome::Complete(report) => {
            let seconds = started.elapsed().as_secs_f64();
            let (steps, saved) = (report.step, report.saved);
            let summary = format!("{out}: {steps} steps, {saved} checkpoints saved");
            let waited = report.waited.as_secs_f64();
            let share = 100.0 * waited / seconds;
            format!(
                "{summary} in {seconds:.1} s, {waited:.1} s of it ({share:.1} %) waiting for saves\n  {}\n",
                describe(&report)
            )
        }
    };
    print(text.as_bytes())
}

/// Losses and accuracies at a step.
pub(super) fn describe(report: &Report) -> String {
    let train = format!("train {:.3e} ({:.1} %)", report.train.loss, 100.0 * report.train.accuracy);
    match report.test {
        Some(test) => {
            format!("{train}, test {:.3e} ({:.1} %)", test.loss, 100.0 * test.accuracy)
        }
        None => train,
    }
}

/// Parse the command line and run it.
#[must_use]
pub fn main() -> std::process::ExitCode {
    super::kernel::choose();
    let args = TrainArgs::parse();
    args.common.start_logging();
    super::report::run(&args.common, || match &args.command {
        Some(Command::Sweep(sweep)) => sweep::run(sweep),
        None => run(&args),
    })
}
