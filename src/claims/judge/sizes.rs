//! C10: whether what holds for networks that can memorise holds for those that cannot.

use std::collections::BTreeMap;

use super::together::{All, agreement};
use crate::claims::course::Gap;
use crate::claims::rules::Rules;
use crate::claims::verdict::{Finding, Lack, Measured, Verdict, needed};

/// Whether a network can memorise its training pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Over,
    Edge,
    Under,
    /// No run on permuted labels
    Unknown,
}

/// A run's size, by what the same network does with permuted labels; and its verdicts on C3a, C4b, C7.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// All settings but those of the size of the network and of the data: runs that differ in more are not
    /// compared
    pub settings: String,
    /// Train accuracy of the same network on permuted labels after as many steps, or why it is not known
    pub twin_accuracy: Result<f64, Gap>,
    /// Whether the run has a final algorithm; without one it has no verdict
    pub is_final: bool,
    pub verdicts: [Verdict; 3],
}

/// The claims that C10 is about.
const REPEATED: [&str; 3] = ["C3a", "C4b", "C7"];

/// What an under-parameterised network has instead of a table of its training pairs.
const REST: &str = "algorithm 1 is only what is not K";

impl Capacity {
    /// By the train accuracy of the run on permuted labels.
    #[must_use]
    pub fn kind(&self, rules: &Rules) -> Kind {
        match self.twin_accuracy {
            Err(_) => Kind::Unknown,
            Ok(accuracy) if accuracy >= rules.c10.over => Kind::Over,
            Ok(accuracy) if accuracy < rules.c10.under => Kind::Under,
            Ok(_) => Kind::Edge,
        }
    }

    /// The row of one run; only all of them together decide.
    #[must_use]
    pub fn finding(&self, rules: &Rules) -> Finding {
        let accuracy = match &self.twin_accuracy {
            Ok(accuracy) => *accuracy,
            Err(gap) => return gap.clone().into(),
        };
        let kind = match self.kind(rules) {
            Kind::Over => "over-parameterised".to_owned(),
            Kind::Under => format!("under-parameterised, {REST}"),
            Kind::Edge | Kind::Unknown => "at the edge".to_owned(),
        };
        if !self.is_final {
            let reason = format!("twin_train_accuracy: {kind}; there is no final algorithm");
            return Finding::new(Verdict::Undecided, Some(accuracy), reason, Vec::new())
                .lack(Some(Lack::NotReached));
        }
        let verdicts: Vec<String> = REPEATED
            .iter()
            .zip(self.verdicts)
            .map(|(claim, verdict)| format!("{claim} {}", verdict.name()))
            .collect();
        let reason = format!("twin_train_accuracy: {kind}; {}", verdicts.join(", "));
        Finding::new(Verdict::None, Some(accuracy), reason, Vec::new())
    }
}

/// Runs of both kinds that differ in nothing but their size.
#[derive(Debug, Default)]
struct Sizes<'a> {
    over: Vec<&'a Capacity>,
    under: Vec<&'a Capacity>,
}

impl<'a> Sizes<'a> {
    /// Of the runs that have a final algorithm, those that can be compared: of several sets of settings the one
    /// with the most runs of the rarer kind.
    fn of(rules: &Rules, runs: &'a [Capacity]) -> Self {
        let mut all: BTreeMap<&str, Self> = BTreeMap::new();
        for run in runs.iter().filter(|run| run.is_final) {
            let sizes = all.entry(&run.settings).or_default();
            match run.kind(rules) {
                Kind::Over => sizes.over.push(run),
                Kind::Under => sizes.under.push(run),
                Kind::Edge | Kind::Unknown => {}
            }
        }
        // Of equal ones the first.
        let most = all.into_values().rev().max_by_key(|sizes| {
            let (over, under) = (sizes.over.len(), sizes.under.len());
            (over.min(under), over + under)
        });
        most.unwrap_or_default()
    }
}

/// C10: what holds for networks that can memorise holds for those that cannot.
#[must_use]
pub fn c10(rules: &Rules, runs: &[Capacity]) -> All {
    let Sizes { over, under } = Sizes::of(rules, runs);
    let said = |runs: &[&Capacity], claim: usize| {
        let count = |verdict| runs.iter().filter(|run| run.verdicts[claim] == verdict).count();
        let least = needed(rules.over_runs.agreement, runs.len());
        agreement(count(Verdict::Supports), count(Verdict::Refutes), least, true)
    };
    let mut parts = Vec::new();
    let (mut same, mut opposite) = (0, 0);
    for (claim, name) in REPEATED.into_iter().enumerate() {
        let (large, small) = (said(&over, claim), said(&under, claim));
        let decided = ![large, small].contains(&Verdict::Undecided);
        same += usize::from(decided && large == small);
        opposite += usize::from(decided && large != small);
        let told = format!("over: {}, under: {}", large.name(), small.name());
        parts.push((Measured::number(format!("{name} by size"), None).because(told), None));
    }
    parts.push((Measured::number("runs_over", Some(over.len() as f64)), None));
    parts.push((Measured::number("runs_under", Some(under.len() as f64)), None));
    let least = rules.c10.least_runs;
    let enough = over.len() >= least && under.len() >= least;
    let verdict = match (enough, same, opposite) {
        (true, 3, _) => Verdict::Supports,
        (true, _, 1..) => Verdict::Refutes,
        _ => Verdict::Undecided,
    };
    let found = format!(
        "{} over-parameterised runs and {} under-parameterised ones, in which {REST}, that share all \
         other settings and generalise",
        over.len(),
        under.len()
    );
    let known = runs.iter().any(|run| run.twin_accuracy.is_ok());
    let (lack, reason) = match (known, enough) {
        (false, _) => (Some(Lack::NoTwin), "no run on permuted labels".to_owned()),
        (true, false) => (Some(Lack::NotReached), format!("{found}; {least} of each are needed")),
        (true, true) => (None, format!("same_verdicts {same} of 3, opposite {opposite}: {found}")),
    };
    let headline = enough.then_some(same as f64);
    let finding = Finding::new(verdict, headline, reason, Vec::new()).lack(lack);
    All { finding, interval: None, parts, needs_null: false }
}
