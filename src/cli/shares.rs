//! `groundswell shares`.

use super::work::WorkArgs;
use crate::dynamics::trajectory::Weighting;
use crate::pipeline::evaluation::Precision;
use crate::pipeline::measures::MeasureKind;
use crate::pipeline::places::Places;
use crate::pipeline::run::Choices;
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
    /// Checkpoints for which gradient_cosine_train and the kernel columns are computed, with commas between
    /// them, or all; a checkpoint of the paper's network takes three seconds of one core [default: none]
    #[arg(long, value_name = "first|last|STEP|all")]
    pub kernel_at: Option<Places>,

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

    #[command(flatten)]
    pub work: WorkArgs,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`WorkArgs::run`].
pub fn run(args: &SharesArgs) -> anyhow::Result<u8> {
    let choices = Choices {
        protocol: args.protocol,
        keys: args.keys.clone(),
        precision: args.precision,
        kernel_at: args.kernel_at.clone().unwrap_or(Places::NONE),
        ..Choices::default()
    };
    args.work.run(&[MeasureKind::Shares], Weighting::Time, &choices)
}
