//! `groundswell arrow`.

use std::path::PathBuf;

use super::analyze::{bytes, forecast, shard};
use super::source::SourceArgs;
use super::{print, shared_progress, signals, summarise};
use crate::claims::nulls::Permutations;
use crate::config::Schedule;
use crate::durable::Locking;
use crate::dynamics::trajectory::Weighting;
use crate::error::{Error, Result};
use crate::pipeline::analyze::{Request, analyze, dry_run};
use crate::pipeline::evaluation::Precision;
use crate::pipeline::measures::MeasureKind;
use crate::pipeline::run::Choices;
use crate::pipeline::store::Shard;
use crate::progress::KeyRule;

/// Measure where each update points: table arrow.
///
/// How fast the update from each checkpoint on moves the logit coefficient of every frequency: by the
/// gradient, by the optimiser's step, and by weight decay. Each rate is compared with those of other
/// frequencies, of mirrored waves and, at some steps, of permuted labels. The optimiser's step comes
/// from its saved state (groundswell-train --save-optimizer all), or from the next checkpoint, if that
/// is one update later; elsewhere the rates that need it are null.
///
/// The other tables of the folder stay as they are. Safe to interrupt, as analyze is; status, verify
/// and, with --shard, merge work as for it.
///
/// Examples:
/// groundswell arrow runs/ --out tables/;
/// groundswell arrow runs/ --out tables/ --labels-at 0..50:1,100..1000:100;
/// groundswell arrow runs/ --out tables/ --labels 0
#[derive(Debug, clap::Args)]
pub struct ArrowArgs {
    /// Folder of a run, or folder with several of them
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: PathBuf,

    /// Folder for the tables
    #[arg(long, value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    /// Key frequencies, fixed for each run: w_l, neurons, w_e, list:14,35 or from:RUN
    #[arg(long, value_name = "RULE", default_value_t = KeyRule::WL, value_parser = keys)]
    pub keys: KeyRule,

    /// Permutations of the training labels that z_label compares with; 0 for none
    #[arg(long, value_name = "N", default_value_t = Permutations::default().count)]
    pub labels: usize,

    /// Steps of which z_label is made, first..last:every, comma-separated: it takes a hundred times as
    /// long as the rest
    #[arg(
        long,
        value_name = "SCHEDULE",
        default_value_t = Permutations::default().at,
        value_parser = schedule
    )]
    pub labels_at: Schedule,

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

    /// Number of threads [default: one per core]; the table does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    /// Write nothing, and exit with 4, if a single input cannot be used or is not finite
    #[arg(long)]
    pub strict: bool,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// A rule that fixes the keys of a run once.
fn keys(text: &str) -> Result<KeyRule> {
    match text.parse::<KeyRule>()? {
        KeyRule::PerCheckpoint => {
            let problem = "the keys of an arrow are those of the final checkpoint";
            Err(Error::setting("keys", problem, "choose another rule, such as w_l"))
        }
        rule => Ok(rule),
    }
}

/// A schedule, with the name of the option where it is none.
fn schedule(text: &str) -> Result<Schedule> {
    text.parse().map_err(|_| {
        let problem = format!("`{text}` is no schedule");
        let help = "write first..last:every, such as 0..50:1 or 0..50:1,100..1000:100";
        Error::setting("labels-at", problem, help)
    })
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`analyze`].
pub fn run(args: &ArrowArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    signals::insist(&stop)?;
    let labels = Permutations { count: args.labels, at: args.labels_at.clone() };
    let request = Request {
        archive: &args.archive,
        options: &args.source.options(),
        out: &args.out,
        measures: &[MeasureKind::Arrow],
        shard: args.shard,
        threads: signals::threads(args.threads),
        strict: args.strict,
        trajectory_weights: Weighting::Time,
        memory_limit: args.memory_limit,
        locking: if args.no_lock { Locking::Off } else { Locking::On },
        choices: &Choices {
            keys: args.keys.clone(),
            labels,
            precision: Precision::F64,
            ..Choices::default()
        },
        stop: &stop,
    };
    if args.dry_run {
        return print(forecast(&dry_run(&request)?).as_bytes());
    }
    let summary = analyze(&request, &shared_progress("checkpoints"))?;
    summarise(&args.out, "checkpoints measured", &summary)
}
