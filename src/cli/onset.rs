//! `groundswell onset`.

use std::path::PathBuf;

use super::rules::RulesArgs;
use super::source::SourceArgs;
use super::summarise;
use crate::pipeline::claims::onset::{Request, onsets};

/// From which save on the key frequencies stand out of the others, long before or after the test loss says so.
///
/// Reads the tables that analyze, and arrow if it was run, wrote into the same folder, and writes table
/// onset: for every key, and for all of them together, the first save from which a statistic exceeds the
/// 0.999 quantile of other frequencies for five saves in a row. A statistic whose table is not there has
/// null rows, and a warning names the command that makes it. Claims by other rules need their onsets by the
/// same: --rules.
///
/// Example: groundswell analyze runs/ --out tables/; groundswell onset runs/ --out tables/
#[derive(Debug, clap::Args)]
pub struct OnsetArgs {
    /// Folder of a run, or folder with several of them: those that the tables are about
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: PathBuf,

    /// Folder with the tables
    #[arg(long, value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    /// Seed of the random sets of other frequencies [default: that of the rules]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,

    #[command(flatten)]
    pub rules: RulesArgs,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`RulesArgs::read`] and [`onsets`].
pub fn run(args: &OnsetArgs) -> anyhow::Result<u8> {
    let rules = args.rules.read()?;
    let request = Request {
        archive: &args.archive,
        options: &args.source.options(),
        out: &args.out,
        rules: &rules,
        seed: args.seed,
    };
    let summary = onsets(&request)?;
    summarise(&args.out, "runs compared", &summary)
}
