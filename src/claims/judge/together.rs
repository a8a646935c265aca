//! From the findings of runs to that of all of them.

use std::collections::BTreeMap;

use crate::claims::course::short;
use crate::claims::nulls::NullId;
use crate::claims::rules::Rules;
use crate::claims::stats::{bootstrap_median, holm, mean, median};
use crate::claims::verdict::{Against, Finding, Lack, Measured, Verdict, conjunction, needed};

/// A claim over all runs of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct All {
    /// Its headline is the median over runs, its p that of a partial conjunction, and after
    /// [`All::correct`] Holm's
    pub finding: Finding,
    /// 95 % bootstrap interval of the headline
    pub interval: Option<[f64; 2]>,
    /// Statistics that at least half of the runs have, with their intervals
    pub parts: Vec<(Measured, Option<[f64; 2]>)>,
    /// Whether the claim has a null, without which nothing supports it
    pub needs_null: bool,
}

/// The claims that have a null with a p.
pub const WITH_NULL: [&str; 7] = ["C1", "C3a", "C3b", "C4a", "C4b", "C5", "C8"];

/// Put the findings of the runs of a family together.
#[must_use]
pub fn all_runs(rules: &Rules, claim: &str, findings: &[&Finding]) -> All {
    let rule = &rules.over_runs;
    let runs = findings.len();
    let least = needed(rule.agreement, runs);
    let headlines: Vec<f64> = findings.iter().filter_map(|found| found.headline).collect();
    let count = |verdict| findings.iter().filter(|found| found.verdict == verdict).count();
    let [support, refute] = [Verdict::Supports, Verdict::Refutes].map(count);
    let p_values: Vec<f64> = findings.iter().filter_map(|found| found.p).collect();
    let p = conjunction(&p_values, runs, least);
    let enough = runs >= rule.least_runs;
    let verdict = agreement(support, refute, least, enough);
    let mut reason = format!("{support} of {runs} runs support, {refute} refute");
    let mut lack = None;
    if !enough {
        reason += &format!("; {} runs are needed", rule.least_runs);
        lack = Some(Lack::NotReached);
    } else if verdict == Verdict::Undecided {
        reason += &format!("; {least} must agree");
        // What most runs lack, if that is why.
        let lacking: Vec<&Finding> =
            findings.iter().copied().filter(|found| found.lack.is_some()).collect();
        if lacking.len() + least > runs {
            lack = lacking.first().and_then(|found| found.lack);
            reason += &lacking.first().map_or_else(String::new, |found| {
                format!("; {} undecided, the first because: {}", lacking.len(), found.reason)
            });
        }
    }
    if (1..runs).contains(&headlines.len()) {
        reason += &format!("; value of {} runs that have one", headlines.len());
    }
    let name = findings.iter().find(|found| found.headline.is_some());
    if let Some(name) = name.and_then(|found| found.reason.split([' ', ':']).next()) {
        reason = format!("{name}: {reason}");
    }
    let finding =
        Finding::new(verdict, median(&headlines), reason, Vec::new()).with_p(p).lack(lack);
    let interval = interval(rules, &headlines);
    All { finding, interval, parts: parts(rules, findings), needs_null: WITH_NULL.contains(&claim) }
}

/// What so many runs for and against decide together, if they are enough.
pub(super) fn agreement(support: usize, refute: usize, least: usize, enough: bool) -> Verdict {
    match (enough, support >= least, refute >= least) {
        (true, true, _) => Verdict::Supports,
        (true, _, true) => Verdict::Refutes,
        _ => Verdict::Undecided,
    }
}

fn interval(rules: &Rules, values: &[f64]) -> Option<[f64; 2]> {
    bootstrap_median(values, rules.over_runs.resamples, rules.over_runs.seed)
}

fn parts(rules: &Rules, findings: &[&Finding]) -> Vec<(Measured, Option<[f64; 2]>)> {
    let runs = findings.len();
    let least = needed(rules.over_runs.agreement, runs);
    let mut groups: BTreeMap<(&str, &str), Vec<&Measured>> = BTreeMap::new();
    for part in findings.iter().flat_map(|found| &found.parts) {
        let null = part.against.map_or("", |against| against.null);
        groups.entry((&part.statistic, null)).or_default().push(part);
    }
    groups.retain(|_, rows| rows.len() > 1 && 2 * rows.len() >= runs);
    let together = |(statistic, _): (&str, &str), rows: &[&Measured]| {
        let values: Vec<f64> = rows.iter().filter_map(|row| row.value).collect();
        let mut row = Measured::number(statistic, median(&values));
        let of = |pick: fn(&Against) -> Option<f64>| -> Vec<f64> {
            rows.iter().filter_map(|row| pick(row.against.as_ref()?)).collect()
        };
        if let Some(first) = rows.iter().find_map(|row| row.against) {
            row = row.against(Against {
                null: first.null,
                mean: median(&of(|against| against.mean)),
                quantile: median(&of(|against| against.quantile)),
                z: median(&of(|against| against.z)),
                p: conjunction(&of(|against| against.p), runs, least),
            });
        }
        let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        if rows.iter().any(|row| row.verdict != Verdict::None) {
            let (support, refute) = (count(Verdict::Supports), count(Verdict::Refutes));
            let enough = runs >= rules.over_runs.least_runs;
            let verdict = agreement(support, refute, least, enough);
            row = row.judged(verdict, format!("{support} of {runs} support, {refute} refute"));
        }
        if (1..runs).contains(&values.len()) {
            let own = format!("value of {} of {runs} runs", values.len());
            row.reason = if row.reason.is_empty() { own } else { format!("{}; {own}", row.reason) };
        }
        if row.value.is_none() {
            row.lack = rows.iter().find_map(|row| row.lack);
        }
        (row, interval(rules, &values))
    };
    groups.iter().map(|(key, rows)| together(*key, rows)).collect()
}

impl All {
    /// Correct the p of all claims together by Holm, and take back what its null does not allow: a claim is
    /// supported only with p below the level. (A p is on the claimed side, and no hurdle for a refutation.)
    pub fn correct(rules: &Rules, claims: &mut [&mut All]) {
        let raw: Vec<f64> = claims.iter().filter_map(|all| all.finding.p).collect();
        let mut corrected = holm(&raw).into_iter();
        for all in claims.iter_mut().filter(|all| all.needs_null || all.finding.p.is_some()) {
            let p = all.finding.p.and_then(|_| corrected.next());
            all.finding.p = p;
            let passes = p.is_some_and(|p| p < rules.over_runs.level);
            if all.finding.verdict == Verdict::Supports && !passes {
                all.finding.verdict = Verdict::Undecided;
                let undefined = "too few runs have a null".to_owned();
                let why = p.map_or(undefined, |p| format!("p after Holm is {}", short(p)));
                all.finding.reason += &format!("; {why}");
            }
        }
    }
}

/// N7: the same claim in the runs of other families.
#[must_use]
pub fn other_families(all: &All, others: &[&Finding]) -> Option<Measured> {
    let headlines: Vec<f64> = others.iter().filter_map(|found| found.headline).collect();
    let count = |verdict| others.iter().filter(|found| found.verdict == verdict).count();
    let [support, refute] = [Verdict::Supports, Verdict::Refutes].map(count);
    let against = Against { null: NullId::N7.name(), mean: mean(&headlines), ..Against::default() };
    let told = format!(
        "{} runs of other settings: {support} support, {refute} refute; null_mean is their mean",
        others.len()
    );
    (!others.is_empty())
        .then(|| Measured::number("verdict", all.finding.headline).against(against).because(told))
}
