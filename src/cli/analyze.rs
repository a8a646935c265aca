//! `groundswell analyze`.

use std::path::PathBuf;

use indicatif::HumanBytes;

use super::source::SourceArgs;
use super::{print, shared_progress, signals, summarise};
use crate::durable::Locking;
use crate::dynamics::trajectory::Weighting;
use crate::error::{Error, Result};
use crate::pipeline::analyze::{Forecast, Request, analyze, dry_run};
use crate::pipeline::evaluation::Precision;
use crate::pipeline::measures::MeasureKind;
use crate::pipeline::run::{Choices, Places};
use crate::pipeline::store::Shard;
use crate::progress::{KeyRule, Protocol};

/// Measure every checkpoint of an archive and write the tables.
///
/// Safe to interrupt: the same command goes on where it stopped, and only computes what is new or has
/// changed. The tables are put in place together, at the end; until then those of an earlier analysis
/// stay. A checkpoint that cannot be used is a row in failures.parquet, and the exit code is 3.
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
    /// spectra, movement, trajectory [default: all of these]; and ablations, circuits, activations,
    /// shares
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub measures: Vec<MeasureKind>,

    /// What a checkpoint counts in table trajectory: the time around it, or the same as any other
    #[arg(long, value_name = "time|uniform", default_value_t = Weighting::Time)]
    pub trajectory_weights: Weighting,

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
    /// Key frequencies, fixed for each run: w_l, neurons, w_e, list:14,35 or from:RUN; or anew for each
    /// checkpoint: per-checkpoint
    #[arg(long, value_name = "RULE", default_value_t = KeyRule::WL)]
    pub keys: KeyRule,

    /// Onto which waves of a key the logits are projected: sum_dirs, diff_dirs, block2x2 or block3x3
    #[arg(long, value_name = "NAME", default_value_t = Protocol::SumDirs)]
    pub protocol: Protocol,

    /// Numbers in which the network is evaluated; f64 takes twice the time
    #[arg(long, value_name = "f32|f64", default_value_t = Precision::F32)]
    pub precision: Precision,

    /// Checkpoints of which ablations, circuits and activations are made, with commas between them, or
    /// all
    #[arg(long, value_name = "first|last|STEP|all", default_value = "last")]
    pub at: Places,

    /// Number of threads [default: one per core]; the tables do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    /// Write nothing, and exit with 4, if a single input cannot be used or is not finite
    #[arg(long)]
    pub strict: bool,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// `k/n`, or `auto/n`.
pub(super) fn shard(text: &str) -> Result<Shard> {
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
pub(super) fn bytes(text: &str) -> Result<u64> {
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

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`analyze`].
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    signals::insist(&stop)?;
    let progress = shared_progress("checkpoints");
    let request = Request {
        archive: &args.archive,
        options: &args.source.options(),
        out: &args.out,
        measures: &args.measures,
        shard: args.shard,
        threads: signals::threads(args.threads),
        strict: args.strict,
        trajectory_weights: args.trajectory_weights,
        memory_limit: args.memory_limit,
        locking: if args.no_lock { Locking::Off } else { Locking::On },
        choices: &Choices {
            protocol: args.protocol,
            keys: args.keys.clone(),
            precision: args.precision,
            at: args.at.clone(),
            ..Choices::default()
        },
        stop: &stop,
    };
    if args.dry_run {
        return print(forecast(&dry_run(&request)?).as_bytes());
    }
    let summary = analyze(&request, &progress)?;
    summarise(&args.out, "checkpoints measured", &summary)
}

pub(super) fn forecast(found: &Forecast) -> String {
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
