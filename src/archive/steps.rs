//! How the name of a file, or of a folder above it, tells the step of a checkpoint.
//!
//! ```text
//! (global_?step|step|checkpoint|ckpt|iter)[-_=]?(\d+)      after the beginning or a non-letter
//! ```
//!
//! Steps are numbers, however they are written: `step2`, `step10`, `step-001000-2BT` and
//! `global_step5000` are 2, 10, 1000 and 5000. A number beyond int64 is none.

use std::str::FromStr;

use regex::Regex;

use crate::error::Error;

/// Words that announce a step; where one begins with another, the longer one first.
const WORDS: [&str; 6] = ["global_step", "globalstep", "step", "checkpoint", "ckpt", "iter"];

/// The step that a name announces.
#[must_use]
pub(super) fn announced(name: &str) -> Option<u64> {
    let lower = name.to_ascii_lowercase();
    let mut after_letter = false;
    for (at, c) in lower.char_indices() {
        if !after_letter && let Some(step) = announced_here(&lower[at..]) {
            return Some(step);
        }
        after_letter = c.is_alphabetic();
    }
    None
}

fn announced_here(text: &str) -> Option<u64> {
    WORDS.iter().find_map(|word| {
        let rest = text.strip_prefix(word)?;
        let rest = rest.strip_prefix(['-', '_', '=']).unwrap_or(rest);
        number(&rest[..digits(rest)])
    })
}

/// A number at the end of a name, and what stands before it.
#[must_use]
pub(super) fn trailing(name: &str) -> Option<(&str, u64)> {
    let rest = name.trim_end_matches(|c: char| c.is_ascii_digit());
    Some((rest, number(&name[rest.len()..])?))
}

/// Number of digits at the beginning.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn number(digits: &str) -> Option<u64> {
    digits.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok())
}

/// Without the `-00001-of-00004` of a file in several.
#[must_use]
pub(super) fn without_shard(stem: &str) -> Option<&str> {
    let (rest, total) = stem.rsplit_once("-of-")?;
    let (rest, number) = rest.rsplit_once('-')?;
    let is_number = |text: &str| !text.is_empty() && digits(text) == text.len();
    (is_number(total) && is_number(number)).then_some(rest)
}

/// `--step-regex`: where the step stands in the path of a checkpoint.
#[derive(Debug, Clone)]
pub struct StepPattern(Regex);

impl FromStr for StepPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |problem: String| {
            Error::setting("step-regex", problem, r"for example --step-regex 'epoch(?P<step>\d+)'")
        };
        let regex = Regex::new(text).map_err(|error| {
            let problem = error.to_string();
            refused(problem.lines().last().unwrap_or_default().trim().to_owned())
        })?;
        if !regex.capture_names().flatten().any(|name| name == "step") {
            return Err(refused(format!("`{text}` has no group (?P<step>…)")));
        }
        Ok(Self(regex))
    }
}

impl StepPattern {
    /// The step in a path, and at which byte it stands; of several matches, the first.
    #[must_use]
    pub(super) fn find(&self, path: &str) -> Option<(u64, usize)> {
        let found = self.0.captures(path)?.name("step")?;
        Some((number(found.as_str())?, found.start()))
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// `--run-regex`: the names of the runs that are meant, from their first letter to their last.
#[derive(Debug, Clone)]
pub struct RunPattern {
    text: String,
    regex: Regex,
}

impl PartialEq for RunPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RunPattern {}

impl FromStr for RunPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let regex = Regex::new(&format!("^(?:{text})$")).map_err(|error| {
            let problem = error.to_string();
            let problem = problem.lines().last().unwrap_or_default().trim().to_owned();
            Error::setting("run-regex", problem, "for example --run-regex 'seeds/.*'")
        })?;
        Ok(Self { text: text.to_owned(), regex })
    }
}

impl RunPattern {
    /// Whether a run of this name is meant.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_in_full() {
        let pattern: RunPattern = "seeds/.*|one".parse().unwrap();
        for (name, is_match) in
            [("seeds/a", true), ("one", true), ("one-more", false), ("seeds", false)]
        {
            assert_eq!(pattern.is_match(name), is_match, "{name}");
        }
        let error = "(".parse::<RunPattern>().unwrap_err().to_string();
        assert!(error.contains("run-regex") && error.contains("unclosed group"), "{error}");
    }

    #[test]
    fn names_announce_their_steps() {
        for (name, step) in [
            ("step2", Some(2)),
            ("step10", Some(10)),
            ("step-001000-2BT", Some(1000)),
            ("global_step5000", Some(5000)),
            ("checkpoint-500", Some(500)),
            ("Checkpoint=7", Some(7)),
            ("ckpt_000000000000000000000000000012", Some(12)),
            ("model_iter_250", Some(250)),
            ("epoch1-step30", Some(30)),
            ("run2_step_3_lr1", Some(3)),
            ("footstep5", None),
            ("step", None),
            ("step-x5", None),
            ("model-5", None),
            ("éstep5", None),
            ("step9223372036854775807", Some(i64::MAX as u64)),
            ("step9223372036854775808", None),
            ("step99999999999999999999-ckpt3", Some(3)),
        ] {
            assert_eq!(announced(name), step, "{name}");
        }
    }

    #[test]
    fn trailing_numbers_and_shards() {
        assert_eq!(trailing("model_0100"), Some(("model_", 100)));
        assert_eq!(trailing("100"), Some(("", 100)));
        assert_eq!(trailing("model"), None);
        assert_eq!(without_shard("model-00001-of-00004"), Some("model"));
        assert_eq!(without_shard("step5-00001-of-00004"), Some("step5"));
        for whole in ["model", "best-of-4", "a-1-of-", "a-x-of-2"] {
            assert_eq!(without_shard(whole), None, "{whole}");
        }
    }

    #[test]
    fn patterns_of_users() {
        let pattern: StepPattern = r"epoch(?P<step>\d+)".parse().unwrap();
        assert_eq!(pattern.find("run3/epoch12/model"), Some((12, 10)));
        assert_eq!(pattern.find("run3/model"), None);
        for (text, problem) in [
            (r"epoch(\d+)", r"step-regex: `epoch(\d+)` has no group (?P<step>…)"),
            ("(", "step-regex: error: unclosed group"),
        ] {
            let error = text.parse::<StepPattern>().unwrap_err();
            assert_eq!((error.exit_code(), error.to_string()), (2, problem.into()));
        }
    }
}
