//! `groundswell shares`.

use std::path::PathBuf;

use super::analyze::{bytes, forecast, shard};
use super::source::SourceArgs;
use super::{print, shared_progress, signals, summarise};
use crate::durable::Locking;
use crate::dynamics::trajectory::Weighting;
use crate::pipeline::analyze::{Request, analyze, dry_run};
use crate::pipeline::evaluation::Precision;
use crate::pipeline::measures::MeasureKind;
use crate::pipeline::run::{Choices, Places};
use crate::pipeline::store::Shard;
use crate::progress::{KeyRule, Protocol};

/// Which part of the logits the loss owes its fall to: the key frequencies or the rest.
///
/// Writes table shares, one row per checkpoint, and leaves the folder's other tables as they are. Safe to
/// interrupt: the same command goes on where it stopped, and only computes what is new or has changed. A
/// checkpoint that cannot be used is a row in failures.parquet, and the exit code is 3.
///
/// Examples:
/// groundswell shares runs/ --out tables/;
/// groundswell shares runs/demo --out tables/ --kernel-at first,1000,last
#[derive(Debug, clap::Args)]
pub struct SharesArgs {
    /// Folder of a run, or folder with several of them
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: PathBuf,

    /// Folder for the tables
    #[arg(long, value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    /// Checkpoints for which gradient_cosine_train and kernel_cross are computed, with commas between
    /// them, or all; a checkpoint of the paper's network takes half a minute of one core [default: none]
    #[arg(long, value_name = "first|last|STEP|all")]
    pub kernel_at: Option<Places>,

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

    /// Number of threads [default: one per core]; the table does not depend on it
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
pub fn run(args: &SharesArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    signals::insist(&stop)?;
    let progress = shared_progress("checkpoints");
    let request = Request {
        archive: &args.archive,
        options: &args.source.options(),
        out: &args.out,
        measures: &[MeasureKind::Shares],
        shard: args.shard,
        threads: signals::threads(args.threads),
        strict: args.strict,
        trajectory_weights: Weighting::Time,
        memory_limit: args.memory_limit,
        locking: if args.no_lock { Locking::Off } else { Locking::On },
        choices: &Choices {
            protocol: args.protocol,
            keys: args.keys.clone(),
            precision: args.precision,
            kernel_at: args.kernel_at.clone().unwrap_or(Places::NONE),
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
