//! Which checkpoint is meant: a step by number or by what happened there, of a run that may be named.

use std::fmt;
use std::str::FromStr;

use crate::archive::{Archive, CheckpointRef, MetricsRow, Run};
use crate::error::{Error, Result};

/// A step, by number or by what happened there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepName {
    Number(u64),
    /// The first saved step
    First,
    /// The last saved step
    Last,
    /// The first saved step with train accuracy of at least 99.9 %
    Memorised,
    /// The first saved step with test accuracy of at least 99 %
    Generalised,
}

impl FromStr for StepName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "first" => Self::First,
            "last" => Self::Last,
            "memorised" => Self::Memorised,
            "generalised" => Self::Generalised,
            _ => Self::Number(text.parse().map_err(|_| {
                Error::UnknownName {
                    kind: "step",
                    found: text.into(),
                    known: ["a number", "first", "last", "memorised", "generalised"]
                        .map(str::to_owned)
                        .into(),
                }
            })?),
        })
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(step) => write!(f, "{step}"),
            Self::First => f.write_str("first"),
            Self::Last => f.write_str("last"),
            Self::Memorised => f.write_str("memorised"),
            Self::Generalised => f.write_str("generalised"),
        }
    }
}

impl StepName {
    /// The saved step that is meant, in this run.
    ///
    /// # Errors
    /// [`Error::StepNotSaved`], with the nearest ones or with what the run reached.
    pub fn resolve(self, run: &Run) -> Result<u64> {
        let saved = |step: u64| run.checkpoint(step).map(|found| found.step);
        let first_reaching = |which: fn(&MetricsRow) -> Option<f64>, least: f64| {
            let rows = run.metrics()?;
            let found = rows
                .iter()
                .filter(|row| run.checkpoint(row.step).is_ok())
                .find(|row| which(row).is_some_and(|accuracy| accuracy >= least));
            let best = rows.iter().filter_map(which).fold(0.0, f64::max);
            found.map(|row| row.step).ok_or_else(|| Error::NeverReached {
                path: run.dir.clone(),
                what: format!("{self} (accuracy of {:.1} %)", 100.0 * least),
                best: format!("{:.1} %", 100.0 * best),
            })
        };
        match self {
            Self::Number(step) => saved(step),
            Self::First | Self::Last => {
                let mut steps = run.checkpoints.iter().map(|checkpoint| checkpoint.step);
                let step = if self == Self::First { steps.next() } else { steps.next_back() };
                step.ok_or_else(|| Error::StepNotSaved {
                    path: run.dir.clone(),
                    step: self.to_string(),
                    nearest: "none".into(),
                })
            }
            Self::Memorised => first_reaching(|row| row.train_accuracy, 0.999),
            Self::Generalised => first_reaching(|row| row.test_accuracy, 0.99),
        }
    }

    /// The checkpoint that is meant, in this run.
    ///
    /// # Errors
    /// As [`StepName::resolve`].
    pub fn checkpoint(self, run: &Run) -> Result<&CheckpointRef> {
        run.checkpoint(self.resolve(run)?)
    }
}

/// A checkpoint: `STEP`, of whichever run is looked at, or `RUN:STEP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub run: Option<String>,
    pub step: StepName,
}

impl FromStr for Place {
    type Err = Error;

    /// The last colon counts: the name of a run may hold some, a step holds none.
    fn from_str(text: &str) -> Result<Self> {
        let (run, step) = match text.rsplit_once(':') {
            Some((run, step)) => (Some(run.to_owned()), step),
            None => (None, text),
        };
        Ok(Self { run, step: step.parse()? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            Some(run) => write!(f, "{run}:{}", self.step),
            None => self.step.fmt(f),
        }
    }
}

impl Place {
    /// The run that is meant: the named one, otherwise `here`.
    ///
    /// # Errors
    /// [`Error::UnknownName`] if the archive has no run of that name.
    pub fn run<'a>(&self, archive: &'a Archive, here: &'a Run) -> Result<&'a Run> {
        self.named(archive).map(|named| named.unwrap_or(here))
    }

    /// The named run, if one is named.
    ///
    /// # Errors
    /// As [`Place::run`].
    pub fn named<'a>(&self, archive: &'a Archive) -> Result<Option<&'a Run>> {
        let Some(name) = &self.run else { return Ok(None) };
        let found = archive.runs.iter().find(|run| run.name == *name);
        found.map(Some).ok_or_else(|| Error::UnknownName {
            kind: "run",
            found: name.clone(),
            known: archive.runs.iter().map(|run| run.name.clone()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_step_or_a_run_and_a_step() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let here = Place { run: None, step: StepName::Memorised };
        assert_eq!(place("memorised"), here);
        let there = Place { run: Some("runs/a:b".into()), step: StepName::Number(7) };
        assert_eq!(place("runs/a:b:7"), there);
        assert_eq!(there.to_string(), "runs/a:b:7");
        assert!("a:b".parse::<Place>().unwrap_err().to_string().contains("unknown step `b`"));
    }
}
