//! `groundswell landscape`.

use std::path::PathBuf;

use super::source::SourceArgs;
use super::{shared_progress, signals, summarise};
use crate::pipeline::line::{Request, StepName, line};

/// Evaluate the losses on the line between two checkpoints.
///
/// Writes tables interpolation and barriers. A step is a number, or one of: first, last, memorised
/// (train accuracy ≥ 99.9 %), generalised (test accuracy ≥ 99 %). Several lines may be computed into
/// the same folder.
///
/// Example: groundswell landscape runs/demo --out tables/ --from memorised --to last
#[derive(Debug, clap::Args)]
pub struct LandscapeArgs {
    /// Folder of a run, or folder with several of them
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: PathBuf,

    /// Folder for the tables
    #[arg(long, value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    /// Checkpoint at α = 0
    #[arg(long, value_name = "STEP")]
    pub from: StepName,

    /// Checkpoint at α = 1
    #[arg(long, value_name = "STEP")]
    pub to: StepName,

    /// Number of points on the line, both ends included
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub points: usize,

    /// Number of threads [default: one per core]; the tables do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`line()`].
pub fn run(args: &LandscapeArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    let progress = shared_progress("points");
    let request = Request {
        archive: &args.archive,
        options: &args.source.options(),
        out: &args.out,
        from: args.from,
        to: args.to,
        points: args.points,
        threads: signals::threads(args.threads),
        stop: &stop,
    };
    let summary = line(&request, &progress)?;
    summarise(&args.out, "points evaluated", &summary)
}
