//! Options of every command that reads an archive.

use std::time::Duration;

use crate::archive::{Options, RunPattern, StepPattern};
use crate::config::Facts;

/// How to read checkpoints of other programs.
#[derive(Debug, Clone, clap::Args)]
pub struct SourceArgs {
    /// Only the runs whose names match, from first letter to last: a folder of runs within others
    /// gives them names such as seeds/seed-0
    #[arg(long, value_name = "RE")]
    pub run_regex: Option<RunPattern>,

    /// Where the step stands in the paths of checkpoints, as a group named step; otherwise names
    /// such as step500, checkpoint-500 or iter_500 tell it
    #[arg(long, value_name = "RE", help_heading = HEADING)]
    pub step_regex: Option<StepPattern>,

    /// Follow links that lead out of the archive
    #[arg(long, help_heading = HEADING)]
    pub follow_links: bool,

    /// Give up a read after so many seconds [default: wait, and warn every minute]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub io_timeout: Option<u64>,

    #[command(flatten)]
    pub facts: Facts,
}

const HEADING: &str = "Archives of other programs";

impl SourceArgs {
    /// The same for the library.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            step_pattern: self.step_regex.clone(),
            run_pattern: self.run_regex.clone(),
            follow_links: self.follow_links,
            facts: self.facts.clone(),
            io_timeout: self.io_timeout.map(Duration::from_secs),
        }
    }
}
