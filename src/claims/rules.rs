//! The rules of the claims: thresholds in a file of their own, fixed before the first analysis.
//!
//! Every threshold is in `rules.toml`, with a comment each. The digest of its bytes goes to the metadata of
//! the claims' tables, so that a change of the rules after the results shows.

use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;

use super::verdict::Bounds;
use crate::config::toml_fault;
use crate::error::{Error, Result};

const TEXT: &str = include_str!("rules.toml");

/// The rules that the program comes with.
#[must_use]
pub fn rules() -> &'static Rules {
    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        Rules::parse(TEXT, Path::new("rules.toml")).expect("a test reads the file")
    });
    &RULES
}

/// Every threshold, and the text they were read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub values: Values,
    text: String,
}

impl std::ops::Deref for Rules {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.values
    }
}

impl Rules {
    /// Read the text of a file of rules; `path` serves the messages only.
    ///
    /// # Errors
    /// [`Error::ConfigFile`] with the line, for a key too many or too few, a value of the wrong type, or
    /// one that no rule can have.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let values: Values =
            toml::from_str(text).map_err(|error| toml_fault(&error, text, path, KEYS))?;
        if let Some((key, problem)) = values.fault() {
            return Err(Error::ConfigFile {
                path: path.to_owned(),
                line: line_of(text, key),
                column: 1,
                problem: format!("{key}: {problem}"),
                help: "see the comments of src/claims/rules.toml".into(),
            });
        }
        Ok(Self { values, text: text.to_owned() })
    }

    /// The file, as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// BLAKE3 of [`Rules::text`], in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex().to_string()
    }
}

/// The line of `section.key`, from 1; 1 if it is not there.
fn line_of(text: &str, key: &str) -> usize {
    let (section, key) = key.split_once('.').unwrap_or(("", key));
    let mut inside = false;
    for (i, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            inside = name.starts_with(&format!("{section}]"));
        } else if inside && line.split('=').next().is_some_and(|found| found.trim() == key) {
            return i + 1;
        }
    }
    1
}

/// Writes a section's struct, and adds its keys to the list that a slip is compared with.
macro_rules! sections {
    ($( $(#[$doc:meta])* $name:ident, $struct:ident { $($field:ident: $type:ty),+ $(,)? } )+) => {
        /// All sections of the file.
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Values {
            $( $(#[$doc])* pub $name: $struct, )+
        }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $struct { $( pub $field: $type, )+ }
        )+

        /// The keys of all sections.
        const KEYS: &[&str] = &[$( stringify!($name), $( stringify!($field) ),+ ),+];
    };
}

sections! {
    /// What several runs together must have.
    over_runs, OverRuns {
        least_runs: usize, agreement: f64, level: f64, resamples: usize, seed: u64,
    }
    /// Draws of the nulls, and what must stand out of them for how long.
    nulls, NullRules {
        quantile: f64, subsets: usize, least_sets: usize, walks: usize, in_a_row: usize, seed: u64, coverage: f64,
        level: f64,
    }
    /// C1.
    c1, C1 {
        spearman: f64, key_exponent: f64, other_exponent: f64, last_part: f64, jump: f64,
    }
    /// C2.
    c2, C2 { share_key: Bounds, middle: f64 }
    /// C3a and C3b.
    c3, C3 { statistics: Vec<String>, a: Bounds, b: Bounds }
    /// C4a and C4b.
    c4, C4 { z: f64, last_step: i64, a_share: f64, b_share: f64, band_share: f64 }
    /// C5.
    c5, C5 { accuracy: Bounds, cosine: f64, neurons: f64, clear: f64 }
    /// C6.
    c6, C6 { near: f64, r_squared: f64, barrier: f64, least_points: usize }
    /// C7.
    c7, C7 { share_rest: Bounds, closure: f64 }
    /// C8.
    c8, C8 { z: f64, share: Bounds, judged: String }
    /// C9.
    c9, C9 { within: f64, rate: Bounds }
    /// C10.
    c10, C10 { over: f64, under: f64, least_runs: usize }
    /// C11.
    c11, C11 { rise: f64, least_steps: usize, spearman: Bounds }
    /// C12.
    c12, C12 { interference: Bounds, least_saves: usize }
    /// C13.
    c13, C13 { level: f64, selectivity: f64, early: f64, least_twins: usize }
    /// C14.
    c14, C14 { barrier: f64, of_end: f64, alike: f64, least_lines: usize }
}

/// Statistics of table `onset`.
const STATISTICS: [&str; 5] =
    ["logit_coefficient", "w_e_norm", "w_l_norm", "neuron_share", "rate_total"];

/// Rates of table `arrow`.
pub const RATES: [&str; 4] = ["ce", "adam", "decay", "total"];

impl Values {
    /// The first value that no rule can have, and why.
    fn fault(&self) -> Option<(&'static str, String)> {
        let share = |key, value: f64| {
            (!(value > 0.0 && value <= 1.0)).then(|| (key, format!("{value} is not in (0, 1]")))
        };
        let inside = |key, value: f64| {
            (!(value > 0.0 && value < 1.0)).then(|| (key, format!("{value} is not in (0, 1)")))
        };
        let some = |key, value: usize| (value == 0).then(|| (key, "0 is too few".to_owned()));
        let bounds = |key, bounds: &Bounds| bounds.problem().map(|problem| (key, problem));
        let known = |key, value: &str, of: &[&str]| {
            (!of.contains(&value)).then(|| (key, format!("`{value}` is none of {}", of.join(", "))))
        };
        let statistics = || {
            let mut found = self.c3.statistics.iter();
            let wrong = found.find_map(|name| known("c3.statistics", name, &STATISTICS));
            wrong.or_else(|| some("c3.statistics", self.c3.statistics.len()))
        };
        share("over_runs.agreement", self.over_runs.agreement)
            .or_else(|| some("over_runs.least_runs", self.over_runs.least_runs))
            .or_else(|| some("over_runs.resamples", self.over_runs.resamples))
            .or_else(|| inside("over_runs.level", self.over_runs.level))
            .or_else(|| inside("nulls.quantile", self.nulls.quantile))
            .or_else(|| some("nulls.subsets", self.nulls.subsets))
            .or_else(|| some("nulls.walks", self.nulls.walks))
            .or_else(|| some("nulls.in_a_row", self.nulls.in_a_row))
            .or_else(|| share("nulls.coverage", self.nulls.coverage))
            .or_else(|| inside("nulls.level", self.nulls.level))
            .or_else(|| inside("c1.last_part", self.c1.last_part))
            .or_else(|| bounds("c2.share_key", &self.c2.share_key))
            .or_else(statistics)
            .or_else(|| bounds("c3.a", &self.c3.a))
            .or_else(|| bounds("c3.b", &self.c3.b))
            .or_else(|| bounds("c5.accuracy", &self.c5.accuracy))
            .or_else(|| bounds("c7.share_rest", &self.c7.share_rest))
            .or_else(|| bounds("c8.share", &self.c8.share))
            .or_else(|| known("c8.judged", &self.c8.judged, &RATES))
            .or_else(|| bounds("c9.rate", &self.c9.rate))
            .or_else(|| bounds("c11.spearman", &self.c11.spearman))
            .or_else(|| bounds("c12.interference", &self.c12.interference))
            .or_else(|| some("c12.least_saves", self.c12.least_saves))
            .or_else(|| inside("c13.level", self.c13.level))
            .or_else(|| inside("c13.selectivity", self.c13.selectivity))
            .or_else(|| share("c13.early", self.c13.early))
            .or_else(|| some("c13.least_twins", self.c13.least_twins))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from), "{from}");
        let text = TEXT.replacen(from, to, 1);
        Rules::parse(&text, Path::new("mine.toml")).unwrap_err().to_string()
    }

    #[test]
    fn the_rules_of_the_program_are_whole() {
        let rules = rules();
        assert_eq!(rules.text(), TEXT);
        assert_eq!(rules.digest(), blake3::hash(TEXT.as_bytes()).to_hex().to_string());
        assert_eq!((rules.over_runs.least_runs, rules.nulls.in_a_row), (5, 5));
        // A comment for every value, on its line or above it.
        for line in TEXT.lines().filter(|line| line.contains(" = ")) {
            assert!(line.contains('#') || line.starts_with("statistics"), "{line}");
        }
    }

    /// A slip of the pen is refused with its line, never taken for the default.
    #[test]
    fn a_slip_is_refused_with_its_line() {
        let line = |key: &str| TEXT.lines().position(|line| line.starts_with(key)).unwrap() + 1;
        assert_eq!(
            refused("least_runs = 5", "least_run = 5"),
            format!(
                "mine.toml:{}:1: unknown key `least_run`; did you mean `least_runs`?",
                line("least_runs")
            )
        );
        assert!(refused("[c14]", "[c15]").contains("unknown key `c15`"));
        assert!(refused("rise = 1.0", "#").contains("missing field `rise`"));
        let found = refused("level = 0.05", "level = 5.0");
        assert_eq!(
            found,
            format!("mine.toml:{}:1: over_runs.level: 5 is not in (0, 1)", line("level"))
        );
        let found = refused("judged = \"ce\"", "judged = \"cd\"");
        assert!(found.contains("c8.judged: `cd` is none of ce, adam, decay, total"), "{found}");
        let found =
            refused("{ supports = 0.2, refutes = 0.5 }", "{ supports = 0.2, refutes = 0.2 }");
        assert!(found.contains("c2.share_key: supports and refutes are both 0.2"), "{found}");
        assert!(refused("walks = 10000", "walks = -1").contains("invalid value"));
    }
}
