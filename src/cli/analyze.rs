//! `groundswell analyze`.

use std::path::PathBuf;

use super::source::SourceArgs;
use super::{shared_progress, signals, summarise};
use crate::dynamics::trajectory::Weighting;
use crate::pipeline::analyze::{Request, analyze};
use crate::pipeline::measures::MeasureKind;

/// Measure every checkpoint of an archive and write the tables.
///
/// The tables are put in place together, at the end; until then those of an earlier analysis stay.
/// A checkpoint that cannot be used is a row in failures.parquet, and the exit code is 3.
///
/// Example: groundswell analyze runs/ --out tables/ --measures spectra,fourier
#[derive(Debug, clap::Args)]
pub struct AnalyzeArgs {
    /// Folder of a run, or folder with several of them
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: PathBuf,

    /// Folder for the tables
    #[arg(long, value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    /// Only these, comma-separated: checkpoints, training, progress, frequencies, fourier, neurons,
    /// spectra, movement, trajectory [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub measures: Vec<MeasureKind>,

    /// What a checkpoint counts in table trajectory: the time around it, or the same as any other
    #[arg(long, value_name = "time|uniform", default_value_t = Weighting::Time)]
    pub trajectory_weights: Weighting,

    /// Number of threads [default: one per core]; the tables do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    /// Write nothing, and exit with 4, if a single input cannot be used or is not finite
    #[arg(long)]
    pub strict: bool,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`analyze`].
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    let progress = shared_progress("checkpoints");
    let request = Request {
        archive: &args.archive,
        options: &args.source.options(),
        out: &args.out,
        measures: &args.measures,
        threads: signals::threads(args.threads),
        strict: args.strict,
        trajectory_weights: args.trajectory_weights,
        stop: &stop,
    };
    let summary = analyze(&request, &progress)?;
    summarise(&args.out, "checkpoints measured", &summary)
}
