//! `groundswell claims`.

use std::path::PathBuf;

use super::rules::RulesArgs;
use super::source::SourceArgs;
use super::{print, shared_progress, signals, summarise};
use crate::pipeline::claims::verdicts::{Request, Told, claims};

/// Judge the essay's claims by rules that were fixed before.
///
/// Reads the tables that are in the folder, those of `analyze`, `landscape`, `arrow`, `shares` and `onset`,
/// and a few checkpoints; writes table claims. Each claim is supported, refuted or undecided, in every run
/// and in all runs together that differ in their seed alone; what is missing decides nothing. Runs on
/// permuted labels are compared with, and not judged.
///
/// Examples:
/// groundswell claims runs/ --out tables/;
/// groundswell claims runs/ --out tables/ --rules mine.toml
#[derive(Debug, clap::Args)]
pub struct ClaimsArgs {
    /// Folder of a run, or folder with several of them
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: PathBuf,

    /// Folder with the tables
    #[arg(long, value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    #[command(flatten)]
    pub rules: RulesArgs,

    /// Number of threads [default: one per core]; the table does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`RulesArgs::read`] and [`claims`].
pub fn run(args: &ClaimsArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    let rules = args.rules.read()?;
    let request = Request {
        archive: &args.archive,
        options: &args.source.options(),
        out: &args.out,
        rules: &rules,
        threads: signals::threads(args.threads),
        stop: &stop,
    };
    let (summary, told) = claims(&request, &shared_progress("runs"))?;
    print(lines(&told).as_bytes())?;
    summarise(&args.out, "runs judged", &summary)
}

/// One line per claim.
fn lines(told: &[Told]) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "–".into(), short);
    let mut text = String::new();
    for line in told {
        let interval = line
            .interval
            .map_or_else(String::new, |[low, high]| format!(" [{}, {}]", short(low), short(high)));
        let value = number(line.value) + &interval;
        text += &format!(
            "{:<4} {:<10} {value:<24} p {:<8} {}\n",
            line.claim,
            line.verdict,
            number(line.p),
            line.reason
        );
    }
    text
}

fn short(value: f64) -> String {
    crate::claims::course::short(value)
}
