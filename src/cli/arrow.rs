//! `groundswell arrow`.

use super::work::WorkArgs;
use crate::archive::RunPattern;
use crate::claims::nulls::Permutations;
use crate::config::Schedule;
use crate::dynamics::trajectory::Weighting;
use crate::error::{Error, Result};
use crate::pipeline::evaluation::Precision;
use crate::pipeline::measures::MeasureKind;
use crate::pipeline::run::Choices;
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
/// groundswell arrow runs/ --out tables/ --labels-of 'seeds/.*';
/// groundswell arrow runs/ --out tables/ --labels 0
#[derive(Debug, clap::Args)]
pub struct ArrowArgs {
    /// Key frequencies, fixed for each run: w_l, neurons, w_e, list:14,35 or from:RUN
    #[arg(long, value_name = "RULE", default_value_t = KeyRule::WL, value_parser = keys)]
    pub keys: KeyRule,

    /// Permutations of the training labels that z_label compares with; 0 for none
    #[arg(long, value_name = "N", default_value_t = Permutations::default().count)]
    pub labels: usize,

    /// Steps of which z_label is made, first..last:every, comma-separated: it takes thirty times as
    /// long as the rest
    #[arg(
        long,
        value_name = "SCHEDULE",
        default_value_t = Permutations::default().at,
        value_parser = schedule
    )]
    pub labels_at: Schedule,

    /// Runs of which z_label is made, by their whole names [default: all but those that are trained on
    /// permuted labels]
    #[arg(long, value_name = "RE", value_parser = labels_of)]
    pub labels_of: Option<RunPattern>,

    #[command(flatten)]
    pub work: WorkArgs,
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

/// A pattern of names, with the name of the option where it is none.
fn labels_of(text: &str) -> Result<RunPattern> {
    text.parse().map_err(|_| {
        let problem = format!("`{text}` is no regular expression");
        Error::setting("labels-of", problem, "for example --labels-of 'seeds/.*'")
    })
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`WorkArgs::run`].
pub fn run(args: &ArrowArgs) -> anyhow::Result<u8> {
    let choices = Choices {
        keys: args.keys.clone(),
        labels: Permutations { count: args.labels, at: args.labels_at.clone() },
        labels_of: args.labels_of.clone(),
        precision: Precision::F64,
        ..Choices::default()
    };
    args.work.run(&[MeasureKind::Arrow], Weighting::Time, &choices)
}
