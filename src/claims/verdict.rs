//! How a claim comes out: of one run, and of several together.
//!
//! There are three outcomes. What is missing decides nothing: it is undecided, with the reason.

use serde::Deserialize;

/// The outcome of a claim, or of one statistic of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Supports,
    Refutes,
    Undecided,
    /// A number that decides nothing by itself
    None,
}

impl Verdict {
    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Supports => "supports",
            Self::Refutes => "refutes",
            Self::Undecided => "undecided",
            Self::None => "none",
        }
    }

    /// What all of these say; undecided if they differ, or if there are none.
    #[must_use]
    pub fn unanimous(all: &[Self]) -> Self {
        match all.first() {
            Some(&first) if all.iter().all(|other| *other == first) => first,
            _ => Self::Undecided,
        }
    }
}

/// Why a value is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// A table, a column or a checkpoint that it is computed from
    Missing,
    /// No run on permuted labels
    NoTwin,
    /// No moments of the optimiser
    NoMoments,
    /// What it is about does not happen in the run, or not in enough runs
    NotReached,
    /// No key frequencies
    NoKeys,
}

/// Two thresholds; a value at one of them, or beyond, is decided.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub supports: f64,
    pub refutes: f64,
}

impl Bounds {
    /// What a value means.
    #[must_use]
    pub fn judge(self, value: f64) -> Verdict {
        // Compared on the side that supports, whichever it is.
        let sign = if self.supports > self.refutes { 1.0 } else { -1.0 };
        if sign * value >= sign * self.supports {
            Verdict::Supports
        } else if sign * value <= sign * self.refutes {
            Verdict::Refutes
        } else {
            Verdict::Undecided
        }
    }

    /// The rule in words.
    #[must_use]
    pub fn words(self) -> String {
        let (for_it, against) =
            if self.supports > self.refutes { ("≥", "≤") } else { ("≤", "≥") };
        format!("supports {for_it} {}, refutes {against} {}", self.supports, self.refutes)
    }

    /// What is wrong with them, if anything is.
    #[must_use]
    pub fn problem(self) -> Option<String> {
        let Self { supports, refutes } = self;
        if !(supports.is_finite() && refutes.is_finite()) {
            return Some(format!("{supports} and {refutes} are not both numbers"));
        }
        (supports.total_cmp(&refutes).is_eq())
            .then(|| format!("supports and refutes are both {supports}"))
    }
}

/// A value among those of a null.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Against {
    pub null: &'static str,
    pub mean: Option<f64>,
    /// The quantile of the rules
    pub quantile: Option<f64>,
    pub z: Option<f64>,
    pub p: Option<f64>,
}

/// One line of a claim: a statistic, what it is compared with, what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub statistic: String,
    pub value: Option<f64>,
    /// `None`: the statistic itself
    pub against: Option<Against>,
    pub verdict: Verdict,
    pub reason: String,
    pub lack: Option<Lack>,
}

impl Measured {
    /// A number that decides nothing by itself.
    #[must_use]
    pub fn number(statistic: impl Into<String>, value: Option<f64>) -> Self {
        let value = value.filter(|value| value.is_finite());
        let lack = value.is_none().then_some(Lack::NotReached);
        let (against, verdict, reason) = (None, Verdict::None, String::new());
        Self { statistic: statistic.into(), value, against, verdict, reason, lack }
    }

    /// One that is judged.
    #[must_use]
    pub fn judged(self, verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into(), ..self }
    }

    /// With a remark.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// The same statistic against a null.
    #[must_use]
    pub fn against(self, against: Against) -> Self {
        Self { against: Some(against), ..self }
    }

    /// One that cannot be measured.
    #[must_use]
    pub fn lacking(statistic: impl Into<String>, lack: Lack, reason: impl Into<String>) -> Self {
        let mut row = Self::number(statistic, None).judged(Verdict::Undecided, reason);
        row.lack = Some(lack);
        row
    }
}

/// What a claim is in one run: its verdict, and the numbers it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub verdict: Verdict,
    /// The number that stands for the claim
    pub headline: Option<f64>,
    /// On the claimed side, from the null or the less favourable of two
    pub p: Option<f64>,
    pub reason: String,
    pub lack: Option<Lack>,
    pub parts: Vec<Measured>,
}

impl Finding {
    /// A claim that cannot be decided in this run.
    #[must_use]
    pub fn lacking(lack: Lack, reason: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Undecided,
            headline: None,
            p: None,
            reason: reason.into(),
            lack: Some(lack),
            parts: Vec::new(),
        }
    }

    /// One that was measured.
    #[must_use]
    pub fn new(
        verdict: Verdict,
        headline: Option<f64>,
        reason: impl Into<String>,
        parts: Vec<Measured>,
    ) -> Self {
        let headline = headline.filter(|value| value.is_finite());
        Self { verdict, headline, p: None, reason: reason.into(), lack: None, parts }
    }

    /// With the p of its null.
    #[must_use]
    pub fn with_p(self, p: Option<f64>) -> Self {
        Self { p, ..self }
    }

    /// Why it is undecided, if something is missing.
    #[must_use]
    pub fn lack(self, lack: Option<Lack>) -> Self {
        Self { lack, ..self }
    }
}

/// How many runs must agree: a share of them, and at least one.
#[must_use]
pub fn needed(agreement: f64, runs: usize) -> usize {
    // 0.8 · 5 is 4, not the 5 of a last bit too many.
    ((agreement * runs as f64 - 1e-9).ceil() as usize).max(1)
}

/// The p of "at least `needed` of the runs": that of a partial conjunction,
/// `(n − u + 1) · p_(u)` with p_(u) the u-th smallest, at most 1. `None` if fewer than u runs have one.
///
/// Source: Benjamini & Heller (2008), Biometrics 64, 1215–1222.
#[must_use]
pub fn conjunction(p: &[f64], runs: usize, needed: usize) -> Option<f64> {
    let mut sorted = p.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = *sorted.get(needed.checked_sub(1)?)?;
    Some((at * (runs + 1).checked_sub(needed)? as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Refutes, Supports, Undecided};

    #[test]
    fn bounds_decide_at_and_beyond_them() {
        let low = Bounds { supports: 0.2, refutes: 0.5 };
        let high = Bounds { supports: 0.9, refutes: 0.5 };
        let found = [0.1, 0.2, 0.3, 0.5, 0.6].map(|value| low.judge(value));
        assert_eq!(found, [Supports, Supports, Undecided, Refutes, Refutes]);
        let found = [0.95, 0.9, 0.7, 0.5, 0.4].map(|value| high.judge(value));
        assert_eq!(found, [Supports, Supports, Undecided, Refutes, Refutes]);
        assert_eq!(high.judge(f64::NAN), Undecided);
        assert_eq!(high.words(), "supports ≥ 0.9, refutes ≤ 0.5");
    }

    #[test]
    fn only_the_unanimous_decide() {
        assert_eq!(Verdict::unanimous(&[Supports, Supports]), Supports);
        assert_eq!(Verdict::unanimous(&[Supports, Undecided]), Undecided);
        assert_eq!(Verdict::unanimous(&[Supports, Refutes]), Undecided);
        assert_eq!(Verdict::unanimous(&[]), Undecided);
    }

    #[test]
    fn four_of_five_have_the_p_of_the_fourth() {
        assert_eq!([5, 6, 10].map(|runs| needed(0.8, runs)), [4, 5, 8]);
        // (5 − 4 + 1) · 0.004
        let p = [0.004, 0.001, 0.9, 0.002, 0.003];
        assert!((conjunction(&p, 5, 4).unwrap() - 0.008).abs() < 1e-15);
        // All of them: the largest. One of them: Bonferroni.
        assert_eq!(conjunction(&p, 5, 5), Some(0.9));
        assert!((conjunction(&p, 5, 1).unwrap() - 0.005).abs() < 1e-15);
        assert_eq!(conjunction(&p[..3], 5, 4), None);
        assert_eq!(conjunction(&[0.6; 5], 5, 4), Some(1.0));
    }
}
