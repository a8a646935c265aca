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
        let positive = |key, value: f64| {
            (!(value > 0.0 && value.is_finite()))
                .then(|| (key, format!("{value} is not a number above 0")))
        };
        let some = |key, value: usize| (value == 0).then(|| (key, "0 is too few".to_owned()));
        let bounds = |key, bounds: &Bounds| bounds.problem().map(|problem| (key, problem));
        let early = |key, bounds: &Bounds| {
            let fits = bounds.supports > 0.0 && bounds.supports < bounds.refutes;
            let problem = "an onset supports by an earlier step than it refutes, after 0";
            (!fits).then(|| (key, problem.to_owned()))
        };
        let known = |key, value: &str, of: &[&str]| {
            (!of.contains(&value)).then(|| (key, format!("`{value}` is none of {}", of.join(", "))))
        };
        let statistics = || {
            let mut found = self.c3.statistics.iter();
            let wrong = found.find_map(|name| known("c3.statistics", name, &STATISTICS));
            wrong.or_else(|| some("c3.statistics", self.c3.statistics.len()))
        };
        let steps = (self.c4.last_step < 1)
            .then(|| ("c4.last_step", format!("{} is not a step above 0", self.c4.last_step)));
        let order = (self.c10.under > self.c10.over).then(|| {
            ("c10.under", format!("{} is above c10.over, {}", self.c10.under, self.c10.over))
        });
        let Self { over_runs, nulls, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14 } =
            self;
        let faults = [
            some("over_runs.least_runs", over_runs.least_runs),
            share("over_runs.agreement", over_runs.agreement),
            inside("over_runs.level", over_runs.level),
            some("over_runs.resamples", over_runs.resamples),
            inside("nulls.quantile", nulls.quantile),
            some("nulls.subsets", nulls.subsets),
            some("nulls.least_sets", nulls.least_sets),
            some("nulls.walks", nulls.walks),
            some("nulls.in_a_row", nulls.in_a_row),
            share("nulls.coverage", nulls.coverage),
            inside("nulls.level", nulls.level),
            share("c1.spearman", c1.spearman),
            positive("c1.key_exponent", c1.key_exponent),
            positive("c1.other_exponent", c1.other_exponent),
            inside("c1.last_part", c1.last_part),
            share("c1.jump", c1.jump),
            bounds("c2.share_key", &c2.share_key),
            share("c2.middle", c2.middle),
            statistics(),
            bounds("c3.a", &c3.a),
            early("c3.a", &c3.a),
            bounds("c3.b", &c3.b),
            early("c3.b", &c3.b),
            positive("c4.z", c4.z),
            steps,
            share("c4.a_share", c4.a_share),
            share("c4.b_share", c4.b_share),
            share("c4.band_share", c4.band_share),
            bounds("c5.accuracy", &c5.accuracy),
            share("c5.cosine", c5.cosine),
            share("c5.neurons", c5.neurons),
            share("c5.clear", c5.clear),
            share("c6.near", c6.near),
            share("c6.r_squared", c6.r_squared),
            positive("c6.barrier", c6.barrier),
            some("c6.least_points", c6.least_points),
            bounds("c7.share_rest", &c7.share_rest),
            positive("c7.closure", c7.closure),
            positive("c8.z", c8.z),
            bounds("c8.share", &c8.share),
            known("c8.judged", &c8.judged, &RATES),
            share("c9.within", c9.within),
            bounds("c9.rate", &c9.rate),
            share("c10.over", c10.over),
            share("c10.under", c10.under),
            order,
            some("c10.least_runs", c10.least_runs),
            positive("c11.rise", c11.rise),
            some("c11.least_steps", c11.least_steps),
            bounds("c11.spearman", &c11.spearman),
            bounds("c12.interference", &c12.interference),
            some("c12.least_saves", c12.least_saves),
            inside("c13.level", c13.level),
            inside("c13.selectivity", c13.selectivity),
            share("c13.early", c13.early),
            some("c13.least_twins", c13.least_twins),
            positive("c14.barrier", c14.barrier),
            positive("c14.of_end", c14.of_end),
            share("c14.alike", c14.alike),
            some("c14.least_lines", c14.least_lines),
        ];
        faults.into_iter().flatten().next()
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
        let found =
            refused("{ supports = 0.1, refutes = 1.0 }", "{ supports = 1.0, refutes = 0.1 }");
        assert!(found.contains("c3.a: an onset supports by an earlier step"), "{found}");
        let found = refused("under = 0.9 ", "under = 1.0 ");
        assert!(found.contains("c10.under: 1 is above c10.over, 0.99"), "{found}");
    }

    /// Of every number of the file: none may be below 0 or no number, and none that counts may be 0.
    #[test]
    fn every_value_is_checked() {
        let numbers = |line: &str| {
            let code = line.split('#').next().unwrap_or_default();
            let after = |(at, _): (usize, &str)| at + 2;
            let starts: Vec<usize> = code.match_indices("= ").map(after).collect();
            let number = |start: &usize| {
                let text = code[*start..].split([' ', ',']).next().unwrap_or_default();
                text.parse::<f64>().is_ok().then(|| (*start, text.to_owned()))
            };
            starts.iter().filter_map(number).collect::<Vec<_>>()
        };
        let mut checked = 0;
        for (place, line) in TEXT.lines().enumerate() {
            for (start, number) in numbers(line) {
                let is_float = number.contains('.');
                let wrong = if is_float { "nan" } else { "-1" };
                let more = (!is_float && !line.starts_with("seed")).then_some("0");
                for wrong in [wrong].into_iter().chain(more) {
                    let mut changed = line.to_owned();
                    changed.replace_range(start..start + number.len(), wrong);
                    let lines = TEXT.lines().enumerate();
                    let lines = lines.map(|(i, line)| if i == place { &changed } else { line });
                    let text = lines.collect::<Vec<&str>>().join("\n");
                    let found = Rules::parse(&text, Path::new("mine.toml"));
                    let message = found.map(|_| changed.clone()).unwrap_err().to_string();
                    assert!(message.contains(&format!("mine.toml:{}:", place + 1)), "{message}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 75, "{checked}");
    }
}
