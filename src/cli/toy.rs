//! `groundswell toy`.

use std::path::PathBuf;

use super::{shared_progress, signals, summarise};
use crate::pipeline::toy::{Request, toy};

/// Train the two-basins toy: two circuits that know nothing of each other, with losses or with logits
/// added.
///
/// Writes tables toy and toy_slice, for every combination of the sizes.
///
/// Example: groundswell toy --out tables/ --width 1,4 --dimension 16,256
#[derive(Debug, clap::Args)]
pub struct ToyArgs {
    /// Folder for the tables
    #[arg(long, value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    /// Units of a circuit, comma-separated
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,4")]
    pub width: Vec<usize>,

    /// Weights that are multiplied in a unit, comma-separated
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "2,3")]
    pub depth: Vec<usize>,

    /// Number of weights, comma-separated; those beyond the circuits' do nothing
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "32,512")]
    pub dimension: Vec<usize>,

    /// Weight decay λ
    #[arg(long, value_name = "LAMBDA", default_value_t = 0.01)]
    pub decay: f64,

    /// Steps of gradient descent
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    pub steps: usize,

    /// Seed of the slices' random directions
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,

    /// Number of threads [default: one per core]; the tables do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`toy`].
pub fn run(args: &ToyArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    let request = Request {
        out: &args.out,
        widths: &args.width,
        depths: &args.depth,
        dimensions: &args.dimension,
        decay: args.decay,
        steps: args.steps,
        seed: args.seed,
        threads: signals::threads(args.threads),
        stop: &stop,
    };
    let summary = toy(&request, &shared_progress("toys"))?;
    summarise(&args.out, "toys trained", &summary)
}
