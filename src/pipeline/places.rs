//! Checkpoints that a user names: `first`, `last`, steps, or all.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Checkpoints of every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Places {
    All,
    /// `first`, `last`, or a step; a run that has not saved it has none
    Some(Vec<Place>),
}

/// One checkpoint of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    First,
    Last,
    Step(u64),
}

impl Places {
    /// No checkpoint.
    pub const NONE: Self = Self::Some(Vec::new());

    /// Whether the checkpoint of this step is among them, in a run whose first and last saved steps are
    /// `ends`.
    #[must_use]
    pub fn has(&self, step: u64, ends: Option<(u64, u64)>) -> bool {
        let Self::Some(places) = self else { return true };
        places.iter().any(|place| match place {
            Place::First => ends.is_some_and(|(first, _)| first == step),
            Place::Last => ends.is_some_and(|(_, last)| last == step),
            Place::Step(wanted) => *wanted == step,
        })
    }
}

impl FromStr for Places {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "all" {
            return Ok(Self::All);
        }
        let place = |word: &str| match word {
            "first" => Ok(Place::First),
            "last" => Ok(Place::Last),
            _ => word.parse().map(Place::Step).map_err(|_| {
                let help = "write all, or first, last and steps, with commas between them";
                Error::setting("at", format!("`{word}` is no step"), help)
            }),
        };
        text.split(',').map(place).collect::<Result<_>>().map(Self::Some)
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Some(places) = self else { return f.write_str("all") };
        let word = |place: &Place| match place {
            Place::First => "first".to_owned(),
            Place::Last => "last".to_owned(),
            Place::Step(step) => step.to_string(),
        };
        f.write_str(&places.iter().map(word).collect::<Vec<_>>().join(","))
    }
}
