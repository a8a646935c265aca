//! Options of every command that measures the checkpoints of an archive, and its course.

use std::path::PathBuf;

use indicatif::HumanBytes;

use super::source::SourceArgs;
use super::{print, shared_progress, signals, summarise};
use crate::durable::Locking;
use crate::dynamics::trajectory::Weighting;
use crate::error::{Error, Result};
use crate::pipeline::analyze::{Forecast, Request, analyze, dry_run};
use crate::pipeline::measures::MeasureKind;
use crate::pipeline::run::Choices;
use crate::pipeline::store::Shard;

/// What is measured, where to, and how the work is done.
#[derive(Debug, clap::Args)]
pub struct WorkArgs {
    /// Folder of a run, or folder with several of them
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: PathBuf,

    /// Folder for the tables
    #[arg(long, value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    /// Do part k of n, for a job on a cluster; auto/n takes k from SLURM_ARRAY_TASK_ID. Once all are
    /// done, `groundswell merge TABLES` joins them
    #[arg(long, value_name = "K/N", value_parser = shard)]
    pub shard: Option<Shard>,

    /// Say what there is to do, and do nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Memory for checkpoints in work, such as 512MB or 8GB [default: 80 % of what there is]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub memory_limit: Option<u64>,

    /// Take no lock, on a file system that has none: then nobody else may write there
    #[arg(long)]
    pub no_lock: bool,

    /// Number of threads [default: one per core]; the tables do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    /// Write nothing, and exit with 4, if a single input cannot be used or is not finite
    #[arg(long)]
    pub strict: bool,

    #[command(flatten)]
    pub source: SourceArgs,
}

impl WorkArgs {
    /// Make these tables, or say what there is to do; returns the exit code.
    ///
    /// # Errors
    /// See [`analyze`].
    pub fn run(
        &self,
        measures: &[MeasureKind],
        trajectory_weights: Weighting,
        choices: &Choices,
    ) -> anyhow::Result<u8> {
        let stop = signals::install()?;
        signals::insist(&stop)?;
        let request = Request {
            archive: &self.archive,
            options: &self.source.options(),
            out: &self.out,
            measures,
            shard: self.shard,
            threads: signals::threads(self.threads),
            strict: self.strict,
            trajectory_weights,
            memory_limit: self.memory_limit,
            locking: if self.no_lock { Locking::Off } else { Locking::On },
            choices,
            stop: &stop,
        };
        if self.dry_run {
            return print(forecast(&dry_run(&request)?).as_bytes());
        }
        let summary = analyze(&request, &shared_progress("checkpoints"))?;
        summarise(&self.out, "checkpoints measured", &summary)
    }
}

/// `k/n`, or `auto/n`.
fn shard(text: &str) -> Result<Shard> {
    let Some(n) = text.strip_prefix("auto/") else { return text.parse() };
    let k = std::env::var(TASK).map_err(|_| {
        let help = "submit it as an array job, or say --shard k/n";
        Error::setting("shard", format!("{TASK} is not set"), help)
    })?;
    format!("{k}/{n}").parse()
}

/// Number of the task in an array job of Slurm.
const TASK: &str = "SLURM_ARRAY_TASK_ID";

/// A number of bytes, with or without a unit.
fn bytes(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => Some(1),
        "K" | "KB" => Some(1_000),
        "M" | "MB" => Some(1_000_000),
        "G" | "GB" => Some(1_000_000_000),
        "KIB" => Some(1 << 10),
        "MIB" => Some(1 << 20),
        "GIB" => Some(1 << 30),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)).ok_or_else(|| {
        let help = "a number of bytes, or one with a unit: 500000000, 512MB, 2GiB";
        Error::setting("memory-limit", format!("`{text}` is no size"), help)
    })
}

/// What there is to do, for people.
fn forecast(found: &Forecast) -> String {
    let names: Vec<&str> = found.measures.iter().map(|kind| kind.name()).collect();
    let Forecast { units, units_left, checkpoints, bytes, memory, .. } = found;
    format!(
        "measures     {}\nunits        {units_left} of {units} to compute\n\
         checkpoints  {checkpoints} to read, {}\nmemory       about {} for checkpoints in work\n",
        names.join(", "),
        HumanBytes(*bytes),
        HumanBytes(*memory),
    )
}
