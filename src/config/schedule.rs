//! At which steps a run saves a checkpoint: `0..200:1,200..1000:10,1000..:100`.
//!
//! Each part is `first..last:every`: `first`, `first + every`, … up to and including `last`; an
//! open end reaches to the last step of the run. A single number is that step alone. Parts may
//! touch or overlap. The last step of a run is always saved.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A set of steps, see the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    first: u64,
    last: Option<u64>,
    every: u64,
}

impl Schedule {
    /// Whether a run of `steps` steps saves after `step` of them.
    #[must_use]
    pub fn contains(&self, step: u64, steps: u64) -> bool {
        step == steps
            || self.parts.iter().any(|part| {
                step >= part.first
                    && part.last.is_none_or(|last| step <= last)
                    && (step - part.first).is_multiple_of(part.every)
            })
    }

    /// Number of checkpoints that a run of `steps` steps saves.
    #[must_use]
    pub fn count(&self, steps: u64) -> u64 {
        (0..=steps).map(|step| u64::from(self.contains(step, steps))).sum()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Part { first, last, every }) in self.parts.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match last {
                Some(last) => write!(f, "{comma}{first}..{last}:{every}")?,
                None => write!(f, "{comma}{first}..:{every}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split(',').map(|part| {
            parse_part(part.trim()).ok_or_else(|| {
                Error::setting(
                    "save-at",
                    format!("`{part}` is not of the form first..last:every"),
                    "for example 0..200:1,200..1000:10,1000..:100",
                )
            })
        });
        Ok(Self { parts: parts.collect::<Result<_>>()? })
    }
}

fn parse_part(text: &str) -> Option<Part> {
    let Some((first, rest)) = text.split_once("..") else {
        let step = text.parse().ok()?;
        return Some(Part { first: step, last: Some(step), every: 1 });
    };
    let (last, every) = rest.split_once(':').unwrap_or((rest, "1"));
    let first = first.parse().ok()?;
    let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
    let every = every.parse().ok().filter(|every| *every > 0)?;
    last.is_none_or(|last| last >= first).then_some(Part { first, last, every })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published cadence: 200 + 80 + 391 checkpoints in 40,000 steps.
    #[test]
    fn mainline_cadence() {
        let schedule: Schedule = "0..200:1,200..1000:10,1000..:100".parse().unwrap();
        assert_eq!(schedule.count(40_000), 671);
        assert!(schedule.contains(199, 40_000) && schedule.contains(200, 40_000));
        assert!(!schedule.contains(201, 40_000) && schedule.contains(210, 40_000));
        assert!(schedule.contains(777, 777), "the last step is always saved");
        assert_eq!(schedule.to_string(), "0..200:1,200..1000:10,1000..:100");
    }

    #[test]
    fn single_steps_and_inclusive_ends() {
        let schedule: Schedule = "3, 10..20:5".parse().unwrap();
        let saved: Vec<u64> = (0..=30).filter(|step| schedule.contains(*step, 30)).collect();
        assert_eq!(saved, [3, 10, 15, 20, 30]);
    }

    #[test]
    fn malformed_parts_are_named() {
        for bad in ["", "5..3:1", "0..9:0", "a..b", "0..9:1,x"] {
            let error = bad.parse::<Schedule>().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }
}
