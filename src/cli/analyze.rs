//! `groundswell analyze`.

use super::work::WorkArgs;
use crate::dynamics::trajectory::Weighting;
use crate::pipeline::evaluation::Precision;
use crate::pipeline::measures::MeasureKind;
use crate::pipeline::places::Places;
use crate::pipeline::run::Choices;
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
    /// Only these, comma-separated: checkpoints, training, progress, frequencies, fourier, neurons,
    /// spectra, movement, trajectory [default: all of these]; and ablations, circuits, activations,
    /// arrow, shares
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub measures: Vec<MeasureKind>,

    /// What a checkpoint counts in table trajectory: the time around it, or the same as any other
    #[arg(long, value_name = "time|uniform", default_value_t = Weighting::Time)]
    pub trajectory_weights: Weighting,

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

    #[command(flatten)]
    pub work: WorkArgs,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`WorkArgs::run`].
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<u8> {
    let choices = Choices {
        protocol: args.protocol,
        keys: args.keys.clone(),
        precision: args.precision,
        at: args.at.clone(),
        ..Choices::default()
    };
    args.work.run(&args.measures, args.trajectory_weights, &choices)
}
